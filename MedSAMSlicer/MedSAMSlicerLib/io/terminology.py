"""The meaning of a segment in coded words: as Slicer writes them in one line, and as DICOM SEG asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

_LONGEST_CODE, _LONGEST_MEANING = 16, 64  # letters of DICOM's short and long strings


class Code(NamedTuple):
    """A coded word.

    Attributes:
        scheme: who says what the value means, such as "SCT".
        value: such as "10200004".
        meaning: in words, such as "Liver".
    """

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Terminology:
    """Slicer's terminology entry of a segment; what it does not say is None.

    Attributes:
        category, kind: such as Anatomical Structure and Kidney.
        modifier: of the kind, such as Left.
        region, region_modifier: of the body, such as Thorax.
    """

    category: Code
    kind: Code
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None


TISSUE = Terminology(Code("SCT", "85756007", "Tissue"), Code("SCT", "85756007", "Tissue"))
"""What a segment is that says nothing, as in Slicer."""


def terminology_from(text: str | None) -> Terminology | None:
    """Read Slicer's serialized entry; None when there is none, or it says neither category nor kind.

    Slicer (`vtkSlicerTerminologiesModuleLogic::SerializeTerminologyEntry`) writes context, category, kind, modifier,
    context of regions, region and its modifier, separated by "~", each code as scheme^value^meaning.
    """
    parts = (text or "").split("~")
    codes = [_code(part) for part in [*parts, *[""] * 7][:7]]
    category, kind, modifier, region, region_modifier = (codes[number] for number in (1, 2, 3, 5, 6))
    if category is None or kind is None:
        return None
    return Terminology(category, kind, modifier, region, region_modifier)


def _code(text: str) -> Code | None:
    parts = [part.strip() for part in text.split("^")]
    if len(parts) != 3 or not all(parts):
        return None
    scheme, value, meaning = parts
    if len(scheme) > _LONGEST_CODE or len(value) > _LONGEST_CODE:
        return None
    return Code(scheme, value, meaning[:_LONGEST_MEANING])
