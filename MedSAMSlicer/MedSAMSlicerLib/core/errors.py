"""Errors that carry one sentence a radiologist understands, with the value that was wrong."""

from __future__ import annotations

from collections.abc import Sequence


class MedSAMError(Exception):
    """Anything that can be reported to the user in one sentence; ``str(error)`` is that sentence.

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


class ObjectError(PromptError):
    """Prompts of one object that cannot be used.

    Attributes:
        sentence: the sentence with "{object}" where the object is named.
        object_name: the name that the object has where the error was raised.
    """

    def __init__(self, sentence: str, object_name: str) -> None:
        super().__init__(sentence.replace("{object}", repr(object_name)))
        self.sentence, self.object_name = sentence, object_name

    def __reduce__(self) -> tuple[type[ObjectError], tuple[str, str]]:
        return ObjectError, (self.sentence, self.object_name)

    def named(self, name: str) -> ObjectError:
        """The same error about the object under another name."""
        return ObjectError(self.sentence, name)


class VolumeError(MedSAMError):
    """An image that cannot be read or holds nothing to segment."""


class SpacingUnknownError(VolumeError):
    """A volume that does not give the size of its voxels, which was not given elsewhere either."""


class SeveralSeriesError(VolumeError):
    """A folder that holds several DICOM series, of which one must be chosen.

    Attributes:
        path: the folder.
        listing: the series, each with its UID.
        uids: their UIDs in the same order.
    """

    def __init__(self, path: object, listing: Sequence[str], uids: Sequence[str] = ()) -> None:
        super().__init__(f"{path} holds {len(listing)} series, choose one by its UID: {'; '.join(listing)}.")
        self.path, self.listing, self.uids = path, tuple(listing), tuple(uids)


class CheckpointError(MedSAMError):
    """A file of network weights that is damaged, unknown or of another network."""


class DownloadError(MedSAMError):
    """A file that could not be fetched or whose bytes are not the expected ones."""


class OutputError(MedSAMError):
    """A result that could not be written."""


class InsufficientMemoryError(MedSAMError):
    """A run that would not fit into the memory of this computer.

    Attributes:
        less_will_do: whether the same run, slower and with few features kept, would fit.
    """

    def __init__(self, text: str, less_will_do: bool = False) -> None:
        super().__init__(text)
        self.less_will_do = less_will_do

    @classmethod
    def for_run(
        cls, needed: int, free: int, advice: str, less_will_do: bool = False
    ) -> InsufficientMemoryError:
        """The error of a run that needs more than the `free` bytes; `advice` says what to do."""
        text = f"This run needs about {needed / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free: {advice}."
        return cls(text, less_will_do)


class SessionError(MedSAMError):
    """A change that the session does not allow, such as one to a locked segment."""


class DrawnSliceError(SessionError):
    """A prompt on a slice whose mask was drawn elsewhere; the segment can be taken as a start, so that it may come."""


class Canceled(MedSAMError):
    """The user stopped the run; what was finished before stays valid."""
