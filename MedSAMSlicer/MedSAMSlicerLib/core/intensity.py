"""From stored voxel values to the 8-bit gray values the network sees: one window for a whole volume.

Values are those of the file after rescaling: HU for CT, SUV for PET, arbitrary units for MR. Nothing here
copies a whole volume: voxels are read in blocks, and percentiles of more than two million voxels come from an
even sample of them.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import VolumeError

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_BLOCK = 1 << 18  # voxels converted at a time
_SAMPLE = 1 << 21  # voxels looked at for percentiles
# A background is one value that fills this share of the volume, and this many times more than the next value.
_BACKGROUND_SHARE = 0.02
_BACKGROUND_RATIO = 4.0
# A window shows nothing when the grays of the volume span fewer levels, or this share of its bright part is at one end.
_FEWEST_LEVELS = 8
_SATURATED_SHARE = 0.95
# Values of a CT are inverted, not HU, where this share lies as low as air and next to none is denser than muscle.
_AIR, _AIR_SHARE, _MUSCLE = -900.0, 0.02, 60.0


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise VolumeError(f"A window needs two numbers, got {value!r}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise VolumeError(f"A window needs two finite numbers, got {value!r}.")
    return number


@dataclass(frozen=True)
class Window:
    """The range of voxel values shown from black to white.

    Attributes:
        lower: value shown as 0.
        upper: value shown as 255; above `lower`.
        name: how the window was chosen, such as "soft-tissue", "percentile" or "custom".

    Raises:
        VolumeError: bounds that are not finite numbers or not in ascending order.
    """

    lower: float
    upper: float
    name: str = "custom"

    def __post_init__(self) -> None:
        lower, upper = _number(self.lower), _number(self.upper)
        if not lower < upper:
            raise VolumeError(f"A window must go from a lower to an upper value, got {lower:g} to {upper:g}.")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def apply(self, array: Array) -> npt.NDArray[np.uint8]:
        """Gray values of `array`, uint8 in C order, same shape: linear, to the nearest, the ends clipped.

        NaN becomes 0, +Inf 255 and -Inf 0. Any integer, float or bool type is taken.

        Raises:
            VolumeError: voxels that are not real numbers.
        """
        _check_real(array)
        gray = np.empty(array.shape, dtype=np.uint8)
        for block, out in _blocks(array, gray):
            out[...] = self._gray(block.astype(np.float64))
        return gray

    def _gray(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Gray values of float64 `values`, which are overwritten."""
        # The width of a window may itself overflow (-1e308 to 1e308): then everything is halved first.
        scale = 1.0 if math.isfinite(self.upper - self.lower) else 0.5
        lower, width = self.lower * scale, self.upper * scale - self.lower * scale
        np.clip(values, self.lower, self.upper, out=values)
        if scale != 1.0:
            values *= scale
        values -= lower
        values /= width
        values *= 255.0
        values += 0.5
        values[np.isnan(values)] = 0.0
        return values.astype(np.uint8)

    def to_json(self) -> str:
        """The window as a JSON object, bounds exact."""
        return json.dumps({"name": self.name, "lower": self.lower, "upper": self.upper}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Window:
        """The window that `to_json` wrote; VolumeError when `text` is something else."""
        try:
            content = json.loads(text)
        except ValueError:
            raise VolumeError(f"A window must be written as JSON, got {text[:80]!r}.") from None
        if not isinstance(content, dict) or set(content) != {"name", "lower", "upper"}:
            raise VolumeError(f"A window needs a name, a lower and an upper value, got {text[:80]!r}.")
        if not isinstance(content["name"], str):
            raise VolumeError(f"The name of a window must be text, got {content['name']!r}.")
        return cls(content["lower"], content["upper"], content["name"])


def _preset(name: str, level: float, width: float) -> Window:
    return Window(level - width / 2, level + width / 2, name)


# Level and width in HU, as on the consoles of common scanners.
CT_PRESETS: dict[str, Window] = {
    window.name: window
    for window in (
        _preset("soft-tissue", 40, 400),
        _preset("lung", -600, 1500),
        _preset("bone", 400, 1800),
        _preset("brain", 40, 80),
        _preset("liver", 60, 160),
        _preset("mediastinum", 50, 350),
    )
}

WINDOWS = ("auto", *CT_PRESETS, "percentile", "pet", "full")
"""The windows that are chosen by name; any other is written LOWER,UPPER."""


def choose_window(
    volume: Array,
    spec: str = "auto",
    modality: str | None = None,
    notify: Callable[[str], None] = logger.warning,
) -> Window:
    """The window of a whole volume; percentiles instead of one that would show nothing of it.

    Args:
        volume: (K, J, I) voxel values of any integer, float or bool type.
        spec: "auto"; the name of a CT preset; "percentile"; "pet"; "full"; or "LOWER,UPPER".
            "auto" keeps 0..255 for images that were windowed to 8 bits before, takes soft-tissue for CT,
            the SUV range for what `modality` calls PET, and percentiles for everything else.
        modality: what the file says it is ("CT", "MR", "PT", ...), when it says so.
        notify: takes the sentence that another window was taken.

    Raises:
        VolumeError: an unknown spec, or a volume that is empty, constant or without a finite voxel.
    """
    return with_contrast(_window_of(volume, spec, modality, notify), volume, notify)


def with_contrast(window: Window, volume: Array, notify: Callable[[str], None] = logger.warning) -> Window:
    """The window itself, or percentiles where it would show nothing of the volume and they do.

    A CT whose values were not rescaled to HU, for example, is white all over in the soft-tissue window.

    Args:
        window: however it was chosen.
        volume: (K, J, I) voxel values.
        notify: takes the sentence that another window was taken.
    """
    sample = _sample(volume)
    if not sample.size or not _shows_nothing(window, sample):
        return window
    instead = mr_percentiles(volume)
    if _shows_nothing(instead, sample):
        return window
    notify(
        f"The window {window.name} ({window.lower:g} to {window.upper:g}) shows next to nothing of this volume; "
        f"{instead.lower:g} to {instead.upper:g} was taken instead."
    )
    return instead


def _shows_nothing(window: Window, sample: npt.NDArray[np.float64]) -> bool:
    gray = window.apply(sample)
    darkest, brightest = np.percentile(gray, (0.5, 99.5), method="nearest")
    if float(brightest) - float(darkest) < _FEWEST_LEVELS:
        return True
    bright = gray[sample > _threshold(sample)]
    return (
        bool(max(np.mean(bright == 0), np.mean(bright == 255)) > _SATURATED_SHARE) if bright.size else False
    )


def _threshold(sample: npt.NDArray[np.float64]) -> float:
    """The value that parts the dark from the bright voxels (Otsu 1979), extremes left out."""
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5), method="nearest"))
    if not 0.0 < high - low < math.inf:
        return low
    counts, edges = np.histogram(sample, bins=256, range=(low, high))
    centers = (edges[:-1] / 2 + edges[1:] / 2) / (high - low)
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = below[-1] + counts[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(np.nanargmax(apart))])


def _window_of(volume: Array, spec: str, modality: str | None, notify: Callable[[str], None]) -> Window:
    lowest, highest = _finite_range(volume)
    chosen = spec.strip().lower()
    if chosen in CT_PRESETS:
        return CT_PRESETS[chosen]
    if chosen == "pet":
        return pet_suv()
    if chosen == "full":
        return Window(lowest, highest, "full")
    if chosen == "percentile":
        return mr_percentiles(volume)
    if chosen == "auto":
        return _automatic_window(volume, lowest, highest, (modality or "").strip().upper(), notify)
    window = custom_window(chosen)
    if window is None:
        raise VolumeError(f"The window must be one of {', '.join(WINDOWS)} or LOWER,UPPER, got {spec!r}.")
    return window


def custom_window(spec: str) -> Window | None:
    """The window that is written LOWER,UPPER in values of the volume; None for any other text.

    Raises:
        VolumeError: when it is upside down or not finite.
    """
    try:
        lower, upper = (float(part) for part in spec.split(","))
    except ValueError:
        return None
    return Window(lower, upper, "custom")


def luma(color: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Gray values of red, green and blue, (..., 3) uint8 -> (...) uint8, to the nearest (ITU-R BT.601).

    Raises:
        VolumeError: an array whose last axis is not that of color.
    """
    if not color.ndim or color.shape[-1] != 3:
        raise VolumeError(
            f"Color needs red, green and blue along its last axis, got the shape {color.shape}."
        )
    weighted = color @ np.array([299, 587, 114], np.int32)
    return np.asarray((weighted + 500) // 1000, np.uint8)


def mr_percentiles(volume: Array, lower: float = 0.5, upper: float = 99.5) -> Window:
    """A window between two percentiles of the foreground: the voxels that do not have the background value.

    The background is the most common value when it is far more common than any other, wherever it lies: 0
    around a skull-stripped brain, -3.6 around one that was z-scored. Dim tissue and noisy air stay in, since
    a threshold would blacken dark organs such as the lung on MR.

    Raises:
        VolumeError: a volume that is empty, constant or without a finite voxel.
    """
    lowest, highest = _finite_range(volume)
    foreground = _foreground(_sample(volume))
    low, high = (float(value) for value in np.percentile(foreground, (lower, upper), method="nearest"))
    if low < high:
        return Window(low, high, "percentile")
    # Nearly every voxel has one value: a phantom or a label. Its extremes are all there is to show.
    return Window(lowest, highest, "percentile")


COLOR_WINDOW = Window(0.0, 255.0, "color")
"""What stands for the window of frames in color, which are shown as they are."""


def pet_suv(upper: float = 10.0) -> Window:
    """The window of a PET volume in SUV: 0 to `upper`."""
    return Window(0.0, upper, "pet")


def _automatic_window(
    volume: Array, lowest: float, highest: float, modality: str, notify: Callable[[str], None]
) -> Window:
    sample = _sample(volume)
    if lowest == 0.0 and highest == 255.0 and _saturates_at(sample, 255.0):
        return Window(0.0, 255.0, "8-bit")
    if modality in ("PT", "PET"):
        return pet_suv()
    if modality == "CT" or (not modality and _looks_like_hounsfield(sample)):
        if not _is_inverted(sample):
            return CT_PRESETS["soft-tissue"]
        instead = mr_percentiles(volume)
        notify(
            "The values of this CT do not look like HU: next to none is denser than muscle, as where they are inverted "
            f"(MONOCHROME1 without rescaling). The window {instead.lower:g} to {instead.upper:g} was taken."
        )
        return instead
    return mr_percentiles(volume)


def _saturates_at(sample: Array, top: float) -> bool:
    """Return whether whole numbers pile up at `top`, as the clipped bones of a windowed CT do."""
    if not np.array_equal(sample, np.rint(sample)):
        return False
    piled, next_to_it = np.count_nonzero(sample == top), np.count_nonzero(sample == top - 1)
    return bool(piled > 0.001 * sample.size and piled > 4 * next_to_it)


def _looks_like_hounsfield(sample: Array) -> bool:
    """Return whether voxel values are those of a CT: air and water at their places in HU, or fat and soft tissue."""
    if np.quantile(sample, 0.005, method="nearest") < -3100.0:
        return False  # lower than any scanner's padding: a phase or difference image

    def share(low: float, high: float) -> float:
        return float(np.count_nonzero((sample >= low) & (sample <= high))) / sample.size

    soft = share(-200.0, 200.0)
    if float(sample.min()) <= -900.0 and share(-1200.0, -700.0) > 0.001 and soft > 0.01:
        return True
    # A crop without air: whole numbers with fat and muscle, and fewer voxels of water than of muscle. A
    # difference image has its peak at zero.
    whole = np.array_equal(sample, np.rint(sample))
    fat, water, muscle = share(-200.0, -20.0), share(-20.0, 20.0), share(30.0, 70.0)
    return bool(whole and sample.min() >= -1200.0 and soft > 0.5 and fat > 0.02 and muscle > max(water, 0.02))


def _is_inverted(sample: Array) -> bool:
    """Return whether the values of a CT fall with density: the body is as low as air, and air is the highest."""
    air = np.count_nonzero(sample <= _AIR) / sample.size
    return bool(air > _AIR_SHARE and np.quantile(sample, 0.995, method="nearest") < _MUSCLE)


def _foreground(sample: Array) -> Array:
    """The finite `sample` without its background value, or all of it when it has none."""
    values, counts = np.unique(sample, return_counts=True)
    if len(values) < 3:
        return sample
    second, most = np.sort(counts)[-2:]
    if most < _BACKGROUND_SHARE * sample.size or most < _BACKGROUND_RATIO * second:
        return sample
    return np.asarray(sample[sample != values[np.argmax(counts)]])


def _finite_range(volume: Array) -> tuple[float, float]:
    """Lowest and highest finite value of the volume; VolumeError when they are equal or there are none."""
    _check_real(volume)
    if volume.size == 0:
        raise VolumeError(f"The volume is empty: its shape is {volume.shape}.")
    lowest, highest = math.inf, -math.inf
    if volume.dtype.kind in "iub":
        low, high = volume.min(), volume.max()
        lowest, highest, constant = float(low), float(high), bool(low == high)
    else:
        for (block,) in _blocks(volume):
            finite = block[np.isfinite(block)]
            if finite.size:
                lowest, highest = min(lowest, float(finite.min())), max(highest, float(finite.max()))
        constant = lowest == highest
    if lowest > highest:
        raise VolumeError("The volume holds no finite voxel value, only NaN or infinity.")
    if constant:
        raise VolumeError(f"Every voxel of the volume has the value {lowest:g}: there is nothing to segment.")
    if lowest == highest:  # neighboring 64-bit integers that no float can tell apart
        highest = math.nextafter(highest, math.inf)
    return lowest, highest


def _sample(volume: Array) -> npt.NDArray[np.float64]:
    """Finite values of evenly spread voxels, float64, all of them when there are few enough."""
    step = -(-volume.size // _SAMPLE)
    while step > 1 and any(math.gcd(step, n) > 1 for n in volume.shape):
        step += 1  # a step that shares no factor with a side visits every row and column
    values = np.asarray(volume.flat[::step], dtype=np.float64)
    return values[np.isfinite(values)]


def _blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Matching 1-D pieces of arrays of one shape, in native byte order; all but the first writeable."""
    with np.nditer(  # type: ignore[call-overload]
        arrays,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly"], *[["writeonly"]] * (len(arrays) - 1)],
        op_dtypes=[array.dtype.newbyteorder("=") for array in arrays],
        order="K",
        casting="equiv",
        buffersize=_BLOCK,
    ) as iterator:
        for block in iterator:
            yield block if len(arrays) > 1 else (block,)


def _check_real(array: Array) -> None:
    if array.dtype.kind not in "iufb" or array.dtype.itemsize > 8:
        raise VolumeError(f"A volume must hold real numbers, got voxels of type {array.dtype}.")
