"""The automatic window on every scalar volume of the shared data: NIfTI files, which name no modality, and DICOM."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from MedSAMSlicerLib.core.intensity import CT_PRESETS, Window, choose_window, mr_percentiles

sitk = pytest.importorskip("SimpleITK")

CT = ["ct_spleen", "ct_abdomen_ts", "ct_lungtumour_ibsi", "sts006_ct", "sts041_ct", "dicom_ct_abdomen"]
WINDOWED = ["ct_lesion_a", "ct_lesion_b"]
MR = [
    "sts006_mr_t1",
    "sts041_mr_t1",
    "sts015_mr_t1",
    "mr_brain_itksnap",
    "brats13_0001_flair",
    "brats13_0001_t1c",
    "brats13_0005_flair",
    "brats13_0005_t1c",
    "mr_gbm_thick1",
    "ms_flair_p26",
    "mr_prostate_0",
    "mr_lung_cor_0004",
    "mr_cord_sag",
    "dicom_mr_prostate_cor",
    "multiframe_mr_cine",
]
OTHER = ["sts006_pet"]
UNLABELED = ["dicom_mr_prostate_cor", "multiframe_mr_cine"]


@lru_cache(maxsize=2)
def read(path: Path) -> np.ndarray:
    if path.is_dir():
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
        return sitk.GetArrayFromImage(sitk.ReadImage(files))
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def volume_of(folder: Path, name: str, what: str = "image") -> np.ndarray:
    entries = {entry["name"]: entry for entry in json.loads((folder / "manifest.json").read_text())}
    if name not in entries:
        pytest.skip(f"{name} is not among the real volumes")
    return read(folder / entries[name][what])


def test_every_scalar_volume_is_looked_at(shared_data: Path) -> None:
    entries = json.loads((shared_data / "manifest.json").read_text())
    other = ("RGB", "4D")
    names = {entry["name"] for entry in entries if not any(word in entry["modality"] for word in other)}
    assert names <= set(CT + WINDOWED + MR + OTHER)


@pytest.mark.parametrize("name", CT)
def test_ct_is_shown_in_the_soft_tissue_window(shared_data: Path, name: str) -> None:
    assert choose_window(volume_of(shared_data, name)) == CT_PRESETS["soft-tissue"]


@pytest.mark.parametrize("name", CT)
def test_crops_of_a_ct_to_its_target_are_still_ct(shared_data: Path, name: str) -> None:
    volume, label = volume_of(shared_data, name), volume_of(shared_data, name, "label")
    k, j, i = (slice(max(axis.min() - 3, 0), axis.max() + 4) for axis in np.nonzero(label))
    assert choose_window(np.ascontiguousarray(volume[k, j, i])) == CT_PRESETS["soft-tissue"]


@pytest.mark.parametrize("name", WINDOWED)
def test_windowed_ct_stays_as_it_is(shared_data: Path, name: str) -> None:
    volume = volume_of(shared_data, name)
    window = choose_window(volume)
    assert window == Window(0, 255, "8-bit")
    assert np.array_equal(window.apply(volume), volume)


@pytest.mark.parametrize("name", MR + OTHER)
def test_mr_and_pet_are_shown_between_percentiles_of_their_foreground(shared_data: Path, name: str) -> None:
    volume = volume_of(shared_data, name)
    window = choose_window(volume)
    assert window == mr_percentiles(volume)
    values, counts = np.unique(volume, return_counts=True)
    tissue = volume[volume != values[counts.argmax()]]
    assert (
        np.mean((tissue < window.lower) | (tissue > window.upper)) < 0.015
    )  # half a percent at each end, and ties
    assert len(np.unique(window.apply(volume))) > 0.8 * min(len(values), 64)


@pytest.mark.parametrize("name", [name for name in CT + WINDOWED + MR + OTHER if name not in UNLABELED])
def test_target_is_neither_black_nor_white(shared_data: Path, name: str) -> None:
    volume, label = volume_of(shared_data, name), volume_of(shared_data, name, "label")
    gray = choose_window(volume).apply(volume)[label > 0]
    # Lungs, the rim of a lung tumor and bowel gas are black in soft tissue.
    holds_air = {"ct_abdomen_ts": 0.12, "dicom_ct_abdomen": 0.3, "ct_lungtumour_ibsi": 0.18}
    assert np.mean(gray == 0) < holds_air.get(name, 0.01)
    # Lesions on FLAIR and tumors on PET are the brightest of all: their brightest voxels saturate.
    brightest = {
        "ms_flair_p26": 0.31,
        "sts006_pet": 0.09,
        "brats13_0001_flair": 0.07,
        "brats13_0005_flair": 0.07,
    }
    assert np.mean(gray == 255) < brightest.get(name, 0.05)
    if name not in holds_air:
        assert 10 < np.median(gray) < 245


@pytest.mark.parametrize("name", ["brats13_0001_flair", "brats13_0005_t1c", "ms_flair_p26"])
def test_stripped_skull_is_black_and_the_brain_is_not(shared_data: Path, name: str) -> None:
    volume = volume_of(shared_data, name)
    values, counts = np.unique(volume, return_counts=True)
    background = volume == values[counts.argmax()]
    gray = choose_window(volume).apply(volume)
    assert gray[background].max() <= 12
    assert np.median(gray[~background]) > 60
