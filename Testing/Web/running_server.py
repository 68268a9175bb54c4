"""`medsamslicer web` as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "MedSAMSlicer"


class RunningServer:
    """A server; `address` is where it answers, `folder` where its private folder is.

    Args:
        folder: for temporary files.
        words: options of the command.
    """

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self._log = (folder / "server.log").open("w+", encoding="utf-8")
        code = "import sys; from MedSAMSlicerLib.cli import main; sys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "web", "--threads", "1", *words],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+", self.line)
        assert found is not None, self.line + self.log()
        self.address = found.group()

    @property
    def port(self) -> str:
        return self.address.rpartition(":")[2]

    def log(self) -> str:
        """Everything the process wrote on its error output."""
        self._log.seek(0)
        return self._log.read()

    def private_folders(self) -> list[Path]:
        """What it keeps of its users."""
        return [*self.folder.glob("medsamslicer-web-*")]

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """End the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def close(self) -> None:
        """End the process, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@contextlib.contextmanager
def running_server(folder: Path, *words: str) -> Iterator[RunningServer]:
    """A server for the length of a `with` block."""
    server = RunningServer(folder, *words)
    try:
        yield server
    finally:
        server.close()
