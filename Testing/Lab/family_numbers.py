"""What the parts of docs/family.md gain on generated data, as a table: `python -m Testing.Lab.family_numbers`.

Small networks with random weights stand for those whose weights were not at hand; the bundled network is the real one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from Testing.clips import dice, moving_shapes
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.folders import bundled_folders
from MedSAMSlicerLib.engine.heads import segment_organs
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.video_segmenter import LEAST_CROP_MARGIN, VideoSegmenter
from MedSAMSlicerLib.lab.training import distillation
from MedSAMSlicerLib.lab.training.distillation import DistillationSettings, distil
from MedSAMSlicerLib.lab.training.heads import HeadTraining, train_head
from MedSAMSlicerLib.lab.training.labeled import DataSettings, find_cases, read_case
from MedSAMSlicerLib.sam2.checkpoint import load, seeded
from MedSAMSlicerLib.sam2.config import ConvTrunkConfig, Sam1Config, TinyViTConfig
from MedSAMSlicerLib.sam2.heads import load_head
from MedSAMSlicerLib.sam2.sam1 import SAM1

Row = tuple[str, str, str, str]
TRUNK = TinyViTConfig((32, 32, 32, 32), (1, 1, 1, 1), (4, 4, 4, 4), stem_kernel=1, stem_stride=1)
STUDENTS = {"tinyvit": TRUNK, "convolutional": ConvTrunkConfig((8, 16, 16, 16), (1, 1, 1, 1))}


class _Frames:
    def __init__(self, frames: np.ndarray) -> None:
        self.frames, self.shape = frames, frames.shape

    def frame(self, index: int) -> np.ndarray:
        return self.frames[index]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    lines = ["| part | measure | before | after |", "|---|---|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        data = _volumes(Path(folder) / "volumes")
        for part in (_videos(), _distilled(Path(folder), data), _heads(Path(folder), data)):
            lines += [f"| {' | '.join(row)} |" for row in part]
    print("\n".join(lines))  # noqa: T201 - a script


def _volumes(folder: Path) -> Path:
    """Four volumes with two organs each, a bright ball and a dark slab, in noise."""
    folder.mkdir()
    for number in range(4):
        random = np.random.default_rng(number)
        k, j, i = np.indices((12, 40, 44))
        center = (6 + random.uniform(-1, 1), 20 + random.uniform(-6, 6), 22 + random.uniform(-6, 6))
        ball = (2 * (k - center[0])) ** 2 + (j - center[1]) ** 2 + (i - center[2]) ** 2 < 9**2
        slab = (k > 1) & (k < 10) & (j > 1) & (j < 10) & (abs(i - 10 - 3 * number) < 8) & ~ball
        array = 100 + 200 * ball - 150 * slab + random.normal(0, 20, ball.shape)
        label = np.where(ball, 1, np.where(slab, 5, 0))
        sitk.WriteImage(
            sitk.GetImageFromArray(array.astype(np.int16)), str(folder / f"c{number}_image.nii.gz")
        )
        sitk.WriteImage(
            sitk.GetImageFromArray(label.astype(np.uint8)), str(folder / f"c{number}_label.nii.gz")
        )
    return folder


def _videos() -> Iterator[Row]:
    [path] = [p for f in bundled_folders() for p in f.glob("medsamslicer_nano.safetensors")][:1]
    network = load(path)[0]
    for name, step in (("3 pixels a frame", 1), ("6 pixels a frame", 2)):
        frames, disc, _ = (part[::step] for part in moving_shapes(24, 96, 192))
        scores = []
        for margin in (network.config.crop_margin, LEAST_CROP_MARGIN):
            video = VideoSegmenter(_Frames(frames), network, threads=1, crop_margin=margin)
            ys, xs = np.nonzero(disc[0])
            box = video.box(0, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            result = video.segment([video.object("disc", box)])
            seen = [n for n in range(len(disc)) if disc[n].any()]
            scores.append(f"{np.mean([dice(result.mask('disc', n), disc[n]) for n in seen]):.3f}")
        yield (f"video, bundled network, {name}", "Dice; square of 1.7 and of 3 boxes", *scores)


def _distilled(folder: Path, data: Path) -> Iterator[Row]:
    distillation.STUDENTS = STUDENTS
    torch.manual_seed(0)
    trunk = TinyViTConfig((32, 32, 32, 32), (1, 1, 2, 1), (4, 4, 4, 4), stem_kernel=1, stem_stride=1)
    teacher = SAM1(Sam1Config("teacher", 32, trunk, decoder_feedforward=32)).eval()
    for student, loss in (("tinyvit", "mse"), ("convolutional", "mse"), ("tinyvit", "mse+perceptual")):
        settings = DistillationSettings(
            folder / f"{student}-{loss}", student, loss, encoder_steps=150, decoder_steps=100, batch=4,
            learning_rate=3e-3, data=DataSettings(data),
        )  # fmt: skip
        found = distil(settings, teacher)
        start, encoder, decoder = found["start"], found["encoder"], found["decoder"]
        name = f"distillation, {student}, {loss}"
        yield name, "squared difference of embeddings", f"{start.difference:.3f}", f"{encoder.difference:.3f}"
        yield f"{name}, then decoder", "Dice from boxes", f"{encoder.dice:.3f}", f"{decoder.dice:.3f}"


def _heads(folder: Path, data: Path) -> Iterator[Row]:
    network, settings = seeded(SMALL, 1), DataSettings(data)
    patch = train_head(HeadTraining(folder / "patch", "patch", settings, steps=150, threads=1), network)
    yield "patch head, 150 steps", "first click on an object", "–", f"{patch['first_click_hits']:.2f}"
    train_head(
        HeadTraining(folder / "organs", "volume", settings, steps=150, threads=1, learning_rate=1e-2), network
    )
    head = load_head(folder / "organs" / "head.safetensors", network, "volume")
    from MedSAMSlicerLib.lab.training.labeled import split

    [case, *_] = split(find_cases(data), settings, 0)[1]
    volume = read_case(case)
    segmenter = VolumeSegmenter(
        volume.array, volume.geometry, network, volume.window, threads=1, volume_stage="off"
    )
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
    for name, mask in segment_organs(segmenter, head).items():
        score = dice(mask, label == int(name))
        yield f"volume head, 150 steps, label {name}", "Dice of a volume kept apart", "–", f"{score:.3f}"


if __name__ == "__main__":
    main()
