"""The scene: all ports together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..time_series import TimeSeries
from .choices import Choices
from .prompts import PromptEdit, PromptMarkups, PromptTools, Tool
from .segments import Segmentations
from .views import Views
from .volumes import Volumes


@dataclass(frozen=True)
class SceneListener:
    """The functions to call when a node was removed, before and after all is closed, and after loading."""

    on_removed: Callable[[], None]
    on_closing: Callable[[], None]
    on_closed: Callable[[], None]
    on_loaded: Callable[[], None]


class Scene(Protocol):
    """All of it."""

    @property
    def volumes(self) -> Volumes:
        """The volumes."""
        ...

    @property
    def segmentations(self) -> Segmentations:
        """The segmentations that masks are written to."""
        ...

    @property
    def views(self) -> Views:
        """The slice views."""
        ...

    @property
    def times(self) -> TimeSeries:
        """The sequences that volumes belong to."""
        ...

    @property
    def choices(self) -> Choices:
        """Return what is saved with the study."""
        ...

    @property
    def is_closing(self) -> bool:
        """Return whether everything is being removed, so that nothing may be written any more."""
        ...

    def prompts(
        self,
        on_edit: Callable[[PromptEdit], None],
        on_left: Callable[[Tool | None], None],
        schedule: Callable[[Callable[[], None]], None] | None,
    ) -> tuple[PromptMarkups, PromptTools]:
        """Show prompts, and let the user place them.

        Args:
            on_edit: called when the user changes a prompt.
            on_left: called when the user puts the tool down, with the tool whose two clicks were at one place, else
                None.
            schedule: does something once the event under way is over; None = at once.
        """
        ...

    def observe(self, listener: SceneListener) -> Callable[[], None]:
        """Call the listener until the returned function is called."""
        ...
