"""The lines of the campaign's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """How often something was tried and how often it failed.

    Attributes:
        what: that was tried, in a few words.
        tried, failed: how often.
        first: what the first failure said, empty when there was none.
    """

    what: str
    tried: int
    failed: int
    first: str = ""


def as_table(rows: Sequence[Row]) -> str:
    """A Markdown table of what was tried and how often it failed."""
    lines = ["| tried | times | failed |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {row.what} | {row.tried:,} | {row.failed:,} |" for row in rows)])


BEGIN, END = "<!-- begin campaign -->", "<!-- end campaign -->"


def replaced_table(page: str, content: str) -> str:
    """A Markdown page with `content` between the two comments that mark the campaign's table."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The page has no place for the table: {BEGIN} and {END} are missing.")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"
