"""Which remembered slices count: all, without those that add least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from MedSAMSlicerLib.engine.bank import MemoryBank, SliceMemory, pruned
from MedSAMSlicerLib.engine.memory_attention import MemoryKeys
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2.checkpoint import seeded

from .sam1_oracles import SMALL_VIT, seeded_sam1

WINDOW = Window(0, 255, "full")


def keys(values: Any) -> MemoryKeys:
    return MemoryKeys((), values.mT, values)


def random_keys(seed: int) -> MemoryKeys:
    return keys(torch.randn(1, 8, 9, generator=torch.Generator().manual_seed(seed)))


def published_rule(memories: Sequence[Any], capacity: int, prune: int) -> list[int]:
    """Surgical SAM 2's second rule for one conditioning slice: the numbers of the memories that stay."""
    excess = len(memories) + prune - capacity
    if excess <= 0:
        return list(range(len(memories)))
    similarity = {}
    for n in range(1, len(memories) - 1):
        similarity[n] = 0.0
        for token in range(memories[n].shape[2]):
            a, b = memories[n][0, :, token], memories[-1][0, :, token]
            similarity[n] += float(a @ b / (a.norm() * b.norm()))
    gone = sorted(similarity, key=lambda n: similarity[n], reverse=True)[:excess]
    return [n for n in range(len(memories)) if n not in gone]


@pytest.mark.parametrize("count", [2, 5, 6, 7])
def test_those_that_resemble_the_nearest_slice_most_go_as_in_surgical_sam_2(count: int) -> None:
    memories = [(random_keys(seed), seed) for seed in range(count)]
    stay = published_rule([memory.values for memory, _ in memories], capacity=7, prune=2)
    assert [index for _, index in pruned(memories, 1, 5)] == stay
    assert len(stay) == min(count, 5)


def test_conditioning_slices_and_the_nearest_stay_however_alike_they_are() -> None:
    same = random_keys(0)
    memories = [(same, 6), (same, 6), (same, 6), (random_keys(1), 2), (same, 1), (same, 0)]
    assert [index for _, index in pruned(memories, 3, 4)] == [6, 6, 6, 0]
    assert [index for _, index in pruned(memories, 3, 5)] == [6, 6, 6, 2, 0]
    assert pruned(memories[:3] + memories[-1:], 3, 2) == memories[:3] + memories[-1:]


def test_a_bank_forgets_nothing_it_only_shows_less() -> None:
    bank = MemoryBank(7, 16, 40, policy="prune")
    bank.conditioning[0] = SliceMemory(torch.zeros(1, 4), random_keys(0))
    for index in range(1, 10):
        bank.history[index] = SliceMemory(torch.zeros(1, 4), random_keys(index))
    recalled = bank.recall(10, 1)
    assert len(recalled.memories) == 5
    assert len(recalled.pointers) == 10
    assert len(bank.history) == 9
    bank.policy = "all"
    assert len(bank.recall(10, 1).memories) == 7


SHAPE = (9, 48, 48)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 1.0))


def tube() -> np.ndarray:
    volume = np.random.default_rng(0).normal(60, 6, SHAPE)
    volume[:, 16:32, 16:32] += 90
    return volume.clip(0, 255).astype(np.uint8)


def boxed() -> PromptSet:
    box = box_from_voxels(GEOMETRY, SliceRef(SliceAxis.K, 0), 15, 15, 33, 33)
    return PromptSet(GEOMETRY, SliceAxis.K, (ObjectPrompts("tube", (1.0, 0.5, 0.2), (box,), (0, 8)),))


@pytest.mark.parametrize("scope", ["track", "video"])
def test_a_run_with_pruned_memories_attends_to_fewer_and_still_segments(
    monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    counts: dict[str, list[int]] = {}
    for memory in ("all", "prune"):
        segmenter = VolumeSegmenter(
            tube(),
            GEOMETRY,
            seeded(SMALL),
            WINDOW,
            tier="exact",
            threads=1,
            volume_stage="off",
            memory=memory,
        )
        network, counted = segmenter.network(), counts.setdefault(memory, [])
        condition = network.condition

        def counting(
            features: Any, recollections: Any, span: int, condition=condition, counted=counted
        ) -> Any:
            counted.append(len(recollections[0].memories))
            return condition(features, recollections, span)

        monkeypatch.setattr(network, "condition", counting)
        result = segmenter.segment(boxed(), scope=scope)
        assert result.masks["tube"].shape == SHAPE
    assert max(counts["all"]) == SMALL.num_memories == 4
    assert max(counts["prune"]) == 2


def test_a_memory_policy_that_does_not_exist_or_does_not_fit_is_refused() -> None:
    with pytest.raises(MedSAMError, match="must be one of all, prune, got 'some'"):
        VolumeSegmenter(tube(), GEOMETRY, seeded(SMALL), WINDOW, tier="exact", threads=1, memory="some")
    with pytest.raises(
        MedSAMError, match="small_vit has no memory of slices, so the memory must be 'all', not 'prune'"
    ):
        VolumeSegmenter(tube(), GEOMETRY, seeded_sam1(SMALL_VIT), WINDOW, tier="exact", memory="prune")
