"""Training on a mixture, so that no kind of image is learned at the expense of the others.

A batch is cut from one of four sources, drawn by the number of its step: generated scenes; images that are drawn on
label maps of real anatomy (:mod:`.anatomy`); what a teacher draws on real volumes (:mod:`.teacher`); and the labeled
objects of these volumes. Volumes and label maps that are kept for validation are in none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...core.errors import VolumeError
from .anatomy import draw_anatomy
from .clips import Batch, ClipSampler, ClipSettings, clip_count, clip_length, scene_size
from .fields import Source
from .labeled import TrainingCase, cases_with_images, label_maps, read_cases, read_label_map, split
from .rng import seed_of
from .synthetic import GeneratedScene, SceneSettings, make_scene
from .teacher import read_lessons
from .volume_clips import Augmentation, VolumeClips

if TYPE_CHECKING:
    from .settings import TrainSettings

_SOURCES, _POOLS, _CLIPS = 11, 12, 13  # what a seed is for
_SIZES = (72, 160)  # of a drawn slice in pixels
_LARGE_ENOUGH = 0.4  # area of a slice that is prompted / that of the largest one
_SMALL_POOL = 8


@dataclass(frozen=True)
class Mixture:
    """Shares of the batches; a source that is not offered leaves its share to the others."""

    generated: float = 0.4
    drawn: float = 0.3
    taught: float = 0.15
    labeled: float = 0.15

    def draw(self, source: Source, offered: Sequence[str]) -> str:
        """The source of a batch."""
        shares = {name: getattr(self, name) for name in ("generated", "drawn", "taught", "labeled")}
        kept = {name: share for name, share in shares.items() if name in offered and share > 0}
        return source.pick(list(kept), list(kept.values()))


def anatomy_scene(source: Source, maps: Sequence[Path]) -> GeneratedScene:
    """An image of one structure of one of the label maps.

    Raises:
        VolumeError: If the maps hold no structure that can be drawn.
    """
    for _ in range(50):
        labels, spacing = read_label_map(maps[source.integer(0, len(maps) - 1)])
        drawn = draw_anatomy(labels, spacing, source, _SIZES)
        if drawn is None:
            continue
        areas = drawn.mask.sum((1, 2))
        fitting = np.flatnonzero(areas >= max(8, _LARGE_ENOUGH * areas.max()))
        key = int(areas.argmax() if source.chance(0.6) else source.choice.choice(fitting))
        return GeneratedScene(torch.from_numpy(drawn.image), torch.from_numpy(drawn.mask)[None], (key,))
    raise VolumeError(f"No structure of the {len(maps)} label maps can be drawn.")


class MixedStream:
    """Batches of the mixture for one worker; see the module's docstring.

    Args:
        settings: of the run; `data` names the folder, `lessons` what a teacher drew on it, where it did.
        margin: `Config.crop_margin`.
        leg, rank, worker: scenes differ between them.
    """

    def __init__(
        self, settings: TrainSettings, margin: float | None, leg: int, rank: int, worker: int
    ) -> None:
        assert settings.data is not None
        assert settings.mixture is not None
        self.settings, self.mixture, self.rank = settings, settings.mixture, rank
        cases, maps, _ = parts(settings)
        seed = seed_of(settings.seed, _POOLS, leg, rank, worker)
        self.source = Source(seed)
        slices = 8 if settings.stage == 1 else 2 * settings.longest - 2
        scenes = SceneSettings(slices=slices, size=scene_size(settings.size))
        pools: dict[str, ClipSampler] = {
            "generated": self._pool(settings.pool, lambda: make_scene(self.source, scenes))
        }
        if maps:
            pools["drawn"] = self._pool(settings.pool, lambda: anatomy_scene(self.source, maps))
        lessons = [] if settings.lessons is None else read_lessons(settings.lessons, [c.name for c in cases])
        if lessons:
            pools["taught"] = self._pool(
                _SMALL_POOL, lambda: lessons[self.source.integer(0, len(lessons) - 1)]
            )
        self.pools = pools
        self.longest_lesson = max((len(each.image) for each in lessons), default=0)
        shortest = settings.shortest if settings.stage == 2 else 2
        volumes = read_cases(cases, settings.data.window, warn=False, smallest=settings.data.smallest)
        self.labeled = VolumeClips(volumes, settings.size, margin, Augmentation(), shortest, settings.unions)

    def _pool(self, size: int, make: Callable[[], GeneratedScene]) -> ClipSampler:
        clips = ClipSettings(size=self.settings.size)
        return ClipSampler(self.source, make, clips, size, self.settings.uses)

    def batch(self, number: int) -> Batch:
        """Clips of one source."""
        settings = self.settings
        length = clip_length(settings, number)
        count = clip_count(settings, length)
        offered = [name for name in self.pools if name != "taught" or length <= self.longest_lesson]
        name = self.mixture.draw(Source(seed_of(settings.seed, _SOURCES, number)), [*offered, "labeled"])
        if name == "labeled":
            return self.labeled.batch(
                seed_of(settings.seed, _CLIPS, number), count, length, self.rank * count
            )
        return self.pools[name].batch(count, length)


def parts(
    settings: TrainSettings,
) -> tuple[list[TrainingCase], list[Path], tuple[list[TrainingCase], list[Path]]]:
    """The cases and label maps to learn from, and those that are kept for validation."""
    assert settings.data is not None
    cases = cases_with_images(settings.data.folder, warn=False)
    training, kept = split(cases, settings.data, settings.seed)
    maps = label_maps(settings.data.folder)
    order = np.random.default_rng(seed_of(settings.seed, 2)).permutation(len(maps)).tolist()
    count = round(settings.data.validation * len(maps))
    return (
        training,
        [maps[at] for at in sorted(order[count:])],
        (kept, [maps[at] for at in sorted(order[:count])]),
    )
