"""One picture, or one mask, from a file: PNG, JPEG, BMP or TIFF, and two-dimensional NIfTI, NRRD, MetaImage or DICOM.

Pictures are taken as they are meant to be looked at: turned as EXIF says, a palette looked up, CMYK as RGB,
transparency dropped, and color of 16 bits brought to 8. A picture whose three channels are equal is gray; gray keeps
its numbers.

Masks (every format but JPEG keeps what was drawn):

- A palette that holds a color gives its indices as labels, as in DAVIS and PASCAL VOC; one of grays alone, the grays.
- Color is taken where one color is drawn on black; then the mask is binary. What is transparent is background.
- One value beside 0 that is the highest of its type (255, 65535) is label 1: a binary mask.
- 255 beside other labels means "do not judge" and becomes background, as in PASCAL VOC.
- JPEG is lossy: its mask is binary, the object is where it is at least half as bright as white. The same holds for
  a mask with soft edges, which has more than `SOFT_VALUES` values and reaches 255.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ...core.errors import MedSAMError, VolumeError
from ...core.geometry import FloatArray
from ...core.input_files import check_input
from ...io.conventions import affine_from_lps, itk_name
from ...io.image_file import ImageFile
from ...io.native_output import quiet_itk
from ...io.volumes import itk_header, open_image, telling

Array = npt.NDArray[Any]

PICTURE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SOFT_VALUES = 64

_JPEG = (".jpg", ".jpeg")
_HALF = 128


@dataclass(frozen=True, eq=False)
class Pixels:
    """The content of an image file.

    Attributes:
        array: (K, J, I) numbers, or (K, J, I, 3) uint8 in color; K = 1 for a picture.
        ijk_to_ras: (4, 4), RAS in mm, where the file gives it; else None, and a pixel counts as 1 mm.
    """

    array: Array
    ijk_to_ras: FloatArray | None = None


def is_picture(path: Path) -> bool:
    """Return whether the name is that of a PNG, JPEG, BMP or TIFF file."""
    return path.name.lower().endswith(PICTURE_FILES)


def read_picture(path: Path) -> Pixels:
    """A picture as it is looked at.

    Raises:
        VolumeError: one sentence that names the file, when it cannot be read or is no picture.
    """
    if not is_picture(path):
        return read_with_itk(path)
    with _telling(path), _opened(path) as image:
        if image is not None:
            if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
                return Pixels(_gray(image)[np.newaxis])
            if image.mode in ("LA", "La"):
                return Pixels(_gray(image.getchannel(0))[np.newaxis])
            return Pixels(without_needless_color(np.asarray(image.convert("RGB")))[np.newaxis])
    return Pixels(read_with_itk(path).array)  # the size of a pixel in print is no size in the patient


def read_mask(path: Path) -> Array:
    """(rows, columns) numbers of a mask as they are stored, see :func:`labels_of` for what they mean.

    Raises:
        VolumeError: one sentence that names the file, when it cannot be read or is no mask.
    """
    found: Array | None = None
    if is_picture(path):
        with _telling(path), _opened(path) as image:
            if image is not None:
                found = _numbers_of_mask(image)
    if found is None:
        found = read_with_itk(path).array
        if len(found) != 1:
            raise VolumeError(f"{path} has {len(found)} slices, but the mask of one picture is needed.")
        found = found[0]
    if found.ndim == 3:
        found = _one_color(path, found)
    if path.suffix.lower() in _JPEG:
        found = np.where(found >= _HALF, np.uint8(255), np.uint8(0))
    return found


def labels_of(masks: Array, path: Path) -> npt.NDArray[np.integer[Any]]:
    """Label values from the numbers of a mask, or of all masks of a video together; any shape.

    Raises:
        VolumeError: naming `path`, when the numbers are no labels.
    """
    values = np.unique(masks)
    if not np.issubdtype(masks.dtype, np.integer):
        if not np.isfinite(values).all() or (values != np.rint(values)).any() or np.abs(values).max() > 2**31:
            raise VolumeError(f"{path} is not a mask: its pixels are not whole numbers.")
        return masks.astype(np.int32)
    above = values[values > 0]
    if len(above) == 1 and above[0] in (255, 65535):
        return np.asarray(masks > 0, np.uint8)
    if masks.dtype == np.uint8 and 255 in above:
        if len(values) > SOFT_VALUES:
            return np.asarray(masks >= _HALF, np.uint8)
        return np.where(masks == 255, np.uint8(0), masks)
    return masks


def read_with_itk(path: Path) -> Pixels:
    """A 2-D image, or a 3-D one, gray or in color, from any file that SimpleITK reads; its place is kept.

    Raises:
        VolumeError: one sentence that names the file.
    """
    checked = _checked_by_us(path)
    if checked is not None and len(checked.size) == 3 and checked.ijk_to_ras is not None:
        with telling(path):
            array, _ = checked.read()
        return Pixels(array if checked.components == 1 else _eight_bits(path, array), checked.ijk_to_ras)
    with _telling(path), quiet_itk():
        try:
            image = sitk.ReadImage(itk_name(path))
        except RuntimeError as error:
            raise VolumeError(f"{path} is not an image, or it is damaged.") from error
    axes, channels = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if axes not in (2, 3):
        raise VolumeError(f"{path} is {axes}-D, but a picture or a video is needed.")
    array = np.asarray(sitk.GetArrayFromImage(image))
    if channels > 1:
        array = _eight_bits(path, array)
    if axes == 2:
        image, array = sitk.JoinSeries(image), array[np.newaxis]
    return Pixels(array, affine_from_lps(image.GetOrigin(), image.GetSpacing(), image.GetDirection()))


def header_of(path: Path) -> tuple[tuple[int, ...], int] | None:
    """Size along i, j, k, ... and values a pixel, as the header says; None when it cannot be read."""
    with quiet_itk():
        try:
            checked = _checked_by_us(path)
            if checked is not None:
                return checked.size, checked.components
            reader = itk_header(path)
        except (RuntimeError, VolumeError):
            return None
        return tuple(reader.GetSize()), int(reader.GetNumberOfComponents())


def _checked_by_us(path: Path) -> ImageFile | None:
    """The header of an NRRD or MetaImage file, None for others; VolumeError when it cannot be used."""
    check_input(path, VolumeError)
    if path.suffix.lower() not in (".nrrd", ".nhdr", ".mha", ".mhd"):
        return None
    with telling(path):
        return open_image(path)


def without_needless_color(array: Array) -> Array:
    """(..., 3) -> (...) where the three channels are equal everywhere, else as it came."""
    first = array[..., :1]
    return np.ascontiguousarray(array[..., 0]) if (array == first).all() else array


def _gray(image: Any) -> Array:
    """(rows, columns) of a picture of one channel, in the byte order of this computer; black and white as 0, 255."""
    array = np.asarray(image)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    return np.array(array, array.dtype.newbyteorder("="))


def _numbers_of_mask(image: Any) -> Array:
    """Numbers of a mask, (rows, columns); (rows, columns, 3) where it is in color. Transparent means 0."""
    mode = str(image.mode)
    if mode in ("P", "PA"):
        given = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(given)] = given
        indices = np.asarray(image.getchannel(0))
        array = palette[indices, 0] if (palette == palette[:, :1]).all() else indices
    elif mode in ("1", "L", "F") or mode.startswith("I"):
        array = _gray(image)
    else:
        array = without_needless_color(np.asarray(image.convert("RGB")))
    if mode in ("PA", "LA", "La", "RGBA", "RGBa") or (
        mode in ("P", "L", "RGB") and "transparency" in image.info
    ):
        hidden = np.asarray(image.convert("RGBA"))[..., 3] == 0
        array = np.where(hidden[..., np.newaxis] if array.ndim == 3 else hidden, array.dtype.type(0), array)
    return array


def _one_color(path: Path, array: Array) -> Array:
    """(rows, columns) 0 or 255 from one color on black; a JPEG's by its brightest channel."""
    if path.suffix.lower() in _JPEG:
        return np.asarray(array.max(axis=-1))
    drawn = array.any(axis=-1)
    if len(np.unique(array[drawn], axis=0)) > 1:
        raise VolumeError(f"{path} has several colors, but a mask has label values: gray, or with a palette.")
    return np.where(drawn, np.uint8(255), np.uint8(0))


def _eight_bits(path: Path, array: Array) -> Array:
    """(..., C) red, green, blue and perhaps more -> (..., 3) uint8, or gray (...)."""
    if array.shape[-1] < 3 or array.dtype not in (np.uint8, np.uint16):
        raise VolumeError(
            f"{path} holds {array.shape[-1]} values per pixel of type {array.dtype}, which is neither gray nor color "
            "of 8 or 16 bits."
        )
    array = array[..., :3]
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return without_needless_color(array)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The image in Pillow's hands, turned as EXIF says; None where Pillow does not know the format (16-bit color)."""
    check_input(path, VolumeError)
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise MedSAMError(
            "Pictures need the Python package 'pillow', which is not installed: pip install 'medsamslicer[lab]'."
        ) from error
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise
        yield None
        return
    except Image.DecompressionBombError as error:
        raise VolumeError(f"{path} cannot be read: it is too large ({error}).") from error
    with image:
        yield ImageOps.exif_transpose(image)


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turns what can go wrong with a file into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise VolumeError(f"{path} does not exist.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise VolumeError(f"{path} is not a picture, or it is damaged.") from error
