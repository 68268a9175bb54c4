"""The file lists of MedSAMSlicer/CMakeLists.txt: what they say, what the tree says, and writing them anew.

Slicer copies exactly the files that are listed, so a forgotten file is a module that does not load there. The
laboratory (benchmarks, training) and the web page are not listed: they are of no use to a person in front of Slicer.
Run as a program (`make cmake-lists`) it rewrites the two lists from the tree.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "MedSAMSlicer"
LISTS_FILE = MODULE_FOLDER / "CMakeLists.txt"
SCRIPTS, RESOURCES = "MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"
NOT_SHIPPED = ("MedSAMSlicerLib/lab/", "MedSAMSlicerLib/web/")


def files_in_tree() -> list[Path]:
    """Files under MedSAMSlicer/ that are, or with the next commit could be, part of the project."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "MedSAMSlicer"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        paths = {ROOT / name for name in listed if name}
    except (OSError, subprocess.CalledProcessError):  # a source archive without git
        paths = {path for path in MODULE_FOLDER.rglob("*") if not {"__pycache__"} & set(path.parts)}
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def expected_lists() -> dict[str, list[str]]:
    """What each list must hold, as paths relative to MedSAMSlicer/, in the order of the alphabet."""
    tree = [path.relative_to(MODULE_FOLDER).as_posix() for path in files_in_tree()]
    names = [name for name in tree if not name.startswith(NOT_SHIPPED)]
    scripts = [name for name in names if name.endswith(".py")]
    resources = [name for name in names if not name.endswith((".py", "CMakeLists.txt"))]
    return {SCRIPTS: scripts, RESOURCES: resources}


def written_lists(text: str) -> dict[str, list[str]]:
    """What the lists in the text of a CMakeLists.txt hold."""
    lists = {}
    for variable in (SCRIPTS, RESOURCES):
        match = re.search(rf"^set\({variable}\n(.*?)^  \)", text, re.MULTILINE | re.DOTALL)
        if match is None:
            raise ValueError(f"{LISTS_FILE.name} has no set({variable} ...)")
        lists[variable] = match.group(1).replace("${MODULE_NAME}", "MedSAMSlicer").split()
    return lists


def rewritten(text: str, lists: dict[str, list[str]]) -> str:
    """The text with the two lists replaced."""
    for variable, names in lists.items():
        body = "".join(f"  {name}\n" for name in names)
        pattern = rf"^set\({variable}\n.*?^  \)"
        text = re.sub(pattern, f"set({variable}\n{body}  )", text, count=1, flags=re.MULTILINE | re.DOTALL)
    return text


def main() -> int:
    """Rewrite the lists and tell what changed."""
    before = LISTS_FILE.read_text(encoding="utf-8")
    after = rewritten(before, expected_lists())
    LISTS_FILE.write_text(after, encoding="utf-8", newline="\n")
    changed = "unchanged" if after == before else "rewritten"
    sys.stdout.write(f"{LISTS_FILE.relative_to(ROOT)}: {changed}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
