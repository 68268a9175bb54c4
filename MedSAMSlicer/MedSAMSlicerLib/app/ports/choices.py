"""The choices about a study, and its sessions, where they are saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .volumes import Handle


class Choices(Protocol):
    """The choices about a study, and its sessions as text, where they are saved with it."""

    volume: Handle | None
    segmentation: Handle | None
    segment_id: str | None
    window_spec: str
    checkpoint: str | None
    tier: str | None
    overlap: str

    def session_of(self, volume: Handle | None, segmentation: Handle | None, time: str = "") -> str | None:
        """The text of a session, None without one; `time` is the `TimePoint.value`, "" for a volume of no sequence."""
        ...

    def set_session_of(
        self,
        volume: Handle | None,
        segmentation: Handle | None,
        text: str | None,
        time: str = "",
        channels: Sequence[Handle] = (),
    ) -> None:
        """Keep the text of a session, and the volumes that the network sees beside this one; without text, drop it."""
        ...

    def session_channels(
        self, volume: Handle | None, segmentation: Handle | None, time: str = ""
    ) -> tuple[Handle | None, ...]:
        """The `channels` that a session was kept with, in their order; None for each that is gone."""
        ...

    def channels_of(self, volume: Handle) -> tuple[tuple[Handle, str], ...]:
        """The volumes chosen beside a volume, each with its window as text; those that are gone are left out."""
        ...

    def set_channels_of(self, volume: Handle, channels: Sequence[tuple[Handle, str]]) -> None:
        """Keep the volumes chosen beside a volume, each with its window as text."""
        ...

    def segmentation_of(self, volume: Handle) -> Handle | None:
        """The segmentation that was worked on last with a volume; None when there was none, or it is gone."""
        ...

    def use_session_of(self, volume: Handle, segmentation: Handle | None) -> None:
        """The session, if there is one, is worked on again."""
        ...

    def drop_sessions_of(self, volume: Handle, time: str = "") -> None:
        """Forget every session on a volume at one time point."""
        ...

    def change_sessions_of(self, volume: Handle, change: Callable[[str], str]) -> None:
        """Let every session on a volume be `change(text)`."""
        ...

    def drop_lost_sessions(self) -> None:
        """Forget sessions whose volume or segmentation is gone."""
        ...

    def close(self) -> None:
        """Watch no longer."""
        ...
