"""What a user does in a measurement: which prompt first, with which range, and how many corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import MedSAMError
from ..core.geometry import VolumeGeometry
from ..core.prompts import Prompt
from .datasets import Target
from .simulated_user import box_on, click_on, line_on, rough_mask_on

PROMPTS = ("box", "loose box", "click", "line", "mask")
_JITTER = 0.1
_LOOSENESS = 1.0  # in-plane voxels


@dataclass(frozen=True)
class Protocol:
    """One way of working, the same for every runner.

    Args:
        name: in tables and result files.
        prompt: one of `PROMPTS`, given on the largest slice: a tight box; one whose sides are off by up to a tenth of
            its extent; a click into the middle; the longest diameter; a mask one voxel too large.
        ranged: whether the first and last slice of the object are said too.
        corrections: clicks after the first mask, one a round.
    """

    name: str
    prompt: str = "box"
    ranged: bool = True
    corrections: int = 0

    def __post_init__(self) -> None:
        if self.prompt not in PROMPTS:
            raise MedSAMError(f"The first prompt is one of {', '.join(PROMPTS)}, not {self.prompt!r}.")

    def first(self, target: Target, geometry: VolumeGeometry, seed: Sequence[int]) -> Prompt:
        """The first prompt; `seed` belongs to this target alone, so that the order of targets does not matter."""
        index = target.largest_slice
        if self.prompt == "box":
            return box_on(target, geometry, index)
        if self.prompt == "loose box":
            return box_on(target, geometry, index, _JITTER, np.random.default_rng(seed))
        if self.prompt == "click":
            return click_on(target, geometry, index)
        if self.prompt == "line":
            return line_on(target, geometry, index)
        voxel_mm = min(geometry.in_plane_spacing(target.axis))
        return rough_mask_on(target, index, _LOOSENESS * voxel_mm, geometry)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("box+range", corrections=5),
        Protocol("box", ranged=False),
        Protocol("click+range", "click"),
        Protocol("click", "click", ranged=False),
        Protocol("loose box+range", "loose box"),
        Protocol("line+range", "line"),
        Protocol("mask+range", "mask"),
    )
}
DEFAULT_PROTOCOLS = ("box+range", "box", "click+range", "click")
