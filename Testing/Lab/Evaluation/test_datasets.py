"""Labeled cases are found, and their targets are the largest components of the largest labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MedSAMSlicerLib.core.errors import MedSAMError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.io.volumes import read_volume
from MedSAMSlicerLib.lab.evaluation.datasets import Case, find_cases, largest_component, load_case

from .labeled_volumes import (
    FRAMES,
    PICTURE_SHAPE,
    SHAPE,
    brick,
    bright,
    colored,
    data_set,
    ellipsoid,
    mixed_data_set,
    moving_spot,
    picture_case,
    spot,
    video_case,
    volume_case,
    write,
    write_picture,
)


def test_a_manifest_names_the_labeled_cases(tmp_path: Path) -> None:
    cases = find_cases(data_set(tmp_path))
    assert [case.name for case in cases] == ["first", "broken", "second"]
    assert find_cases(tmp_path / "manifest.json") == cases
    assert cases[0].modality == "CT"


def test_the_largest_labels_are_the_targets(tmp_path: Path) -> None:
    volume, targets = load_case(find_cases(data_set(tmp_path))[0])
    assert volume.array.shape == SHAPE
    assert {target.name for target in targets} == {"egg", "rest"}
    sizes = [np.count_nonzero(target.mask) for target in targets]
    assert sizes == sorted(sizes, reverse=True)
    assert len(load_case(find_cases(tmp_path)[0], most=1)[1]) == 1


def test_labels_that_the_manifest_joins_are_one_target(tmp_path: Path) -> None:
    data_set(tmp_path)
    entries = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    entries[0]["target"] = "whole = labels 1-2 (FLAIR); egg = 1"
    (tmp_path / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    _, targets = load_case(find_cases(tmp_path)[0])
    assert [target.name for target in targets] == ["whole"]
    assert np.array_equal(targets[0].mask, ellipsoid() | brick())


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a/x_image.nii.gz", "a/x_label.nii.gz"),
        ("x.nrrd", "x_seg.nrrd"),
        ("imagesTr/x_0000.nii.gz", "labelsTr/x.nii.gz"),
        ("images/x.mha", "labels/x.nii.gz"),
    ],
)
def test_pairs_are_found_by_their_names(tmp_path: Path, image: str, label: str) -> None:
    write(tmp_path / image, bright(ellipsoid()))
    write(tmp_path / label, ellipsoid().astype(np.uint8))
    write(tmp_path / "lonely.nii.gz", bright(ellipsoid()))
    [case] = find_cases(tmp_path)
    assert (case.image, case.label) == (tmp_path / image, tmp_path / label)
    _, [target] = load_case(case)
    assert np.array_equal(target.mask, ellipsoid())
    assert target.largest_slice == 7
    assert target.slice_range == (2, 12)


def test_cases_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "image.nii.gz", bright(ellipsoid()))
        write(tmp_path / folder / "image_label.nii.gz", ellipsoid().astype(np.uint8))
    assert [case.name for case in find_cases(tmp_path)] == ["a/image", "b/image"]


def test_of_a_label_in_pieces_the_largest_counts() -> None:
    mask = ellipsoid()
    mask[0, 0, 0:3] = True
    assert np.array_equal(largest_component(mask), ellipsoid())


def test_a_folder_without_labels_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="holds no labeled volume"):
        find_cases(tmp_path)
    with pytest.raises(VolumeError, match="does not exist"):
        find_cases(tmp_path / "nowhere")


def test_a_damaged_manifest_is_reported(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(VolumeError, match=r"manifest.*cannot be read"):
        find_cases(tmp_path)


def test_a_label_without_voxels_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "x.nii.gz", bright(ellipsoid()))
    write(tmp_path / "x_label.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(VolumeError, match="labels no voxel"):
        load_case(find_cases(tmp_path)[0])


def mask_of(drawn: np.ndarray) -> np.ndarray:
    return drawn.astype(np.uint8) * 255


def write_volume(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> None:
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


class TestKinds:
    def test_a_manifest_may_hold_volumes_pictures_and_videos(self, tmp_path: Path) -> None:
        cases = find_cases(mixed_data_set(tmp_path))
        assert [(case.name, case.kind) for case in cases] == [
            ("solid", "volume"),
            ("picture", "image"),
            ("film", "video"),
        ]
        loaded = [load_case(case) for case in cases]
        assert [targets[0].name for _, targets in loaded] == ["egg", "mole", "polyp"]
        assert [targets[0].kind for _, targets in loaded] == ["volume", "image", "video"]
        for volume, [target] in loaded:
            assert volume.array.shape[:3] == volume.geometry.shape == target.mask.shape
            assert target.axis is SliceAxis.K
        picture, film = (volume.array for volume, _ in loaded[1:])
        assert np.array_equal(picture[0], colored(spot()))
        assert np.array_equal(film, colored(moving_spot()))
        assert not any(case.is_series for case in cases)

    def test_a_folder_finds_the_same_without_a_manifest(self, tmp_path: Path) -> None:
        (mixed_data_set(tmp_path) / "manifest.json").unlink()
        cases = find_cases(tmp_path)
        assert {case.name: case.kind for case in cases} == {
            "JPEGImages/film": "video",
            "picture": "image",
            "solid": "volume",
        }

    def test_an_unknown_kind_in_a_manifest_is_reported(self, tmp_path: Path) -> None:
        entry = {"name": "a", "image": "a.png", "label": "b.png", "kind": "film"}
        (tmp_path / "manifest.json").write_text(json.dumps([entry]), encoding="utf-8")
        with pytest.raises(VolumeError, match="volume, image, video, not 'film'"):
            find_cases(tmp_path)

    def test_two_cases_of_one_name_are_reported(self, tmp_path: Path) -> None:
        entry = {"name": "a", "image": "a.png", "label": "b.png"}
        (tmp_path / "manifest.json").write_text(json.dumps([entry, entry]), encoding="utf-8")
        with pytest.raises(VolumeError, match="2 cases named 'a'"):
            find_cases(tmp_path)

    def test_a_volume_over_time_is_skipped_with_its_sentence(self, tmp_path: Path) -> None:
        moving = sitk.JoinSeries([sitk.GetImageFromArray(bright(ellipsoid()))] * 2)
        sitk.WriteImage(moving, str(tmp_path / "x.nii.gz"))
        sitk.WriteImage(moving, str(tmp_path / "x_label.nii.gz"))
        [case] = find_cases(tmp_path)
        with pytest.raises(VolumeError, match=r"is 4-D.*save one time point"):
            load_case(case)


class TestPictures:
    @pytest.mark.parametrize(
        ("image", "label"),
        [
            ("lésion.png", "lésion_mask.png"),
            ("x.jpg", "x_segmentation.png"),
            ("x.bmp", "x_Mask.tif"),
            ("images/x.jpg", "masks/x.png"),
            ("images/train/x.png", "labels/train/x.png"),
            ("imagesTr/x_0000.png", "labelsTr/x.png"),
            ("images/x.png", "masks/x_mask.png"),
            ("JPEGImages/x.jpg", "Annotations/x.png"),
            ("PNG/Original/12.png", "PNG/Ground Truth/12.png"),
        ],
    )
    def test_pairs_are_found_by_their_names(self, tmp_path: Path, image: str, label: str) -> None:
        write_picture(tmp_path / image, colored(spot()))
        write_picture(tmp_path / label, mask_of(spot()))
        write_picture(tmp_path / "lonely.png", colored(spot()))
        [case] = find_cases(tmp_path)
        assert (case.image, case.label, case.kind) == (tmp_path / image, tmp_path / label, "image")
        volume, [target] = load_case(case)
        assert volume.array.shape == (1, *PICTURE_SHAPE, 3)
        assert volume.array.dtype == np.uint8
        assert volume.geometry.spacing == (1.0, 1.0, 1.0)
        assert np.array_equal(target.mask[0], spot())
        assert (target.slice_range, target.largest_slice) == ((0, 0), 0)

    def test_a_gray_picture_is_a_volume_of_one_slice(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "x.png", colored(spot())[..., 0])
        write_picture(tmp_path / "x_mask.png", mask_of(spot()))
        volume, _ = load_case(find_cases(tmp_path)[0])
        assert volume.array.shape == (1, *PICTURE_SHAPE)

    @pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
    def test_a_flat_medical_image_keeps_its_spacing(self, tmp_path: Path, ending: str) -> None:
        for name, array in (("x", bright(spot())), ("x_label", spot().astype(np.uint8))):
            write_volume(tmp_path / f"{name}.{ending}", array, (0.5, 0.25))
        [case] = find_cases(tmp_path)
        assert case.kind == "image"
        volume, [target] = load_case(case)
        assert volume.geometry.spacing == pytest.approx((0.5, 0.25, 1.0))
        assert np.array_equal(volume.array[0], bright(spot()))
        assert np.array_equal(target.mask[0], spot())

    def test_a_volume_of_one_slice_is_a_picture(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "x.nii.gz", bright(spot())[np.newaxis], (0.5, 0.5, 3.0))
        write_volume(tmp_path / "x_label.nii.gz", spot().astype(np.uint8)[np.newaxis], (0.5, 0.5, 3.0))
        [case] = find_cases(tmp_path)
        volume, [target] = load_case(case)
        assert case.kind == "image"
        assert volume.geometry.spacing == pytest.approx((0.5, 0.5, 3.0))
        assert np.array_equal(target.mask[0], spot())

    def test_a_dicom_file_goes_with_a_mask_of_one_picture(self, tmp_path: Path) -> None:
        image = sitk.GetImageFromArray(bright(spot()).astype(np.uint16))
        image.SetSpacing((0.2, 0.4))
        sitk.WriteImage(image, str(tmp_path / "x.dcm"))
        write_picture(tmp_path / "x_mask.png", mask_of(spot()))
        [case] = find_cases(tmp_path)
        volume, [target] = load_case(case)
        assert (case.kind, case.is_series) == ("image", True)
        assert volume.geometry.spacing[:2] == pytest.approx((0.2, 0.4))
        assert np.array_equal(target.mask[0], spot())

    def test_the_largest_part_is_the_target(self, tmp_path: Path) -> None:
        picture_case(tmp_path)
        write_picture(tmp_path / "picture_mask.png", mask_of(spot() | spot(5, 5, 2)))
        _, [target] = load_case(find_cases(tmp_path)[0])
        assert np.array_equal(target.mask[0], spot())

    def test_a_binary_mask_may_be_named_by_what_is_in_the_file(self, tmp_path: Path) -> None:
        picture_case(tmp_path)
        entry = {
            "name": "a",
            "image": "picture.png",
            "label": "picture_mask.png",
            "labels": {"255": {"name": "mole"}},
        }
        (tmp_path / "manifest.json").write_text(json.dumps([entry]), encoding="utf-8")
        _, [target] = load_case(find_cases(tmp_path)[0])
        assert target.name == "mole"

    def test_a_mask_of_another_size_is_reported_with_both_sizes(self, tmp_path: Path) -> None:
        picture_case(tmp_path)
        write_picture(tmp_path / "picture_mask.png", mask_of(spot()[:40, :30]))
        with pytest.raises(
            VolumeError, match=r"picture_mask\.png has 30 x 40 pixels.*picture\.png has 64 x 48"
        ):
            load_case(find_cases(tmp_path)[0])

    def test_two_masks_of_one_picture_are_two_cases(self, tmp_path: Path) -> None:
        picture_case(tmp_path)
        write_picture(tmp_path / "picture_seg.png", mask_of(spot()))
        assert [case.name for case in find_cases(tmp_path)] == ["picture_mask.png", "picture_seg.png"]

    def test_a_picture_of_one_color_and_a_mask_of_nothing_are_reported(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "flat.png", np.full((*PICTURE_SHAPE, 3), 9, np.uint8))
        write_picture(tmp_path / "flat_mask.png", mask_of(spot()))
        picture_case(tmp_path)
        write_picture(tmp_path / "picture_mask.png", mask_of(spot() & False))
        flat, empty = find_cases(tmp_path)
        with pytest.raises(VolumeError, match="nothing to segment: every pixel is 9"):
            load_case(flat)
        with pytest.raises(VolumeError, match="labels no voxel"):
            load_case(empty)

    def test_the_product_keeps_refusing_color(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "x.nrrd", colored(moving_spot()))
        with pytest.raises(VolumeError, match="3 values per voxel"):
            read_volume(tmp_path / "x.nrrd")


class TestVideos:
    def test_a_target_is_the_whole_label_where_the_object_is_out_of_sight(self, tmp_path: Path) -> None:
        [case] = find_cases(video_case(tmp_path, gone=(0, 3, 4)))
        _, [target] = load_case(case)
        assert np.array_equal(target.mask, moving_spot((0, 3, 4)))
        assert target.slice_range == (1, FRAMES - 1)
        assert target.areas[[0, 3, 4]].tolist() == [0, 0, 0]
        assert target.areas[target.largest_slice] == target.areas.max()

    @pytest.mark.parametrize(
        ("frames", "masks", "name"),
        [
            ("film/frames", "film/masks", "film"),
            ("film/frames", "film/labels", "film"),
            ("frames/film", "masks/film", "frames/film"),
            ("JPEGImages/480p/bear", "Annotations/480p/bear", "JPEGImages/480p/bear"),
        ],
    )
    def test_folders_of_frames_and_masks_are_found(
        self, tmp_path: Path, frames: str, masks: str, name: str
    ) -> None:
        video_case(tmp_path / "made")
        for place, folder in (("JPEGImages", frames), ("Annotations", masks)):
            (tmp_path / "data" / folder).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "made" / place / "film").rename(tmp_path / "data" / folder)
        [case] = find_cases(tmp_path / "data")
        assert (case.name, case.kind) == (name, "video")
        volume, [target] = load_case(case)
        assert np.array_equal(volume.array, colored(moving_spot()))
        assert np.array_equal(target.mask, moving_spot())

    def test_frames_are_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        truth, frames = moving_spot(), colored(moving_spot())
        for index in range(FRAMES):
            write_picture(tmp_path / "frames" / f"frame_{index + 6}.png", frames[index])
            write_picture(tmp_path / "masks" / f"truth_{index + 6:03}_mask.png", mask_of(truth[index]))
        (tmp_path / "masks" / "._truth_006_mask.png").write_bytes(b"left by another system")
        volume, [target] = load_case(find_cases(tmp_path)[0])
        assert np.array_equal(volume.array, frames)
        assert np.array_equal(target.mask, truth)

    def test_frames_without_a_mask_are_left_out(self, tmp_path: Path) -> None:
        video_case(tmp_path)
        for index in (1, 2):
            (tmp_path / "Annotations" / "film" / f"{index:05}.png").unlink()
        volume, [target] = load_case(find_cases(tmp_path)[0])
        kept = [0, *range(3, FRAMES)]
        assert np.array_equal(volume.array, colored(moving_spot())[kept])
        assert np.array_equal(target.mask, moving_spot()[kept])
        assert "2 of 8 frames" in volume.warnings[0]

    def test_each_object_of_a_video_is_a_target(self, tmp_path: Path) -> None:
        video_case(tmp_path)
        second = np.stack([spot(40, 10, 5)] * FRAMES)
        for index, first in enumerate(moving_spot((2,))):
            picture = Image.fromarray(np.where(second[index], 2, first).astype(np.uint8))
            picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            picture.save(tmp_path / "Annotations" / "film" / f"{index:05}.png")
        _, targets = load_case(find_cases(tmp_path)[0])
        found = {target.name: target.mask for target in targets}
        assert np.array_equal(found["1"], moving_spot((2,)) & ~second)
        assert np.array_equal(found["2"], second)

    def test_a_volume_in_color_is_a_video(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "x_image.nrrd", colored(moving_spot()))
        write_volume(tmp_path / "x_label.nii.gz", moving_spot().astype(np.uint8))
        [case] = find_cases(tmp_path)
        assert case.kind == "video"
        volume, [target] = load_case(case)
        assert np.array_equal(volume.array, colored(moving_spot()))
        assert np.array_equal(target.mask, moving_spot())

    def test_a_manifest_may_say_that_a_gray_volume_is_a_video(self, tmp_path: Path) -> None:
        write(tmp_path / "cine.nrrd", bright(ellipsoid()))
        pieces = ellipsoid()
        pieces[6] = False
        write(tmp_path / "truth.nrrd", pieces.astype(np.uint8))
        entry = {"name": "cine", "image": "cine.nrrd", "label": "truth.nrrd", "kind": "video"}
        (tmp_path / "manifest.json").write_text(json.dumps([entry]), encoding="utf-8")
        volume, [target] = load_case(find_cases(tmp_path)[0])
        assert volume.array.shape == SHAPE
        assert np.array_equal(target.mask, pieces)

    def test_frames_may_go_with_a_label_volume_and_a_volume_with_masks(self, tmp_path: Path) -> None:
        video_case(tmp_path)
        write_volume(tmp_path / "film.nrrd", colored(moving_spot()))
        write_volume(tmp_path / "truth.nii.gz", moving_spot().astype(np.uint8))
        pairs = (("JPEGImages/film", "truth.nii.gz"), ("film.nrrd", "Annotations/film"))
        for image, label in pairs:
            case = Case("film", tmp_path / image, tmp_path / label, kind="video")
            volume, [target] = load_case(case)
            assert np.array_equal(volume.array, colored(moving_spot()))
            assert np.array_equal(target.mask, moving_spot())

    def test_what_does_not_fit_is_reported_in_one_sentence(self, tmp_path: Path) -> None:
        video_case(tmp_path)
        [case] = find_cases(tmp_path)
        write_picture(case.label / "00003.png", mask_of(spot()[:20]))
        with pytest.raises(VolumeError, match=r"00003\.png has 64 x 20 pixels.*64 x 48\.$"):
            load_case(case)
        write_picture(case.label / "00003.png", mask_of(spot()))
        write_picture(case.image / "00005.png", colored(spot()[:20]))
        with pytest.raises(VolumeError, match=r"00005\.png.*64 x 20"):
            load_case(case)
        (case.image / "00005.png").unlink()
        with pytest.raises(VolumeError, match=r"8 masks .* do not go with the 7 frames"):
            load_case(case)
        for mask in case.label.iterdir():
            mask.unlink()
        with pytest.raises(VolumeError, match="holds no mask"):
            load_case(case)
        write_volume(tmp_path / "truth.nrrd", moving_spot()[:4].astype(np.uint8))
        with pytest.raises(MedSAMError, match=r"truth\.nrrd has 4 slices, but .*film has 7"):
            load_case(Case("film", case.image, tmp_path / "truth.nrrd", kind="video"))

    def test_a_volume_beside_pictures_stays_a_volume(self, tmp_path: Path) -> None:
        volume_case(tmp_path)
        write_picture(tmp_path / "solid_label.png", mask_of(spot()))
        assert [case.kind for case in find_cases(tmp_path) if case.label.suffix == ".gz"] == ["volume"]
