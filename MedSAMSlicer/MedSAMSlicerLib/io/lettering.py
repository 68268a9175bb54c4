"""A small stroke font, so that pictures carry words without any font file or drawing library.

A glyph is drawn on a grid 4 wide and 6 high, y down, the base line at y = 6; lower case reaches from y = 2 and
descends to y = 8. Strokes are separated by "/"; "~" marks a stroke whose corners are rounded.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np

from ..core.geometry import FloatArray

_GLYPHS = {
    "0": "~10 30 41 45 36 16 05 01 10",
    "1": "02 20 26/06 46",
    "2": "~01 10 30 41 42 33 06/06 46",
    "3": "~01 10 30 41 42 33 13/~33 44 45 36 16 05",
    "4": "36 30 04 44",
    "5": "40 00 03/~02 12 32 43 45 36 16 05",
    "6": "~40 20 02 05 16 36 45 44 33 13 04",
    "7": "00 40 16",
    "8": "~10 30 41 42 33 13 02 01 10/~13 33 44 45 36 16 05 04 13",
    "9": "~06 26 44 41 30 10 01 02 13 33 42",
    "A": "06 20 46/14 34",
    "B": "00 06/~00 30 41 42 33 03/~03 33 44 45 36 06",
    "C": "~41 30 10 01 05 16 36 45",
    "D": "00 06/~00 20 42 44 26 06",
    "E": "40 00 06 46/03 33",
    "F": "40 00 06/03 33",
    "G": "~41 30 10 01 05 16 36 45 43/43 23",
    "H": "00 06/40 46/03 43",
    "I": "20 26/10 30/16 36",
    "J": "~40 45 36 16 05",
    "K": "00 06/40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "~10 30 41 45 36 16 05 01 10",
    "P": "06 00/~00 30 41 42 33 03",
    "Q": "~10 30 41 45 36 16 05 01 10/24 46",
    "R": "06 00/~00 30 41 42 33 03/23 46",
    "S": "~41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40/20 26",
    "U": "~00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 22 36 40",
    "X": "00 46/40 06",
    "Y": "00 23 40/23 26",
    "Z": "00 40 06 46",
    "a": "~02 22 33 36/~34 14 05 16 26 35",
    "b": "00 06/~04 12 22 33 35 26 16 04",
    "c": "~33 22 12 03 05 16 26 35",
    "d": "30 36/~34 22 12 03 05 16 26 34",
    "e": "04 34/~34 33 22 12 03 05 16 26 35",
    "f": "~30 20 11 16/02 32",
    "g": "~34 22 12 03 05 16 26 34/~32 37 28 18 07",
    "h": "00 06/~04 12 22 33 36",
    "i": "12 16/10 10.5",
    "j": "~22 27 18 08/20 20.5",
    "k": "00 06/32 04 36",
    "l": "~10 15 26",
    "m": "02 06/~03 12 23 26/~23 32 43 46",
    "n": "02 06/~04 12 22 33 36",
    "o": "~12 22 33 35 26 16 05 03 12",
    "p": "02 08/~04 12 22 33 35 26 16 04",
    "q": "32 38/~34 22 12 03 05 16 26 34",
    "r": "02 06/~04 12 22 33",
    "s": "~33 22 12 03 14 24 35 26 16 05",
    "t": "~10 15 26 36/02 32",
    "u": "~02 05 16 26 34/32 36",
    "v": "02 16 32",
    "w": "02 16 23 36 42",
    "x": "02 36/32 06",
    "y": "02 16/32 16 08",
    "z": "02 32 06 36",
    " ": "",
    ".": "05.6 06",
    ",": "15.5 16 07",
    ":": "02.6 03/05.6 06",
    "-": "04 24",
    "+": "04 44/22 26",
    "_": "06.6 36.6",
    "/": "06 30",
    "(": "~20 02 04 26",
    ")": "~00 22 24 06",
    "=": "03 33/05 35",
    "#": "10 06/40 36/02 42/04 44",
    "%": "06 40/~00 10 11 01 00/~35 45 46 36 35",
    "?": "~01 10 30 41 42 23 24/25.6 26",
    "×": "03 36/33 06",
}
_GAP = 1.7


def text_strokes(text: str, height: float) -> list[FloatArray]:
    """The strokes of a line of text, each (N, 2) x, y in pixels from the left end of the base line, y down.

    Args:
        text: accents are dropped, signs that the font lacks become "?".
        height: of a capital letter, in pixels.
    """
    scale = height / 6.0
    strokes, position = [], 0.0
    for letter in _plain(text):
        lines, width = _glyph(letter)
        strokes += [(line + np.array([position, -6.0])) * scale for line in lines]
        position += width + _GAP
    return strokes


def text_width(text: str, height: float) -> float:
    """Width in pixels of a line of text whose capitals are `height` pixels high."""
    widths = [_glyph(letter)[1] for letter in _plain(text)]
    return max(0.0, sum(widths) + _GAP * (len(widths) - 1)) * height / 6.0


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    kept = (letter for letter in decomposed if not unicodedata.combining(letter))
    return "".join(letter if letter in _GLYPHS else "?" for letter in kept)


@cache
def _glyph(letter: str) -> tuple[tuple[FloatArray, ...], float]:
    lines = []
    for stroke in _GLYPHS[letter].split("/") if _GLYPHS[letter] else []:
        points = np.array(
            [(float(pair[0]), float(pair[1:])) for pair in stroke.lstrip("~").split()], dtype=np.float64
        )
        lines.append(_rounded(points) if stroke.startswith("~") else points)
    width = max((float(line[:, 0].max()) for line in lines), default=2.0)
    return tuple(lines), width


def _rounded(points: FloatArray) -> FloatArray:
    """The line with its corners cut twice (Chaikin 1974), its ends or its closure kept."""
    for _ in range(2):
        near, far = 0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]
        cut = np.stack([near, far], axis=1).reshape(-1, 2)
        closed = bool((points[0] == points[-1]).all())
        points = np.vstack([cut, cut[:1]]) if closed else np.vstack([points[:1], cut[1:-1], points[-1:]])
    return points
