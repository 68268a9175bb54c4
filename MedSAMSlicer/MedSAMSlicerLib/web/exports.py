"""The results of a session as files: segmentations, label volumes, DICOM SEG, prompts, pictures."""

from __future__ import annotations

import importlib.util
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.errors import SessionError
from ..core.geometry import SliceAxis
from ..core.intensity import luma
from ..core.translation import tr as _
from ..io.dicom_seg import write_dicom_seg
from ..io.pictures import write_picture
from ..io.segmentations import Color, write_labelmap, write_seg_nrrd
from ..io.video import Frame, FrameReader
from ..io.video_output import VideoMasks, write_video_masks
from .session import WebSession
from .uploads import Clip, remove_folder
from .view import mask_volume

FORMATS = {
    "seg.nrrd": "segmentation of 3D Slicer",
    "nii.gz": "NIfTI labels",
    "nrrd": "NRRD labels",
    "mha": "MetaImage labels",
    "dcm": "DICOM SEG",
    "json": "prompts",
    "png": "picture",
    "zip": "masks of a video as PNG, COCO annotations, and an overlay as MP4",
}
"""The endings of files that can be exported, and what they are."""

Masks = Mapping[str, npt.NDArray[np.bool_]]


def export(session: WebSession, ending: str) -> Path:
    """Write the results of a session into a file of its private folder.

    Args:
        session: its masks and prompts as they are now.
        ending: one of FORMATS.

    Raises:
        SessionError: there is nothing to write, or no such format.
        OutputError: the file cannot be written.
    """
    writers: Mapping[str, Callable[[WebSession, Path], Path]] = {
        "json": _write_prompts,
        "png": _write_picture,
        "dcm": _write_dicom,
        "seg.nrrd": _write_segmentation,
        "zip": _write_video,
    }
    if ending not in FORMATS:
        known = ", ".join(FORMATS)
        raise SessionError(
            _("The format is one of {known}, not {ending!r}.").format(known=known, ending=ending)
        )
    session.touch()
    name = re.sub(r"[^\w.+-]+", "_", session.volume.name).strip("._") or "volume"
    path = session.new_path(f"{name[:80]}-segmentation.{ending}", exported=True)
    return writers.get(ending, _write_labels)(session, path)


def _masks(session: WebSession) -> tuple[dict[str, npt.NDArray[np.bool_]], dict[str, Color]]:
    """The masks of all objects, (K, J, I), and their colors, by name."""
    with session.looking() as controller:
        masks = controller.inputs.masks
        ids = () if masks is None else masks.segment_ids()
        found = {each: mask_volume(session, each) for each in ids}
        if masks is None or not any(mask.any() for mask in found.values()):
            raise SessionError(_("There is no mask yet: give an object a box or a point first."))
        names = {each: masks.name(each) for each in ids}
        taken: dict[str, str] = {}
        for each, name in names.items():  # two objects may bear one name
            taken[each] = name if name not in taken.values() else f"{name} ({each})"
        colors = {taken[each]: masks.color(each) for each in ids}
        return {taken[each]: mask for each, mask in found.items()}, colors


def _write_segmentation(session: WebSession, path: Path) -> Path:
    masks, colors = _masks(session)
    write_seg_nrrd(path, masks, session.geometry, colors, session.volume.name)
    return path


def _write_labels(session: WebSession, path: Path) -> Path:
    masks, colors = _masks(session)
    write_labelmap(path, masks, session.geometry, colors)
    return path


def _write_dicom(session: WebSession, path: Path) -> Path:
    volume = session.volume
    if not volume.dicom_files:
        raise SessionError(
            _("A DICOM SEG needs a DICOM series, which {name} is not: use .seg.nrrd.").format(
                name=volume.name
            )
        )
    masks, colors = _masks(session)
    write_dicom_seg(path, masks, volume.geometry, volume.dicom_files, colors)
    return path


class _ClipFrames(FrameReader):
    """The frames of a clip in memory."""

    def __init__(self, clip: Clip) -> None:
        frames, rows, columns, colors = clip.array.shape
        super().__init__(clip.path, (frames, rows, columns, colors), clip.names, clip.rate)
        self._array = clip.array

    def _read(self, index: int) -> Frame:
        return np.asarray(self._array[index], np.uint8)


def _write_video(session: WebSession, path: Path) -> Path:
    clip = session.volume
    if not isinstance(clip, Clip):
        raise SessionError(
            _("Only videos are exported as .zip; {name} is not a video.").format(name=clip.name)
        )
    masks, colors = _masks(session)
    folder = path.parent / "results"
    folder.mkdir()
    overlay = importlib.util.find_spec("av") is not None
    about = {"program": "MedSAMSlicer", "video": clip.name}
    write_video_masks(
        folder, _ClipFrames(clip), VideoMasks(colors, lambda name, index: masks[name][index], about), overlay
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder))
    remove_folder(folder)
    return path


def _write_prompts(session: WebSession, path: Path) -> Path:
    """One JSON file, or an archive of one for each slice axis in use."""
    with session.looking() as controller:
        written = controller.files.export_prompts(path)
    if len(written) == 1:
        return written[0]
    archive = path.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for each in written:
            file.write(each, each.name)
    return archive


def _write_picture(session: WebSession, path: Path) -> Path:
    masks, colors = _masks(session)
    with session.looking() as controller:
        window, axis = controller.network.window, controller.editing.axis
        prompts = {
            each.name: tuple(prompt for prompt in each.prompts if prompt.slice.axis == (axis or SliceAxis.K))
            for each in session.shown_prompts
        }
    volume = session.volume
    if window is None:
        raise SessionError(_("Please wait: the volume is being processed."))
    gray = (
        luma(np.asarray(volume.array, np.uint8)) if isinstance(volume, Clip) else window.apply(volume.array)
    )
    write_picture(
        path, gray, volume.geometry, axis or SliceAxis.K, masks, colors, prompts=prompts, title=volume.name
    )
    return path
