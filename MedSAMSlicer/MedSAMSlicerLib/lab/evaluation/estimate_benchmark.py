"""The accuracy of the estimate before a run: 5 volume shapes, each estimated and then run in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...engine.process_memory import forget_highest, highest_bytes
from .measuring import measure_in_process, processor

_Case = tuple[Any, Any, list[tuple[int, tuple[int, ...]]], Any]
"""Volume (K, J, I), its geometry, the slice and the edges of each object's box, and the network."""


@dataclass(frozen=True)
class Shape:
    """One volume and how it is segmented.

    Args:
        shape: (K, J, I).
        network: "bundled", on the generated abdomen; or "tiny" at 512 pixels with seeded weights, on noise. Random
            weights would move the bundled network's square with every slice, which costs time that no real run takes.
        objects: how many.
        cache_mb: of kept features, in MiB.
    """

    shape: tuple[int, int, int]
    network: str
    objects: int = 1
    cache_mb: int = 2048


SHAPES = (
    Shape((40, 256, 256), "bundled"),
    Shape((100, 512, 512), "bundled", objects=3),
    Shape((300, 512, 512), "bundled", cache_mb=64),
    Shape((24, 320, 320), "tiny"),
    Shape((30, 512, 512), "tiny", objects=2, cache_mb=64),
)


def run_estimate_benchmark(
    threads: int, device: str = "cpu", progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Estimate and measure all of :data:`SHAPES`; plain values, ready for JSON.

    Raises:
        MedSAMError: If a measuring process failed.
    """
    report = progress or (lambda _: None)
    cases = []
    for shape in SHAPES:
        report(f"{shape.network}, {shape.shape}, {shape.objects} objects")
        task = {**asdict(shape), "threads": threads, "device": device}
        cases.append({**asdict(shape), **measure_in_process(__name__, task)})
    return {"processor": processor(device), "threads": threads, "device": device, "cases": cases}


def as_markdown(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    lines = [
        f"{report['processor']}, {report['threads']} threads, {report['device']}.",
        "",
        "| volume | network | objects | cache | memory: estimate | measured | time: estimate | measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in report["cases"]:
        shape = " x ".join(str(extent) for extent in reversed(case["shape"]))
        (guessed_bytes, guessed_s), (bytes_, seconds) = case["estimated"], case["measured"]
        lines.append(
            f"| {shape} | {case['network']} | {case['objects']} | {case['cache_mb']} MB "
            f"| {guessed_bytes / 1e6:.0f} MB | {bytes_ / 1e6:.0f} MB ({bytes_ / guessed_bytes:.2f}) "
            f"| {guessed_s:.1f} s | {seconds:.1f} s ({seconds / guessed_s:.2f}) |"
        )
    return "\n".join(lines)


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    """In the measuring process."""
    from ...core.geometry import SliceAxis
    from ...core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
    from ...engine.estimate import estimate
    from ...engine.segmenter import VolumeSegmenter

    volume, geometry, places, model = _abdomen(task) if task["network"] == "bundled" else _noise(task)
    segmenter = VolumeSegmenter(
        volume,
        geometry,
        model,
        device=task["device"],
        cache_bytes=task["cache_mb"] << 20,
        threads=task["threads"],
        patience=0,
    )
    objects = tuple(
        ObjectPrompts(
            f"object {number}",
            (1.0, 0.5, 0.0),
            (box_from_voxels(geometry, SliceRef(SliceAxis.K, index), *edges),),
        )
        for number, (index, edges) in enumerate(places)
    )
    prompts = PromptSet(geometry, SliceAxis.K, objects)
    guessed = estimate(segmenter, prompts)
    forget_highest()
    began = time.perf_counter()
    segmenter.segment(prompts)
    seconds = time.perf_counter() - began
    return {
        "estimated": (guessed.peak_bytes, guessed.seconds),
        "measured": (highest_bytes() or 0, seconds),
    }


def _abdomen(task: dict[str, Any]) -> _Case:
    from ...models.registry import BUNDLED_ID, Registry
    from ...phantom.ct import ct_phantom
    from ...sam2.checkpoint import load

    volume, geometry, truth = ct_phantom(tuple(task["shape"]))
    places = []
    for name in ("right_kidney", "aorta", "left_kidney")[: task["objects"]]:
        index = int(truth[name].sum(axis=(1, 2)).argmax())
        rows, columns = truth[name][index].nonzero()
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        places.append((index, tuple(int(edge) for edge in edges)))
    file = Registry.from_environment().open(BUNDLED_ID, lambda _: False)
    return volume, geometry, places, load(file.path)[0]


def _noise(task: dict[str, Any]) -> _Case:
    from dataclasses import replace

    import numpy as np

    from ...core.geometry import VolumeGeometry
    from ...sam2.checkpoint import seeded
    from ...sam2.config import TINY

    shape = planes, rows, columns = tuple(task["shape"])
    volume = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    places: list[tuple[int, tuple[int, ...]]] = [
        (planes // 2, (20 + 30 * number, 20, columns // 2, rows // 2)) for number in range(task["objects"])
    ]
    return (
        volume,
        VolumeGeometry.from_spacing(shape, (1.0, 1.0, 1.0)),
        places,
        seeded(replace(TINY, image_size=512)),
    )


def main(argv: Sequence[str]) -> int:
    """The measuring process: one JSON task in, one JSON line out."""
    sys.stdout.write(json.dumps(_measure(json.loads(argv[0]))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
