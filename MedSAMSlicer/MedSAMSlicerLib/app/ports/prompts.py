"""Prompts where the user sees, places and changes them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ...core.errors import MedSAMError
from ...core.geometry import SliceAxis
from ...core.prompts import Prompt
from .segments import Color
from .views import ShownSlice
from .volumes import Handle

EditKind = Literal["add", "change", "remove"]


class Tool(enum.Enum):
    """The kind of prompt that the next click in a slice view places."""

    POINT_POSITIVE = "point_positive"
    POINT_NEGATIVE = "point_negative"
    BOX = "box"
    BOX_NEGATIVE = "box_negative"
    LINE = "line"


@dataclass(frozen=True)
class ObjectMarkups:
    """The prompts of one object, as they are to be shown.

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
    color: Color
    prompts: tuple[Prompt, ...] = ()
    slice_range: tuple[int, int] | None = None
    active: bool = True
    axis: SliceAxis | None = None


@dataclass(frozen=True)
class PromptEdit:
    """An edit of a prompt by the user where it is shown.

    Attributes:
        kind: "add", "change" or "remove".
        object_id: of the object that the prompt belongs to.
        position: of the prompt in `ObjectMarkups.prompts`; None for a new one.
        prompt: as it is now, with round 0; None when it was removed or refused.
        range_changed: whether the slice range became `slice_range`, as the depth of a box in space says.
        slice_range: first and last slice; None for all.
        error: why the edit was refused; the prompt is then shown as it was before.
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


class PromptMarkups(Protocol):
    """The prompts of all objects where the user sees and changes them."""

    def sync(self, objects: Sequence[ObjectMarkups], volume: Handle | None) -> None:
        """Show these prompts and no others on the volume."""
        ...

    def hide(self) -> None:
        """The volume is worked on no longer: hide its prompts until `sync` has it again."""
        ...

    def close(self) -> None:
        """Watch no longer; what is shown stays."""
        ...


class PromptTools(Protocol):
    """The active tool."""

    @property
    def tool(self) -> Tool | None:
        """Return what is being placed; None while the mouse is free."""
        ...

    def start(self, tool: Tool, obj: ObjectMarkups, volume: Handle) -> None:
        """Let the next clicks place prompts of an object."""
        ...

    def stop(self) -> None:
        """Release the mouse."""
        ...

    def close(self) -> None:
        """Stop and watch no longer."""
        ...
