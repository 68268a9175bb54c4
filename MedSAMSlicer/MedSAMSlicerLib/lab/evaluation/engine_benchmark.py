"""The speed and memory of the engine beside the published predictor, as ratios measured in one run.

Every measurement is a process of its own, so that peak memory and process-wide settings are its own too. Rounds go
through all variants in turn (A B C A B C ...), and ratios are taken within a round: what else the machine does hits all
variants alike. Weights are seeded; speed does not depend on what they are.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from ...engine.process_memory import forget_highest, highest_bytes, resident_bytes
from .measuring import measure_in_process, processor

logger = logging.getLogger(__name__)

STEPS = ("first pass", "correction", "all again", "second object", "click")
REFERENCE = "official"


@dataclass(frozen=True)
class EngineBenchmark:
    """The settings of the measurement.

    Args:
        slices: of the volume whose steps are timed.
        size: voxels a side of a slice, and the network's image size.
        rounds: how often every variant is timed; 0 = not at all.
        memory_slices: of the volume whose peak memory is measured; 0 = not measured.
        cache_mb: the small feature cache of the memory measurement, in MiB.
        threads: of every variant, on the CPU.
        device: "cpu" or "cuda".
        variants: which of :data:`.engine_runners.VARIANTS`; the first official one is what ratios refer to.
    """

    slices: int = 20
    size: int = 512
    rounds: int = 3
    memory_slices: int = 300
    cache_mb: int = 256
    threads: int = max(1, os.cpu_count() or 1)
    device: str = "cpu"
    variants: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Task:
    """One process: either the steps are timed or the peak memory of a first pass is measured."""

    variant: str
    slices: int
    size: int
    threads: int
    device: str
    cache_mb: int | None
    memory: bool


def run_engine_benchmark(
    benchmark: EngineBenchmark, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Measure everything and return it as plain values, ready for JSON.

    Returns:
        "machine", "settings", "seconds" {variant: {step: [per round]}}, "ratios" {variant: {step: median over rounds
        of official / variant}}, and "memory" {label: {"peak_mb", "growth_mb"}} if it was asked for.

    Raises:
        MedSAMError: If a measuring process failed, with the last line that it wrote.
    """
    from .engine_runners import VARIANTS

    variants = benchmark.variants or VARIANTS
    report = progress or (lambda _: None)
    seconds: dict[str, dict[str, list[float]]] = {name: {step: [] for step in STEPS} for name in variants}
    base = _Task(
        "", benchmark.slices, benchmark.size, benchmark.threads, benchmark.device, None, memory=False
    )
    machine: dict[str, Any] = {}
    for number in range(benchmark.rounds):
        for name in variants:
            report(f"round {number + 1} of {benchmark.rounds}: {name}")
            answer = measure_in_process(__name__, asdict(replace(base, variant=name)))
            machine = answer["machine"]
            for step in STEPS:
                seconds[name][step].append(answer["seconds"][step])
    memory: dict[str, Any] = {}
    if benchmark.memory_slices:
        for name, cache in ((REFERENCE, None), ("exact", benchmark.cache_mb), ("exact", None)):
            label = (
                name if name == REFERENCE else f"{name}, {cache or 'default'}{' MB' if cache else ''} cache"
            )
            report(f"memory of {benchmark.memory_slices} slices: {label}")
            task = replace(base, variant=name, slices=benchmark.memory_slices, cache_mb=cache, memory=True)
            answer = measure_in_process(__name__, asdict(task))
            memory[label], machine = answer["memory"], answer["machine"]
    return {
        "machine": machine,
        "settings": asdict(replace(benchmark, variants=tuple(variants))),
        "seconds": seconds,
        "ratios": _ratios(seconds),
        "memory": memory,
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The report as Markdown tables: speed if it was timed, memory if it was measured."""
    tables = [_speed_table(report)] if report["settings"]["rounds"] else []
    tables += [_memory_table(report)] if report["memory"] else []
    return "\n\n".join([_setting(report), *tables])


def place_names(benchmark: EngineBenchmark) -> list[str]:
    """The names of the places in a document that a report fills: `engine-DEVICE` and `engine-DEVICE-memory`."""
    name = f"engine-{benchmark.device}"
    return [name] * bool(benchmark.rounds) + [f"{name}-memory"] * bool(benchmark.memory_slices)


def document_sections(report: dict[str, Any]) -> dict[str, str]:
    """The results by the names of their places in a document: speed if it was timed, memory if it was measured."""
    settings = EngineBenchmark(**report["settings"])
    tables = [_speed_table(report)] * bool(settings.rounds) + [_memory_table(report)] * bool(
        settings.memory_slices
    )
    found = zip(place_names(settings), tables, strict=True)
    return {name: f"{_setting(report)}\n\n{table}" for name, table in found}


def _setting(report: dict[str, Any]) -> str:
    settings, machine = report["settings"], report["machine"]
    threads = f"{settings['threads']} thread{'s' * (settings['threads'] != 1)}"
    size = f"slices of {settings['size']} x {settings['size']}"
    return f"{machine['processor']}, {threads}, {settings['device']}, torch {machine['torch']}, {size}."


def _speed_table(report: dict[str, Any]) -> str:
    settings = report["settings"]
    lines = [
        f"| {settings['slices']} slices, median of {settings['rounds']} rounds | " + " | ".join(STEPS) + " |",
        "|---|" + "---|" * len(STEPS),
    ]
    for name, found in report["seconds"].items():
        cells = []
        for step in STEPS:
            value = statistics.median(found[step])
            shown = f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
            ratio = report["ratios"].get(name, {}).get(step)
            cells.append(shown if ratio is None or name == REFERENCE else f"{shown} ({ratio:.1f}x)")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_ABOVE = {
    False: "above network and volume",
    True: "above the network",
}  # there, the volume is not counted before


def _memory_table(report: dict[str, Any]) -> str:
    on_gpu = report["settings"]["device"] == "cuda"
    lines = [
        f"| {report['settings']['memory_slices']} slices | peak | {_ABOVE[on_gpu]} |",
        "|---|---|---|",
    ]
    base = report["memory"].get(REFERENCE)
    for name, found in report["memory"].items():
        cells = []
        for key in ("peak_mb", "growth_mb"):
            share = (
                "" if name == REFERENCE or base is None else f" ({found[key] / base[key]:.2f} of official)"
            )
            cells.append(f"{found[key]:.0f} MB{share}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratios(seconds: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """The speed relative to the reference, as the median of the ratios within each round."""
    if not seconds.get(REFERENCE, {}).get(STEPS[0]):
        return {}
    return {
        name: {
            step: statistics.median(
                slow / quick for slow, quick in zip(seconds[REFERENCE][step], found[step], strict=True)
            )
            for step in STEPS
        }
        for name, found in seconds.items()
    }


def _measure(task: _Task) -> dict[str, Any]:
    """In the measuring process."""
    import torch

    from ...engine.segmenter import DEFAULT_CACHE_BYTES
    from ...sam2.checkpoint import seeded
    from ...sam2.config import TINY
    from .engine_runners import Script, frames_of, make_runner

    torch.set_num_threads(task.threads)
    model = seeded(replace(TINY, image_size=task.size)).to(task.device)
    frames = frames_of(Script(task.slices, task.size))
    cache = DEFAULT_CACHE_BYTES if task.cache_mb is None else task.cache_mb << 20
    if not task.memory:
        _warm_up(task.variant, model, frames[:4], task, cache)
    on_gpu = task.device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    forget_highest()
    before = (torch.cuda.memory_allocated() if on_gpu else resident_bytes()) or 0
    runner = make_runner(
        task.variant, model, frames, device=task.device, threads=task.threads, cache_bytes=cache
    )
    machine = {
        "processor": processor(task.device),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if task.memory:
        runner.first_pass()
        peak = (torch.cuda.max_memory_allocated() if on_gpu else highest_bytes()) or 0
        return {"machine": machine, "memory": {"peak_mb": peak / 2**20, "growth_mb": (peak - before) / 2**20}}
    return {
        "machine": machine,
        "seconds": {
            "first pass": _timed(runner.first_pass, task.device),
            "correction": _timed(runner.correct, task.device),
            "all again": _timed(runner.again, task.device),
            "second object": _timed(runner.second_object, task.device),
            "click": _clicked(runner, task.device),
        },
    }


def _warm_up(variant: str, model: Any, frames: Any, task: _Task, cache: int) -> None:
    """Run everything once on a few slices: libraries choose their kernels at the first call."""
    from .engine_runners import make_runner

    runner = make_runner(variant, model, frames, device=task.device, threads=task.threads, cache_bytes=cache)
    for step in (runner.first_pass, runner.correct, runner.second_object, runner.prepare_click):
        step()
    runner.click(0)


def _clicked(runner: Any, device: str, times: int = 3) -> float:
    """The median of several clicks; the slice is encoded before each."""
    found = []
    for number in range(1, times + 1):
        runner.prepare_click()
        found.append(_timed(partial(runner.click, number), device))
    return statistics.median(found)


def _timed(step: Callable[[], None], device: str) -> float:
    import torch

    def finished() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    began = finished()
    step()
    return finished() - began


def main(argv: Sequence[str]) -> int:
    """The measuring process: one JSON task in, one JSON line out."""
    sys.stdout.write(json.dumps(_measure(_Task(**json.loads(argv[0])))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
