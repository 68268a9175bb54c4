"""Baselines asked about generated volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import ObjectPrompts, Prompt
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.lab.evaluation.baselines import Baseline
from MedSAMSlicerLib.lab.evaluation.datasets import Target
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS
from MedSAMSlicerLib.lab.evaluation.runners import Request
from MedSAMSlicerLib.lab.evaluation.simulated_user import box_on

from .labeled_volumes import bright, target_of


def geometry_of(mask: np.ndarray) -> VolumeGeometry:
    """Slices are twice as thick as voxels are wide."""
    return VolumeGeometry.from_spacing(mask.shape, (1.0, 1.0, 2.0), (3.0, -4.0, 5.0))


def ask_about(
    baseline: Baseline,
    array: np.ndarray,
    target: Target,
    boxed: tuple[int, ...] = (),
    corrections: tuple[Prompt, ...] = (),
) -> np.ndarray:
    """The mask from tight boxes on slices (the largest one where none is said), the range, and corrections."""
    geometry = geometry_of(target.mask)
    boxes = [box_on(target, geometry, index) for index in boxed or (target.largest_slice,)]
    prompts = ObjectPrompts("object", (1, 0, 0), (*boxes, *corrections), target.slice_range)
    ask = baseline.begin(Volume(array, geometry, "case", Path("image.nii.gz")), target.axis)
    return ask(Request(prompts, PROTOCOLS["box+range"])).mask


def answer(
    baseline: Baseline, mask: np.ndarray, axis: SliceAxis = SliceAxis.K, boxed: tuple[int, ...] = ()
) -> np.ndarray:
    """The same where the object is brighter than what is around it."""
    return ask_about(baseline, bright(mask), target_of(mask, axis), boxed)
