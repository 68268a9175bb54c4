"""The evidence of a given slice range about an object: where it ends, hence how large it should be until there.

A network that is shown the previous slice's mask is shown it as it is expected on the next slice: a body that is
largest where it was prompted and ends with the range is like half an ellipsoid. The expectation is a hint, not a
verdict: where the image shows an edge, the network follows the image, as it was trained to.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_LIMIT = 8.0  # logit outside of what a zoomed mask covers
_SMALLEST_SHARE = 0.02
_NEXT = 0.65  # weight of the mask zoomed by one slice's step; the rest is zoomed to the expected area
_ZOOM = (0.5, 1.2)


def expected_share(distance: float, last: float) -> float:
    """Area at `distance` slices from the prompted slice / area there, of half an ellipsoid last seen at `last`."""
    return max(1 - (distance / (last + 0.5)) ** 2, _SMALLEST_SHARE)


def tapered(logits: Tensor, distance: int, last: Tensor, key_area: Tensor) -> Tensor:
    """The previous slice's mask as it is shown to the network on the next slice.

    The sign of the result says where the previous mask, smaller by one step, lies; its magnitude says where a body of
    the expected area would: what only one of the two covers is unsure.

    Args:
        logits: (B, 1, h, w) of the slice before, within the limits of a mask prompt.
        distance: Slices between the prompted slice and the one to be predicted; at least 1.
        last: (B,) distance of the last slice with the object; negative where it is not known: logits stay as they are.
        key_area: (B,) area of the mask on the prompted slice, in pixels of the logits.
    """
    known = last >= 0
    if not bool(known.any()):
        return logits
    ends = last.clamp(min=0).tolist()
    now = torch.tensor([expected_share(distance, end) for end in ends], device=logits.device)
    before = torch.tensor([expected_share(distance - 1, end) for end in ends], device=logits.device)
    values = logits.float()
    area = (values > 0).flatten(1).sum(1).clamp(min=1)
    step = zoomed(values, (now / before).sqrt())
    whole = zoomed(values, (now * key_area / area).sqrt().clamp(*_ZOOM))
    shown = _NEXT * step + (1 - _NEXT) * whole
    return torch.where(known[:, None, None, None], shown, values).to(logits.dtype)


def zoomed(logits: Tensor, factors: Tensor) -> Tensor:
    """Masks (B, 1, h, w) made larger or smaller about their own centers; (B,) factors of length."""
    rows, columns = logits.shape[-2:]
    inside = logits.sigmoid()[:, 0]
    total = inside.sum((1, 2)).clamp(min=1e-3)
    y = torch.linspace(1 / rows - 1, 1 - 1 / rows, rows, device=logits.device)
    x = torch.linspace(1 / columns - 1, 1 - 1 / columns, columns, device=logits.device)
    center_y = (inside * y[:, None]).sum((1, 2)) / total
    center_x = (inside * x).sum((1, 2)) / total
    scale = 1 / factors.to(logits.dtype)
    zero = torch.zeros_like(scale)
    theta = torch.stack(
        [scale, zero, center_x * (1 - scale), zero, scale, center_y * (1 - scale)], 1
    ).reshape(-1, 2, 3)
    grid = functional.affine_grid(theta, list(logits.shape), align_corners=False)
    sampled = functional.grid_sample(
        logits + _LIMIT, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return sampled - _LIMIT
