"""The reasons why a markup cannot be taken, in words of the views that the user sees."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..core.errors import GeometryError, MedSAMError, PromptError
from ..core.geometry import SliceAxis
from .slice_views import slices_in_words


class AcrossSlicesError(PromptError):
    """A box or line does not lie on one slice of its segment."""

    def __init__(self) -> None:
        super().__init__(_("The box or line lies across the slices of this segment."))


class OutsideError(PromptError):
    """A place that is none of the volume."""

    def __init__(self) -> None:
        super().__init__(_("That place lies outside the volume: click inside the volume."))


def in_words(error: MedSAMError, scene: Any, volume_node: Any, axis: SliceAxis | None) -> MedSAMError:
    """The error as a user understands it who sees views and knows nothing of the order of voxels."""
    if isinstance(error, AcrossSlicesError) and axis is not None:
        slices = slices_in_words(scene, volume_node, axis)
        text = _("The box or line lies across the slices of this segment: draw it on the {slices}.")
        return PromptError(text.format(slices=slices))
    return OutsideError() if isinstance(error, GeometryError) else error
