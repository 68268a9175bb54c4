"""The generator draws what it promises: seeded, trackable, visible targets."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.lab.training.fields import FieldGrid, Source, smooth_noise  # noqa: E402
from MedSAMSlicerLib.lab.training.synthetic import (  # noqa: E402
    GeneratedScene,
    SceneSettings,
    connected_component,
    edge_visibility,
    make_scene,
)


@pytest.fixture(scope="module")
def scenes() -> list[GeneratedScene]:
    source = Source(5)
    return [make_scene(source, SceneSettings(size=128)) for _ in range(24)]


def test_the_same_seed_draws_the_same_scene() -> None:
    first, second = (make_scene(Source(3), SceneSettings(size=64)) for _ in range(2))
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.masks, second.masks)
    assert first.keys == second.keys


def test_another_seed_draws_another_scene() -> None:
    first, second = (make_scene(Source(seed), SceneSettings(size=64)) for seed in (1, 2))
    assert not torch.equal(first.image, second.image)


def test_every_scene_has_a_target_on_its_key_slice(scenes: list[GeneratedScene]) -> None:
    for scene in scenes:
        assert scene.image.dtype == torch.uint8
        assert scene.image.shape == scene.masks.shape[1:]
        assert len(scene.keys) == len(scene.masks) >= 1
        for mask, key in zip(scene.masks, scene.keys, strict=True):
            assert 0.0005 < float(mask[key].float().mean()) < 0.36


def test_neighboring_slices_overlap_about_as_much_as_in_real_volumes(scenes: list[GeneratedScene]) -> None:
    overlaps = []
    for scene in scenes:
        for mask in scene.masks:
            areas = mask.flatten(1).sum(1)
            for index in range(len(mask) - 1):
                if min(areas[index], areas[index + 1]) > 15:
                    shared = (mask[index] & mask[index + 1]).sum()
                    overlaps.append(float(2 * shared / (areas[index] + areas[index + 1])))
    assert 0.82 < sum(overlaps) / len(overlaps) < 0.96


def test_some_targets_end_inside_the_clip(scenes: list[GeneratedScene]) -> None:
    ended = [bool((mask.flatten(1).sum(1) == 0).any()) for scene in scenes for mask in scene.masks]
    assert 0.1 < sum(ended) / len(ended) < 0.7


@pytest.fixture(scope="module")
def held_out_scenes() -> list[GeneratedScene]:
    source = Source(5)
    return [make_scene(source, SceneSettings(size=96, held_out=True)) for _ in range(60)]


def test_no_target_of_a_held_out_scene_is_of_a_family_that_training_draws(
    held_out_scenes: list[GeneratedScene],
) -> None:
    from MedSAMSlicerLib.lab.training.families import TRAINED

    for scene in held_out_scenes:
        assert len(scene.shapes) == len(scene.keys)
        assert not set(scene.shapes) & (set(TRAINED.shapes) | set(TRAINED.backgrounds)), scene.shapes
        assert scene.background not in TRAINED.backgrounds
        assert scene.texture not in TRAINED.textures


def test_every_held_out_family_is_a_target_of_validation(held_out_scenes: list[GeneratedScene]) -> None:
    from MedSAMSlicerLib.lab.training.families import HELD_OUT

    assert {body for scene in held_out_scenes for body in scene.shapes} == set(HELD_OUT.shapes)
    assert {scene.background for scene in held_out_scenes} == set(HELD_OUT.backgrounds)
    assert {scene.texture for scene in held_out_scenes} == set(HELD_OUT.textures)


def test_training_draws_no_held_out_family(scenes: list[GeneratedScene]) -> None:
    from MedSAMSlicerLib.lab.training.families import TRAINED

    for scene in scenes:
        assert set(scene.shapes) <= set(TRAINED.shapes) | set(TRAINED.backgrounds)
        assert scene.background in TRAINED.backgrounds
        assert scene.texture in TRAINED.textures


def test_a_trained_family_has_no_other_name_in_validation() -> None:
    from MedSAMSlicerLib.lab.training.families import HELD_OUT, TRAINED

    for held_out, trained in ((HELD_OUT.shapes, TRAINED.shapes), (HELD_OUT.backgrounds, TRAINED.backgrounds)):
        assert not {draw for draw, _ in held_out.values()} & {draw for draw, _ in trained.values()}
    assert not set(HELD_OUT.textures) & set(TRAINED.textures)


def test_component_reaches_around_corners_but_not_across_a_gap() -> None:
    mask = torch.zeros(3, 9, 9, dtype=torch.bool)
    mask[1, 1, 1:8] = mask[1, 1:8, 7] = mask[1, 7, 2:8] = True
    mask[0:2, 7, 2] = True
    other = mask.clone()
    mask[1, 4, 2] = True  # an island
    found = connected_component(mask, (1, 1, 1))
    assert torch.equal(found, other)


def test_an_edge_without_contrast_is_invisible() -> None:
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[10:22, 10:22] = True
    assert edge_visibility(torch.full((32, 32), 0.5), mask, 0.05) == 0.0
    assert edge_visibility(mask.float(), mask, 0.05) == 1.0


def test_smooth_noise_has_zero_mean_and_unit_variance() -> None:
    field = smooth_noise(Source(0), FieldGrid(8, 96, 0.05), 16, 12.0)
    assert abs(float(field.mean())) < 0.1
    assert 0.8 < float(field.std()) < 1.2


def test_thin_slices_change_less_than_thick_ones() -> None:
    def change(step: float) -> float:
        field = smooth_noise(Source(0), FieldGrid(6, 64, step), 8, 6.0)
        return float((field[:, 1:] - field[:, :-1]).abs().mean())

    assert change(0.005) < 0.5 * change(0.03)


def test_the_contact_sheet_is_a_picture(tmp_path: Path) -> None:
    import SimpleITK as sitk

    from MedSAMSlicerLib.lab.training.sheet import contact_sheet

    contact_sheet(tmp_path / "sheet.png", 0, rows=2, settings=SceneSettings(slices=4, size=64))
    picture = sitk.ReadImage(str(tmp_path / "sheet.png"))
    assert picture.GetSize() == (4 * 64, 2 * 64)
    assert picture.GetNumberOfComponentsPerPixel() == 3
