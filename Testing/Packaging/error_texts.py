"""The places where code reads the text of an error: compares it, looks for words in it, takes it apart, rewrites it.

A text that is handed to a function is read, too, if that function reads the text it is given.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection

_READING = re.compile(
    "casefold|count|endswith|find|index|lower|partition|removeprefix|removesuffix|replace|rfind|rindex|rpartition"
    "|rsplit|split|splitlines|startswith|upper"
)
_OUTPUTS = ("args", "output", "stderr", "stdout")  # attributes of errors that hold sentences


def lines_that_read_errors(tree: ast.AST, readers: Collection[str] = ()) -> set[int]:
    """Return the lines on which the text of an error decides something, or is rewritten.

    `readers` are the names of functions that read a text they are given, see :func:`readers_of_texts`.
    """
    return set().union(*(_Scope(part, readers).lines() for part in (tree, *_functions(tree))))


def readers_of_texts(tree: ast.AST) -> set[str]:
    """Return the names of the functions that rewrite or take apart an argument of type str."""
    return {
        function.name
        for function in _functions(tree)
        if _Scope(function, texts=[arg.arg for arg in function.args.args if _is_str(arg)]).lines()
    }


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _is_str(arg: ast.arg) -> bool:
    return arg.annotation is not None and ast.unparse(arg.annotation) == "str"


class _Scope:
    """A function or file: its errors, those caught and those that arguments are, and variables with their texts."""

    def __init__(self, part: ast.AST, readers: Collection[str] = (), texts: Collection[str] = ()) -> None:
        self._readers = readers
        self._nodes = list(ast.walk(part))
        self._errors = {each.name for each in self._nodes if isinstance(each, ast.ExceptHandler)}
        self._errors |= {
            node.arg
            for node in self._nodes
            if isinstance(node, ast.arg)
            and node.annotation is not None
            and re.search(r"(Error|Exception)\b", ast.unparse(node.annotation))
        }
        self._texts = set(texts)
        for _ in range(2):  # a text may go through one more variable
            self._find_texts()

    def lines(self) -> set[int]:
        return {node.lineno for node in self._nodes if self._reads(node)}

    def _find_texts(self) -> None:
        for node in self._nodes:
            if isinstance(node, ast.Assign | ast.NamedExpr | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if self._is_text(node.value):
                    self._texts |= {target.id for target in targets if isinstance(target, ast.Name)}

    def _is_error(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id in self._errors

    def _is_text(self, node: ast.AST) -> bool:
        match node:
            case ast.Name():
                return node.id in self._texts
            case ast.Call(func=ast.Name(id="str" | "repr" | "format")):
                return any(self._is_error(given) or self._is_text(given) for given in node.args)
            case ast.Call(func=ast.Attribute(value=value)) | ast.Subscript(value=value):
                return self._is_text(value)
            case ast.JoinedStr():
                values = [each.value for each in node.values if isinstance(each, ast.FormattedValue)]
                return any(self._is_error(value) or self._is_text(value) for value in values)
            case ast.Attribute():
                return node.attr in _OUTPUTS and self._is_error(node.value)
            case ast.BinOp():
                return self._is_text(node.left) or self._is_text(node.right)
        return False

    def _reads(self, node: ast.AST) -> bool:
        match node:
            case ast.Compare():
                return any(map(self._is_text, [node.left, *node.comparators]))
            case ast.Attribute(attr="args"):
                return self._is_error(node.value)
            case ast.Attribute():
                return _READING.fullmatch(node.attr) is not None and self._is_text(node.value)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"))):
                return any(map(self._is_text, node.args))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return name in self._readers and any(map(self._is_text, node.args))
        return False
