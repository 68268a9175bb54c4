"""A batch: which cases are left, what computes them, what is remembered, and the report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import MedSAMError, PromptError
from ...io.atomic import write_bytes
from ...io.volumes import stem
from ..evaluation.executors import DaskExecutor
from ..training.labeled import may_be_volume
from .case import BatchCase, BatchOptions, CaseResult, lost_case, segment_case
from .table import PromptRow

REPORT = "report.csv"
_RECORDS = "records"
_HEADER = (
    "case", "object", "status", "output", "milliliters", "slices", "first_slice", "last_slice", "seconds", "host",
    "message",
)  # fmt: skip


@dataclass(frozen=True)
class BatchSummary:
    """The outcome of a batch: numbers of cases, and the report."""

    done: int
    resumed: int
    failed: int
    report: Path


def cases_of(
    folder: Path, rows: Mapping[str, Sequence[PromptRow]], out: Path, ending: str, options: BatchOptions
) -> tuple[BatchCase, ...]:
    """The cases of a table, each with its volume in a folder and its output in another one.

    A case is the name of a file or of a folder with a DICOM series, with or without the ending of an image.

    Raises:
        PromptError: naming the case, when there is no such file, or several.
    """
    files = _files_in(folder)
    cases = []
    for name, own in rows.items():
        found = [path for path in files if path.name == name] or [
            path for path in files if stem(path) == name
        ]
        if not found:
            raise PromptError(f"There is no volume {name!r} in {folder}, which line {own[0].line} names.")
        if len(found) > 1:
            several = ", ".join(path.name for path in found)
            raise PromptError(f"The case {name!r} may be any of {several}: write its whole name.")
        cases.append(
            BatchCase(
                name, found[0].resolve(), (out / f"{stem(found[0])}{ending}").resolve(), tuple(own), options
            )
        )
    _check_outputs(cases)
    return tuple(cases)


def cases_without_prompts(
    folder: Path, out: Path, ending: str, options: BatchOptions
) -> tuple[BatchCase, ...]:
    """The volumes of a folder that are to be segmented like `options.like`: all but those, and label files.

    Raises:
        MedSAMError: when the folder cannot be read, or nothing is left to do.
    """
    known = {path for each in options.like for path in (each.image, each.label)}
    cases = [
        BatchCase(path.name, path.resolve(), (out / f"{stem(path)}{ending}").resolve(), (), options)
        for path in _files_in(folder)
        if path.resolve() not in known and may_be_volume(path)
    ]
    if not cases:
        raise MedSAMError(f"{folder} holds no volume that is not segmented already.")
    _check_outputs(cases)
    return tuple(cases)


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise MedSAMError(f"{folder} cannot be read: {error.strerror or error}.") from error


def _check_outputs(cases: Sequence[BatchCase]) -> None:
    """Raise PromptError when two cases would be written to one file."""
    outputs = [case.output for case in cases]
    twice = next((case for n, case in enumerate(cases) if case.output in outputs[:n]), None)
    if twice is not None:
        raise PromptError(
            f"Two cases would be written to {twice.output.name}: {twice.name!r} is one of them."
        )


def run_batch(
    cases: Sequence[BatchCase],
    out: Path,
    scheduler: str | None = None,
    progress: Callable[[int, int, CaseResult], object] | None = None,
) -> BatchSummary:
    """Segment the cases that are not done yet, and write the report of all.

    A case is done when its record says so, nothing that it depends on has changed since and its output is there. What
    failed is tried again. Each record is written as soon as its case is finished.

    Args:
        cases: to do.
        out: folder of the outputs, records and report.
        scheduler: address of a Dask scheduler; None = one case after the other in this process.
        progress: called as progress(number, of, result) after each case.

    Raises:
        MedSAMError: A labeled case that all cases are to be like cannot be used.
    """
    records = out / _RECORDS
    records.mkdir(parents=True, exist_ok=True)
    fingerprints = {case.name: _fingerprint(case) for case in cases}  # before anything is computed
    known = {case.name: _known(case, records, fingerprints[case.name]) for case in cases}
    left = [case for case in cases if known[case.name] is None]
    results = {name: result for name, result in known.items() if result is not None}
    if left and left[0].options.like and scheduler is None:
        from .like import remember

        remember(left[0].options)  # what is wrong with a labeled case is one error, not one of each case
    for number, (case, result) in enumerate(_computed(left, scheduler), start=1):
        results[case.name] = result
        if not result.error:
            content = {"fingerprint": fingerprints[case.name], **asdict(result)}
            write_bytes(_record(case, records), json.dumps(content, indent=1).encode("utf-8"))
        if progress is not None:
            progress(number, len(left), result)
        _write_report(out / REPORT, [results[each.name] for each in cases if each.name in results])
    _write_report(out / REPORT, [results[each.name] for each in cases])
    failed = sum(bool(result.error) for result in results.values())
    resumed = len(cases) - len(left)
    return BatchSummary(len(left) - failed, resumed, failed, out / REPORT)


def _computed(cases: Sequence[BatchCase], scheduler: str | None) -> Iterator[tuple[BatchCase, CaseResult]]:
    if scheduler is None or not cases:
        for case in cases:
            yield case, segment_case(case)
        return
    for case, result, error in DaskExecutor(scheduler).results(segment_case, cases):
        yield case, result or lost_case(case, error)


def _record(case: BatchCase, records: Path) -> Path:
    return records / f"{case.output.name}.json"


def _fingerprint(case: BatchCase) -> str:
    """That of the case; empty where its volume cannot be read, which the case itself says then."""
    try:
        return case.fingerprint
    except OSError:
        return ""


def _known(case: BatchCase, records: Path, wanted: str) -> CaseResult | None:
    """The earlier result of a case, if that still holds."""
    try:
        content = json.loads(_record(case, records).read_text(encoding="utf-8"))
        fingerprint = content.pop("fingerprint")
        result = CaseResult(**{**content, "objects": tuple(content["objects"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return result if wanted and fingerprint == wanted and case.output.is_file() else None


def _write_report(path: Path, results: Sequence[CaseResult]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for result in results:
        for obj in result.objects or ({},):
            writer.writerow(_line(result, obj))
    write_bytes(path, text.getvalue().encode("utf-8"))


def _line(result: CaseResult, obj: Mapping[str, Any]) -> tuple[object, ...]:
    milliliters = obj.get("milliliters")
    return (
        result.name,
        obj.get("name", ""),
        "failed" if result.error else "done",
        Path(result.output).name if result.output else "",
        "" if milliliters is None else f"{milliliters:.6g}",
        obj.get("slices", ""),
        obj.get("first_slice", ""),
        obj.get("last_slice", ""),
        f"{result.seconds:.1f}",
        result.host,
        result.error,
    )
