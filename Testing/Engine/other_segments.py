"""What the engine gains from knowing other segments: each organ of a volume from one box, with and without the others.

python -m Testing.Engine.other_segments IMAGE LABELS LABEL ...

The range is that of the organ. "alone" = no other segment is known; "cut" = the same masks without what the others
have; "known" = the volume stage knows the others, too. The second network is left out. Labels are those of a file in
which every voxel belongs to one organ: the best case, since all neighbors are known completely.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import numpy.typing as npt

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.intensity import choose_window
from MedSAMSlicerLib.core.masks import PackedMask, slices_of
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slice_mask import SliceMask
from MedSAMSlicerLib.io.labels import read_label
from MedSAMSlicerLib.io.volumes import read_volume
from MedSAMSlicerLib.models.registry import BUNDLED_ID, Registry
from MedSAMSlicerLib.sam2.checkpoint import load_named

Mask = npt.NDArray[np.bool_]


def boxed(truth: Mask, segmenter: VolumeSegmenter, axis: SliceAxis = SliceAxis.K) -> PromptSet:
    """A box on the slice where an organ is largest, and its range."""
    slices = np.moveaxis(truth, axis, 0)
    index, filled = int(slices.sum(axis=(1, 2)).argmax()), np.flatnonzero(slices.any(axis=(1, 2)))
    found = np.argwhere(slices[index])
    (top, left), (bottom, right) = found.min(axis=0).tolist(), (found.max(axis=0) + 1).tolist()
    place = SliceRef(axis, index)
    box = box_from_voxels(segmenter.geometry, place, left, top, right, bottom)
    organ = ObjectPrompts("organ", (1.0, 0.0, 0.0), (box,), (int(filled[0]), int(filled[-1])))
    return PromptSet(segmenter.geometry, axis, (organ,), segmenter.window)


def segmented(segmenter: VolumeSegmenter, prompts: PromptSet, barred: dict[int, PackedMask]) -> Mask:
    """(K, J, I): the organ as the engine shows it at the end."""
    mask = np.zeros(segmenter.geometry.shape, np.bool_)
    for event in segmenter.live(SliceAxis.K).update(prompts, barred={"organ": barred}):
        if isinstance(event, SliceMask):
            mask[event.index] = event.mask
    return mask


def main(arguments: list[str] | None = None) -> int:
    """Print one line an organ."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Engine.other_segments")
    parser.add_argument("image")
    parser.add_argument("labels")
    parser.add_argument("values", nargs="+", type=int)
    options = parser.parse_args(arguments)
    volume = read_volume(options.image)
    labels = read_label(options.labels, volume.geometry)
    file = Registry.from_environment().open(BUNDLED_ID)
    window = choose_window(volume.array, "soft-tissue", "CT")
    segmenter = VolumeSegmenter(
        volume.array,
        volume.geometry,
        load_named(file.path, file.checkpoint.config),
        window,
        threads=1,
        volume_stage="learned",
    )
    sys.stdout.write("label  alone  cut    known\n")
    for value in options.values:
        truth = labels == value
        others = (labels > 0) & ~truth
        prompts = boxed(truth, segmenter)
        alone = segmented(segmenter, prompts, {})
        known = segmented(segmenter, prompts, slices_of(others, SliceAxis.K))
        scores = [dice(mask, truth) for mask in (alone, alone & ~others, known & ~others)]
        sys.stdout.write(f"{value:5d}  " + "  ".join(f"{score:.3f}" for score in scores) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
