"""The repository holds the project and nothing else: no patient data, no large files, no path of someone's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000
LARGEST = {"litemedsam.safetensors": 20}  # MB; others 12
CHECKPOINTS = ROOT / "MedSAMSlicer" / "Resources" / "Models"
IMAGE_DATA = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".raw", ".dcm", ".ima", ".npz", ".npy")
WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".bin", ".pkl")
MACHINE_PATH = re.compile(r"(?<![\w.~{}<>$-])/(?:home|Users|root|mnt|opt|work)/\w")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def committed() -> list[Path]:
    """The files of the project that git tracks."""
    try:
        names = git("ls-files", "-z").split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def texts(paths: list[Path]) -> list[tuple[Path, str]]:
    found = []
    for path in paths:
        data = path.read_bytes()
        if b"\0" not in data:
            found.append((path, data.decode("utf-8")))
    return found


def test_no_image_data_is_committed(committed):
    assert [str(path) for path in committed if path.name.lower().endswith(IMAGE_DATA)] == []


def test_only_bundled_checkpoints_are_committed_and_they_are_small(committed):
    weights = [path for path in committed if path.name.lower().endswith(WEIGHTS)]
    assert [
        str(path) for path in weights if path.parent != CHECKPOINTS or path.suffix != ".safetensors"
    ] == []
    too_large = [path for path in weights if path.stat().st_size > LARGEST.get(path.name, 12) * MEGABYTE]
    assert [str(path) for path in too_large] == []


def test_no_other_large_file_is_committed(committed):
    large = [path for path in committed if path.parent != CHECKPOINTS and path.stat().st_size > 2 * MEGABYTE]
    assert [str(path) for path in large] == []


def test_repository_and_its_history_stay_small_enough_for_the_extensions_index(committed):
    """Measured as a fresh clone has it: one pack, and the files; what a work folder keeps besides is its own affair."""
    names = git("rev-list", "--objects", "HEAD").encode()
    packing = ["git", "pack-objects", "--stdout", "-q"]
    history = subprocess.run(packing, cwd=ROOT, check=True, capture_output=True, input=names).stdout
    files = sum(path.stat().st_size for path in committed)
    kept = (len(history) + files) / MEGABYTE
    assert kept < 95, f"files and history take {kept:.0f} MB; they must stay under 100 MB for ever"


def test_no_file_names_a_path_of_someones_machine(committed):
    named = []
    for path, text in texts(committed):
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert named == []


def test_text_files_end_lines_with_lf_and_close_with_one(committed):
    for path, text in texts(committed):
        assert "\r" not in text, path
        assert not text or text.endswith("\n"), path


def test_python_files_can_be_read_without_a_table_of_contents(committed):
    long = {}
    for path, text in texts([path for path in committed if path.suffix == ".py"]):
        if (lines := text.count("\n")) > 600:
            long[str(path.relative_to(ROOT))] = lines
    assert long == {}


BRITISH = re.compile(
    r"colour|\bgrey|neighbour(?!_code)|\bcentre|labelled|(milli|micro|\b)metre|litre\b|behaviour|favour|fibre|cancell(?:ed|ing)|[a-z]isation\b"
    r"|\b(recogni|organi|normali|initiali|optimi|summari|seriali|visuali)s(e|ed|es|ing)\b"
)


def test_words_are_spelled_as_in_american_english(committed):
    """But for names of others, such as a function of the package surface-distance."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts([path for path in committed if path.suffix in (".py", ".md", ".ui", ".js")])
        if path != Path(__file__)
        for match in BRITISH.finditer(text)
    ]
    assert found == []


def test_nothing_is_left_for_later_in_the_code(committed):
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    sources = texts([path for path in committed if path.suffix in {".py", ".ui", ".toml"}])
    assert [str(path) for path, text in sources if marks.search(text)] == []
