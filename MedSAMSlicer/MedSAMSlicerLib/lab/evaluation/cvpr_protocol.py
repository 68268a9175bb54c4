"""The protocol of the CVPR 2025 competition "Foundation models for interactive 3-D biomedical image segmentation".

Published in github.com/JunMa11/CVPR-MedSegFMCompetition (get_boxes.py, CVPR25_iter_eval.py). All labels of a case are
segmented at once, and they exclude each other (:mod:`.class_trial`). First a box on the middle slice with the first and
the last slice; then five times a click for each label whose mask is not perfect (:mod:`.error_click`). Scores are those
of a case, the mean over its labels (:mod:`.cvpr_scores`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.prompts import Box, Prompt, SliceRef, box_from_voxels
from .datasets import Target
from .error_click import CLICK_3D
from .measurement import VOLUME
from .npz_cases import MiddleBox
from .prompt_protocol import PromptProtocol
from .simulated_user import plane_of, tight_box

CVPR25 = "CVPR 2025 interactive"
CLICKS = 5
MOST_JITTER = 5
"""By how many pixels at most a box grows on each side, on a slice of 256 x 256 pixels."""


@dataclass(frozen=True)
class CvprProtocol(PromptProtocol):
    """A jittered box on the middle slice, the range, and clicks in 3-D.

    Where the data give boxes (:mod:`.npz_cases`), those are taken as they are; a label without one is segmented from
    its clicks alone, and its first mask is empty.
    """

    prompt: str = "loose box"
    start: str = "middle"
    corrections: int = CLICKS
    correct_with: str = CLICK_3D

    @property
    def all_classes(self) -> bool:
        """Always."""
        return True

    def fits(self, target: Target) -> bool:
        """Volumes only, cut along their first axis."""
        return target.kind == VOLUME and target.axis == SliceAxis.K and target.mask.shape[0] > 1

    def prompted_slices(self, target: Target) -> tuple[int, ...]:
        """The middle one of the slices that hold the label, the upper of two; none without a box."""
        if target.boxless:
            return ()
        if target.box is not None:
            return (target.box.z_mid,)
        held = np.flatnonzero(target.areas)
        return (int(held[len(held) // 2]),)

    def first(self, target: Target, geometry: VolumeGeometry, seed: Sequence[int]) -> tuple[Prompt, ...]:
        """The box, grown by 0 to 5 pixels of a slice of 256 pixels on every side; nothing without a box."""
        if target.boxless:
            return ()
        box = target.box or middle_box(target, int(np.random.default_rng(seed).integers(MOST_JITTER + 1)))
        return (_prompt(box, geometry),)

    def slice_range(self, target: Target) -> tuple[int, int] | None:
        """First and last slice of the box; None without one."""
        if target.boxless:
            return None
        return (target.box.z_min, target.box.z_max) if target.box is not None else target.slice_range


def middle_box(target: Target, jitter: int) -> MiddleBox:
    """The tight box on the middle slice, grown on all sides as far as the slice reaches.

    Args:
        target: cut along its first axis.
        jitter: pixels on a slice of 256 x 256 pixels; one number for all four sides.
    """
    held = np.flatnonzero(target.areas)
    middle = int(held[len(held) // 2])
    plane = plane_of(target.mask, target.axis, middle)
    height, width = plane.shape
    across, down = int(jitter * width / 256), int(jitter * height / 256)
    x0, y0, x1, y1 = tight_box(plane)
    return MiddleBox(
        int(held[0]),
        int(held[-1]),
        middle,
        max(0, x0 - across),
        max(0, y0 - down),
        min(width, x1 + across) - 1,
        min(height, y1 + down) - 1,
    )


def _prompt(box: MiddleBox, geometry: VolumeGeometry) -> Box:
    sides = (box.x_min, box.y_min, box.x_max + 1, box.y_max + 1)
    return box_from_voxels(geometry, SliceRef(SliceAxis.K, box.z_mid), *sides)
