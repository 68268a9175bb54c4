"""Segmented cases as memory for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from Testing.Engine.sam1_oracles import SMALL_VIT, seeded_sam1

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.folders import bundled_folders
from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.engine.bank import Recollection
from MedSAMSlicerLib.engine.memory_attention import MemoryKeys
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.lab.batch.case_memory import CaseEntry, CaseMemory, entries_of, segment_from_memory
from MedSAMSlicerLib.sam2 import DecoderPrompts
from MedSAMSlicerLib.sam2.checkpoint import load

WINDOW = Window(0, 255, "full")
KEYS = MemoryKeys((), torch.zeros(1, 9, 8), torch.zeros(1, 8, 9))


def entry(vector: Sequence[float], iou: float = 0.9) -> CaseEntry:
    unit = torch.nn.functional.normalize(torch.tensor(vector, dtype=torch.float32), dim=0)
    return CaseEntry(KEYS, unit, unit, iou)


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
