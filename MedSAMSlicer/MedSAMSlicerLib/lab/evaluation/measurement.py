"""Measurement: what one runner made of one target in one protocol; a line of a result file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

VOLUME, IMAGE, VIDEO = "volume", "image", "video"


def trial_key(case: str, target: str, protocol: str, runner: str) -> str:
    """Return what no two trials of a run share: also the key of the measurement that a trial becomes."""
    return "|".join((case, target, protocol, runner))


@dataclass(frozen=True)
class Step:
    """The scores after the first prompts, or after one correction.

    Args:
        interactions: prompts given so far; a slice range is not counted.
        dice: of the whole volume, 0..1.
        nsd: normalized surface Dice at 2 mm (pixels, where a picture has no spacing), 0..1; of a video, of its frames.
        hd95: in mm (or pixels); None where one of both masks is empty, so that there is no distance.
        seconds: that the user waited for the whole mask.
        degrees: degrees of freedom that the user set with all corrections so far, where the protocol counts them.
    """

    interactions: int
    dice: float
    nsd: float
    hd95: float | None
    seconds: float
    degrees: int | None = None


@dataclass(frozen=True)
class Measurement:
    """One runner on one target in one protocol.

    Args:
        case, target: names.
        modality: as the data set calls it.
        kind: VOLUME, IMAGE or VIDEO.
        series: whether the image is a DICOM series.
        runner, protocol: names.
        voxels: of the target.
        slice_range: first and last slice of the target.
        prompted_slices: those of the first prompts.
        steps: after the first prompts and after each correction that was given, in order; one that fails has none.
        prompted_dice: on the first prompted slice alone, after the first prompts.
        slices: (index, Dice) after the first prompts, of every slice that holds the target or the mask.
        first_seconds: until the mask of a first slice was there.
        peak_mb: MiB by which the memory of the process (on a GPU, of the device) grew; None where it is unknown.
        error: why it failed, one sentence.
    """

    case: str
    target: str
    modality: str
    kind: str
    series: bool
    runner: str
    protocol: str
    voxels: int
    slice_range: tuple[int, int]
    prompted_slices: tuple[int, ...]
    steps: tuple[Step, ...] = ()
    prompted_dice: float = 0.0
    slices: tuple[tuple[int, float], ...] = ()
    first_seconds: float | None = None
    peak_mb: float | None = None
    error: str | None = None

    @property
    def key(self) -> str:
        """Return what no two measurements of a run share."""
        return trial_key(self.case, self.target, self.protocol, self.runner)

    @property
    def place(self) -> str:
        """Case and target, as tables say it."""
        return f"{self.case}: {self.target}"

    def dice_after(self, corrections: int) -> float:
        """Dice after so many corrections; once nothing is wrong any more, the last one stays. 0 where it failed."""
        return self.steps[min(corrections, len(self.steps) - 1)].dice if self.steps else 0.0

    def nsd_after(self, corrections: int) -> float:
        """Surface Dice after so many corrections, as :meth:`dice_after`."""
        return self.steps[min(corrections, len(self.steps) - 1)].nsd if self.steps else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measurement:
        """The inverse of :meth:`to_json`; TypeError or KeyError when something is missing."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        known["slice_range"] = tuple(values["slice_range"])
        known["prompted_slices"] = tuple(values["prompted_slices"])
        known["steps"] = tuple(Step(**step) for step in values.get("steps", ()))
        known["slices"] = tuple((int(index), float(score)) for index, score in values.get("slices", ()))
        return cls(**known)
