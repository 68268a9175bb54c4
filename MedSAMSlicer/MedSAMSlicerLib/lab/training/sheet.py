"""The contact sheet of generated scenes: what the network will see, to be looked at by a person."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...io.atomic import write_bytes
from ...io.canvas import Canvas
from .fields import Source
from .synthetic import GeneratedScene, SceneSettings, make_scene


def _outlined(image: Tensor, mask: Tensor) -> Tensor:
    """(H, W, 3) uint8: the image (H, W) uint8 with the outline of the mask in red."""
    shrunk = -functional.max_pool2d(-mask[None, None].float(), 3, 1, 1)[0, 0] > 0.5
    picture = image[..., None].repeat(1, 1, 3)
    picture[mask & ~shrunk] = torch.tensor([255, 40, 40], dtype=torch.uint8)
    return picture


def _strip(scene: GeneratedScene, target: int) -> Tensor:
    """One row of the sheet: every slice of a scene, the prompted one framed in green."""
    tiles = []
    for index in range(scene.image.shape[0]):
        tile = _outlined(scene.image[index], scene.masks[target, index])
        edge = torch.tensor([40, 220, 40] if index == scene.keys[target] else [0, 0, 0], dtype=torch.uint8)
        tile[:2], tile[-2:], tile[:, :2], tile[:, -2:] = edge, edge, edge, edge
        tiles.append(tile)
    return torch.cat(tiles, 1)


def contact_sheet(path: Path, seed: int, rows: int = 12, settings: SceneSettings | None = None) -> None:
    """Write a PNG of `rows` scenes, one target each, slices from left to right.

    Raises OutputError when the file cannot be written.
    """
    settings = settings or SceneSettings(slices=8, size=128)
    source = Source(seed)
    strips = [_strip(make_scene(source, settings), 0) for _ in range(rows)]
    picture = torch.cat(strips, 0).double().numpy() / 255
    canvas = Canvas(picture.shape[1], picture.shape[0])
    canvas.paste(picture, 0, 0)
    write_bytes(path, canvas.png())
