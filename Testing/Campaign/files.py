"""Damaged files of every format, read by a process with bounded memory and time.

Every one must be read as what it was, or be refused in one sentence that names it. Another content is allowed only
where the format offers no checksum of the damaged place and no bytes are missing: nobody can know then. Nothing may
crash, print, take long, or end in anything but the sentence. POSIX only.
"""

from __future__ import annotations

import bz2
import json
import os
import random
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from Testing.IO.image_files import write_nifti_2

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.io.segmentations import write_seg_nrrd

from ._reader import GEOMETRY
from .rows import Row

COUNT = 200
_LONGEST_S = 20.0
_MEMORY = 3 << 30
_EXTREMES = (
    *(
        "0",
        "-1",
        "1",
        "7",
        "65536",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "1e20",
        "1e400",
        "nan",
        "inf",
    ),
    *("", " ", "%s%n", "LIST", "LOCAL", "/etc/passwd", "None", "(1,2)", "9" * 400),
)
_NUMBERS = {
    "b": (0, 1, 127, -128),
    "h": (0, 1, -1, 2, 7, 8, 32767, -32768, 128, 2304),
    "i": (0, -1, 348, 540, 2**31 - 1, -(2**31)),
    "q": (0, -1, 10**9, 2**62, -(2**63)),
    "f": (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), 352.5, 1e9),
    "d": (0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf")),
}


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: the ending of the file that is read.
        write: makes it, and what belongs to it, in a folder; returns the file that is damaged.
        guarded: first byte from where on a checksum covers the damaged file; None = nowhere.
        text: whether its beginning is text.
        kind: what sets it apart from others of that ending.
    """

    name: str
    write: Callable[[Path], Path]
    guarded: Callable[[bytes], int | None] = lambda content: None
    text: bool = False
    kind: str = ""


def run(seed: int, count: int) -> list[Row]:
    """Damage a file of each format `count` times."""
    with Reader() as reader:
        return [damage_often(form, seed, count, reader) for form in FORMATS]


def damage_often(form: Format, seed: int, count: int, reader: Reader) -> Row:
    """The row of one format."""
    dice = random.Random(f"{form.kind}{form.name} {seed}")
    failures, ends = [], Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        damaged = form.write(folder)
        target = next(path for path in sorted(folder.iterdir()) if path.name == f"case{form.name}")
        good = damaged.read_bytes()
        expected = reader.read(target)
        if "found" not in expected:
            return Row(f"damaged {form.kind}{form.name} files", count, count, f"the sound file: {expected}")
        for number in range(count):
            how, content, first = _damage(good, dice, form.text)
            damaged.write_bytes(content)
            answer = reader.read(target)
            guarded = form.guarded(good)
            covered = how.startswith("cut") or (guarded is not None and first >= guarded)
            fault = _fault(answer, expected, covered, target.name.partition(".")[0])
            ends["refused" if "refused" in answer else "read"] += 1
            if fault:
                failures.append(f"{number}, {how} at {first}: {fault}")
                _keep(folder, form, number)
    return Row(
        f"damaged {form.kind}{form.name} files ({ends['refused']} refused)",
        count,
        len(failures),
        failures[0] if failures else "",
    )


def _fault(answer: dict[str, Any], expected: dict[str, Any], covered: bool, name: str) -> str | None:
    """What is wrong with an answer."""
    if "refused" in answer:
        sentence = answer["refused"]
        if "\n" in sentence or len(sentence) > 1500 or not sentence.rstrip().endswith((".", "]")):
            return f"not one sentence: {sentence!r}"
        return None if name in sentence else f"the file is not named: {sentence!r}"
    if "found" in answer:
        return f"read as another content, unnoticed: {answer}" if covered and answer != expected else None
    return str(answer)


def _keep(folder: Path, form: Format, number: int) -> None:
    """Keep a file that was read wrongly where MEDSAMSLICER_CAMPAIGN says, to look at it."""
    kept = os.environ.get("MEDSAMSLICER_CAMPAIGN")
    if kept:
        shutil.copytree(folder, Path(kept) / f"{form.name.strip('.')}-{number}", dirs_exist_ok=True)


# ------------------------------------------------------------------------------------------------------------- damages


def _damage(good: bytes, dice: random.Random, text: bool) -> tuple[str, bytes, int]:
    """How a file was damaged, its bytes, and the first place that differs."""
    while True:
        how, make = dice.choice(_DAMAGES)
        content = make(good, dice, text)
        if content != good:
            return how, content, _first_difference(good, content)


def _first_difference(one: bytes, other: bytes) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _place(good: bytes, dice: random.Random) -> int:
    """A byte, every other time within the first 600, where headers are."""
    return dice.randrange(min(len(good), 600) if dice.random() < 0.5 else len(good))


def _flipped(good: bytes, dice: random.Random, text: bool) -> bytes:
    content = bytearray(good)
    for _ in range(dice.choice((1, 1, 1, 2, 8))):
        content[_place(good, dice)] ^= 1 << dice.randrange(8)
    return bytes(content)


def _cut(good: bytes, dice: random.Random, text: bool) -> bytes:
    return good[: _place(good, dice)]


def _zeroed(good: bytes, dice: random.Random, text: bool) -> bytes:
    start, length = _place(good, dice), dice.choice((4, 64, 512))
    return good[:start] + bytes(len(good[start : start + length])) + good[start + length :]


def _shifted(good: bytes, dice: random.Random, text: bool) -> bytes:
    """Bytes inserted, left out, or copied from elsewhere in the file."""
    start, other, length = _place(good, dice), _place(good, dice), dice.choice((1, 7, 300))
    piece = dice.choice((b"", dice.randbytes(length), good[other : other + length]))
    return good[:start] + piece + good[start + dice.choice((0, length)) :]


def _edited(good: bytes, dice: random.Random, text: bool) -> bytes:
    """A field of the header with an extreme value, twice, or gone."""
    if not text:
        kind = dice.choice([*_NUMBERS])
        size = struct.calcsize(kind)
        start = dice.randrange(0, min(len(good), 540) // size) * size
        value = struct.pack(dice.choice("<>") + kind, dice.choice(_NUMBERS[kind]))
        return good[:start] + value + good[start + size :]
    words = list(re.finditer(rb"[^\s=:(),\[\]{}]+", good[:1500]))
    word = dice.choice(words)
    lines = good[:1500].split(b"\n")
    line = dice.choice(lines[:-1] or lines) + b"\n"
    return dice.choice(
        (
            good[: word.start()] + dice.choice(_EXTREMES).encode() + good[word.end() :],
            good[: word.start()] + dice.choice(_EXTREMES).encode() + good[word.end() :],
            good.replace(line, b"", 1),
            good.replace(line, line * dice.choice((2, 1000)), 1),
        )
    )


_DAMAGES = (
    ("flipped", _flipped),
    ("flipped", _flipped),
    ("cut", _cut),
    ("zeroed", _zeroed),
    ("shifted", _shifted),
    ("edited", _edited),
    ("edited", _edited),
)


# ------------------------------------------------------------------------------------------------------------- formats


def _voxels() -> np.ndarray:
    rng = np.random.default_rng(5)
    array = rng.normal(-300, 40, GEOMETRY.shape)
    array[2:7, 3:11, 2:9] += 400
    return array.round().astype(np.int16)


def _by_itk(name: str, compress: bool, damaged: str | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        image = sitk.GetImageFromArray(_voxels())
        image.SetSpacing((0.8, 0.8, 2.5))
        image.SetOrigin((-10.0, 20.0, 30.0))
        sitk.WriteImage(image, str(folder / name), compress)
        return next(path for path in folder.iterdir() if path.name.endswith(damaged or name))

    return write


def _nifti_2(folder: Path) -> Path:
    write_nifti_2(folder / "case.nii", _voxels(), np.array(GEOMETRY.ijk_to_ras))
    return folder / "case.nii"


def _bzip2(folder: Path) -> Path:
    head = (
        "NRRD0005\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 12 14 9\n"
        "space directions: (0.8,0,0) (0,0.8,0) (0,0,2.5)\nendian: little\nencoding: bzip2\nspace origin: (1,2,3)\n\n"
    )
    path = folder / "case.bz2.nrrd"
    path.write_bytes(head.encode() + bz2.compress(_voxels().tobytes()))
    return path


def _seg_nrrd(folder: Path) -> Path:
    path = folder / "case.seg.nrrd"
    write_seg_nrrd(path, {"one": _voxels() > 0, "two": _voxels() < -350}, GEOMETRY)
    return path


def _pair_of_metaimage(folder: Path) -> Path:
    (folder / "case.zraw").write_bytes(zlib.compress(_voxels().tobytes()))
    size = (folder / "case.zraw").stat().st_size
    (folder / "case.mhd").write_text(
        f"ObjectType = Image\nNDims = 3\nCompressedData = True\nCompressedDataSize = {size}\nDimSize = 12 14 9\n"
        "ElementType = MET_SHORT\nElementDataFile = case.zraw\n"
    )
    return folder / "case.zraw"


def _picture(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        sitk.WriteImage(
            sitk.GetImageFromArray((_voxels()[4] > 0).astype(np.uint8) * np.uint8(255)), str(folder / name)
        )
        return folder / name

    return write


def _prompts(folder: Path) -> Path:
    place = SliceRef(SliceAxis.K, 4)
    prompts = (
        box_from_voxels(GEOMETRY, place, 2, 3, 9, 11),
        point_from_voxel(GEOMETRY, place, 4, 5, positive=True),
        MaskPrompt(place, _voxels()[4] > 0),
    )
    path = folder / "case.json"
    path.write_text(
        PromptSet(GEOMETRY, objects=(ObjectPrompts("organ", (0.5, 0.5, 0.0), prompts),)).to_json()
    )
    return path


def _safetensors(folder: Path) -> Path:
    from Testing.small_networks import SMALLEST

    from MedSAMSlicerLib.sam2.checkpoint import save, seeded

    path = folder / "case.safetensors"
    save(seeded(SMALLEST), path)
    return path


def _after_blank_line(content: bytes) -> int:
    return content.index(b"\n\n") + 2


def _after_local(content: bytes) -> int:
    return content.index(b"LOCAL\n") + 6


FORMATS = (
    Format(".nii", _by_itk("case.nii", False)),
    Format(".nii", _nifti_2, kind="NIfTI-2 "),
    Format(
        ".nii.gz", _by_itk("case.nii.gz", True), lambda content: 10
    ),  # what comes before are flags and a date
    Format(".hdr", _by_itk("case.hdr", False, ".hdr")),
    Format(".nrrd", _by_itk("case.nrrd", False), text=True, kind="raw "),
    Format(".nrrd", _by_itk("case.nrrd", True), _after_blank_line, text=True, kind="gzip "),
    Format(".bz2.nrrd", _bzip2, _after_blank_line, text=True),
    Format(".seg.nrrd", _seg_nrrd, _after_blank_line, text=True),
    Format(".nhdr", _by_itk("case.nhdr", False, ".nhdr"), text=True),
    Format(".mha", _by_itk("case.mha", False), text=True, kind="raw "),
    Format(".mha", _by_itk("case.mha", True), _after_local, text=True, kind="zlib "),
    Format(".mhd", _pair_of_metaimage, lambda content: 0),
    Format(".png", _picture("case.png"), lambda content: 0),
    Format(".bmp", _picture("case.bmp")),
    Format(".tif", _picture("case.tif")),
    Format(".jpg", _picture("case.jpg")),
    Format(".json", _prompts, text=True),
    Format(".safetensors", _safetensors),
)


# ---------------------------------------------------------------------------------------------------------- the reader


class Reader:
    """A process that reads one file after the other; a new one takes its place when it dies."""

    def __enter__(self) -> Reader:
        self._process: subprocess.Popen[str] | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read(self, path: Path) -> dict[str, Any]:
        """What the process says of a file; `crash`, `timeout` or `printed` when it does more or less than that."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._printed.seek(0)
        self._printed.truncate()
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._answers], [], [], _LONGEST_S)
        line = self._answers.readline() if ready else ""
        self._printed.seek(0)
        printed = self._printed.read().decode("utf-8", "replace")
        if not line:
            code = self._stop()
            kind = "crash" if ready else "timeout"
            return {kind: f"{code}: {printed[-500:]}" if ready else f"not read in {_LONGEST_S:.0f} s"}
        return {"printed": printed[:500]} if printed else json.loads(line)

    def _start(self) -> None:
        reading, writing = os.pipe()
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process runs
        command = [sys.executable, "-m", "Testing.Campaign._reader", str(writing), str(_MEMORY)]
        root = Path(__file__).resolve().parents[2]
        environ = {**os.environ, "PYTHONPATH": str(root / "MedSAMSlicer"), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._printed,
            stderr=self._printed,
            pass_fds=[writing],
            text=True,
            cwd=root,
            env=environ,
        )
        os.close(writing)
        self._answers = os.fdopen(reading)

    def _stop(self) -> int:
        if self._process is None:
            return 0
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        code = self._process.wait()
        self._answers.close()
        self._printed.close()
        self._process = None
        return code
