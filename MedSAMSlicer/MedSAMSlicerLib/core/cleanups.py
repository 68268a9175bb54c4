"""The clean-up of an object's masks before they are shown; those that the session keeps stay raw."""

from __future__ import annotations

from dataclasses import dataclass

CLEANUPS = ("none", "islands", "holes", "both")
"""The clean-ups that a prompts file can name."""


@dataclass(frozen=True)
class Cleanup:
    """The clean-up of the masks of one object; none by default.

    Attributes:
        keep_prompted: only the parts that hang together with a key slice stay.
        fill_holes: small holes within a slice are filled.
        smooth: outlines are smoothed from slice to slice.
    """

    keep_prompted: bool = False
    fill_holes: bool = False
    smooth: bool = False

    @classmethod
    def usual(cls) -> Cleanup:
        """Return what the panel begins with: one connected part without holes."""
        return cls(keep_prompted=True, fill_holes=True)

    @property
    def is_on(self) -> bool:
        """Return whether anything is done at all."""
        return self.keep_prompted or self.fill_holes or self.smooth

    @property
    def prompt_set_name(self) -> str:
        """The word for it in a prompts file, which knows no smoothing."""
        if self.keep_prompted and self.fill_holes:
            return "both"
        return "islands" if self.keep_prompted else "holes" if self.fill_holes else "none"

    @classmethod
    def from_prompt_set(cls, name: str | None) -> Cleanup:
        """The clean-up that a prompts file names; None = it says nothing."""
        return cls(keep_prompted=name in ("islands", "both"), fill_holes=name in ("holes", "both"))


RAW = Cleanup()
"""Masks as the network drew them."""
