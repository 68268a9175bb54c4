"""Files of the CVPR 2025 competition are cases, and a file that is none of them runs no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.lab.evaluation.datasets import Case, find_cases, load_case, load_classes
from MedSAMSlicerLib.lab.evaluation.npz_cases import MiddleBox, read_boxes
from MedSAMSlicerLib.lab.evaluation.runners import LastWindow

from .labeled_volumes import brick, bright, ellipsoid, target_of, write

BOX = {
    "z_min": 1,
    "z_max": 5,
    "z_mid": 3,
    "z_mid_x_min": 4,
    "z_mid_y_min": 5,
    "z_mid_x_max": 9,
    "z_mid_y_max": 8,
}


def labels() -> np.ndarray:
    found = np.zeros((6, 12, 14), np.uint8)
    found[1:6, 5:9, 4:10] = 3
    found[0:3, 1:3, 1:3] = 7
    found[4, 1, 12] = 7  # a second part
    return found


def npz(path: Path, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = (40 + 20 * (labels() > 0)).astype(np.uint8)
    np.savez_compressed(path, **{"imgs": image, "spacing": np.array([3.0, 2.0, 1.0]), **more})
    return path


def test_image_and_labels_may_lie_in_one_file_or_in_two_folders(tmp_path: Path) -> None:
    npz(tmp_path / "train" / "MR_Brain_1.npz", gts=labels())
    npz(tmp_path / "imgs" / "CT_Liver_2.npz")
    np.savez_compressed(tmp_path / "CT_Liver_2.npz", gts=labels())
    npz(tmp_path / "imgs" / "CT_Liver_3.npz")  # no labels: not a case
    np.savez_compressed(tmp_path / "masks.npz", first=labels())
    cases = find_cases(tmp_path)
    assert [(case.name, case.modality) for case in cases] == [
        ("imgs/CT_Liver_2", "CT"),
        ("train/MR_Brain_1", "MR"),
    ]
    for case in cases:
        volume, _ = load_case(case)
        assert volume.array.shape == (6, 12, 14)
        assert volume.geometry.spacing == pytest.approx((1.0, 2.0, 3.0))


def test_gray_values_that_were_windowed_before_stay_as_they_are(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", gts=labels())
    volume, _ = load_case(find_cases(tmp_path)[0])
    window = LastWindow()(volume)
    assert window is not None
    assert (window.lower, window.upper) == (0.0, 255.0)
    assert np.array_equal(window.apply(volume.array), volume.array)


@pytest.mark.parametrize("text", [False, True])
def test_boxes_are_read_as_dictionaries_or_as_text_and_go_with_ascending_labels(
    tmp_path: Path, text: bool
) -> None:
    second = {**BOX, "z_mid": np.int64(1)}
    boxes: Any = np.array([BOX, second], dtype=object)
    if text:
        boxes = json.dumps([BOX, {**BOX, "z_mid": 1}])
    npz(tmp_path / "a.npz", gts=labels(), boxes=boxes)
    _, targets = load_classes(find_cases(tmp_path)[0])
    assert [target.name for target in targets] == ["3", "7"]
    assert targets[0].box == MiddleBox(1, 5, 3, 4, 5, 9, 8)
    assert targets[1].box is not None
    assert targets[1].box.z_mid == 1
    assert not targets[0].boxless


def test_a_file_without_boxes_has_none_for_any_label(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", gts=labels())
    assert read_boxes(path) is None
    _, targets = load_classes(find_cases(tmp_path)[0])
    assert [(target.box, target.boxless) for target in targets] == [(None, True)] * 2


def test_classes_are_whole_labels_and_targets_their_largest_parts(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", gts=labels())
    case = find_cases(tmp_path)[0]
    _, classes = load_classes(case)
    assert [np.count_nonzero(each.mask) for each in classes] == [120, 13]
    _, targets = load_case(case)
    assert [np.count_nonzero(each.mask) for each in targets] == [120, 12]


def test_of_other_volumes_only_the_slices_that_hold_a_label_are_kept(tmp_path: Path) -> None:
    mask = brick()
    mask[6] = False
    write(tmp_path / "a_image.nii.gz", bright(mask))
    write(tmp_path / "a_label.nii.gz", mask.astype(np.uint8))
    whole, _ = load_case(find_cases(tmp_path)[0])
    volume, [target] = load_classes(find_cases(tmp_path)[0])
    assert volume.array.shape[0] == target.mask.shape[0] == 8  # slices 3 to 11 but for 6
    assert np.array_equal(volume.array, whole.array[[3, 4, 5, 7, 8, 9, 10, 11]])
    assert volume.geometry.spacing == pytest.approx(whole.geometry.spacing)
    assert volume.geometry.to_ras([[0, 0, 0]]) == pytest.approx(whole.geometry.to_ras([[0, 0, 3]]))


def test_a_pickle_that_would_call_something_is_refused(tmp_path: Path) -> None:
    class Calls:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "called",))

    path = npz(tmp_path / "a.npz", gts=labels(), boxes=np.array([Calls()], dtype=object))
    with pytest.raises(VolumeError, match=r"The boxes in .*a\.npz cannot be read: it names"):
        read_boxes(path)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"gts": labels()[:3]}, "holds labels of type uint8 and shape .3, 12, 14., but the image"),
        ({"gts": labels(), "spacing": np.array([1.0, 0.0, 1.0])}, "has no usable spacing"),
        ({"gts": labels(), "imgs": np.zeros((6, 12), np.uint8)}, "needs a 3-D image of numbers"),
        ({"gts": labels(), "boxes": np.array([BOX], dtype=object)}, "gives 1 boxes for 2 labels"),
        (
            {"gts": labels(), "boxes": np.array([{"z_min": 1}] * 2, dtype=object)},
            "boxes in .* cannot be read",
        ),
        (
            {"gts": labels(), "boxes": np.array([BOX, {**BOX, "z_max": 6}], dtype=object)},
            "gives a box that does not lie in its volume",
        ),
        ({"gts": labels() * 0}, "labels no voxel"),
    ],
)
def test_files_that_cannot_be_used_are_reported_in_one_sentence(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    path = npz(tmp_path / "a.npz", **content)
    with pytest.raises(VolumeError, match=message):
        load_classes(Case("a", path, path))


def test_a_damaged_file_is_reported_when_a_manifest_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    manifest = [{"name": "a", "image": "a.npz", "label": "a.npz", "modality": "CT"}]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(VolumeError, match="has no usable array 'imgs'"):
        load_case(find_cases(tmp_path)[0])


def test_two_labels_of_one_name_stay_apart(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", gts=labels())
    _, targets = load_classes(Case("a", path, path, names={3: "lesion", 7: "lesion"}))
    assert [target.name for target in targets] == ["lesion (3)", "lesion (7)"]
    assert target_of(ellipsoid()).box is None
