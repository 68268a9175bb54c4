"""Every sentence that the extension's own code shows the user can be translated.

Errors of core and engine stay English, as do those of what runs on the worker's thread, where there is no Slicer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

PANELS = sorted((Path(__file__).resolve().parents[2] / "MedSAMSlicer" / "Resources" / "UI").glob("*.ui"))
SAME_IN_EVERY_LANGUAGE = {"CSV", "Ctrl", "Shift", "Alt", "Esc", "Del"}
"""Names of file formats and keys. A unit is a word: "mm" is written with other letters in Russian."""
LIBRARY = Path(__file__).resolve().parents[2] / "MedSAMSlicer/MedSAMSlicerLib"
ROOMS = ("app", "panel", "scene")
ON_THE_WORKER = {"worker.py", "jobs.py", "engine_state.py"}
FOR_DEVELOPERS = {"ValueError", "TypeError", "KeyError", "RuntimeError", "NotImplementedError", "ImportError"}
FILES = sorted(
    path for room in ROOMS for path in (LIBRARY / room).rglob("*.py") if path.name not in ON_THE_WORKER
)


def test_what_runs_on_the_workers_thread_knows_no_slicer():
    for name in sorted(ON_THE_WORKER):
        tree = ast.parse((LIBRARY / "app" / name).read_text(encoding="utf-8"))
        imported = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {each.split(".")[0] for each in imported} & {"slicer", "vtk", "qt", "ctk"}, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_sentences_for_the_user_go_through_the_translation(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = [text for node in ast.walk(tree) for text in _shown_by(node) if _is_bare(text)]
    bare += [text for function in _functions(tree) for text in _reported_by_name(function) if _is_bare(text)]
    assert [f"{path.name}:{text.lineno} {ast.unparse(text)}" for text in bare] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_texts_are_looked_up_whole_and_nothing_else_is_called_underscore(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    looked_up = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_"
    ]
    if not looked_up:
        return
    assert all(isinstance(call.args[0], ast.Constant) and len(call.args) == 1 for call in looked_up)
    stored = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "_" and isinstance(node.ctx, ast.Store)
    ]
    assert stored == [], "the function that translates is hidden there"


@pytest.mark.parametrize("path", PANELS, ids=lambda path: path.name)
def test_translators_are_given_the_words_of_the_panel_and_nothing_else(path):
    """`notr="true"` keeps a text from them: key letters, symbols, numbers and names of classes."""
    texts = [*_texts(ElementTree.parse(path).getroot())]
    assert len(texts) > 20
    assert {text for text, kept in texts if not kept and not _has_words(text)} == set(), "to be marked notr"
    assert {text for text, kept in texts if kept and _has_words(text)} == set(), "would never be translated"


@pytest.mark.parametrize(
    ("text", "words"),
    [(text, False) for text in ("±", "P", "Ctrl+Z", "3.5", "CSV", "vtkMRMLVolumeNode", "◂")]
    + [(text, True) for text in ("Box", "◂ Key", " slices", " mm", "Größe", "Save as CSV", "A box")],
)
def test_words_are_distinguished_from_symbols_keys_and_names(text, words):
    assert _has_words(text) is words


def _texts(element: ElementTree.Element, kept: bool = False) -> Iterator[tuple[str, bool]]:
    """Every text of a .ui file, and whether it is kept from translators; a list keeps all of its texts."""
    kept = kept or element.get("notr") == "true"
    if element.tag == "string" and element.text and element.text.strip():
        yield element.text, kept
    for child in element:
        yield from _texts(child, kept)


def _has_words(text: str) -> bool:
    if re.fullmatch(r"(vtk|q)[A-Z]\w+", text):
        return False
    return any(word not in SAME_IN_EVERY_LANGUAGE for word in re.findall(r"[^\W\d_]{2,}", text))


def _functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _shown_by(node: ast.AST) -> list[ast.expr]:
    """The texts that a call shows: of an error, of a message, or of the progress."""
    if not isinstance(node, ast.Call):
        return []
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if (name.endswith("Error") and name not in FOR_DEVELOPERS) or name in (
        "show_message",
        "Progress",
        "Canceled",
    ):
        return [*node.args, *(keyword.value for keyword in node.keywords)]
    return []


def _reported_by_name(function: ast.FunctionDef) -> list[ast.expr]:
    """Texts that a function keeps under a name and shows later."""
    names = {arg.id for node in ast.walk(function) for arg in _shown_by(node) if isinstance(arg, ast.Name)}
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id in names for target in node.targets)
    ]


def _is_bare(text: ast.expr) -> bool:
    """Return whether it is a text of this project that nothing translates."""
    if isinstance(text, ast.JoinedStr):
        return any(" " in str(part.value).strip() for part in text.values if isinstance(part, ast.Constant))
    if isinstance(text, ast.IfExp):
        return _is_bare(text.body) or _is_bare(text.orelse)
    return isinstance(text, ast.Constant) and isinstance(text.value, str) and " " in text.value
