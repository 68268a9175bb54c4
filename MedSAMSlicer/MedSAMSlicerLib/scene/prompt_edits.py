"""What is said between the session and its markups: the prompts to show, and what the user did to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis
from ..core.prompts import Prompt
from .slice_views import ShownSlice

EditKind = Literal["add", "change", "remove"]


@dataclass(frozen=True)
class ObjectMarkups:
    """The prompts of one object, as the scene shows them.

    Attributes:
        object_id: that of the session.
        segment_id: of the segment that takes its masks.
        name, color: of that segment, red, green and blue in 0..1.
        prompts: in the session's order; scribbles and masks are no markups and are passed over.
        slice_range: first and last slice to propagate over; None for all.
        active: whether it is the selected one, shown bright and open to the mouse.
        axis: the slice axis of the object; that of its first prompt when None.
    """

    object_id: int
    segment_id: str
    name: str
    color: tuple[float, float, float]
    prompts: tuple[Prompt, ...] = ()
    slice_range: tuple[int, int] | None = None
    active: bool = True
    axis: SliceAxis | None = None


@dataclass(frozen=True)
class PromptEdit:
    """What the user did to a markup.

    Attributes:
        kind: "add", "change" or "remove".
        object_id: whose prompt it is.
        position: of the prompt in `ObjectMarkups.prompts`; None for a new one.
        prompt: as it is now, with round 0; None when it was removed or refused.
        range_changed: whether the depth of a ROI says another slice range, `slice_range`, than before.
        slice_range: first and last slice; None for all.
        error: why the edit was refused; the markup is then as it was before.
        view: the slice view in which it was made, when that is known.
    """

    kind: EditKind
    object_id: int
    position: int | None
    prompt: Prompt | None
    range_changed: bool = False
    slice_range: tuple[int, int] | None = None
    error: MedSAMError | None = None
    view: ShownSlice | None = None
