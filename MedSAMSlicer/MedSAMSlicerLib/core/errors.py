"""Errors that carry one sentence a radiologist understands, with the value that was wrong."""

from __future__ import annotations


class MedSAMError(Exception):
    """Anything the user can be told in one sentence; ``str(error)`` is that sentence.

    `offer` is the text of a button that mends it, where there is such a way.
    """

    offer: str | None = None


class GeometryError(MedSAMError):
    """A volume geometry that cannot be used, or a place outside it."""


class NonLinearTransformError(GeometryError):
    """A volume under a transform that bends it, so that its slices are no planes in the views."""


class PromptError(MedSAMError):
    """A prompt or a prompts file that does not fit the volume."""


class OtherVolumeError(PromptError):
    """A prompt in a view that shows another volume than the one that is segmented."""


class VolumeError(MedSAMError):
    """An image that cannot be read or holds nothing to segment."""


class SpacingUnknownError(VolumeError):
    """A volume does not tell how large its voxels are, and nobody else did."""


class CheckpointError(MedSAMError):
    """A file of network weights that is damaged, unknown or of another network."""


class DownloadError(MedSAMError):
    """A file that could not be fetched or whose bytes are not the expected ones."""


class OutputError(MedSAMError):
    """A result that could not be written."""


class InsufficientMemoryError(MedSAMError):
    """A run that would not fit into the memory of this computer."""


class SessionError(MedSAMError):
    """A change that the session does not allow, such as one to a locked segment."""


class Cancelled(MedSAMError):
    """The user stopped the run; what was finished before stays valid."""
