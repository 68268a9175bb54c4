"""How right the estimate before a run is: five volume shapes, each estimated and then run in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..engine.process_memory import forget_highest, highest_bytes
from .measuring import measure_in_process, processor


@dataclass(frozen=True)
class Shape:
    """One volume and how it is segmented.

    Args:
        shape: (K, J, I).
        network: "nano" or "tiny" (at 512 pixels), with seeded weights.
        objects: how many.
        cache_mb: of kept features, in MiB.
    """

    shape: tuple[int, int, int]
    network: str
    objects: int = 1
    cache_mb: int = 2048


SHAPES = (
    Shape((40, 256, 256), "nano"),
    Shape((100, 512, 512), "nano", objects=3),
    Shape((300, 512, 512), "nano", cache_mb=64),
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
    say = progress or (lambda _: None)
    cases = []
    for shape in SHAPES:
        say(f"{shape.network}, {shape.shape}, {shape.objects} objects")
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
    from dataclasses import replace

    import numpy as np

    from ..core.geometry import SliceAxis, VolumeGeometry
    from ..core.intensity import Window
    from ..core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
    from ..engine.estimate import estimate
    from ..engine.segmenter import VolumeSegmenter
    from ..sam2.checkpoint import seeded
    from ..sam2.config import NANO, TINY

    planes, rows, columns = task["shape"]
    volume = np.random.default_rng(0).integers(0, 256, (planes, rows, columns)).astype(np.uint8)
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 1.0))
    config = {"nano": NANO, "tiny": replace(TINY, image_size=512)}[task["network"]]
    segmenter = VolumeSegmenter(
        volume,
        geometry,
        seeded(config),
        Window(0, 255, "full"),
        device=task["device"],
        cache_bytes=task["cache_mb"] << 20,
        threads=task["threads"],
        patience=0,
    )
    place = SliceRef(SliceAxis.K, planes // 2)
    objects = tuple(
        ObjectPrompts(
            f"object {number}",
            (1.0, 0.5, 0.0),
            (box_from_voxels(geometry, place, 20 + 30 * number, 20, columns // 2, rows // 2),),
        )
        for number in range(task["objects"])
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


def main(argv: Sequence[str]) -> int:
    """Entry of a measuring process: one JSON task in, one JSON line out."""
    sys.stdout.write(json.dumps(_measure(json.loads(argv[0]))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
