"""What the Extensions Index checks of an extension that is submitted, as far as it can be checked without a network.

The checks are those of scripts/check_description_files.py and of the pull request template in the repository
Slicer/ExtensionsIndex. CMake files are read as text, as the Index does: configuring needs a Slicer build tree.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY_FILE = ROOT / "docs" / "extensions-index" / "MedSAMSlicer.json"
ENTRY_KEYS = {
    "$schema",
    "category",
    "scm_url",
    "scm_revision",
    "build_dependencies",
    "build_subdirectory",
    "tier",
}


def metadata(name: str) -> str:
    """The value of one `set(EXTENSION_... "value")`."""
    found = re.findall(rf'^set\(EXTENSION_{name} "([^"]+)"\)', CMAKE, re.MULTILINE)
    assert len(found) == 1, f"EXTENSION_{name} is set {len(found)} times"
    return found[0]


def file_of(address: str) -> Path:
    """The file of this repository that a raw address on the main branch shows."""
    repository = metadata("HOMEPAGE").removeprefix("https://github.com/")
    prefix = f"https://raw.githubusercontent.com/{repository}/main/"
    assert address.startswith(prefix), f"{address} is no raw file of {repository}"
    return ROOT / address.removeprefix(prefix)


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n", f"{path.name} is no PNG"
    return struct.unpack(">II", head[16:24])


def test_project_has_the_name_of_the_extension():
    assert re.findall(r"project\s*\(\s*([^\s)]+)", CMAKE) == ["MedSAMSlicer"]
    assert ENTRY_FILE.stem == "MedSAMSlicer"
    assert not ENTRY_FILE.stem.lower().startswith("slicer")


def test_repository_name_starts_with_slicer():
    assert metadata("HOMEPAGE").rsplit("/", 1)[1] == "SlicerMedSAMSlicer"


def test_category_is_one_that_the_index_knows():
    assert metadata("CATEGORY") == "Segmentation"


def test_description_is_one_or_two_sentences():
    sentences = [part for part in re.split(r"\.(?:\s|$)", metadata("DESCRIPTION")) if part]
    assert 1 <= len(sentences) <= 2, sentences


def test_contributors_are_named():
    assert metadata("CONTRIBUTORS").strip()


def test_icon_is_a_square_png_of_this_repository():
    width, height = png_size(file_of(metadata("ICONURL")))
    assert width == height >= 128


def test_screenshots_are_pictures_of_this_repository():
    addresses = metadata("SCREENSHOTURLS").split()
    assert addresses
    for address in addresses:
        width, height = png_size(file_of(address))
        assert min(width, height) >= 200, address


def test_license_is_apache_2_in_the_root():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_index_entry_is_valid_and_says_what_cmake_says():
    raw = ENTRY_FILE.read_bytes()
    assert b"\r" not in raw
    entry = json.loads(raw)
    assert set(entry) == ENTRY_KEYS
    assert entry["category"] == metadata("CATEGORY")
    assert entry["scm_url"] == metadata("HOMEPAGE")
    assert entry["scm_revision"] == "main"
    assert entry["build_dependencies"] == metadata("DEPENDS").split() == ["PyTorch"]
    assert entry["tier"] in range(1, 6)


def test_slicer_is_found_before_its_macros_are_used():
    steps = [
        "find_package(Slicer REQUIRED)",
        "include(${Slicer_USE_FILE})",
        "add_subdirectory(MedSAMSlicer)",
        "include(${Slicer_EXTENSION_GENERATE_CONFIG})",
        "include(${Slicer_EXTENSION_CPACK})",
    ]
    places = [CMAKE.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("file", ["pyproject.toml", "README.md", "MedSAMSlicer/MedSAMSlicer.py"])
def test_every_file_gives_the_same_homepage(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    named = set(re.findall(r"https://github\.com/[\w-]+/SlicerMedSAMSlicer", text))
    assert named == {metadata("HOMEPAGE")}


def test_readme_tells_what_the_index_asks_for():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# MedSAMSlicer")
    assert re.search(r"!\[[^\]]+\]\(Resources/Screenshots/[\w.-]+\.png\)", readme), "no screenshot"
    for word in (
        "Apache-2.0",
        "CC-BY-SA-4.0",
        "not a medical device",
        "patent",
        "arXiv:2408.00714",
        "arXiv:2504.03600",
    ):
        assert word in readme, word
