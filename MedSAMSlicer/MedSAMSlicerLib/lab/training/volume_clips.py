"""Training clips from labeled volumes: each slice in the square that the engine would show the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ...core.errors import VolumeError
from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.intensity import Window
from ...engine.crop import CropPolicy, bounds_of
from ...engine.view import FrameView
from .clips import Batch
from .fields import Source
from .labeled import LabeledVolume, TrainingTarget, united
from .rng import seed_of

_SQUARE_ENOUGH = 2.0  # in-plane spacings of an axis may differ by this factor
_SMALLEST_AREA = 8  # voxels of an object on a slice that is prompted
_SMALLEST_FRAME_AREA = 12  # network pixels
_TRIES = 60
_ROOM = 1.4  # a turned square needs this much more around it

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """The variation of clips of real volumes, all slices of a clip alike.

    Args:
        spread: the square is up to this many times larger or smaller than the engine's.
        drift: its center is moved by up to this part of the object's longer side.
        wide: share of squares that show far more than the object, as before a first click.
        affine: share of clips that are turned by up to `degrees`, stretched and sheared a little.
        window: the window's ends move by up to this part of its width.
        gamma: gray values are bent by an exponent between its inverse and this.
    """

    spread: float = 1.3
    drift: float = 0.06
    wide: float = 0.1
    affine: float = 0.5
    degrees: float = 25.0
    window: float = 0.08
    gamma: float = 1.25


def usable_axes(geometry: VolumeGeometry) -> list[SliceAxis]:
    """The axes whose slices are not too coarse in one direction; the best one, as radiologists see it, first."""
    ratios = {
        axis: max(geometry.in_plane_spacing(axis)) / min(geometry.in_plane_spacing(axis))
        for axis in SliceAxis
    }
    ordered = sorted(SliceAxis, key=lambda axis: (round(ratios[axis], 2), int(axis)))
    return [axis for axis in ordered if axis is ordered[0] or ratios[axis] <= _SQUARE_ENOUGH]


@dataclass(frozen=True)
class _ClipRun:
    """Slices of one object from a key slice outward."""

    volume: LabeledVolume
    target: TrainingTarget
    axis: SliceAxis
    order: range

    @property
    def last(self) -> int:
        """The number of slices after the first on which the object is last seen."""
        extent = self.target.extent(self.axis)
        return extent[-1] - self.order[0] if self.order.step > 0 else self.order[0] - extent[0]


class VolumeClips:
    """Clips from labeled volumes; the same seed and number always give the same clip.

    Args:
        volumes: at least one.
        size: side of the frames in pixels.
        margin: side of the square / longer side of the object's box (`Config.crop_margin`); None = whole slices.
        augmentation: None = exactly the engine's view, as validation wants it.
        shortest: slices of the shortest clip.
        unions: share of the clips whose object is united with those that touch it, see :func:`.labeled.united`.
        fit: how whole slices lie in the square, see :class:`~...sam2.config.InputRule`.

    Raises:
        VolumeError: When no volume has as many slices as the shortest clip, `shortest`.
    """

    def __init__(
        self,
        volumes: Sequence[LabeledVolume],
        size: int,
        margin: float | None,
        augmentation: Augmentation | None,
        shortest: int = 2,
        unions: float = 0.0,
        fit: str = "center",
    ) -> None:
        self.size, self.augmentation, self.unions, self.fit = size, augmentation, unions, fit
        self._united: dict[tuple[int, int], TrainingTarget] = {}
        self.policy = None if margin is None else CropPolicy(margin)
        self.volumes = [v for v in volumes if max(v.geometry.shape) >= shortest]
        self.in_color = any(volume.array.ndim == 4 for volume in self.volumes)
        if not self.volumes:
            raise VolumeError(f"None of the labeled volumes has {shortest} slices or more.")

    def clip(self, seed: int, length: int) -> tuple[Bytes, Bytes, int]:
        """Frames and masks (length, size, size) uint8, the object on the first; and after how many it is last seen.

        Frames of volumes in color have a last axis of 3.

        Raises VolumeError when no object can be shown in as many slices.
        """
        source = Source(seed)
        for attempt in range(_TRIES):
            run = self._run(source, length, patient=attempt < _TRIES // 2)
            if run is None:
                continue
            frames, masks = self._cut(source, run)
            if self.in_color and frames.ndim == 3:  # gray volumes among those in color
                frames = np.repeat(frames[..., np.newaxis], 3, axis=-1)
            if int((masks[0] > 127).sum()) >= _SMALLEST_FRAME_AREA:
                return frames, masks, run.last
        raise VolumeError(f"No labeled object can be shown in clips of {length} slices; make them shorter.")

    def batch(self, seed: int, size: int, length: int, first: int = 0) -> Batch:
        """Clips number `first` to `first + size - 1` of a seed."""
        clips = [self.clip(seed_of(seed, first + number), length) for number in range(size)]
        lasts = np.array([last for _, _, last in clips], np.float32)
        frames, masks = (np.stack([clip[part] for clip in clips], 1) for part in (0, 1))
        return Batch(frames, masks, lasts)

    def _run(self, source: Source, length: int, patient: bool) -> _ClipRun | None:
        """An object and its slices, half of them at least with the object on them while `patient`."""
        number = source.integer(0, len(self.volumes) - 1)
        volume = self.volumes[number]
        chosen = source.integer(0, len(volume.targets) - 1)
        target = volume.targets[chosen]
        if self.unions and source.chance(self.unions):
            target = self._union(number, chosen)
        axes = usable_axes(volume.geometry)
        axis = axes[0] if source.chance(0.5) else axes[source.integer(0, len(axes) - 1)]
        areas, extent = target.areas(axis), target.extent(axis)
        candidates = np.flatnonzero(areas >= min(_SMALLEST_AREA, int(areas.max())))
        place = int(areas.argmax()) if source.chance(0.5) else int(source.choice.choice(candidates))
        key, last = extent[place], volume.geometry.slice_count(axis) - 1
        options = [range(key, key + length), range(key, key - length, -1)]
        options = [order for order in options if 0 <= order[-1] <= last]
        if patient:
            options = [order for order in options if sum(index in extent for index in order) * 2 >= length]
        if not options:
            return None
        return _ClipRun(volume, target, axis, options[source.integer(0, len(options) - 1)])

    def _union(self, number: int, chosen: int) -> TrainingTarget:
        """A target of a volume with those that touch it, made once."""
        if (number, chosen) not in self._united:
            targets = self.volumes[number].targets
            others = [each for place, each in enumerate(targets) if place != chosen]
            self._united[number, chosen] = united(targets[chosen], others)
        return self._united[number, chosen]

    def _cut(self, source: Source, run: _ClipRun) -> tuple[Bytes, Bytes]:
        volume, axis, geometry = run.volume, run.axis, run.volume.geometry
        masks = [run.target.on_slice(geometry, axis, index) for index in run.order]
        view, window = self._view(source, run, masks[0]), volume.window
        varied = self.augmentation
        turned = varied is not None and source.chance(varied.affine)
        if turned:
            view = replace(view.moved_to(view.center, _ROOM * view.side_mm), size=round(_ROOM * self.size))
        if varied is not None:
            window = _moved(source, window, varied.window)
        slices = [window.apply(np.take(volume.array, index, axis=int(axis))) for index in run.order]
        frames = np.stack([view.frame(gray) for gray in slices])
        shown = np.stack([view.frame(mask.astype(np.uint8) * 255) for mask in masks])
        if varied is not None:
            if turned:
                frames, shown = _turned(source, frames, shown, varied, self.size)
            for axis_to_flip in (1, 2):
                if source.chance(0.5):
                    frames, shown = np.flip(frames, axis_to_flip), np.flip(shown, axis_to_flip)
            frames = _bent(source, frames, varied.gamma)
        return np.ascontiguousarray(frames), np.ascontiguousarray(shown)

    def _view(self, source: Source, run: _ClipRun, mask: npt.NDArray[np.bool_]) -> FrameView:
        whole = FrameView.whole(run.volume.geometry, run.axis, self.size, self.fit)
        bounds, varied = bounds_of(mask), self.augmentation
        assert bounds is not None  # a key slice shows its object
        view = whole if self.policy is None else self.policy.around(whole, bounds)
        if varied is None:
            return view
        if self.policy is None:
            return whole.moved_to(
                whole.center, whole.side_mm * source.log_uniform(1 / varied.spread, varied.spread)
            )
        side = view.side_mm * source.log_uniform(1 / varied.spread, varied.spread)
        drift = varied.drift * view.side_mm
        if source.chance(varied.wide):
            side = view.side_mm * source.uniform(1.3, 3.5)
            drift = 0.4 * (side - view.side_mm)
        side = min(side, whole.side_mm)
        center = [
            at + source.uniform(-drift, drift) / mm
            for at, mm in zip(view.center, reversed(view.spacing), strict=True)
        ]
        return whole.moved_to(center, side)


def _moved(source: Source, window: Window, share: float) -> Window:
    width = window.upper - window.lower
    low, high = (source.uniform(-share, share) * width for _ in range(2))
    return Window(window.lower + low, window.upper + high)


def _bent(source: Source, frames: Bytes, gamma: float) -> Bytes:
    curve = 255 * (np.arange(256) / 255) ** source.log_uniform(1 / gamma, gamma)
    bent: Bytes = np.round(curve).astype(np.uint8)[frames]
    return bent


def _turned(
    source: Source, frames: Bytes, masks: Bytes, varied: Augmentation, size: int
) -> tuple[Bytes, Bytes]:
    """The middle of larger frames and masks, turned, stretched by up to a tenth and sheared."""
    angle = math.radians(source.uniform(-varied.degrees, varied.degrees))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    stretch = np.diag([source.log_uniform(1 / 1.1, 1.1), source.log_uniform(1 / 1.1, 1.1)])
    stretch[0, 1] = source.uniform(-0.1, 0.1)
    theta = np.zeros((1, 2, 3), np.float32)
    theta[0, :, :2] = turn @ stretch * (size / frames.shape[1])
    in_color = frames.ndim == 4
    layers = np.moveaxis(frames, -1, 1).reshape(-1, *frames.shape[1:3]) if in_color else frames
    stacked = torch.from_numpy(np.concatenate([layers, masks]).astype(np.float32))[None]
    grid = functional.affine_grid(
        torch.from_numpy(theta), [1, stacked.shape[1], size, size], align_corners=False
    )
    sampled = functional.grid_sample(
        stacked, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    result: Bytes = sampled[0].round().clamp(0, 255).to(torch.uint8).numpy()
    turned, shown = result[: len(layers)], result[len(layers) :]
    if in_color:
        turned = np.moveaxis(turned.reshape(len(frames), -1, size, size), 1, -1)
    return turned, shown
