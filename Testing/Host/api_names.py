"""Which names of Slicer, Qt, CTK, qMRML and VTK the module uses, read from its code and its .ui file.

`python -m Testing.Host.api_names` lists what docs/slicer-api.md lacks and what stands there without being used;
`api_sources.py` writes that page again.

Our own names are in snake case, classes of our own aside, so an attribute with a capital letter belongs to the API.
Names of Qt in small letters only (`text`, `enabled`) are found where they follow `ui.<widget>.`.
"""

from __future__ import annotations

import ast
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "MedSAMSlicer"
ROOMS = ("app", "panel", "scene", "MedSAMSlicerEffect")
TABLE = REPOSITORY / "docs" / "slicer-api.md"
ROOTS = {"slicer", "qt", "ctk", "vtk", "PyTorchUtils", "SampleData"}
_CLASS_NAME = re.compile(r"vtk(MRML|Slicer|Segment)\w+(?<!Singleton)")
_SIGNATURE = re.compile(r"\w+\([\w*:, ]*\)")


def sources() -> list[Path]:
    """The Python files that may know Slicer."""
    return [
        MODULE / "MedSAMSlicer.py",
        *(path for room in ROOMS for path in sorted((MODULE / "MedSAMSlicerLib" / room).rglob("*.py"))),
    ]


def own_names() -> set[str]:
    """Names with capitals that are not the API's: our classes and functions, widgets of the .ui file, unittest's."""
    names = set(dir(unittest.TestCase))
    for path in [MODULE / "MedSAMSlicer.py", *(MODULE / "MedSAMSlicerLib").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
    for path in (MODULE / "Resources" / "UI").glob("*.ui"):
        names.update(element.get("name", "") for element in ElementTree.parse(path).getroot().iter("widget"))
    return names


def _foreign_modules(tree: ast.AST) -> set[str]:
    """What a file calls the modules and classes that it imports from elsewhere: np, threading, Path."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for alias in node.names:
                if (module or alias.name).split(".")[0] not in ROOTS:
                    found.add(alias.asname or alias.name.split(".")[0])
    return found


def names_in_python(path: Path, own: set[str]) -> Iterator[str]:
    """Names of the API in one file: `qt.QTimer`, `slicer.util.loadUI`, `.GetSegmentation`, `signal clicked()`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: set[ast.AST] = set()
    foreign = _foreign_modules(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOTS and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and node not in inside:
            chain, root = _chain(node)
            inside.update(ast.walk(node.value)) if isinstance(root, ast.Name) else None
            if not (isinstance(root, ast.Name) and root.id in foreign):
                yield from _names_of_chain(chain, root, own)
        elif isinstance(node, ast.Constant) and _CLASS_NAME.fullmatch(str(node.value)):
            yield f"slicer.{node.value}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from _names_of_call(node)


def _chain(node: ast.AST) -> tuple[list[str], ast.AST]:
    """["util", "loadUI"] and the Name `slicer` of `slicer.util.loadUI`."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return names, node


def _names_of_chain(chain: list[str], root: ast.AST, own: set[str]) -> Iterator[str]:
    if isinstance(root, ast.Name) and root.id in ROOTS:
        depth = 2 if root.id == "slicer" and chain[0] in ("util", "app", "modules") else 1
        if chain[0].startswith("vtk") or root.id in ("qt", "ctk"):
            depth = 2 if len(chain) > 1 and not chain[1].startswith("__") else 1
        yield ".".join([root.id, *chain[:depth]])
        chain = chain[depth:]
    if "ui" in chain and chain.index("ui") + 2 < len(chain):
        chain = chain[chain.index("ui") + 2 :]
        yield from (f".{name}" for name in chain if name not in own)
        return
    if isinstance(root, ast.Name) and root.id == "ui":
        yield from (f".{name}" for name in chain[1:] if name not in own)
        return
    for name in chain:
        if re.search("[A-Z]", name) and not name.isupper() and not name.startswith("_") and name not in own:
            yield f".{name}"


def _names_of_call(node: ast.Call) -> Iterator[str]:
    """Signals of connect and disconnect; modules of importlib.import_module; attributes of getattr(slicer, ...)."""
    assert isinstance(node.func, ast.Attribute)
    literal = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if node.func.attr in ("connect", "disconnect"):
        yield from (f"signal {text}" for text in literal[:1] if _SIGNATURE.fullmatch(text))
    elif node.func.attr == "import_module":
        yield from (text for text in literal if text.split(".")[0] in ROOTS)


def names_in_ui(path: Path) -> Iterator[str]:
    """Classes of widgets and layouts; of ctk and qMRML classes their properties as well; signals and slots."""
    root = ElementTree.parse(path).getroot()
    for element in [*root.iter("widget"), *root.iter("layout")]:
        name = element.get("class", "")
        space = "ctk" if name.startswith("ctk") else "slicer" if name.startswith("q") else "qt"
        yield f"{space}.{name}"
        for found in element.findall("property"):
            if space != "qt":
                yield f"{space}.{name}.{found.get('name')}"
    for connection in root.iter("connection"):
        yield f"signal {connection.findtext('signal')}"
        yield f".{connection.findtext('slot', '').partition('(')[0]}"


def used_names() -> set[str]:
    """Every name of the API that the module uses."""
    paths = sources()
    own = own_names()
    names = {name for path in paths for name in names_in_python(path, own)}
    for path in (MODULE / "Resources" / "UI").glob("*.ui"):
        names.update(names_in_ui(path))
    return names


def table() -> dict[str, str]:
    """Name -> source file, as docs/slicer-api.md has them."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def main() -> int:
    """Say what differs."""
    used, listed = used_names(), table() if TABLE.is_file() else {}
    for sign, names in (("+", used - set(listed)), ("-", set(listed) - used)):
        for name in sorted(names):
            sys.stdout.write(f"{sign} {name}\n")
    return int(used != set(listed))


if __name__ == "__main__":
    sys.exit(main())
