"""Prompts out of a session into files, and from files into new segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..core.errors import SessionError
from ..core.prompts import PromptSet
from ..core.translation import tr as _
from ..io.atomic import write_bytes
from .jobs import load_prompts
from .projector import Projector
from .workspace import Workspace


class PromptFiles:
    """Export and import.

    Args:
        work: the document.
        projector: shows it.
        ensure_segmentation: makes a segmentation if there is none.
    """

    def __init__(
        self, work: Workspace, projector: Projector, ensure_segmentation: Callable[[], None]
    ) -> None:
        self._work, self._projector, self._ensure_segmentation = work, projector, ensure_segmentation

    def prompt_sets(self) -> tuple[PromptSet, ...]:
        """Everything needed to repeat the masks, one set for each slice axis in use."""
        session = self._work.usable_volume()[1]
        if not session.axes:
            raise SessionError(_("No segment has prompts yet."))
        network = self._work.network
        tier = network.tier or self._work.tier
        return tuple(
            session.prompt_set(self._work.window, network.checkpoint_id, network.sha256, tier, axis)
            for axis in session.axes
        )

    def export_prompts(self, path: str | Path) -> tuple[Path, ...]:
        """Write everything needed to repeat the masks as JSON, one file for each slice axis in use."""
        path = Path(path)
        sets, volume = self.prompt_sets(), self._work.usable_volume()[0]
        words = [self._work.scene.views.orientation(volume, each.axis) for each in sets]
        several = [path.with_name(f"{path.stem}-{word}{path.suffix}") for word in words]
        paths = [path] if len(sets) == 1 else several
        for target, prompts in zip(paths, sets, strict=True):
            write_bytes(target, prompts.to_json().encode("utf-8"))
        return tuple(paths)

    def import_prompts(self, path: str | Path) -> tuple[str, ...]:
        """Add the objects of a prompts file as new segments, in one step of undo; returns their segment ids."""
        self._ensure_segmentation()
        session = self._work.usable_volume()[1]
        return self.add_prompts(load_prompts(Path(path), session.geometry))

    def add_prompts(self, prompts: PromptSet) -> tuple[str, ...]:
        """Add the objects of a prompt set as new segments, in one step of undo; returns their segment ids."""
        self._ensure_segmentation()
        session = self._work.usable_volume()[1]
        taken = UnusedNames(tuple(obj.name for obj in session.objects))
        named = tuple(replace(obj, name=taken.next(obj.name)) for obj in prompts.objects)
        ids = session.add_objects(replace(prompts, objects=named))
        self._projector.after_change(ids)
        found = [self._work.segment_of(object_id) for object_id in ids]
        return tuple(segment_id for segment_id in found if segment_id is not None)


class UnusedNames:
    """Returns names that are not in use yet."""

    def __init__(self, taken: tuple[str, ...]) -> None:
        self._taken = {*taken}

    def next(self, name: str) -> str:
        """`name`, numbered if it is taken; taken from now on."""
        numbered = (f"{name} ({number})" for number in range(2, len(self._taken) + 3))
        chosen = next(each for each in (name, *numbered) if each not in self._taken)
        self._taken.add(chosen)
        return chosen
