"""The engine benchmark measures what it says; how long anything takes is never asserted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.lab.evaluation.engine_benchmark import (
    STEPS,
    EngineBenchmark,
    as_markdown,
    run_engine_benchmark,
)
from MedSAMSlicerLib.lab.evaluation.engine_runners import (
    Script,
    TimedEngineRunner,
    TimedOfficialRunner,
    frames_of,
)
from MedSAMSlicerLib.lab.evaluation.estimate_benchmark import as_markdown as estimates_as_markdown
from MedSAMSlicerLib.lab.evaluation.measuring import measure_in_process
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import TINY

SMALL = EngineBenchmark(
    slices=4, size=128, rounds=1, memory_slices=4, threads=1, variants=("official", "exact")
)


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    return run_engine_benchmark(SMALL)


def test_every_step_of_every_variant_is_measured(report: dict) -> None:
    assert set(report["seconds"]) == {"official", "exact"}
    for found in report["seconds"].values():
        assert all(len(found[step]) == 1 and found[step][0] > 0 for step in STEPS)


def test_ratios_say_how_many_times_faster_than_the_published_predictor(report: dict) -> None:
    seconds = report["seconds"]
    for step in STEPS:
        expected = seconds["official"][step][0] / seconds["exact"][step][0]
        assert report["ratios"]["exact"][step] == pytest.approx(expected)


def test_peak_memory_holds_more_than_what_grew(report: dict) -> None:
    assert list(report["memory"]) == ["official", "exact, 256 MB cache", "exact, default cache"]
    for found in report["memory"].values():
        assert found["peak_mb"] > found["growth_mb"] > 0


def test_the_table_names_variants_steps_and_machine(report: dict) -> None:
    table = as_markdown(report)
    assert report["machine"]["processor"] in table
    assert all(f"| {step} |" in table for step in STEPS[1:-1])
    assert table.count("| exact |") == 1


def test_a_correction_computes_only_the_slices_on_its_side() -> None:
    frames = frames_of(Script(9, 64))
    runner = TimedEngineRunner("exact", seeded(replace(TINY, image_size=64)), frames, "cpu", 1, 1 << 28)
    runner.first_pass()
    computed: list[int] = []
    runner._exhaust = lambda events: computed.extend(event.index for event in events)  # type: ignore[method-assign]
    runner.correct()
    assert sorted(computed) == [5, 6, 7, 8]


def test_both_engines_draw_the_same_mask_on_the_prompted_slice() -> None:
    model, frames = seeded(replace(TINY, image_size=128)), frames_of(Script(3, 128))
    ours = TimedEngineRunner("exact", model, frames, "cpu", 1, 1 << 28)
    ours.first_pass()
    mask = ours._live.result().masks["first"][1]
    official = TimedOfficialRunner("official", model, frames, "cpu")
    official.first_pass()
    session = official._running()
    session.forget_objects()
    logits = session.add_points(
        1, box=[edge - shift for edge, shift in zip(Script(3, 128).box(0), (0, 0, 1, 1), strict=True)]
    )
    assert np.array_equal(mask, logits[0, 0].numpy() > 0)


def test_a_failed_measurement_is_reported_in_one_sentence() -> None:
    with pytest.raises(MedSAMError, match=r"failed: .*no such module|failed: .*No module named"):
        measure_in_process("MedSAMSlicerLib.no_such_module", {"variant": "exact"})


def test_estimates_are_shown_beside_what_was_measured() -> None:
    case = {"shape": (3, 20, 30), "network": "bundled", "objects": 1, "cache_mb": 64}
    table = estimates_as_markdown(
        {
            "processor": "a processor",
            "threads": 1,
            "device": "cpu",
            "cases": [{**case, "estimated": (2e8, 4.0), "measured": (3e8, 2.0)}],
        }
    )
    assert "| 30 x 20 x 3 | bundled | 1 | 64 MB | 200 MB | 300 MB (1.50) | 4.0 s | 2.0 s (0.50) |" in table
