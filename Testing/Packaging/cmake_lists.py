"""The file lists of MedSAMSlicer/CMakeLists.txt: what they say, what the tree says, and writing them again.

Slicer copies exactly the files that are listed, so a forgotten file is a module that does not load there. Listed are
the module's file, the rooms that work in Slicer, and what these import, directly or not. The command line, the web
page, benchmarks and training are therefore not shipped, nor what only they need.
Run as a program (`make cmake-lists`) it rewrites the two lists from the tree.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "MedSAMSlicer"
LISTS_FILE = MODULE_FOLDER / "CMakeLists.txt"
SCRIPTS, RESOURCES = "MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"
IN_SLICER = (
    "MedSAMSlicer.py",
    *(f"MedSAMSlicerLib/{room}/" for room in ("app", "scene", "panel", "MedSAMSlicerEffect")),
)
NOT_SHIPPED = ("MedSAMSlicerLib/web/",)  # the resources of the web page


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


def imported_by(path: Path) -> set[Path]:
    """The files of MedSAMSlicer/ that the imports of a file load, those in its functions included."""
    package = path.relative_to(MODULE_FOLDER).parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        places = [MODULE_FOLDER.joinpath(*name.split(".")[:count]) for count in range(1, name.count(".") + 2)]
        found |= {place.with_suffix(".py") for place in places} | {place / "__init__.py" for place in places}
    return {file for file in (*found, path.parent / "__init__.py") if file.is_file()}


def shipped_scripts(tree: list[str]) -> list[str]:
    """The Python files of a tree that Slicer gets, in their order."""
    waiting = {MODULE_FOLDER / name for name in tree if name.startswith(IN_SLICER) and name.endswith(".py")}
    shipped: set[Path] = set()
    while waiting:
        path = waiting.pop()
        shipped.add(path)
        waiting |= imported_by(path) - shipped
    return [name for name in tree if MODULE_FOLDER / name in shipped]


def expected_lists() -> dict[str, list[str]]:
    """What each list must hold, as paths relative to MedSAMSlicer/, in the order of the alphabet."""
    tree = [path.relative_to(MODULE_FOLDER).as_posix() for path in files_in_tree()]
    resources = [name for name in tree if not name.endswith((".py", "CMakeLists.txt"))]
    resources = [name for name in resources if not name.startswith(NOT_SHIPPED)]
    return {SCRIPTS: shipped_scripts(tree), RESOURCES: resources}


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
    """Rewrite the lists and print what changed."""
    before = LISTS_FILE.read_text(encoding="utf-8")
    after = rewritten(before, expected_lists())
    LISTS_FILE.write_text(after, encoding="utf-8", newline="\n")
    changed = "unchanged" if after == before else "rewritten"
    scripts = written_lists(after)[SCRIPTS]
    lines = sum((MODULE_FOLDER / name).read_text(encoding="utf-8").count("\n") for name in scripts)
    where = LISTS_FILE.relative_to(ROOT)
    sys.stdout.write(f"{where}: {changed}; Slicer gets {len(scripts)} Python files with {lines} lines\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
