"""Docstrings and names use the words of the field, in plain sentences."""

from __future__ import annotations

import ast
import re

import pytest

from .sources import LIBRARY, ROOT, parsed

TRUTH_OR_PERSON = ("Whether", "Who", "Whose", "Whom")
QUESTIONS = (*TRUTH_OR_PERSON, "How", "Say", "What", "When", "Where", "Which", "Why")
NOT_PLAIN_YET = {
    "app/projector.py",
    "core/plan.py",
    "core/segment_object.py",
    "engine/refining.py",
    "engine/second_reader.py",
}


def riddles(tree: ast.Module, words: tuple[str, ...] = TRUTH_OR_PERSON) -> list[int]:
    """The lines of definitions whose docstring begins with one of some words, as a question does."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [
        getattr(node, "lineno", 1)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        and (ast.get_docstring(node) or "").split(" ")[0].rstrip(",.:;") in words
    ]


def test_riddles_are_seen():
    code = '"""Who may."""\ndef f():\n    """Whether x."""\ndef g():\n    """Return whether x."""\n'
    assert riddles(ast.parse(code)) == [1, 2]
    code = '"""The sizes."""\ndef f():\n    """What it is."""\nclass A:\n    """Where, and why."""\n'
    assert riddles(ast.parse(code), QUESTIONS) == [2, 4]


@pytest.mark.parametrize("folder", ["MedSAMSlicer", "Testing"])
def test_docstrings_are_sentences_and_no_riddles(folder):
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in riddles(parsed(path))
    ]
    assert found == [], 'begin with "Return whether ..." or "The ..."'


def test_docstrings_of_the_product_name_the_thing_and_ask_nothing():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(LIBRARY.rglob("*.py"))
        if path.relative_to(LIBRARY).as_posix() not in NOT_PLAIN_YET
        for line in riddles(parsed(path), QUESTIONS)
    ]
    assert found == [], 'begin with "The ...", "Return ..." or another verb'


NO_WORDS_OF_OURS = {
    "said",
    "told",
    "tells",
    "hear",
    "hears",
    "heard",
    "rivals",
    "disown",
    "anew",
    "grounds",
    "complain",
    "journey",
    "kick",
    "verb",
}


def names_given_by(tree: ast.Module) -> set[str]:
    """The names that a file gives: of classes, functions, arguments, variables and attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def test_names_are_words_of_the_field():
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("MedSAMSlicer", "Testing")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in sorted({*names_given_by(parsed(path)), path.stem})
        if NO_WORDS_OF_OURS & set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))
    ]
    assert found == [], "prompts, reported, shown, updates, baselines, recomputed, backgrounds"
