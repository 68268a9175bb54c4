"""What the Extensions Index checks of an extension that is submitted, as far as it can be checked without a network.

The checks are those of scripts/check_description_files.py and of the pull request template in the repository
Slicer/ExtensionsIndex. CMake files are read as text, as the Index does: configuring needs a Slicer build tree.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY_FILE = ROOT / "docs" / "extensions-index" / "MedSAMSlicer.json"
SCHEMA = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
SCHEMA_TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
"""All properties of that schema, which allows no others."""
REQUIRED = {"$schema", "category", "scm_url"}
CLONE_LIMIT_MB = 100
PUBLISHING = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")


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


def test_index_entry_is_valid_in_its_schema():
    raw = ENTRY_FILE.read_bytes()
    assert b"\r" not in raw
    entry = json.loads(raw)
    assert entry["$schema"] == SCHEMA
    assert set(entry) >= REQUIRED
    assert {key for key, value in entry.items() if type(value) is not SCHEMA_TYPES.get(key)} == set()
    assert all(type(name) is str for name in entry["build_dependencies"])


def test_index_entry_agrees_with_cmake():
    entry = json.loads(ENTRY_FILE.read_bytes())
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


@pytest.mark.parametrize(
    "file", ["pyproject.toml", "README.md", "CITATION.cff", "MedSAMSlicer/MedSAMSlicer.py"]
)
def test_every_file_gives_the_same_homepage(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    named = set(re.findall(r"https://github\.com/[\w-]+/SlicerMedSAMSlicer", text))
    assert named == {metadata("HOMEPAGE")}


def test_clone_stays_below_the_limit_of_the_index():
    """What a clone of the branch would hold: packed objects and the files."""
    try:
        listed = subprocess.run(
            ["git", "rev-list", "--objects", "--disk-usage", "HEAD"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        files = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    checked_out = sum((ROOT / name).stat().st_size for name in files.splitlines() if (ROOT / name).is_file())
    assert int(listed) + checked_out < CLONE_LIMIT_MB * 1024 * 1024


def test_tutorial_begins_with_registered_sample_data():
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    registered = (ROOT / "MedSAMSlicer/MedSAMSlicerLib/scene/sample_data.py").read_text(encoding="utf-8")
    named = re.findall(r"Download Sample Data > MedSAMSlicer > (\w+)", tutorial)
    assert named
    assert all(f'"{name}"' in registered for name in named)
    assert (ROOT / "MedSAMSlicer/Resources/Icons" / f"{named[0]}.png").is_file()


def test_only_the_network_imports_torch_at_file_scope():
    library = ROOT / "MedSAMSlicer" / "MedSAMSlicerLib"
    importing = {
        path.relative_to(library).parts[0]
        for path in library.rglob("*.py")
        if re.search(r"^(?:import|from) torch\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importing == {"sam2", "engine", "lab"}
    module = (ROOT / "MedSAMSlicer" / "MedSAMSlicer.py").read_text(encoding="utf-8")
    assert re.findall(r"^\s*(?:import|from) torch\b", module, re.MULTILINE) == []


def test_workflow_runs_what_a_submission_must_pass():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    runner = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^ +run: \.ci/run$", workflow, re.MULTILINE)
    libraries = re.search(r"egl_packages=\((.+)\)", runner)
    assert libraries is not None
    assert re.findall(r"^make \S+", runner, re.MULTILINE) == ["make check", "make coverage"]  # 95 % at least
    assert libraries.group(1) in workflow  # the script itself installs them as root only
    assert "contents: read" in workflow
    versions = re.findall(r'python-version: "([\d.]+)"', workflow)
    classified = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert versions
    assert all(f"Python :: {version}" in classified for version in versions)


def test_citation_and_changelog_are_of_this_version():
    package = (ROOT / "MedSAMSlicer/MedSAMSlicerLib/__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', package, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == version
    assert re.findall(r"^## ([\d.]+)", changelog, re.MULTILINE)[:1] == version
    cited = set(re.findall(r"arxiv\.org/abs/([\d.]+)", citation))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert cited <= set(re.findall(r"arxiv\.org/abs/([\d.]+)", readme))


def test_publishing_page_names_tests_that_are_there():
    named = set(re.findall(r"`(test_\w+)`", PUBLISHING))
    defined = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 10
    assert named - defined == set()


def test_readme_has_what_the_index_asks_for():
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
