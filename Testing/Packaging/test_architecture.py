"""Arrows between the parts only point down, and every file can be read by the oldest Python that is served."""

from __future__ import annotations

import ast
import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import cmake_lists
from .error_texts import lines_that_read_errors, readers_of_texts
from .sources import LIBRARY, MODULE_FOLDER, ROOT, SOURCES, parsed, part_of

PARTS = sorted(path.name for path in LIBRARY.iterdir() if path.is_dir() and any(path.glob("*.py")))

# Which parts each part may use, itself left out.
ARROWS = {
    "core": set(),
    "sam2": {"core"},
    "engine": {"core", "sam2"},
    "models": {"core"},
    "io": {"core"},
    "phantom": {"core"},
    "app": {"core", "sam2", "engine", "models", "io"},
    "scene": {"core", "io", "phantom", "app"},
    "panel": {"core", "models", "phantom", "scene", "app"},
    "MedSAMSlicerEffect": {"panel"},
    "cli": {"core", "sam2", "engine", "models", "io", "phantom"},
    "lab": {"core", "sam2", "engine", "models", "io", "phantom", "cli"},
    "web": {"core", "sam2", "models", "io", "phantom", "app", "cli"},
}
SLICER = {"slicer", "vtk", "qt", "ctk"}
TORCH = {"torch", "torchvision"}
TORCH_PARTS = {"sam2", "engine", "lab"}
# Slicer's own algorithm, from the slicer-core package, is one of the baselines that accuracy is measured against.
SLICER_IN_FUNCTIONS = {LIBRARY / "lab" / "evaluation" / "growcut.py"}
ORACLES = {"sam2", "transformers"}
MODULE_FILE_MAY_IMPORT = {"slicer", "vtk", "qt", "ctk", "numpy", "SimpleITK"}


@dataclass(frozen=True)
class Import:
    """One imported module: its full name, and whether importing the file imports it."""

    file: Path
    line: int
    name: str
    at_file_scope: bool

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @property
    def part(self) -> str | None:
        """The part of MedSAMSlicerLib that is imported, if it is one."""
        names = self.name.split(".")
        return names[1] if names[0] == "MedSAMSlicerLib" and len(names) > 1 and names[1] in ARROWS else None

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def imports_of(path: Path) -> list[Import]:
    """Every import of a file, relative ones resolved; file scope is what is in no function."""
    package = path.relative_to(MODULE_FOLDER).with_suffix("").parts[:-1]
    found = []

    def visit(node: ast.AST, at_file_scope: bool) -> None:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                visit(child, at_file_scope and not inside)
            return
        found.extend(Import(path, node.lineno, name, at_file_scope) for name in names)

    visit(parsed(path), at_file_scope=True)
    return found


@functools.cache
def all_imports() -> list[Import]:
    """The imports of all files."""
    return [found for path in SOURCES for found in imports_of(path)]


def third_party(found: Import) -> bool:
    return found.package not in sys.stdlib_module_names and found.package != "MedSAMSlicerLib"


def test_every_part_is_known_to_this_test():
    assert set(PARTS) <= set(ARROWS)


@pytest.mark.parametrize("part", PARTS)
def test_arrows_only_point_down(part):
    allowed = ARROWS[part] | {part}
    wrong = [
        str(i)
        for i in all_imports()
        if part_of(i.file) == part and i.part is not None and i.part not in allowed
    ]
    assert not wrong, wrong


def test_nothing_that_slicer_ships_imports_the_laboratory():
    wrong = [str(i) for i in all_imports() if part_of(i.file) != "lab" and i.part == "lab"]
    assert not wrong, wrong
    assert not [name for names in cmake_lists.expected_lists().values() for name in names if "/lab/" in name]


def test_nothing_that_slicer_ships_imports_the_web_page():
    wrong = [str(i) for i in all_imports() if part_of(i.file) != "web" and i.part == "web"]
    assert not wrong, wrong
    assert not [name for names in cmake_lists.expected_lists().values() for name in names if "/web/" in name]


def test_the_web_page_imports_its_server_only_when_it_is_started():
    """The session layer needs no Gradio, and `medsamslicer --help` does not wait for it."""
    server = {"gradio", "fastapi", "starlette", "uvicorn", "gradio_client"}
    files = {"server.py", "endpoints.py", "doorkeeper.py"}
    wrong = [
        str(i)
        for i in all_imports()
        if i.package in server and (part_of(i.file) != "web" or i.file.name not in files)
    ]
    assert not wrong, wrong


def test_core_needs_only_numpy_at_file_scope():
    wrong = [
        str(i)
        for i in all_imports()
        if part_of(i.file) == "core" and i.at_file_scope and third_party(i) and i.package != "numpy"
    ]
    assert not wrong, wrong


def test_models_need_only_the_standard_library():
    wrong = [str(i) for i in all_imports() if part_of(i.file) == "models" and third_party(i)]
    assert not wrong, wrong


# What of Slicer each room may import; every other part may import none of it.
SLICER_ROOMS = {
    "scene": {"slicer", "vtk"},
    "app": set(),
    "panel": {"slicer", "qt", "ctk"},
    "MedSAMSlicerEffect": {"slicer", "qt"},
}


def test_each_room_imports_only_its_part_of_slicer():
    wrong = [
        str(i)
        for i in all_imports()
        if i.package in SLICER
        and i.file.name != "MedSAMSlicer.py"
        and i.package not in SLICER_ROOMS.get(part_of(i.file) or "", set())
        and (i.at_file_scope or i.file not in SLICER_IN_FUNCTIONS)
    ]
    assert not wrong, wrong


def test_no_room_reaches_another_part_of_slicer_as_an_attribute():
    """`slicer.vtk` and `slicer.util.qt` are as good as an import."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} uses .{node.attr}"
        for path in SOURCES
        if path.name != "MedSAMSlicer.py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"vtk", "qt", "ctk"} - SLICER_ROOMS.get(part_of(path) or "", set())
    ]
    assert found == []


def test_torch_is_imported_only_where_the_network_runs():
    wrong = [str(i) for i in all_imports() if i.package in TORCH and part_of(i.file) not in TORCH_PARTS]
    assert not wrong, wrong


def test_published_packages_are_no_dependency_of_the_product():
    wrong = [
        str(i)
        for i in all_imports()
        if i.package in ORACLES and (part_of(i.file) != "lab" or i.at_file_scope)
    ]
    assert not wrong, wrong


def test_module_file_imports_at_file_scope_only_what_slicer_brings():
    wrong = [
        str(i)
        for i in all_imports()
        if i.file.name == "MedSAMSlicer.py"
        and i.at_file_scope
        and (third_party(i) or i.package == "MedSAMSlicerLib")
        and i.package not in MODULE_FILE_MAY_IMPORT
    ]
    assert not wrong, wrong


def test_module_file_stays_thin():
    assert len((MODULE_FOLDER / "MedSAMSlicer.py").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(MODULE_FOLDER).as_posix())
def test_source_is_python_3_10(path):
    parsed(path)


def test_nothing_but_the_command_line_names_the_laboratory():
    """Not even as text, as `importlib` takes it; the lists of CMake are among these files."""
    found = [
        path.relative_to(ROOT).as_posix()
        for path in cmake_lists.files_in_tree()
        if path.suffix in (".py", ".ui", ".md", ".txt", ".js")
        and (path.parent == MODULE_FOLDER or part_of(path) not in ("lab", "cli"))
        and re.search(r"\blab[/.]\w|[Ll]aborator", path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_two_classes_have_one_name():
    """A name that is read in one file means the same in every other, in a traceback, too."""
    files = [path for path in SOURCES if LIBRARY in path.parents]
    places: dict[str, list[str]] = {}
    for path in files:
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.relative_to(LIBRARY).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


# Where the text of an error is read all the same, and why.
READS_ERRORS = {
    "core/foreign_errors.py": "those of torch, pip and the system have only words",
    "cli/__init__.py": "an error is shown on one line",
    "web/endpoints.py": "private folders are hidden, until all errors carry their path in a field",
}


def test_texts_of_errors_are_seen_where_they_are_read():
    code = """
try:
    f()
except E as error:
    if 'x' in str(error): pass
    raise E(str(error).replace('a', 'b'))
def text_of(error: BaseException):
    text = f"{error} {error.output}".lower()
    if "declined" in text or any(word in text for word in words): return 1
    if re.search("disk", str(error)): return error.args[0]
    show(f"{error} Try again.")
    return str(error)
def shortened(sentence: str): return sentence.replace('a', 'b')
def kept(sentence: str): return [sentence]
def handed_on(error: Exception):
    kept(str(error))
    return shortened(str(error))
"""
    readers = readers_of_texts(ast.parse(code))
    assert readers == {"shortened", "text_of"}
    assert lines_that_read_errors(ast.parse(code), readers) == {5, 6, 8, 9, 10, 17}


def test_no_code_branches_on_or_rewrites_the_text_of_an_error():
    readers = set().union(*(readers_of_texts(parsed(path)) for path in SOURCES))
    found = {
        path.relative_to(MODULE_FOLDER).as_posix().removeprefix("MedSAMSlicerLib/")
        for path in SOURCES
        if lines_that_read_errors(parsed(path), readers)
    }
    assert found == set(READS_ERRORS), "give the error a field, or a class of its own"


def slots_filled_from_outside(tree: ast.Module) -> list[int]:
    """The lines on which a callback is put into another object, or waits in a public attribute to be replaced."""
    lines = []
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            foreign = isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self"
            if foreign and (target.attr.startswith("on_") or isinstance(node.value, ast.Lambda)):
                lines.append(node.lineno)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            public = not node.target.attr.startswith("_")
            if public and ast.unparse(node.annotation).startswith(("Callable", "list[Callable")):
                lines.append(node.lineno)
    return lines


def test_slots_filled_from_outside_are_seen():
    code = """
class Part:
    def __init__(self, other, callback):
        self.on_end: Callable[[], None] = lambda: None
        other.on_end = callback
        other.ask = lambda: self
        self._callback: Callable[[], None] = callback
        self.size = other.size
"""
    assert slots_filled_from_outside(ast.parse(code)) == [4, 5, 6]


def test_parts_announce_with_signals_and_take_their_collaborators_by_constructor():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if part_of(path) in ("app", "scene", "panel")
        for line in slots_filled_from_outside(parsed(path))
    ]
    assert found == [], "declare an app.signals.Signal and connect to it"


def test_the_controller_only_wires():
    source = (LIBRARY / "app" / "controller.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 130
    controller = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    methods = [node for node in controller.body if isinstance(node, ast.FunctionDef)]
    long = [node.name for node in methods if node.name != "__init__" and len(node.body) > 2]
    assert long == [], "give it to the part that it belongs to"


def test_no_class_is_cut_in_two_only_to_split_a_file():
    """A base class has several children, is used by itself, or lies beside its only child."""
    files, children, made = {}, {}, set()
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                files[node.name] = path
                for base in node.bases:
                    children.setdefault(ast.unparse(base).split("[")[0].split(".")[-1], []).append(node.name)
            elif isinstance(node, ast.Call):
                made.add(ast.unparse(node.func).split(".")[-1])
    cut = [
        f"{base} is only the base of {sorted(found)[0]}"
        for base, found in children.items()
        if base in files and len(found) == 1 and base not in made and files[base] != files[found[0]]
    ]
    assert cut == []


def test_every_prompt_kind_is_in_every_table():
    from MedSAMSlicerLib.core.kinds import KINDS, PlacedPrompt, Prompt

    assert set(KINDS.values()) == set(Prompt.__args__)
    assert set(PlacedPrompt.__args__) < set(KINDS.values())
    folder = LIBRARY / "core" / "kinds"
    assert {path.stem for path in folder.glob("*.py")} == {*KINDS, "base", "__init__"}, "one file a kind"


def unfinished_lists_of_kinds(tree: ast.Module) -> list[str]:
    """The functions that tell several kinds of prompts apart and guess what an unknown one is.

    A list that ends with `no_kind` is checked by the type checker; so is an argument that may be of some kinds only.
    """
    from MedSAMSlicerLib.core.kinds import KINDS

    names = {kind.__name__ for kind in KINDS.values()}

    def kinds_in(node: ast.AST) -> set[str]:
        return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} & names

    unfinished = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            asserted = {id(node.test) for node in ast.walk(function) if isinstance(node, ast.Assert)}
            calls = [
                node for node in ast.walk(function) if isinstance(node, ast.Call) and id(node) not in asserted
            ]
            asked = [call.args[1] for call in calls if ast.unparse(call.func) == "isinstance"]
            typed = any(arg.annotation is not None and kinds_in(arg.annotation) for arg in function.args.args)
            finished = any(ast.unparse(call.func) == "no_kind" for call in calls)
            if len(set().union(*map(kinds_in, asked))) > 1 and not finished and not typed:
                unfinished.append(function.name)
    return unfinished


def test_unfinished_lists_of_kinds_are_seen():
    code = """
def guesses(prompt: Prompt):
    if isinstance(prompt, Box): return 1
    return 2 if isinstance(prompt, (Point, Scribble)) else 3
def is_finished(prompt: Prompt):
    if isinstance(prompt, Box): return 1
    if isinstance(prompt, Point): return 2
    raise no_kind(prompt)
def asks_for_one(prompt: Prompt): return isinstance(prompt, MaskPrompt)
def asserts(prompt: Prompt): assert isinstance(prompt, (Box, RecistLine))
def knows_its_kinds(prompt: Box | Lasso | RecistLine): return isinstance(prompt, (Box, Lasso))
"""
    assert unfinished_lists_of_kinds(ast.parse(code)) == ["guesses"]


def test_no_list_of_prompt_kinds_guesses_what_an_unknown_one_is():
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        if part_of(path) != "lab"
        for name in unfinished_lists_of_kinds(parsed(path))
    ]
    assert found == [], "end it with `raise no_kind(prompt)`, or ask the prompt itself"


def test_every_part_is_a_package_that_pip_installs():
    declared = re.search(
        r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert declared is not None
    packages = set(re.findall(r'"([^"]+)"', declared.group(1))) - {"MedSAMSlicerLib.Resources"}
    folders = {path.parent for path in SOURCES if LIBRARY in path.parents}
    assert packages == {".".join(folder.relative_to(MODULE_FOLDER).parts) for folder in folders}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


ONE_PLACE = {
    "safetensors are opened": (r"\bfrom safetensors\b", {"sam2/tensors.py"}),
    "pickles are read, weights only": (r"\btorch\.load\(", {"sam2/dialects.py", "lab/training/state.py"}),
    "a device is chosen": (r"\bis_available\(\)", {"engine/devices.py"}),
    "free memory is measured": (r"MemAvailable", {"engine/process_memory.py"}),
    "memory is compared with what a run needs": (r"\.for_run\(", {"engine/estimate.py"}),
    "memories are chosen": (r"^def recalled\b", {"sam2/recall.py"}),
    "earlier logits are bounded": (r"^PREVIOUS_LOGIT_LIMIT =", {"engine/network.py"}),
    "bits are packed": (r"\b(un)?packbits\(", {"core/masks.py"}),
    "the box of a mask is found": (r"\.any\(axis=tuple\(", {"core/masks.py"}),
}


@pytest.mark.parametrize("rule", ONE_PLACE)
def test_a_rule_stands_in_one_place(rule):
    pattern, files = ONE_PLACE[rule]
    found = {
        path.relative_to(LIBRARY).as_posix()
        for path in SOURCES
        if LIBRARY in path.parents and re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == files


def test_named_choices_stand_in_one_place():
    from MedSAMSlicerLib.core import cleanups, overlap, tiers

    choices = [value for part in (tiers, cleanups, overlap) for value in vars(part).values()]
    known = {value for value in choices if isinstance(value, tuple) and {*map(type, value)} == {str}}
    assert tiers.OVERLAPS in known
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.name not in ("tiers.py", "cleanups.py", "overlap.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Tuple | ast.List)
        and tuple(each.value if isinstance(each, ast.Constant) else None for each in node.elts) in known
    ]
    assert found == []
