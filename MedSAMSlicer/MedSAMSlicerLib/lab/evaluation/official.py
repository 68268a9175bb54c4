"""The published SAM 2 video predictor on volumes: the yardstick of parity tests and benchmarks.

The ``sam2`` package reads JPEG folders and MP4 files only and has a command-line framework start with it, so it is
never a dependency of the product; it is imported here, on demand, where a result has to be compared with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...core.errors import MedSAMError
from ...sam2.config import BASE_PLUS, LARGE, SMALL, TINY, Config

CONFIG_FILES: Mapping[str, str] = {
    "sam2.1_hiera_tiny": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1_hiera_small": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1_hiera_base_plus": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2.1_hiera_large": "configs/sam2.1/sam2.1_hiera_l.yaml",
}
_PUBLISHED = (TINY, SMALL, BASE_PLUS, LARGE)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def published_network(config: Config) -> Config:
    """The published network that a network is but for its image size, such as that of MedSAM2.

    Raises:
        MedSAMError: it is none; the published packages cannot compute it.
    """
    for published in _PUBLISHED:
        if replace(config, name=published.name, image_size=published.image_size) == published:
            return published
    raise MedSAMError(
        f"The published packages cannot compute the network {config.name!r}: it is not built like one of theirs."
    )


def normalized_images(frames: npt.NDArray[np.uint8], used: range | None = None) -> torch.Tensor:
    """Return what the published packages hold of a video: (N, 3, S, S) float32.

    Args:
        frames: (N, S, S) or in color (N, S, S, 3) uint8.
        used: the frames that will be looked at; the others hold nothing of meaning and take no memory. None = all.
    """
    mean = torch.tensor(_IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(_IMAGENET_STD)[:, None, None]
    images = torch.empty(len(frames), 3, *frames.shape[1:3])
    for index in range(len(frames)) if used is None else used:
        frame = torch.from_numpy(frames[index]).float().div(255)
        images[index].copy_(((frame[None] if frame.ndim == 2 else frame.permute(2, 0, 1)) - mean) / std)
    return images


def build_official_predictor(
    network: str, weights: Mapping[str, torch.Tensor], *, image_size: int, device: str = "cpu"
) -> Any:
    """Return a ``sam2.SAM2VideoPredictor`` with `weights`, as the package builds it with post-processing on.

    A correction of a tracked slice becomes a conditioning slice; with the package's default it would be
    overwritten by the next propagation.

    Args:
        network: a key of `CONFIG_FILES`.
        weights: an official state dictionary.
        image_size: side of the square frames in pixels, a multiple of 32.
        device: a torch device name.

    Raises:
        MedSAMError: the ``sam2`` package is not installed, or `network` is not one of its networks.
    """
    try:
        from sam2 import sam2_video_predictor
        from sam2.build_sam import build_sam2_video_predictor
    except ImportError as error:
        raise MedSAMError(
            "The comparison with the published predictor needs the Python package 'sam2', which is not installed."
        ) from error
    if network not in CONFIG_FILES:
        raise MedSAMError(
            f"The published predictor has no network {network!r}; it has {', '.join(CONFIG_FILES)}."
        )
    sam2_video_predictor.tqdm = partial(sam2_video_predictor.tqdm, disable=True)  # a bar of ours stands there
    side = image_size // 16
    overrides = [
        f"++model.image_size={image_size}",
        f"++model.memory_attention.layer.self_attention.feat_sizes=[{side},{side}]",
        f"++model.memory_attention.layer.cross_attention.feat_sizes=[{side},{side}]",
        "++model.add_all_frames_to_correct_as_cond=true",
    ]
    predictor = build_sam2_video_predictor(
        CONFIG_FILES[network], None, device=device, hydra_overrides_extra=overrides, apply_postprocessing=True
    )
    predictor.load_state_dict(weights, strict=True)
    # Hole filling needs a CUDA extension that the package does not bring; without it only a warning would be left.
    predictor.fill_hole_area = 0
    return predictor


class OfficialSession:
    """One volume in the published predictor, frame by frame as the package itself holds it.

    Args:
        predictor: what `build_official_predictor` returned.
        frames: (N, S, S) or in color (N, S, S, 3) uint8, already at the network's image size.
        used: the frames that will be prompted or tracked; None = all.
        low: whether logits come as the network gives them, (S / 4, S / 4), rather than enlarged.
    """

    def __init__(
        self,
        predictor: Any,
        frames: npt.NDArray[np.uint8],
        used: range | None = None,
        *,
        low: bool = False,
    ) -> None:
        size = predictor.image_size
        if frames.ndim not in (3, 4) or frames.shape[1:3] != (size, size):
            raise MedSAMError(f"Frames must have shape (N, {size}, {size}), got {frames.shape}.")
        self.predictor, self._size = predictor, size
        images = normalized_images(frames, used)
        answer = size // 4 if low else size
        device = predictor.device
        self.state: dict[str, Any] = {
            "images": images.to(device),
            "num_frames": len(frames),
            "offload_video_to_cpu": False,
            "offload_state_to_cpu": False,
            "video_height": answer,
            "video_width": answer,
            "device": device,
            "storage_device": device,
            "cached_features": {},
            "constants": {},
            "obj_id_to_idx": OrderedDict(),
            "obj_idx_to_id": OrderedDict(),
            "obj_ids": [],
        }
        for table in (
            "point_inputs_per_obj",
            "mask_inputs_per_obj",
            "output_dict_per_obj",
            "temp_output_dict_per_obj",
            "frames_tracked_per_obj",
        ):
            self.state[table] = {}

    def add_points(
        self,
        index: int,
        points: Sequence[Sequence[float]] = (),
        labels: Sequence[int] = (),
        *,
        box: Sequence[float] | None = None,
        object_id: int = 0,
    ) -> torch.Tensor:
        """Prompt frame `index` with points (x, y in pixels; labels 1 or 0) and a box (x0, y0, x1, y1).

        Returns:
            (objects, 1, S, S) float32 logits of that frame.
        """
        given: dict[str, Any] = {}
        if len(points):
            given = {
                "points": np.asarray(points, np.float32) / np.float32(self._size),
                "labels": np.asarray(labels),
            }
        if box is not None:
            given["box"] = np.asarray(box, np.float32) / np.float32(self._size)
        _, _, logits = self.predictor.add_new_points_or_box(
            self.state, index, object_id, normalize_coords=False, **given
        )
        return logits

    def add_mask(self, index: int, mask: npt.NDArray[np.bool_], *, object_id: int = 0) -> torch.Tensor:
        """Prompt frame `index` with a mask of shape (S, S); returns (objects, 1, S, S) logits."""
        _, _, logits = self.predictor.add_new_mask(self.state, index, object_id, torch.from_numpy(mask))
        return logits

    def keep_features(self, index: int) -> None:
        """Encode frame `index`; the package keeps the features of the last frame it saw."""
        with torch.inference_mode():
            self.predictor._get_image_feature(self.state, frame_idx=index, batch_size=1)

    def forget_objects(self) -> None:
        """Drop all prompts, objects and masks; the frames stay."""
        self.predictor.reset_state(self.state)

    def propagate(
        self, *, reverse: bool = False, start: int | None = None, steps: int | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (frame index, (objects, 1, S, S) float32 logits) from the first prompted frame onward, or backward.

        Args:
            reverse: backward.
            start: another frame to start from.
            steps: frames beyond the start; None = to the end.
        """
        for index, _, logits in self.predictor.propagate_in_video(self.state, start, steps, reverse=reverse):
            yield index, logits
