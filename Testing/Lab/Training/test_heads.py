"""Heads learn on a frozen network and are used: first prompts, organs of a volume, masks finer than the network's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.clips import dice
from Testing.small_networks import SMALL

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.core.errors import CheckpointError, MedSAMError  # noqa: E402
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry  # noqa: E402
from MedSAMSlicerLib.core.prompts import ObjectPrompts, SliceRef, box_from_voxels  # noqa: E402
from MedSAMSlicerLib.engine.heads import (  # noqa: E402
    finer_geometry,
    finer_mask,
    finer_volume,
    part_shared,
    segment_organs,
    suggested_prompts,
    with_pixels,
)
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter  # noqa: E402
from MedSAMSlicerLib.lab.training.heads import HeadTraining, head_for, train_head  # noqa: E402
from MedSAMSlicerLib.lab.training.labeled import DataSettings, find_cases, read_case  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import save, seeded  # noqa: E402
from MedSAMSlicerLib.sam2.heads import (  # noqa: E402
    HeadConfig,
    ImplicitHead,
    VolumeHead,
    load_head,
    made,
    serialized_head,
)
from MedSAMSlicerLib.sam2.model import SAM2  # noqa: E402


@pytest.fixture(scope="module")
def network() -> SAM2:
    return seeded(SMALL, 1)


@pytest.fixture(scope="module")
def two_organs(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labeled volumes with a second, dark organ."""
    folder = tmp_path_factory.mktemp("organs")
    for number in range(4):
        image = sitk.ReadImage(str(balls / f"case{number}_image.nii.gz"))
        array = sitk.GetArrayFromImage(image)
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(balls / f"case{number}_label.nii.gz")))
        place = (slice(2, 10), slice(2, 10), slice(2 + 3 * number, 18 + 3 * number))
        free = label[place] == 0
        label[place][free], array[place][free] = 5, array[place][free] - 150
        for name, voxels in (("image", array), ("label", label)):
            made = sitk.GetImageFromArray(voxels)
            made.CopyInformation(image)
            sitk.WriteImage(made, str(folder / f"c{number}_{name}.nii.gz"))
    return folder


def opened(folder: Path, network: SAM2, number: int = 0) -> tuple[VolumeSegmenter, np.ndarray]:
    case = find_cases(folder)[number]
    volume = read_case(case)
    segmenter = VolumeSegmenter(
        volume.array, volume.geometry, network, volume.window, threads=1, volume_stage="off"
    )
    return segmenter, sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))


def test_the_first_click_of_a_trained_patch_head_lies_on_the_object(
    tmp_path: Path, balls: Path, network: SAM2, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    scores = train_head(HeadTraining(tmp_path, "patch", DataSettings(balls), steps=150, threads=1), network)
    assert scores["last_loss"] < 0.6 * scores["first_loss"]
    assert scores["first_click_hits"] >= 0.9
    head = load_head(tmp_path / "head.safetensors", network, "patch")
    segmenter, label = opened(balls, network)
    [found, *_] = suggested_prompts(segmenter, head, 6)
    x0, y0, x1, y1 = found.box
    rows, columns = np.nonzero(label[6])
    inside = np.zeros_like(label[6], bool)
    inside[y0:y1, x0:x1] = True
    truth = np.zeros_like(inside)
    truth[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert (inside & truth).sum() / (inside | truth).sum() > 0.5
    # the same through the command, which lets the network draw in the boxes
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(network, tmp_path / "network.safetensors")
    words = ["propose", str(balls / "case0_image.nii.gz"), "--model", str(tmp_path / "network.safetensors"),
             "--head", str(tmp_path / "head.safetensors"), "--threads", "1", "--yes",
             "-o", str(tmp_path / "a.seg.nrrd")]  # fmt: skip
    assert main([*words, "--slice", "6", "--json"]) == 0
    proposals = json.loads(capsys.readouterr().out)["proposals"]
    assert proposals[0]["box"] == [x0, y0, x1, y1]
    assert main(words) == 2
    assert "a patch head needs one slice" in capsys.readouterr().err


def test_a_volume_head_segments_organs_by_name_without_a_prompt(
    tmp_path: Path, two_organs: Path, network: SAM2, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = HeadTraining(
        tmp_path, "volume", DataSettings(two_organs), steps=60, threads=1, learning_rate=1e-2
    )
    scores = train_head(settings, network)
    assert scores["last_loss"] < 0.6 * scores["first_loss"]
    head = load_head(tmp_path / "head.safetensors", network, "volume")
    assert head.config.classes == ("1", "5")
    segmenter, label = opened(two_organs, network)
    done: list[int] = []
    masks = segment_organs(segmenter, head, progress=lambda *where: done.append(where[2]))
    assert done == list(range(12))  # each slice once
    assert dice(masks["1"], label == 1) > 0.75
    assert dice(masks["5"], label == 5) > 0.6
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(network, tmp_path / "network.safetensors")
    words = ("propose", find_cases(two_organs)[0].image, "--model", tmp_path / "network.safetensors", "--yes",
             "--head", tmp_path / "head.safetensors", "--threads", "1", "-o", tmp_path / "organs.nii.gz", "--json",
             "--save-prompts", tmp_path / "prompts.json")  # fmt: skip
    assert main([str(word) for word in words]) == 0
    assert set(json.loads(capsys.readouterr().out)["organs"]) == {"1", "5"}
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "organs.nii.gz")))
    assert dice(written > 0, label > 0) > 0.7
    assert (tmp_path / "prompts.json").is_file()


def test_stacks_that_overlap_are_drawn_as_their_mean(network: SAM2) -> None:
    array = np.random.default_rng(0).normal(0, 1, (21, 24, 24)).astype(np.float32)
    segmenter = VolumeSegmenter(
        array, VolumeGeometry.from_spacing(array.shape, (1, 1, 1)), network, threads=1, volume_stage="off"
    )

    class Counting(VolumeHead):
        """Draws class 1 where the stack was drawn second: the mean of both must decide."""

        def __init__(self) -> None:
            super().__init__(HeadConfig("volume", 64, 3))
            self.starts = 0

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            depth = features.shape[2]
            logits = torch.zeros(1, 2, depth, 64, 64)
            logits[:, 1] = -1.0 if self.starts == 0 else 3.0
            self.starts += 1
            return logits

    masks = segment_organs(segmenter, Counting())
    drawn = masks["object"].reshape(21, -1).all(1)
    assert drawn.tolist() == [False] * 12 + [True] * 9  # 12 to 15: mean of -1 and 3


def test_an_implicit_head_draws_a_smooth_outline_better_than_bilinear_enlargement() -> None:
    torch.manual_seed(0)
    head = ImplicitHead(HeadConfig("implicit", 4))

    def shape(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        random = np.random.default_rng(number)
        y, x = np.mgrid[:96, :96] / 48 - 1 + 1 / 96
        angle = np.arctan2(y - random.uniform(-0.1, 0.1), x - random.uniform(-0.1, 0.1))
        radius = 0.45 + 0.12 * np.cos(3 * angle + random.uniform(0, 6))
        mask = torch.from_numpy((np.hypot(x, y) < radius).astype(np.float32))[None, None]
        share = functional.avg_pool2d(mask, 8)  # 12 x 12
        blurred = functional.avg_pool2d(share, 3, 1, 1)
        pixels = torch.cat([share, blurred, share**2, share.roll(1, 3)], 1)
        return pixels, (blurred - 0.5) * 8, mask

    def places(count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(count, 2, generator=generator) * 2 - 1

    pixels, logits, mask = shape(99)
    plain = functional.interpolate(logits, (96, 96), mode="bilinear", align_corners=False)[0, 0]
    start, _ = head.drawn(pixels, logits, 8)
    assert torch.allclose(start, plain, atol=1e-4)  # nothing learned, nothing changed
    optimizer, generator = torch.optim.Adam(head.parameters(), 3e-3), torch.Generator().manual_seed(1)
    for step in range(250):
        pixels, logits, mask = shape(step % 40)
        where = places(1024, generator)
        wanted = functional.grid_sample(mask, where.view(1, 1, -1, 2), "nearest", align_corners=False)[
            0, 0, 0
        ]
        coarse, final, _ = head(pixels, logits, where)
        loss = sum(functional.binary_cross_entropy_with_logits(each, wanted) for each in (coarse, final))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before, after, certain = [], [], []
    with torch.no_grad():
        for number in range(100, 110):
            pixels, logits, mask = shape(number)
            truth = mask[0, 0].numpy() > 0
            plain = functional.interpolate(logits, (96, 96), mode="bilinear", align_corners=False)[0, 0]
            found, apart = head.eval().drawn(pixels, logits, 8)
            before.append(dice(plain.numpy() > 0, truth))
            after.append(dice(found.numpy() > 0, truth))
            certain.append(float(apart.mean()))
    assert np.mean(after) > np.mean(before) + 0.01
    assert min(certain) > 0  # dropout stays on for the uncertainty, also after training
    one, three = (head.drawn(pixels, logits, factor)[0] for factor in (1, 3))
    sure = (one.abs() > 1) & (three[1::3, 1::3].abs() > 1)
    assert ((one > 0) == (three[1::3, 1::3] > 0))[
        sure
    ].float().mean() > 0.98  # the same places, up to dropout


def test_a_mask_is_drawn_at_several_times_its_resolution(tmp_path: Path, balls: Path, network: SAM2) -> None:
    train_head(HeadTraining(tmp_path, "implicit", DataSettings(balls), steps=4, threads=1), network)
    head = load_head(tmp_path / "head.safetensors", network, "implicit")
    segmenter, label = opened(balls, network)
    rows, columns = np.nonzero(label[6])
    box = box_from_voxels(
        segmenter.geometry,
        SliceRef(SliceAxis.K, 6),
        *map(float, (columns.min(), rows.min(), columns.max(), rows.max())),
    )
    prompts = ObjectPrompts("ball", (1, 0, 0), (box,))
    logits, apart = finer_mask(segmenter, head, prompts, 6, factor=3)
    assert logits.shape == apart.shape == (120, 132)
    plain = made(head.config)  # nothing learned: the bilinear mask, three times as fine
    same, _ = finer_mask(segmenter, plain, prompts, 6, factor=3)
    mask, pixels = with_pixels(segmenter, prompts, 6, SliceAxis.K)
    assert pixels.shape[1] == head.config.channels
    assert ((same[1::3, 1::3] > 0) == mask.mask).mean() > 0.97
    with pytest.raises(MedSAMError, match="1 to 8 times as fine, not 9"):
        finer_mask(segmenter, head, prompts, 6, factor=9)
    staged = VolumeSegmenter(segmenter.array, segmenter.geometry, network, segmenter.window, threads=1)
    with pytest.raises(MedSAMError, match="volume_stage='off'"):
        finer_mask(staged, head, prompts, 6)


def test_a_head_is_refused_on_another_network_and_damaged_ones_are_named(
    tmp_path: Path, network: SAM2
) -> None:
    path = tmp_path / "head.safetensors"
    path.write_bytes(serialized_head(head_for(network, "patch"), network))
    assert load_head(path, network).config.kind == "patch"
    with pytest.raises(CheckpointError, match="was trained for another network"):
        load_head(path, seeded(SMALL, 2))
    with pytest.raises(CheckpointError, match="holds the head patch, but volume is needed"):
        load_head(path, network, "volume")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_head(path, network)
    save(network, tmp_path / "network.safetensors")
    with pytest.raises(CheckpointError, match="is not a head file"):
        load_head(tmp_path / "network.safetensors", network)
    with pytest.raises(MedSAMError, match="There is no head 'sum'"):
        replace(HeadConfig("patch", 8), kind="sum")


def test_a_finer_grid_lies_at_the_same_place_across_every_axis() -> None:
    geometry = VolumeGeometry.from_spacing((3, 4, 5), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    for axis in SliceAxis:
        finer = finer_geometry(geometry, axis, 3)
        for plane in (axis.row_axis, axis.column_axis):
            assert finer.shape[plane] == 3 * geometry.shape[plane]
        assert finer.shape[axis] == geometry.shape[axis]
        # the middle of the three voxels in a voxel is where that one is
        ijk = np.array([1.0, 2.0, 1.0])
        inside = [n if 2 - place == axis else 3 * n + 1 for place, n in enumerate(ijk)]
        assert np.allclose(finer.to_ras([inside]), geometry.to_ras([ijk]))


@pytest.mark.parametrize("axis", SliceAxis)
def test_a_voxel_that_two_finer_masks_have_goes_to_the_one_that_had_it(axis: SliceAxis) -> None:
    masks = {"left": np.zeros((6, 6, 6), np.bool_), "right": np.zeros((6, 6, 6), np.bool_)}
    masks["left"][:, :, :2], masks["right"][:, :, 3:] = True, True
    shape = finer_geometry(VolumeGeometry.from_spacing((6, 6, 6), (1, 1, 1)), axis, 2).shape
    finer = {name: np.ones(shape, np.bool_) for name in masks}
    part_shared(finer, masks, axis, 2)
    assert (finer["left"] ^ finer["right"]).all()
    at = np.arange(shape[2]) // (shape[2] // 6)
    assert np.array_equal(
        finer["right"], np.broadcast_to(at >= 3, shape)
    )  # between both it is the first one's


def test_a_finer_outline_changes_nothing_far_from_the_outline(balls: Path, network: SAM2) -> None:
    segmenter, label = opened(balls, network)
    torch.manual_seed(0)
    head = head_for(network, "implicit")
    mask = label > 0
    drawn = finer_volume(segmenter, head.eval(), mask, factor=2)
    assert drawn.shape == (12, 80, 88)
    at = np.indices((80, 88)) // 2
    for index in np.flatnonzero(mask.any((1, 2))):
        plane = mask[index]
        near = np.zeros_like(plane)
        for y, x in np.argwhere(plane):
            near[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = True
        assert not (drawn[index] & ~near[at[0], at[1]]).any()
    assert not drawn[~mask.any((1, 2))].any()
