"""What is shipped is used: laboratory code lies in lab/, and code that only the web page uses in web/."""

from __future__ import annotations

import ast

from .sources import SOURCES, parsed, part_of

# Public functions and classes that the product itself does not use, and why they are where they are.
USED_FROM_OUTSIDE = {
    "MedSAMSlicer": "Slicer finds the classes of a module by their names",
    "MedSAMSlicerTest": "see MedSAMSlicer",
    "read_label": "the label image as it lies in the file, for scripts; what it does is that of `read_mask`",
    "save_stage": "the writer of a format lies beside its reader",
    "seeded": "networks that every test can make, beside those that are read",
    "serialized_adapters": "the writer of a format lies beside its reader",
    "serialized_head": "the writer of a format lies beside its reader",
    "set_modality": "scripts give adapters the kind of image by it, see docs/family.md",
    "whole_name": "the commands of web/ and lab/ share it",
}


def public_definitions(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """The functions and classes that a file offers to others."""
    definitions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in definitions if not node.name.startswith("_")]


def names_used_by(tree: ast.AST) -> set[str]:
    """The names that code reads: of variables, functions and attributes, and what it imports under another name."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.alias) and node.asname is not None:
            names.add(node.name)
    return names


def unused_definitions(trees: list[ast.Module]) -> set[str]:
    """The public functions and classes of these files that none of the files uses, but for themselves."""
    used = set().union(
        *(names_used_by(node) - {getattr(node, "name", "")} for tree in trees for node in tree.body)
    )
    return {node.name for tree in trees for node in public_definitions(tree)} - used


def test_unused_definitions_are_seen():
    code = """
from x import imported, tr as _
def tr(): pass
class Offered: pass
def _private(): return used()
def used(): return other.called_there
def called_there(): pass
def calls_itself(): return calls_itself()
"""
    assert unused_definitions([ast.parse(code)]) == {"Offered", "calls_itself"}


def test_what_is_shipped_is_used_by_the_product():
    """Laboratory code lies in lab/, and code that only the web page uses in web/."""
    product = [path for path in SOURCES if part_of(path) not in ("lab", "web")]
    assert unused_definitions([parsed(path) for path in product]) == set(USED_FROM_OUTSIDE)
