"""Writes requirements.lock: the versions that are installed here, with the hashes of their files for every platform.

Run `make lock` after all tests have passed with them. Needs `uv`, which asks the package index for the hashes.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
NOT_LOCKED = {"medsamslicer", "pip", "wheel", "uv", "sam2"}
"""The project itself, the installers, and sam2, which is built against the installed torch."""

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
HEADER = f"""\
# The versions that the tests were run with (Linux, x86-64, Python {PYTHON}), with the hashes of their files:
#   pip install --require-hashes -r requirements.lock && pip install --no-deps --editable .
# The lower bounds are in pyproject.toml. Written by `make lock`.
"""


def installed_versions() -> str:
    """Constraints `name==version` for what is installed; a build such as +cpu is that version too."""
    found = {dist.metadata["Name"].lower(): dist.version for dist in importlib.metadata.distributions()}
    return "".join(
        f"{name}=={version.partition('+')[0]}\n"
        for name, version in sorted(found.items())
        if name not in NOT_LOCKED
    )


def main() -> None:
    """Write the lock file."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "installed.txt"
        constraints.write_text(installed_versions(), encoding="utf-8")
        command = [
            *("uv", "pip", "compile", "pyproject.toml", "--all-extras", "--universal", "--generate-hashes"),
            *("--python-version", PYTHON, "--constraint", str(constraints)),
            *("--no-header", "--no-annotate", "--quiet"),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    LOCK.write_text(HEADER + done.stdout, encoding="utf-8")


if __name__ == "__main__":
    main()
