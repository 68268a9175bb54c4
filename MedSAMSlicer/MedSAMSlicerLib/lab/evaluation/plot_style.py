"""The look of plots: one color and one mark for each runner in all of them; files that come out the same every time."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ...core.errors import MedSAMError
from .summary import BASELINES

INK, FAINT, GRID, PAPER = "#1f2937", "#6b7280", "#e5e7eb", "#ffffff"

# Okabe and Ito's colors, told apart by color-blind readers; ours strong, baselines softer.
_OURS = ("#0072B2", "#D55E00", "#7A3E9D", "#00806A", "#A8326D", "#4B5563")
THEME = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    _OURS[0]: "var(--ours)",
}
_THEIRS = {"box": "#9CA3AF", "ellipsoid": "#E69F00", "GrowCut": "#009E73", "interpolation": "#CC79A7",
           "random walker": "#56B4E9"}  # fmt: skip
_MARKS = {"box": "s", "ellipsoid": "D", "GrowCut": "^", "interpolation": "v", "random walker": "P"}
_OUR_MARKS = ("o", "X", "h", "p", "*", "8")
_FONT = "DejaVu Sans"  # comes with matplotlib, so that every machine lays out alike
_FONTS = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": [_FONT],
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
}


def color_of(runner: str, runners: Sequence[str]) -> str:
    """The color of a runner; `runners` are all of the report, in its order."""
    return _THEIRS.get(runner) or _OURS[_place(runner, runners) % len(_OURS)]


def mark_of(runner: str, runners: Sequence[str]) -> str:
    """The mark (of matplotlib) of a runner."""
    return _MARKS.get(runner) or _OUR_MARKS[_place(runner, runners) % len(_OUR_MARKS)]


def _place(runner: str, runners: Sequence[str]) -> int:
    ours = [name for name in runners if name not in BASELINES]
    return ours.index(runner) if runner in ours else 0


@contextlib.contextmanager
def drawing(width: float, height: float, name: str) -> Iterator[Any]:
    """A matplotlib figure in the look of this project, without any window.

    Args:
        width, height: in inches; 100 pixels each.
        name: of the plot; the names of parts inside a file follow from it, so that it comes out the same every time.

    Raises:
        MedSAMError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MedSAMError(
            f"Plots need matplotlib ({error}): install it with pip install 'medsamslicer[lab]'."
        ) from error
    with mpl.rc_context():
        mpl.rcdefaults()  # not those of the user's own matplotlibrc
        mpl.rcParams.update({**_SETTINGS, "svg.hashsalt": name})
        yield Figure(figsize=(width, height), dpi=100, layout="constrained")


def as_svg(figure: Any, title: str) -> str:
    """The figure as text of an SVG file, the same every time; `title` is what a screen reader says."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", stream.getvalue(), flags=re.DOTALL)
    text = re.sub(rf"""(?:'{_FONT}'|"{_FONT}"|\b{_FONT}\b)(?:, sans-serif)?""", _FONTS, text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def for_page(svg: str, name: str) -> str:
    """An SVG to stand inside a page: its colors follow the page's, its names do not meet those of another one."""
    body = svg[svg.index("<svg") :]
    for color, variable in THEME.items():
        body = re.sub(color, variable, body, flags=re.IGNORECASE)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href="|\burl\()#', rf"\1#{name}-", body)
    return re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
