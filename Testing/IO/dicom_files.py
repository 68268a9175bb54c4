"""Small DICOM series with any geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

CT = "1.2.840.10008.5.1.4.1.1.2"
ROOT = "1.2.826.0.1.3680043.8.498."


def write_series(
    folder: Path,
    array: npt.NDArray[Any],
    origin: tuple[float, float, float] = (-100.0, -80.0, 40.0),
    step: tuple[float, float, float] = (0.0, 0.0, 2.5),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    spacing: tuple[float, float] = (0.75, 0.5),
    series: int = 1,
    prefix: str = "",
    positions: npt.NDArray[np.float64] | None = None,
    **tags: Any,
) -> list[Path]:
    """Writes (slices, rows, columns) int16 as one file a slice; `spacing` is mm between rows, between columns.

    Returns the files in the order of the slices; their names are in another order.
    """
    pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index, plane in enumerate(array):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT
        uid = f"{ROOT}{series}.{index + 1}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = ROOT + "100", f"{ROOT}{series}"
        dataset.FrameOfReferenceUID = ROOT + "200"
        dataset.PatientID, dataset.PatientName = "phantom", "Phantom^"
        dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = dataset.StudyID = ""
        dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20240102", "120000", "CT"
        dataset.SeriesDescription, dataset.SeriesNumber = f"series {series}", series
        dataset.InstanceNumber = index + 1
        place = np.array(origin) + index * np.array(step) if positions is None else positions[index]
        dataset.ImagePositionPatient = [f"{value:.10g}" for value in place]
        dataset.ImageOrientationPatient = [f"{value:.12g}" for value in orientation]
        dataset.PixelSpacing = list(spacing)
        dataset.SliceThickness = "2.5"
        dataset.Rows, dataset.Columns = plane.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
        for name, value in tags.items():
            setattr(dataset, name, value(index) if callable(value) else value)
        dataset.PixelData = np.ascontiguousarray(plane, dtype="<i2").tobytes()
        file = folder / f"{prefix}{(index * 7) % 101:03d}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        files.append(file)
    return files
