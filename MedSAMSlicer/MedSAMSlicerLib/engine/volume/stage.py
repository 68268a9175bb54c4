"""VolumeStage: the slices of one object, drawn one after the other, looked at together.

A network that carries a mask from slice to slice drifts, and no slice knows what lies two slices further. This stage
brings in what the slices alone do not show: grays of the key slices, growth from seeds in three dimensions, the shape
between key slices, the range and the box. Key slices are never changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ...core.errors import MedSAMError
from ...core.tiers import STAGES
from .channels import binned, channels
from .evidence import VolumeEvidence
from .field import mean_field
from .network import VolumeNet
from .stack import fused, stacked
from .weights import UNRANGED, bundled_stage

Floats = npt.NDArray[np.float32]

WORKING_SIDE, WORKING_VOXELS = 96, 1_200_000
"""Pixels along a slice's side, and voxels, that are looked at most; larger parts are binned."""
_TIE, _ROUNDS, _UNARY = 1.0, 6, 0.5
_CERTAIN = 12.0
_HEED = 0.125  # the learned part yields to what clicks say, the more slices were corrected
_DOUBTED, _TRUSTED = (
    0.85,
    0.95,
)  # Dice on the key slices at which a second network's reading counts not at all, and fully
_READING_LIMIT = 6.0
_SHALLOWEST = 3  # slices
_MOSTLY = 0.5  # of a pixel of the working grid


@dataclass(frozen=True, eq=False)
class Refined:
    """The result of the stage for one object.

    Args:
        evidence: what it was made of.
        logits: (slices, rows, columns) float32 of the evidence's part of the volume, > 0 inside.
    """

    evidence: VolumeEvidence
    logits: Floats

    def slices(self) -> Iterator[tuple[int, Floats]]:
        """Index within the volume and logits (rows, columns of the part) of all slices that may have changed."""
        evidence = self.evidence
        for place in range(evidence.first, evidence.last + 1):
            if not evidence.fixed[place]:
                yield evidence.corner[0] + place, self.logits[place]

    def pasted(self, index: int, logits: Floats) -> Floats:
        """A whole slice's logits (rows, columns), replaced where the stage looked."""
        result: Floats = logits.copy()
        rows, columns = self.logits.shape[1:]
        _, top, left = self.evidence.corner
        result[top : top + rows, left : left + columns] = self.logits[index - self.evidence.corner[0]]
        return result


class VolumeStage:
    """Refines objects; the same evidence always gives the same answer on one machine.

    Args:
        network: the learned part; None = evidence is fused with fixed weights.
        device: where the network computes.
        unranged: the learned part for objects without a slice range, which sees where they end; None = `network`.
    """

    def __init__(
        self,
        network: VolumeNet | None = None,
        device: torch.device | str = "cpu",
        unranged: VolumeNet | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._network = None if network is None else network.to(self._device).eval()
        self._unranged = self._network if unranged is None else unranged.to(self._device).eval()

    def refine(self, evidence: VolumeEvidence) -> Refined | None:
        """Logits of the whole part around an object; None where there is nothing to refine from."""
        if evidence.last - evidence.first + 1 < _SHALLOWEST:
            return None
        factor = working_factor(evidence.shape)
        found = channels(evidence, factor)
        if found is None:
            return None
        logits = fused(found, evidence)
        network = self._network if evidence.ranged else self._unranged
        if network is not None:
            corrected = np.count_nonzero(evidence.fixed & ~evidence.keys)
            logits += np.float32(1 / (1 + _HEED * corrected)) * self._added(
                network, stacked(found, evidence, logits, factor), evidence, factor
            )
            logits += _read_again(evidence, factor)
        if evidence.barred is not None:
            logits = np.where(binned(evidence.barred, factor) > _MOSTLY, np.float32(-_CERTAIN), logits)
        certain = np.where(found.logits > 0, _CERTAIN, -_CERTAIN)
        unary = np.where(evidence.fixed[:, None, None], certain, logits).astype(np.float32)
        spacing = (evidence.spacing[0], evidence.spacing[1] * factor, evidence.spacing[2] * factor)
        logits = mean_field(_UNARY * unary, found.gray, spacing, _TIE, _ROUNDS)
        logits[: evidence.first] = logits[evidence.last + 1 :] = -_CERTAIN
        large = _enlarged(logits, factor, evidence.shape[1:])
        if evidence.barred is not None:
            large[evidence.barred] = -_CERTAIN
        return Refined(evidence, large)

    def _added(self, network: VolumeNet, stack: Floats, evidence: VolumeEvidence, factor: int) -> Floats:
        """Return what the learned part adds to the fused logit."""
        anisotropy = evidence.spacing[0] / (evidence.spacing[1] * factor)
        with torch.inference_mode():
            added = network(torch.from_numpy(stack)[None].to(self._device), anisotropy)
        found: Floats = added[0, 0].float().cpu().numpy()
        return found


def _read_again(evidence: VolumeEvidence, factor: int) -> Floats:
    """The logits of a second network's reading; 0 unless it sees on the key slices what the user has seen there."""
    reading = evidence.reading
    if reading is None:
        return np.zeros(1, np.float32)
    trust = min(max((reading.on_keys - _DOUBTED) / (_TRUSTED - _DOUBTED), 0.0), 1.0)
    limited = reading.logits.clip(-_READING_LIMIT, _READING_LIMIT)
    return np.asarray(np.float32(trust) * binned(limited, factor), np.float32)


def checked_stage(name: str) -> str:
    """The name, if it is one of `STAGES`.

    Raises:
        MedSAMError: If it is not.
    """
    if name not in STAGES:
        raise MedSAMError(f"The volume stage must be one of {', '.join(STAGES)}, got {name!r}.")
    return name


def make_stage(name: str, device: torch.device | str = "cpu") -> VolumeStage:
    """The stage of one of `STAGES` but "off".

    Raises:
        CheckpointError: If the learned part that comes with the program is damaged.
    """
    if name == "fused":
        return VolumeStage(None, device)
    return VolumeStage(bundled_stage(), device, bundled_stage(UNRANGED))


def working_factor(shape: tuple[int, int, int]) -> int:
    """Pixels along each side of a slice that are binned into one."""
    factor = math.ceil(max(shape[1:]) / WORKING_SIDE)
    return max(factor, math.ceil(math.sqrt(math.prod(shape) / WORKING_VOXELS)), 1)


def _enlarged(logits: Floats, factor: int, shape: tuple[int, int]) -> Floats:
    """The working grid back on the voxels: bilinear within each slice."""
    if factor == 1:
        return logits
    size = (logits.shape[1] * factor, logits.shape[2] * factor)
    large = functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )
    return np.ascontiguousarray(large[0].numpy()[:, : shape[0], : shape[1]])
