"""Many users at once on one server: python -m Testing.Web.load [--users 30] [--seconds 60]

Each user uploads a volume of its own, draws boxes, propagates, and downloads the mask, as the page does, over and over
until the time is up; the mask in each file is compared with that of the server. Prints how long each action took, and
how many answers were lost or wrong. The network's first stage alone computes: what is measured is the server.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.labels import read_label
from MedSAMSlicerLib.io.nifti import write_nifti

from .running_server import RunningServer, running_server

SHAPE = (8, 64, 64)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 3.0))


def called(client: httpx.Client, name: str, *data: Any) -> Any:
    """What an endpoint answers; RuntimeError with its refusal."""
    answer = client.post(f"/gradio_api/run/{name}", json={"data": list(data)})
    if answer.status_code != 200:
        raise RuntimeError(f"/{name}: {answer.status_code} {answer.text[:200]}")
    return answer.json()["data"][0]


class Measured:
    """Seconds of each action, and what went wrong; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.faults: list[str] = []

    def timed(self, name: str, act: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = act()
        with self._lock:
            self.seconds[name].append(time.perf_counter() - began)
        return found

    def fault(self, text: str) -> None:
        with self._lock:
            self.faults.append(text)


class User:
    """Somebody with a volume that nobody else has: a bright block at a place of its own."""

    def __init__(self, number: int, server: RunningServer, folder: Path, measured: Measured) -> None:
        self._measured, self._folder = measured, folder
        self._http = httpx.Client(base_url=server.address, timeout=600)
        self._name = f"volume{number}.nii.gz"
        self._x, self._y = 8 + 6 * (number % 6), 8 + 6 * (number // 6 % 6)
        array = np.random.default_rng(number).normal(-60, 10, SHAPE)
        array[2:6, self._y : self._y + 16, self._x : self._x + 16] += 160
        self._file = folder / self._name
        write_nifti(self._file, array.round().astype(np.int16), GEOMETRY)

    def call(self, name: str, *data: Any) -> Any:
        return called(self._http, name, *data)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def work(self, until: float) -> None:
        """Go from a file to a mask again and again."""
        timed = self._measured.timed
        while time.monotonic() < until:
            state = timed("open", self._open)
            session = state["session"]
            if state["volume"]["name"] != self._name.removesuffix(".nii.gz"):
                self._measured.fault("a volume of somebody else was opened")
            timed("slice", partial(self._http.get, f"/data/{session}/slice/k/4"))
            box = [[self._x - 1, self._y - 1], [self._x + 17, self._y + 17]]
            prompt = partial(self.call, "prompt", session, "box", 4, box, "k", "", True, 60)
            timed("prompt and preview", prompt)
            timed("state", partial(self.call, "state", session))
            timed("propagate", partial(self._propagate, session))
            content = timed("export", partial(self._export, session))
            self._compare(session, content)
            timed("end", partial(self.call, "end", session))

    def _open(self) -> Any:
        with self._file.open("rb") as file:
            [path] = self._http.post("/gradio_api/upload", files={"files": (self._name, file)}).json()
        sent = {"path": path, "orig_name": self._name, "meta": {"_type": "gradio.FileData"}}
        return self.call("open", sent, "", "")

    def _propagate(self, session: str) -> None:
        state = self.call("begin_propagation", session, "", False)
        while state["run"]["busy"] or state["run"]["waiting"] is not None:
            answer = self._http.get(f"/data/{session}/state", params={"after": state["revision"]})
            state = answer.json()

    def _export(self, session: str) -> bytes:
        file = self.call("export", session, "nii.gz")
        return self._http.get(f"/gradio_api/file={file['path']}").content

    def _compare(self, session: str, content: bytes) -> None:
        path = self._folder / f"mask-{self._name}"
        path.write_bytes(content)
        label = read_label(path, GEOMETRY) != 0
        found = self.call("mask", session, 4, "k", "")
        runs = np.repeat(np.arange(len(found["runs"])) % 2 == 1, found["runs"])
        if not label.any() or not np.array_equal(label[4].ravel(), runs):
            self._measured.fault("a downloaded mask is not that of the session")


def measure(users: int, seconds: float) -> Measured:
    """Let users work at once on a server of their own; each ends what it has begun when the time is up."""
    measured = Measured()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_server(folder, "--port", "0", "--sessions", str(2 * users)) as server:
            people = [User(number, server, folder, measured) for number in range(users)]
            until = time.monotonic() + seconds

            def life(user: User) -> None:
                try:
                    user.work(until)
                except Exception as error:  # noqa: BLE001 - every loss is counted
                    measured.fault(f"{type(error).__name__}: {error}")
                finally:
                    user.close()

            threads = [threading.Thread(target=life, args=(user,)) for user in people]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    return measured


def main() -> int:
    """Run the users and print what was measured; 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    os.environ.setdefault("MEDSAMSLICER_SECOND_NETWORK", "off")
    measured = measure(arguments.users, arguments.seconds)
    lines = [f"{arguments.users} users, {arguments.seconds:.0f} s, {os.cpu_count()} processors"]
    for action, seconds in measured.seconds.items():
        p50, p95 = np.percentile(seconds, (50, 95))
        lines.append(f"{action:20s} {len(seconds):6d} times   p50 {p50:7.3f} s   p95 {p95:7.3f} s")
    lines.append(f"lost or wrong: {len(measured.faults)}")
    sys.stdout.write("\n".join([*lines, *measured.faults[:5]]) + "\n")
    return 1 if measured.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
