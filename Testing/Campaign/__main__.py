"""Run rows of the campaign and print their table; exit code 1 when a try failed."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from MedSAMSlicerLib.io.atomic import write_bytes

from .rows import Row, as_table, replaced_table

ROOT = Path(__file__).resolve().parents[2]
ROWS = sorted(
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if module.name not in ("__main__", "rows") and not module.name.startswith(("test_", "_"))
)
LONGEST_FIRST = ("kills", "actions", "files", "geometries")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.Campaign", description=__doc__)
    parser.add_argument("row", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--count", type=int, help="tries of each kind (default: the full number of each row)")
    parser.add_argument("--processes", type=int, default=1, help="that run rows at once (default: 1)")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="a Markdown page whose table is replaced")
    parser.add_argument("--json", action="store_true", help="print rows as JSON instead of the table")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.row) - set(ROWS):
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    names = arguments.row or ROWS
    start = time.monotonic()
    if arguments.processes > 1 and len(names) > 1:
        found = _in_processes(names, arguments)
    else:
        found = {name: _run(name, arguments) for name in names}
    rows = [row for name in names for row in found[name]]
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows]) + "\n")
    else:
        sys.stdout.write(as_table(rows) + "\n")
    sys.stderr.writelines(f"{row.what}: {row.first}\n" for row in rows if row.failed)
    if arguments.into is not None:
        minutes = (time.monotonic() - start) / 60
        page = arguments.into.read_text(encoding="utf-8")
        heading = f"`{_command(arguments)}`, {minutes:.0f} minutes:"
        page = replaced_table(page, f"{heading}\n\n{as_table(rows)}")
        write_bytes(arguments.into, page.encode("utf-8"))
    return int(any(row.failed for row in rows))


def _run(name: str, arguments: argparse.Namespace) -> list[Row]:
    module = importlib.import_module(f".{name}", __package__)
    return list(module.run(arguments.seed, arguments.count or module.COUNT))


def _in_processes(names: list[str], arguments: argparse.Namespace) -> dict[str, list[Row]]:
    """Each row in a process of its own, as many at once as there may be."""
    order = sorted(names, key=lambda name: (*LONGEST_FIRST, name).index(name))
    with ThreadPoolExecutor(arguments.processes) as pool:
        running = {name: pool.submit(_elsewhere, name, arguments) for name in order}
        return {name: done.result() for name, done in running.items()}


def _elsewhere(name: str, arguments: argparse.Namespace) -> list[Row]:
    """The rows of `name` from another process; a process that dies is a failed row."""
    command = [sys.executable, "-m", "Testing.Campaign", name, "--json", "--seed", str(arguments.seed)]
    if arguments.count:
        command += ["--count", str(arguments.count)]
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "MedSAMSlicer"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT, env=environment)
    sys.stderr.write(f"{name}: {time.monotonic() - start:.0f} s\n")
    try:
        return [Row(**row) for row in json.loads(done.stdout)]
    except json.JSONDecodeError:
        return [Row(name, 1, 1, f"the process ended with exit code {done.returncode}")]


def _command(arguments: argparse.Namespace) -> str:
    """The command that gives the same rows."""
    words = ["python -m Testing.Campaign", *arguments.row, f"--seed {arguments.seed}"]
    if arguments.count:
        words.append(f"--count {arguments.count}")
    if arguments.processes > 1:
        words.append(f"--processes {arguments.processes}")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
