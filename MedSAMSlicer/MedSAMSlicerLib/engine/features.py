"""Features of slices: computed once, kept within a byte limit, prepared in the background around the visible slice."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..sam2.adapters import set_stack, stack_of
from ..sam2.input_rule import normalized
from ..sam2.networks import Network
from .encoder import encoder_of
from .memory_attention import FastMemoryAttention
from .precision import Precision, torch_settings
from .view import FrameView

logger = logging.getLogger(__name__)

DEFAULT_LIMIT_BYTES = 1 << 30
_KEPT_BLOCKS = 2
_NICENESS = 10  # of the thread in the background: what the user waits for goes first

Key = tuple[int, FrameView]


class SliceFeatures(NamedTuple):
    """The features of N slices as the network keeps them, float32; shared by callers, so never change one in place."""

    top: Tensor  # (N, C, h, w), without the embedding that says "no memory"
    mid: Tensor  # (N, C / 4, 2h, 2w), ready for the mask decoder
    fine: Tensor  # (N, C / 8, 4h, 4w), ready for the mask decoder
    attended: Tensor  # (N, h * w, C) after the first layer's self-attention of memory attention

    @property
    def num_bytes(self) -> int:
        """Memory held, in bytes."""
        return sum(part.numel() * part.element_size() for part in self)

    def to(self, dtype: torch.dtype) -> SliceFeatures:
        """The same in another number format."""
        return SliceFeatures(*(part.to(dtype) for part in self))


class _Given(Exception):
    """The background gave a slice up before it was finished."""


class FeatureStore:
    """Features of the slices of one volume along one axis, each computed once while it fits.

    Of what does not fit, the least recently used goes. All methods may be called from several threads: a slice that one
    thread computes is waited for by the others. What is returned does not depend on what was kept: features go through
    the number format of storage before their first use. (It depends on the number of threads by rounding, 1e-6 or so:
    torch sums in another order.)

    Cost of one slice of hiera tiny at 512 pixels: 5.2 MB in exact (float32), 2.6 MB in balanced and fast (bfloat16,
    which rounds each value by up to 0.4 %: no more than is lost by computing it in bfloat16).

    Args:
        model: On its device.
        precision: From :func:`~.precision.choose`.
        attention: Made from the same model; None for a network without memory.
        frames: Gives a slice, (rows, columns) or in color (rows, columns, 3) uint8, for an index; called by the
            thread that computes.
        limit_bytes: Of the kept features; 0 keeps nothing.
        slice_count: Of the volume; needed by networks with adapters that look along a stack, whose slices are encoded
            in blocks of that many. The last blocks are kept beside the others.
        threads: For the background, see :func:`~.precision.torch_settings`.
    """

    def __init__(
        self,
        model: Network,
        precision: Precision,
        attention: FastMemoryAttention | None,
        frames: Callable[[int], npt.NDArray[np.uint8]],
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        *,
        slice_count: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._stack, self._slice_count = stack_of(model) if slice_count else 1, slice_count or 0
        self._blocks: OrderedDict[Key, SliceFeatures] = OrderedDict()  # by first slice, the latest last
        self.model = model
        self.precision = precision
        self.attention = attention
        self.limit_bytes = limit_bytes
        self.hits = 0
        self.misses = 0
        self._frames = frames
        self._encoder = encoder_of(model, precision)
        self._changed = threading.Condition()
        self._kept: OrderedDict[Key, SliceFeatures] = OrderedDict()  # the most recently used last
        self._bytes = 0
        self._computing: dict[Key, Future[SliceFeatures]] = {}
        self._awaited: list[Key] = []
        self._foreground = 0
        self._background = _Background(self, threads)

    # -------------------------------------------------------------------------------------------------- asking

    def get(self, index: int, view: FrameView) -> SliceFeatures:
        """The features (N = 1) of slice `index` as seen through a view; computed now if they are not kept."""
        return self.get_many([index], view)[0]

    def get_many(self, indices: Sequence[int], view: FrameView) -> list[SliceFeatures]:
        """As :meth:`get` for several slices; on a GPU missing ones are computed together (not run: none available)."""
        found: dict[int, SliceFeatures] = {}
        missing = list(dict.fromkeys(indices))
        with self.foreground():
            while missing:
                for index, features in self._some_of(missing, view).items():
                    found[index] = features
                    missing.remove(index)
        return [found[index].to(torch.float32) for index in indices]

    def contains(self, index: int, view: FrameView) -> bool:
        """Return whether :meth:`get` would return at once."""
        with self._changed:
            return (index, view) in self._kept

    @property
    def bytes_used(self) -> int:
        """Of the kept features."""
        return self._bytes

    def clear(self) -> None:
        """Forget all features and stop the background."""
        self.stop()
        with self._changed:
            self._kept.clear()
            self._blocks.clear()
            self._bytes = 0

    # ---------------------------------------------------------------------------------------------- background

    def fill(self, around: int, view: FrameView, slices: Sequence[int]) -> None:
        """Compute what is missing in the background, from the visible slice outward, as far as the limit allows.

        Returns at once. Call it again whenever the visible slice moves; what is farther away then makes room.

        Args:
            around: Index of the visible slice.
            view: Through which the slices are seen.
            slices: Indices that may be computed, e.g. range(slice_count).
        """
        self._background.start(around, view, slices)

    def stop(self) -> None:
        """End the background work; returns when it has ended, within a few milliseconds."""
        self._background.stop()

    @property
    def filling(self) -> bool:
        """Return whether the background has something left to do."""
        return self._background.running

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Inside, the background pauses, as it does during :meth:`get`; for whatever the user is waiting for."""
        with self._changed:
            self._foreground += 1
        try:
            yield
        finally:
            with self._changed:
                self._foreground -= 1
                self._changed.notify_all()

    # -------------------------------------------------------------------------------------------------- inside

    def _some_of(self, indices: Sequence[int], view: FrameView) -> dict[int, SliceFeatures]:
        """Kept ones if any are; else compute some, or wait for one that is being computed."""
        with self._changed:
            kept = {index: self._kept[index, view] for index in indices if (index, view) in self._kept}
            for index in kept:
                self._kept.move_to_end((index, view))
            self.hits += len(kept)
            if kept:
                return kept
            free = [(index, view) for index in indices if (index, view) not in self._computing]
            mine = free[: 1 if self.precision.device.type == "cpu" else 8]
            self._claim(mine)
            awaited, future = (indices[0], view), self._computing[indices[0], view]
            if mine:
                self.misses += len(mine)
            else:
                self.hits += 1
                self._awaited.append(awaited)
                self._changed.notify_all()
        if mine:
            return {index: features for (index, _), features in zip(mine, self._compute(mine), strict=True)}
        try:
            return {awaited[0]: future.result()}
        except _Given:
            return {}
        finally:
            with self._changed:
                self._awaited.remove(awaited)

    def _claim(self, keys: Sequence[Key]) -> None:
        self._computing.update((key, Future()) for key in keys)

    def _compute(
        self, keys: Sequence[Key], pause: Callable[[], object] | None = None, around: int | None = None
    ) -> list[SliceFeatures]:
        """Compute claimed keys and keep them; `around` says which others go first to make room, see :meth:`_keep`."""
        try:
            computed = self._encode(keys, pause)
        except BaseException as error:
            with self._changed:
                for key in keys:
                    self._computing.pop(key).set_exception(
                        error if isinstance(error, Exception) else _Given()
                    )
            raise
        with self._changed:
            for key, features in zip(keys, computed, strict=True):
                self._keep(key, features, around)
                self._computing.pop(key).set_result(features)
        return computed

    def _encode(self, keys: Sequence[Key], pause: Callable[[], object] | None) -> list[SliceFeatures]:
        if self._stack == 1:
            return self._encode_each(keys, pause)
        found = []
        for index, view in keys:
            first = index // self._stack * self._stack
            block = self._block(first, view, pause)
            place = index - first
            found.append(SliceFeatures(*(part[place : place + 1].clone() for part in block)))
        return found

    def _block(self, first: int, view: FrameView, pause: Callable[[], object] | None) -> SliceFeatures:
        """The features of a block of slices that are looked at together; the last slice stands for those beyond."""
        with self._changed:
            known = self._blocks.get((first, view))
        if known is None:
            set_stack(self.model, self._stack)
            inside = [min(first + n, self._slice_count - 1) for n in range(self._stack)]
            each = self._encode_each([(index, view) for index in inside], pause)
            known = SliceFeatures(*(torch.cat(parts) for parts in zip(*each, strict=True)))
            with self._changed:
                self._blocks[first, view] = known
                while len(self._blocks) > _KEPT_BLOCKS:
                    self._blocks.popitem(last=False)
        return known

    @torch.inference_mode()
    def _encode_each(self, keys: Sequence[Key], pause: Callable[[], object] | None) -> list[SliceFeatures]:
        frames = np.stack([view.frame(self._frames(index)) for index, view in keys])
        inside = np.stack([view.inside() for _, view in keys])
        device, rule = self.precision.device, self.model.config.input
        frames_in = normalized(rule, torch.from_numpy(frames).to(device), torch.from_numpy(inside).to(device))
        features = self._encoder(frames_in, pause)
        if pause is not None:
            pause()
        top = features.top
        attended = top.new_empty(len(top), 0, 0) if self.attention is None else self.attention.prepare(top)
        batch = SliceFeatures(*features, attended).to(self.precision.storage)
        if len(keys) == 1:
            return [batch]
        return [SliceFeatures(*(part[n : n + 1].clone() for part in batch)) for n in range(len(keys))]

    def _keep(self, key: Key, features: SliceFeatures, around: int | None) -> None:
        """Add features, then make room: the least recently used goes, or what is farthest from the slice `around`."""
        if features.num_bytes > self.limit_bytes:
            return
        self._kept[key] = features
        self._bytes += features.num_bytes
        while self._bytes > self.limit_bytes:
            oldest = next(iter(self._kept))
            goes = oldest if around is None else max(self._kept, key=lambda k: _distance(k, around, key[1]))
            self._bytes -= self._kept.pop(goes).num_bytes

    def _next_missing(self, around: int, view: FrameView, slices: Sequence[int]) -> Key | None:
        """The nearest slice that is neither kept nor being computed, if there is room, or something farther to go."""
        for index in sorted(slices, key=lambda i: abs(i - around)):
            key = (index, view)
            if key in self._kept or key in self._computing:
                continue
            if not self._kept:
                return key
            size = next(reversed(self._kept.values())).num_bytes
            farthest = max(_distance(kept, around, view) for kept in self._kept)
            return key if self._bytes + size <= self.limit_bytes or farthest > abs(index - around) else None
        return None


def _distance(key: Key, around: int, view: FrameView) -> float:
    """In slices; what was seen through another view is farther than any slice."""
    return abs(key[0] - around) if key[1] == view else float("inf")


def _yield_to_others() -> None:
    """Let this thread have what other threads leave of the processors, where the system allows that for a thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class _Background:
    """The thread that fills a store; it ends when there is nothing left to do."""

    def __init__(self, store: FeatureStore, threads: int | None) -> None:
        self._store = store
        self._threads = threads
        self._goal: tuple[int, FrameView, Sequence[int]] | None = None
        self._current: Key | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None

    def start(self, around: int, view: FrameView, slices: Sequence[int]) -> None:
        with self._store._changed:
            self._goal = (around, view, slices)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="slice features", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._store._changed:
            self._goal = None
            thread = self._thread
            self._store._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        _yield_to_others()
        while (chosen := self._choose()) is not None:
            key, around = chosen
            try:
                with torch_settings(self._store.precision, self._threads):
                    self._store._compute([key], self._pause, around)
            except _Given:
                continue
            except Exception:  # whoever asks for that slice gets the same error and can show it to the user
                logger.warning("The features of slice %s could not be prepared.", key[0], exc_info=True)
                self._goal = None

    def _choose(self) -> tuple[Key, int] | None:
        """Wait for the user, then claim the next slice; None ends the thread."""
        store = self._store
        with store._changed:
            while self._goal is not None and store._foreground:
                store._changed.wait()
            if self._goal is not None:
                around, view, slices = self._goal
                self._current = store._next_missing(around, view, slices)
                if self._current is not None:
                    store._claim([self._current])
                    return self._current, around
            self._current = self._goal = self._thread = None  # from here on `start` makes a new thread
            return None

    def _pause(self) -> None:
        """Called every few milliseconds: wait while the user waits for something else, give up when asked to stop."""
        store = self._store
        with store._changed:
            while self._goal is not None and store._foreground and self._current not in store._awaited:
                store._changed.wait()
            if self._goal is None:
                raise _Given
