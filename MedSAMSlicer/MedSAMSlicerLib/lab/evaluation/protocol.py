"""The protocols that exist, by name, and the suites in which they are measured together."""

from __future__ import annotations

from .cvpr_protocol import CVPR25, CvprProtocol
from .error_click import CLICK_3D, POSITIVE_CLICK_3D
from .prompt_protocol import BACKWARD, BOTH, DIRECTIONS, FORWARD, Correction, PromptProtocol
from .radioactive_protocol import RADIOACTIVE
from .study_protocol import STUDY_PROTOCOLS

__all__ = [
    "BACKWARD",
    "BOTH",
    "CVPR25",
    "DEFAULT_SUITE",
    "DIRECTIONS",
    "FORWARD",
    "KEY_SLICES",
    "MEDSAM2_44",
    "PROTOCOLS",
    "REFERENCE",
    "SUITES",
    "Correction",
    "PromptProtocol",
    "boxed_key_slices",
    "drawn_key_slices",
]

KEY_SLICES = (1, 2, 3, 5)
"""How many key slices are given; each number with boxes and with masks."""

MEDSAM2_44 = ("MedSAM2#44", "MedSAM2#44, positive clicks")
"""One 2-D box, then sparse clicks, the whole volume after each (github.com/bowang-lab/MedSAM2, issue 44)."""


def boxed_key_slices(count: int) -> str:
    """The protocol of boxes on `count` evenly spaced slices."""
    return f"{count} boxed key slice{'' if count == 1 else 's'}+range"


def drawn_key_slices(count: int) -> str:
    """The protocol of masks on `count` evenly spaced slices."""
    return f"{count} drawn key slice{'' if count == 1 else 's'}+range"


PROTOCOLS: dict[str, PromptProtocol] = {
    protocol.name: protocol
    for protocol in (
        PromptProtocol("box+range", corrections=5),
        PromptProtocol("box", ranged=False),
        PromptProtocol("click+range", "click"),
        PromptProtocol("click", "click", ranged=False),
        PromptProtocol("loose box+range", "loose box"),
        PromptProtocol("line+range", "line"),
        PromptProtocol("mask+range", "mask"),
        PromptProtocol("every slice", slices=None),
        PromptProtocol("every slice, click", "click", slices=None),
        PromptProtocol("middle+range", start="middle"),
        PromptProtocol("forward+range", direction=FORWARD),
        PromptProtocol("backward+range", direction=BACKWARD),
        PromptProtocol("first, forward+range", start="first", direction=FORWARD),
        PromptProtocol("three slices+range", slices=3),
        PromptProtocol("box+range, 10 clicks", corrections=10),
        PromptProtocol("10 clicks", "click", ranged=False, corrections=9),
        PromptProtocol("box+range, 5 boxes", corrections=5, correct_with="box"),
        *(PromptProtocol(boxed_key_slices(count), start="even", slices=count) for count in KEY_SLICES),
        *(PromptProtocol(drawn_key_slices(count), "drawn mask", "even", count) for count in KEY_SLICES),
        PromptProtocol(MEDSAM2_44[0], ranged=False, corrections=10, correct_with=CLICK_3D),
        PromptProtocol(MEDSAM2_44[1], ranged=False, corrections=10, correct_with=POSITIVE_CLICK_3D),
        CvprProtocol(CVPR25),
        *RADIOACTIVE,
        *STUDY_PROTOCOLS,
    )
}
"""Protocols by name. After "box+range, 10 clicks" eleven interactions were needed, after "10 clicks" ten."""

REFERENCE = "box+range"
"""The protocol in which runners are compared first."""

_PIPELINES = (
    "every slice", "box+range", "middle+range", "first, forward+range", "forward+range", "backward+range",
    "three slices+range", "box",
)  # fmt: skip
_SLOW = "every slice, click"  # our engine looks for the size of the object on each slice
_USUAL = ("box+range", "box", "click+range", "click")

SUITES: dict[str, tuple[str, ...]] = {
    "standard": (*_USUAL, *(name for name in _PIPELINES if name not in _USUAL)),
    "prompts": ("box+range", "box", "click+range", "loose box+range", "line+range", "mask+range"),
    "pipelines": (*_PIPELINES, _SLOW),
    "effort": ("box+range, 10 clicks", "10 clicks", "box+range, 5 boxes"),
    "key-slices": tuple(made(count) for count in KEY_SLICES for made in (boxed_key_slices, drawn_key_slices)),
    "cvpr25": (CVPR25,),
    "radioactive": tuple(protocol.name for protocol in RADIOACTIVE),
    "medsam2-44": MEDSAM2_44,
    "sam2-study": tuple(protocol.name for protocol in STUDY_PROTOCOLS),
}
"""Names of protocols that are measured together."""

DEFAULT_SUITE = "standard"
