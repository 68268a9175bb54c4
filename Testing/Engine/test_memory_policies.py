"""Which remembered slices count: all, without those that add least, and segmented cases as memory for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.folders import bundled_folders
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from MedSAMSlicerLib.engine.bank import MemoryBank, Recollection, SliceMemory, pruned
from MedSAMSlicerLib.engine.case_memory import CaseEntry, CaseMemory, entries_of, segment_from_memory
from MedSAMSlicerLib.engine.memory_attention import MemoryKeys
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2 import DecoderPrompts
from MedSAMSlicerLib.sam2.checkpoint import load, seeded

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


# --------------------------------------------------------------------------------------------- cases as memory


def entry(vector: Sequence[float], iou: float = 0.9) -> CaseEntry:
    unit = torch.nn.functional.normalize(torch.tensor(vector, dtype=torch.float32), dim=0)
    return CaseEntry(random_keys(0), unit, unit, iou)


def published_bank(bank: list[Any], new: Any, size: int) -> list[Any]:
    """BioSAM-2's rule, written out."""
    if len(bank) < size:
        return [*bank, new]
    to_new = [float(kept.memory @ new.memory) for kept in bank]
    a = to_new.index(min(to_new))
    others = [j for j in range(len(bank)) if j != a]
    b = max(others, key=lambda j: float(bank[a].memory @ bank[j].memory))
    if to_new[a] < float(bank[a].memory @ bank[b].memory) and new.iou > bank[b].iou - 0.1:
        return [new if j == b else kept for j, kept in enumerate(bank)]
    return bank


def test_the_bank_stays_diverse_by_the_rule_of_biosam2() -> None:
    random = np.random.default_rng(0)
    memory, expected, taken = CaseMemory(size=4), [], []
    for _ in range(40):
        new = entry(random.normal(size=5).tolist(), float(random.uniform(0.5, 1)))
        expected = published_bank(expected, new, 4)
        taken.append(memory.offer(new))
        assert [id(kept) for kept in memory.entries] == [id(kept) for kept in expected]
    assert taken[:4] == [True] * 4
    assert 0 < sum(taken[4:]) < 36


def test_the_entries_most_like_an_image_are_recalled() -> None:
    memory = CaseMemory()
    for vector in ([1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]):
        memory.offer(entry(vector))
    image = torch.tensor([1.0, 0.1, 0.0, 0.0]).view(1, 4, 1, 1)
    assert [e.image.argmax().item() for e in memory.most_like(image, 2)][-1] == 0
    assert len(memory.most_like(image, 2)) == 2


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ellipse with smaller blobs beside it on two slices, and where the ellipse is."""
    random = np.random.default_rng(seed)
    side = 96
    _, y, x = np.mgrid[:2, :side, :side].astype(float)
    row, column = random.uniform(0.4, 0.6, 2) * side
    height, width = random.uniform(0.16, 0.22, 2) * side
    inside = ((y - row) / height) ** 2 + ((x - column) / width) ** 2 < 1
    volume = random.normal(60, 8, inside.shape)
    volume[inside] += random.uniform(70, 90)
    for _ in range(3):
        row, column = random.uniform(0.1, 0.9, 2) * side
        volume[((y - row) ** 2 + (x - column) ** 2 < (0.06 * side) ** 2) & ~inside] += 50
    return volume.clip(0, 255).astype(np.uint8), inside


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))


def test_three_remembered_cases_segment_the_next_one_without_a_prompt() -> None:
    [path] = [p for folder in bundled_folders() for p in folder.glob("medsamslicer_nano.safetensors")][:1]
    network, _ = load(path)

    def segmenter(volume: np.ndarray) -> VolumeSegmenter:
        geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 1.0))
        return VolumeSegmenter(volume, geometry, network, WINDOW, tier="exact", threads=1, volume_stage="off")

    remembered = CaseMemory()
    for seed in (1, 2, 3):
        volume, inside = case(seed)
        for each in entries_of(segmenter(volume), inside):
            remembered.offer(each)
    scores = []
    for seed in (11, 12):
        volume, inside = case(seed)
        scores.append(dice(segment_from_memory(segmenter(volume), remembered), inside))
    assert np.mean(scores) > 0.9
    network_alone = segmenter(volume).network()
    view = segmenter(volume).whole()
    with torch.inference_mode():
        features = network_alone.features([(0, view)])
        conditioned = network_alone.condition(features, [Recollection([], [])], 1)
        answer = network_alone.decode(features, conditioned, DecoderPrompts())
    without = view.mask_from_logits(answer.logits[0, 0].numpy()) > 0
    assert dice(without, inside[0]) < 0.5
    with pytest.raises(MedSAMError, match="No segmented case is remembered yet"):
        segment_from_memory(segmenter(volume), CaseMemory())


def test_a_network_without_memory_cannot_learn_from_cases() -> None:
    volume, inside = case(1)
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 1.0))
    segmenter = VolumeSegmenter(
        volume, geometry, seeded_sam1(SMALL_VIT), WINDOW, tier="exact", threads=1, volume_stage="off"
    )
    with pytest.raises(MedSAMError, match="small_vit has no memory: it cannot learn from segmented cases"):
        next(entries_of(segmenter, inside))
