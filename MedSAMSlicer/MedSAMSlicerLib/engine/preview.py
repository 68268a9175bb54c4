"""One slice, many prompts: what the user sees between clicks, before anything is propagated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from .crop import CropPolicy
from .key_slice import Prior, make_key
from .network import SliceNetwork
from .slice_mask import SliceMask
from .slice_prompts import SlicePrompts
from .view import FrameView


class Preview:
    """The masks that prompts draw on single slices, without memory of other slices.

    The mask shown for all prompts of a slice is the one a propagation would start from. For prompts that correct a
    propagated object use :meth:`~.live.LiveSegmentation.preview`, which knows the object's other key slices.

    Args:
        network: of the volume.
        whole: the view of whole slices.
        crop: the square that follows the object; None = whole slices.
        settings: makes the context in which the network computes.
    """

    def __init__(
        self,
        network: SliceNetwork,
        whole: FrameView,
        crop: CropPolicy | None,
        settings: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._network, self._whole, self._crop, self._settings = network, whole, crop, settings

    def show(
        self, name: str, index: int, prompts: SlicePrompts, before: SliceMask | None = None
    ) -> SliceMask:
        """The mask of one object on one slice.

        Args:
            name: goes into the result.
            index: the slice.
            prompts: all of them, not only the last click.
            before: the mask they refine, as this method returned it.
        """
        prior = None if before is None or before.is_empty else Prior(before.view, before.low)
        with self._settings(), torch.inference_mode():
            key = make_key(self._network, index, self._whole, prompts, self._crop, prior)
            return key.as_mask(name)
