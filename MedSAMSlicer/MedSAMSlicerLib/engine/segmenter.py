"""VolumeSegmenter: the engine as the command line, 3D Slicer and the benchmarks use it.

segmenter = VolumeSegmenter(array, geometry, model)
result = segmenter.segment(prompts)          # everything at once
result.masks["liver"]                        # (K, J, I) bool

live = segmenter.live()                      # step by step
live.preview(prompts.objects[0], 40)         # one slice, while the user clicks
for event in live.update(prompts): ...       # SliceMask, SliceMask, ..., TrackEnded
for event in live.update(corrected): ...     # only what the correction changes
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from ..core.errors import MedSAMError, PromptError, VolumeError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import COLOR_WINDOW, Window, choose_window
from ..core.prompts import ObjectPrompts, Prompt, PromptSet
from ..core.tiers import MEMORY_POLICIES, Tier
from ..sam2.model import SAM2
from ..sam2.networks import ImageNetwork, Network
from .box_proposals import find_in_boxes
from .crop import CropPolicy
from .encoder import encoder_of
from .features import FeatureStore
from .live import LiveSegmentation, stepwise
from .memory_attention import FastMemoryAttention
from .network import MemoryNetwork, SliceNetwork
from .precision import Precision, choose, torch_settings
from .propagate import Cancel, Event, Progress, ProgressCounter, Propagator, stop_if
from .proposals import Proposal, ProposalSettings, Proposer
from .refining import Refiner
from .result import ObjectResult, SegmentationResult, StoredSlice, finished_masks
from .second_reader import SecondReader, bundled_reader
from .slice_mask import SliceMask
from .slice_prompts import check_first_prompts, slice_prompts
from .slicewise import SliceWiseNetwork
from .tracker import TrackingOptions
from .video import VideoTracker
from .view import FrameView
from .volume.stage import checked_stage, make_stage

DEFAULT_CACHE_BYTES = 2 << 30
DEFAULT_PATIENCE = 3

"""What stands for the window of frames in color, which are shown as they are."""

FAST_CROP_MARGIN = 2.0
"""Width of the following square / the object's box for checkpoints trained on whole slices, in the fast tier."""

READER_CACHE_BYTES = 256 << 20
"""How much memory the features of the second network may take."""

SCOPES = ("track", "video")


@runtime_checkable
class FrameSource(Protocol):
    """Frames in color that are read one by one, such as those of a video file.

    Attributes:
        shape: (frames, rows, columns, 3).
    """

    shape: tuple[int, int, int, int]

    def frame(self, index: int) -> npt.NDArray[np.uint8]:
        """A frame, (rows, columns, 3) uint8: red, green and blue."""
        ...


class VolumeSegmenter:
    """Segments objects in one volume with one network.

    Args:
        array: (K, J, I) numbers of any kind; or (K, J, I, 3) uint8 for frames in color (red, green, blue), which are
            shown as they are, without a window; or a source that reads such frames one by one, along K. Never changed.
        geometry: of the same shape.
        model: the network, in float32; it is moved to `device`.
        window: gray values to show to the network; None = guessed once from the volume. Color has none.
        tier: "exact", "balanced", "fast"; None = balanced where the device has bfloat16, else exact.
        device: "cpu", "cuda", "cuda:1", "mps".
        cache_bytes: how much memory features of slices may take; the slice in use is kept in any case.
        threads: for the network on the CPU; None leaves one core to the user interface.
        crop_margin: side of the square that follows the object / longer side of its box; 0 = whole slices; None =
            as the checkpoint was trained, and `FAST_CROP_MARGIN` in the fast tier.
        patience: slices in a row without the object after which a track out of the volume ends; 0 = never.
        batched: compute objects and directions as one batch; None = on CUDA only.
        volume_stage: what looks at all slices of an object together when they are there, one of
            `core.tiers.STAGES`; "off" leaves the slices as the network drew them. Frames in color have none.
        memory: which remembered slices count: "all", or "prune" without those that add least (faster, see
            :mod:`.bank`). Networks without memory have none to prune.
        tapers: see :class:`~.tracker.TrackingOptions`.
        runtime: what runs image encoders on the CPU, one of `core.tiers.RUNTIMES`.

    Raises:
        VolumeError: If shape and geometry differ, or a fourth axis is not that of color.
        MedSAMError: If device or tier are not there.
    """

    def __init__(
        self,
        array: npt.NDArray[np.generic] | FrameSource,
        geometry: VolumeGeometry,
        model: Network,
        window: Window | None = None,
        *,
        tier: Tier | str | None = None,
        device: str | torch.device = "cpu",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        threads: int | None = None,
        crop_margin: float | None = None,
        patience: int = DEFAULT_PATIENCE,
        batched: bool | None = None,
        volume_stage: str = "auto",
        memory: str = "all",
        tapers: bool = True,
        runtime: str = "auto",
    ) -> None:
        self.array, self.geometry = array, geometry
        self.color = _is_color(array, geometry)
        if isinstance(array, FrameSource):
            self.window = COLOR_WINDOW
        else:
            self.window = COLOR_WINDOW if self.color else window or choose_window(array, "auto")
        self.precision: Precision = choose(device, tier, model, runtime)
        self.model = model.to(self.precision.device).eval()
        self.threads = threads
        crop, kept = self._crop_policy(crop_margin), self._memory_policy(memory)
        self.options = TrackingOptions(patience, crop, kept, tapers)
        self._batched = batched
        self.cache_bytes = cache_bytes
        sam2 = self.model if isinstance(self.model, SAM2) else None
        self._attention = None if sam2 is None else FastMemoryAttention(sam2, self.precision)
        self._networks: dict[SliceAxis, SliceNetwork] = {}
        wanted = "off" if self.color else checked_stage(volume_stage)
        self._stage = None if wanted == "off" else make_stage(wanted, self.precision.device)
        self._reads_twice = wanted == "auto" and sam2 is not None
        self._readers: dict[SliceAxis, SecondReader | None] = {}

    # ----------------------------------------------------------------------------------------------------- at once

    def segment(
        self,
        prompts: PromptSet,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        *,
        scope: str = "track",
        cleanup: str = "none",
        overlap: str = "keep",
    ) -> SegmentationResult:
        """Replay all rounds of the prompts; the same prompts give the same masks, bit for bit, on the same machine.

        Args:
            prompts: of this volume.
            progress: called as progress(slices done, slices in all, index).
            cancel: returns True once the user wants to stop.
            scope: "track" = every slice is computed from its nearest key slice, see :mod:`.tracker`;
                "video" = the official predictor's order and memory, see :mod:`.video`.
            cleanup, overlap: see :func:`~.result.finished_masks`.

        Raises:
            PromptError: If the prompts do not fit.
            Canceled: If `cancel()` became true.
        """
        if scope not in SCOPES:
            raise MedSAMError(f"The scope must be one of {', '.join(SCOPES)}, got {scope!r}.")
        if scope == "video" and not isinstance(self.model, SAM2):
            raise MedSAMError(f"{self.model.config.name} has no memory, so the scope cannot be 'video'.")
        self.check_first_prompts(prompts)
        if scope == "video":
            return self._segment_video(prompts, progress, cancel, cleanup, overlap)
        live = self.live(prompts.axis)
        for _ in live.update(prompts, progress, cancel):
            pass
        return live.result(cleanup, overlap)

    def check_first_prompts(self, prompts: PromptSet) -> None:
        """Raise PromptError for first prompts that this network cannot be asked, before anything is computed."""
        boxes_only = None if "point" in self.model.config.prompts else self.model.config.name
        check_first_prompts(prompts.objects, self.geometry, boxes_only)

    def propose(
        self,
        index: int,
        axis: SliceAxis = SliceAxis.K,
        settings: ProposalSettings | None = None,
        cancel: Cancel | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Proposal]:
        """Everything that is found on a slice without a prompt, by clicks (:mod:`.proposals`) or boxes.

        A network that was trained on boxes only, or on squares around an object and not on whole slices, is not asked
        by clicks: it, or for the latter LiteMedSAM where it is there, draws in boxes (:mod:`.box_proposals`).

        Args:
            index, axis: the slice.
            settings: how it is searched by clicks.
            cancel: returns True once the user wants to stop.
            progress: called with the clicks or boxes so far and in all.

        Raises:
            PromptError: If there is no such slice.
            Canceled: If `cancel()` became true.
        """
        count = self.geometry.slice_count(axis)
        if not 0 <= index < count:
            raise PromptError(
                f"Slice {index} does not exist: axis {axis.name.lower()} has slices 0 to {count - 1}."
            )
        reader = self._box_reader(axis)
        if reader is not None:
            with self.settings():
                return find_in_boxes(
                    self.frame(index, axis),
                    lambda boxes: reader.masks_in(index, boxes),
                    cancel=cancel,
                    progress=progress,
                )
        proposer = Proposer(self.model, settings, encoder_of(self.model, self.precision))
        with self.settings():
            return proposer.find(self.frame(index, axis), lambda: stop_if(cancel), progress)

    # ------------------------------------------------------------------------------------------------- step by step

    def live(self, axis: SliceAxis = SliceAxis.K) -> LiveSegmentation:
        """A segmentation that is brought up to date again and again; features are shared between all of them."""
        propagator = Propagator(self.network(axis), self.options, self._batched)
        refiner = self._refiner(axis)
        return LiveSegmentation(propagator, self.geometry, axis, self.whole(axis), self.settings, refiner)

    def stream_video(
        self, prompts: PromptSet, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Iterator[Event]:
        """The official predictor's order and memory on whole slices: after each round forward, then backward."""
        return stepwise(self._video(prompts, progress, cancel), self.settings)

    def network(self, axis: SliceAxis = SliceAxis.K) -> SliceNetwork:
        """The network over the slices along an axis; its features are those of all segmentations along it."""
        if axis not in self._networks:
            count = self.geometry.slice_count(axis)
            store = FeatureStore(
                self.model,
                self.precision,
                self._attention,
                lambda index: self.frame(index, axis),
                self.cache_bytes,
                slice_count=count,
                threads=self.threads,
            )
            self._networks[axis] = self._network(store, count)
        return self._networks[axis]

    def frame(self, index: int, axis: SliceAxis = SliceAxis.K) -> npt.NDArray[np.uint8]:
        """A slice as it goes to the network: (rows, columns) uint8 through the window, or in color (rows, columns, 3).

        The bundled network learned from gray volumes alone, but it has three channels and is given color too: on an
        endoscopy video it did no worse with color than with luma.
        """
        if isinstance(self.array, FrameSource):
            if axis is not SliceAxis.K:
                raise VolumeError(f"The frames of a video lie along k, not along {axis.name.lower()}.")
            return self.array.frame(index)
        taken = np.take(self.array, index, axis=int(axis))
        return np.asarray(taken, np.uint8) if self.color else self.window.apply(taken)

    @contextmanager
    def settings(self) -> Iterator[None]:
        """The context in which the network computes: torch's settings, and features in the background wait."""
        with ExitStack() as stack:
            stack.enter_context(torch_settings(self.precision, self.threads))
            for store in self.stores:
                stack.enter_context(store.foreground())
            yield

    @property
    def stores(self) -> tuple[FeatureStore, ...]:
        """The features of all slices that were looked at, along every axis, those of the second network too."""
        networks = [network.store for network in tuple(self._networks.values())]
        return (*networks, *(reader.store for reader in tuple(self._readers.values()) if reader is not None))

    def whole(self, axis: SliceAxis = SliceAxis.K) -> FrameView:
        """The view of whole slices."""
        config = self.model.config
        return FrameView.whole(self.geometry, axis, config.image_size, config.input.fit, config.input.filter)

    @property
    def looks_at_volumes(self) -> bool:
        """Return whether a volume stage looks at all slices of an object together."""
        return self._stage is not None

    def second_reader(self, axis: SliceAxis) -> SecondReader | None:
        """The network that reads the slices along an axis again, if it is wanted and there."""
        if axis not in self._readers:
            model = bundled_reader(self.precision.device) if self._reads_twice else None
            self._readers[axis] = None if model is None else self._made_reader(model, axis)
        return self._readers[axis]

    # -------------------------------------------------------------------------------------------------------- inside

    def _box_reader(self, axis: SliceAxis) -> SecondReader | None:
        """The network that draws in boxes on whole slices, where clicks on them mean nothing to the network itself."""
        if "point" not in self.model.config.prompts:
            network = self.network(axis)
            return SecondReader(network, self.whole(axis)) if isinstance(network, SliceWiseNetwork) else None
        if self.model.config.crop_margin is None:
            return None
        reader = self.second_reader(axis)
        if reader is None and (model := bundled_reader(self.precision.device)) is not None:
            reader = self._made_reader(model, axis)  # nothing is read again, but boxes are drawn in
        return reader

    def _refiner(self, axis: SliceAxis) -> Refiner | None:
        if self._stage is None or isinstance(self.array, FrameSource):
            return None
        slices = np.moveaxis(self.array, int(axis), 0)

        def part(index: int, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
            return self.window.apply(slices[index, rows, columns])

        reader = partial(self.second_reader, axis) if self._reads_twice else None
        return Refiner(self._stage, self.network(axis), self.geometry, axis, part, reader)

    def _made_reader(self, model: ImageNetwork, axis: SliceAxis) -> SecondReader:
        limit = min(READER_CACHE_BYTES, self.cache_bytes)
        store = FeatureStore(
            model, self.precision, None, lambda index: self.frame(index, axis), limit, threads=self.threads
        )
        network = SliceWiseNetwork(model, store, self.geometry.slice_count(axis))
        rule = model.config.input
        whole = FrameView.whole(self.geometry, axis, model.config.image_size, rule.fit, rule.filter)
        return SecondReader(network, whole)

    def _network(self, store: FeatureStore, count: int) -> SliceNetwork:
        if not isinstance(self.model, SAM2):
            return SliceWiseNetwork(self.model, store, count)
        assert self._attention is not None
        return MemoryNetwork(self.model, self._attention, store, count)

    def _crop_policy(self, margin: float | None) -> CropPolicy | None:
        config, fast = self.model.config, self.precision.tier is Tier.FAST
        if margin is None:
            margin = config.crop_margin or (FAST_CROP_MARGIN if fast else 0.0)
        if margin < 0 or 0 < margin < 1:
            raise MedSAMError(
                f"The margin of the square around an object must be 0 or at least 1, got {margin}."
            )
        if not margin:
            return None
        shrinks = fast and config.crop_margin is None
        return CropPolicy(margin, smallest_size=config.image_size // 2 if shrinks else None)

    def _memory_policy(self, memory: str) -> str:
        if memory not in MEMORY_POLICIES:
            raise MedSAMError(f"The memory must be one of {', '.join(MEMORY_POLICIES)}, got {memory!r}.")
        if memory != "all" and not isinstance(self.model, SAM2):
            raise MedSAMError(
                f"{self.model.config.name} has no memory of slices, so the memory must be 'all', not {memory!r}."
            )
        return memory

    def _segment_video(
        self, prompts: PromptSet, progress: Progress | None, cancel: Cancel | None, cleanup: str, overlap: str
    ) -> SegmentationResult:
        began = time.perf_counter()
        objects = {
            obj.name: ObjectResult(obj.name, obj.color, self.geometry, prompts.axis)
            for obj in prompts.objects
        }
        computed = 0
        for event in self.stream_video(prompts, progress, cancel):
            if isinstance(event, SliceMask):
                objects[event.object].slices[event.index] = replace(StoredSlice.of(event), low=None)
                computed += 1
        masks = finished_masks([*objects.values()], cleanup, overlap)
        seconds = time.perf_counter() - began
        timings = {"total": seconds, "slices": float(computed), "per_slice": seconds / max(computed, 1)}
        return SegmentationResult(self.geometry, prompts.axis, (*objects.values(),), masks, timings)

    def _video(
        self, prompts: PromptSet, progress: Progress | None, cancel: Cancel | None
    ) -> Generator[Event, None, None]:
        network, whole = self.network(prompts.axis), self.whole(prompts.axis)
        last = self.geometry.slice_count(prompts.axis) - 1
        rounds = {obj.name: sorted({p.round for p in obj.prompts}) for obj in prompts.objects}
        counter = ProgressCounter(sum(len(found) for found in rounds.values()) * (last + 2), progress)
        for obj in prompts.objects:
            corrected = frozenset(p.slice.index for p in obj.prompts if p.round > 0)
            tracker = VideoTracker(network, obj.name, whole, corrected, self.options.memory)
            first, final = obj.slice_range or (0, last)
            for number in rounds[obj.name]:
                for index in sorted({p.slice.index for p in obj.prompts if p.round == number}):
                    tracker.prompt(index, slice_prompts(_until(obj, index, number), self.geometry, obj.name))
                yield from tracker.propagate(1, final, cancel, counter)
                yield from tracker.propagate(-1, first, cancel, counter)


def _is_color(array: npt.NDArray[np.generic] | FrameSource, geometry: VolumeGeometry) -> bool:
    """Return whether the slices of an array are in color; VolumeError when it is neither gray nor color."""
    if isinstance(array, FrameSource):
        if array.shape[:3] != geometry.shape:
            raise VolumeError(f"The video has shape {array.shape}, but its geometry is for {geometry.shape}.")
        return True
    if array.shape == geometry.shape:
        return False
    if array.shape != (*geometry.shape, 3):
        raise VolumeError(f"The volume has shape {array.shape}, but its geometry is for {geometry.shape}.")
    if array.dtype != np.uint8:
        raise VolumeError(
            f"Frames in color must hold whole numbers from 0 to 255 (uint8), not {array.dtype}."
        )
    return True


def _until(obj: ObjectPrompts, index: int, number: int) -> list[Prompt]:
    """Return all prompts on a slice up to a round."""
    return [p for p in obj.prompts if p.slice.index == index and p.round <= number]
