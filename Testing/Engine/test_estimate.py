"""The estimate before a run, against runs in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from MedSAMSlicerLib.core.errors import InsufficientMemoryError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from MedSAMSlicerLib.engine import process_memory
from MedSAMSlicerLib.engine.estimate import Estimate, Probe, check_memory, estimate, measure
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2 import NANO
from MedSAMSlicerLib.sam2.checkpoint import seeded

LIBRARY = Path(__file__).resolve().parents[2] / "MedSAMSlicer"

RUN = """
import dataclasses, json, sys
import numpy as np
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from MedSAMSlicerLib.engine import process_memory
from MedSAMSlicerLib.engine.estimate import estimate
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2 import NANO, TINY
from MedSAMSlicerLib.sam2.checkpoint import seeded

shape, name, size, objects, cache_mb, margin, stage = json.loads(sys.argv[1])
volume = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
geometry = VolumeGeometry.from_spacing(shape, (1.0, 1.0, 1.0))
model = seeded(dataclasses.replace({"nano": NANO, "tiny": TINY}[name], image_size=size))
segmenter = VolumeSegmenter(
    volume, geometry, model, Window(0, 255, "full"), tier="exact", cache_bytes=cache_mb << 20, crop_margin=margin,
    patience=0, threads=1, volume_stage=stage,
)
ref = SliceRef(SliceAxis.K, shape[0] // 2)
boxes = [box_from_voxels(geometry, ref, 10 + 20 * n, 12, shape[2] // 2, shape[1] // 2) for n in range(objects)]
prompts = PromptSet(
    geometry, SliceAxis.K, tuple(ObjectPrompts(f"object {n}", (1.0, 0.0, 0.0), (box,)) for n, box in enumerate(boxes))
)
before = estimate(segmenter, prompts)
process_memory.forget_highest()
segmenter.segment(prompts)
print(json.dumps([before.peak_bytes, process_memory.highest_bytes(), dict(before.parts)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux reports the peak of a part of a process"
)
@pytest.mark.parametrize(
    ("shape", "network", "size", "objects", "cache_mb", "margin", "stage"),
    [
        pytest.param((40, 128, 128), "nano", 192, 1, 2048, 0, "off", id="many slices, all features kept"),
        pytest.param((40, 128, 128), "nano", 192, 1, 16, 0, "learned", id="many slices, few features kept"),
        pytest.param(
            (4, 400, 500), "nano", 192, 4, 2048, 1.7, "auto", id="four objects, each in its own square"
        ),
        pytest.param((3, 200, 200), "tiny", 512, 2, 2048, 0, "off", id="a large network, two objects"),
    ],
)
def test_peak_memory_is_estimated_within_30_percent(
    shape: tuple[int, int, int],
    network: str,
    size: int,
    objects: int,
    cache_mb: int,
    margin: float,
    stage: str,
) -> None:
    request = json.dumps([shape, network, size, objects, cache_mb, margin, stage])
    done = subprocess.run(
        [sys.executable, "-c", RUN, request],
        capture_output=True,
        text=True,
        check=False,
        cwd=LIBRARY,
        env={"PATH": "", "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    estimated, measured, parts = json.loads(done.stdout)
    assert estimated == pytest.approx(measured, rel=0.3), parts


@pytest.fixture(scope="module")
def segmenter() -> VolumeSegmenter:
    volume = np.zeros((20, 64, 64), np.uint8)
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 1.0))
    model = seeded(replace(NANO, image_size=64))
    return VolumeSegmenter(
        volume,
        geometry,
        model,
        Window(0, 255, "full"),
        tier="exact",
        threads=1,
        cache_bytes=1 << 30,
        crop_margin=0,
    )


PROBE = Probe(0.5, 0.3, 400 << 20, 100 << 20, 4 << 20, 5 << 20)


def test_more_objects_take_more_of_everything(segmenter: VolumeSegmenter) -> None:
    one, three = (estimate(segmenter, count, probe=PROBE) for count in (1, 3))
    assert three.seconds > one.seconds
    assert three.peak_bytes > one.peak_bytes
    assert three.parts["features"] == one.parts["features"]  # whole slices are shared


def test_a_smaller_cache_takes_less_memory(segmenter: VolumeSegmenter) -> None:
    plenty = estimate(segmenter, 1, probe=PROBE)
    segmenter.cache_bytes, before = 10 << 20, segmenter.cache_bytes
    little = estimate(segmenter, 1, probe=PROBE)
    segmenter.cache_bytes = before
    assert plenty.parts["features"] == 20 * PROBE.features_bytes
    assert little.parts["features"] == 10 << 20
    assert little.peak_bytes < plenty.peak_bytes


def test_a_range_takes_less_time_than_the_whole_volume(segmenter: VolumeSegmenter) -> None:
    ref = SliceRef(SliceAxis.K, 8)
    box = box_from_voxels(segmenter.geometry, ref, 4, 4, 20, 20)

    def seconds(slice_range: tuple[int, int] | None) -> float:
        obj = ObjectPrompts("object", (1.0, 0.0, 0.0), (box,), slice_range)
        return estimate(segmenter, PromptSet(segmenter.geometry, SliceAxis.K, (obj,)), probe=PROBE).seconds

    assert seconds((5, 9)) == pytest.approx(seconds(None) / 4)


@pytest.mark.parametrize(
    ("ranges", "encoded", "steps"),
    [
        pytest.param([(0, 4), (10, 19)], 15, 15, id="disjoint"),
        pytest.param([(0, 9), (5, 14)], 15, 20, id="overlapping"),
        pytest.param([(2, 12), (4, 6)], 11, 14, id="one within the other"),
        pytest.param([(3, 5), None], 20, 23, id="one without a range"),
    ],
)
def test_a_slice_that_several_objects_look_at_is_encoded_once(
    segmenter: VolumeSegmenter, ranges: list[tuple[int, int] | None], encoded: int, steps: int
) -> None:
    objects = []
    for number, slice_range in enumerate(ranges):
        ref = SliceRef(SliceAxis.K, slice_range[0] if slice_range else 0)
        box = box_from_voxels(segmenter.geometry, ref, 4, 4, 20, 20)
        objects.append(ObjectPrompts(f"object {number}", (1.0, 0.0, 0.0), (box,), slice_range))
    expected = estimate(segmenter, PromptSet(segmenter.geometry, SliceAxis.K, tuple(objects)), probe=PROBE)
    assert expected.parts["features"] == encoded * PROBE.features_bytes
    assert expected.seconds == pytest.approx(encoded * PROBE.encode_seconds + steps * PROBE.step_seconds)


def test_what_is_measured_is_positive_and_stays_for_the_run(segmenter: VolumeSegmenter) -> None:
    probe = measure(segmenter)
    assert min(probe.encode_seconds, probe.step_seconds) > 0
    assert min(probe.resident_bytes, probe.keys_bytes, probe.features_bytes) > 0
    assert segmenter.network(SliceAxis.K).store.bytes_used == 3 * probe.features_bytes


def test_too_little_memory_is_stated_with_the_numbers_and_a_way_out() -> None:
    asked = Estimate(8_400_000_000, 10.0, {"now": 400_000_000, "features": 6_000_000_000})
    assert asked.further_bytes == 8_000_000_000
    check_memory(asked.further_bytes, None, 0)
    check_memory(asked.further_bytes, 9_000_000_000, 0)
    with pytest.raises(
        InsufficientMemoryError, match=r"about 8\.0 GB.*only 3\.0 GB.*smaller cache.*about 2\.0 GB"
    ):
        check_memory(asked.further_bytes, 3_000_000_000, asked.parts["features"])
    with pytest.raises(InsufficientMemoryError, match="smaller model, fewer objects"):
        check_memory(asked.further_bytes, 1_000_000_000, asked.parts["features"])


def test_the_command_line_asks_a_gpu_for_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from MedSAMSlicerLib.cli import compute

    asked = Estimate(8_000_000_000, 10.0, {"now": 0, "features": 0})
    monkeypatch.setattr(compute, "estimate", lambda *_, **__: asked)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (3_000_000_000, 8_000_000_000))
    on_a_gpu = SimpleNamespace(
        precision=SimpleNamespace(device=torch.device("cuda")), check_first_prompts=lambda prompts: None
    )
    with pytest.raises(InsufficientMemoryError, match=r"only 3\.0 GB"):
        compute.check_estimate(on_a_gpu, None, quiet=True)


def test_the_process_knows_its_own_memory() -> None:
    now, highest, free = (
        process_memory.resident_bytes(),
        process_memory.highest_bytes(),
        process_memory.available_bytes(),
    )
    assert now is not None
    assert highest is not None
    assert 0 < now <= highest * 1.01
    assert free is None or free > 0
