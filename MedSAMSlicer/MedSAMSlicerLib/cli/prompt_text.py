"""The options of prompts, and the text of one: `[NAME=]SLICE,X,Y,…`. No numpy, so that `--help` stays quick."""

from __future__ import annotations

import argparse
import functools
import math
import re
from dataclasses import dataclass, replace

from .exit_codes import UsageError

_FORMS = {
    ("box", 5): "SLICE,X0,Y0,X1,Y1, optionally followed by ,+ or ,-",
    ("box", 6): "R,A,S,R,A,S in mm, optionally followed by ,+ or ,-",
    ("line", 5): "SLICE,X0,Y0,X1,Y1",
    ("line", 6): "R,A,S,R,A,S in mm",
    ("point", 3): "SLICE,X,Y or with --ras R,A,S, optionally followed by ,+ or ,-",
}


@dataclass(frozen=True)
class PromptText:
    """The argument of one option. kind: box, point, line or mask; name: None when not given; body: the rest."""

    kind: str
    name: str | None
    body: str

    @classmethod
    def parse(cls, kind: str, text: str) -> PromptText:
        """Take the name off. A text that begins with a number and a comma has none, whatever follows."""
        name, equals, body = text.partition("=")
        if not equals or re.match(r"\s*[-+]?[\d.]+\s*,", text):
            return cls(kind, None, text)
        return cls(kind, name.strip() or None, body)

    @property
    def fields(self) -> list[str]:
        """Return what the commas part, without blanks around."""
        return [part.strip() for part in self.body.split(",")]

    def numbers(self, count: int) -> list[float]:
        """Exactly that many finite numbers. Raises UsageError quoting the text."""
        form = _FORMS[self.kind, count]
        try:
            values = [float(part) for part in self.fields]
        except ValueError:
            values = []
        if len(values) != count or not all(map(math.isfinite, values)):
            raise UsageError(f"--{self.kind} needs {form}, not {self.body!r}")
        return values

    def whole(self, index: int) -> int:
        """The field as a whole number. Raises UsageError quoting it."""
        value = self.fields[index]
        if not re.fullmatch(r"[-+]?\d+", value):
            raise UsageError(f"--{self.kind} needs a whole number as SLICE, not {value!r}")
        if int(value) < 0:
            raise UsageError(f"--{self.kind} needs a SLICE of 0 or more, not {value}")
        return int(value)

    def polarity(self) -> tuple[bool, PromptText]:
        """Return whether a point or box is for the object, and the text without its sign."""
        last = self.fields[-1]
        if last not in ("+", "-"):
            return True, self
        return last == "+", replace(self, body=self.body.rpartition(",")[0])

    def rest_after_slice(self) -> str:
        """All after the first comma: a file name, which may itself hold commas. Raises UsageError."""
        rest = self.body.partition(",")[2]
        if not rest.strip():
            raise UsageError(f"--{self.kind} needs SLICE,FILE, not {self.body!r}")
        return rest


def add_prompt(group: argparse._ArgumentGroup, kind: str, form: str, text: str) -> None:
    """Declare the option of a kind of prompts, which may be repeated; all go into `given`, in order."""
    group.add_argument(
        f"--{kind}",
        dest="given",
        action="append",
        default=[],
        type=functools.partial(PromptText.parse, kind),
        metavar=form,
        help=text,
    )
