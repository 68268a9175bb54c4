"""What README and docs ask people to type is understood by the program, and what they point to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from MedSAMSlicerLib.cli import build_parser, join_negative_values
from MedSAMSlicerLib.models import read_entries

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `medsamslicer ...` line in the page's blocks of shell code."""
    found = []
    for block in re.findall(
        r"^```(?:sh|powershell)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True, posix=True)
            if words and Path(words[0]).name == "medsamslicer":
                found.append(words[1:])
    return found


TYPED = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), TYPED, ids=[f"{page.name}:{' '.join(words)[:60]}" for page, words in TYPED]
)
def test_documented_command_is_understood(page, words):
    assert build_parser().parse_args(join_negative_values(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_tests_that_the_family_names_are_there():
    page = (ROOT / "docs" / "family.md").read_text(encoding="utf-8")
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "Testing").rglob("test_*.py")}
    named, file = 0, ""
    for found in re.finditer(r"`(?:[\w/]*?(test_\w+\.py))?::(test_\w+)`", page):
        file = found[1] or file
        assert f"def {found[2]}(" in files[file], found[0]
        named += 1
    assert named > 30


def test_readme_names_every_checkpoint_and_license_of_the_registry():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for entry in read_entries():
        family, _, size = entry.id.partition("-")
        assert entry.id in readme or (f"`{family}-" in readme and f"`-{size}`" in readme), entry.id
        assert entry.license in readme, entry.license


def test_makefile_help_names_the_commands_of_the_readme():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"demo", "test", "check"} <= named
    assert [name for name in named if not re.search(rf"^{name}:.* ## ", makefile, re.MULTILINE)] == []


def test_the_map_of_the_code_is_short_and_its_files_are_there():
    text = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    where = re.search(r"^## Where do I change .*?(?=^### )", text, re.MULTILINE | re.DOTALL)
    assert where is not None
    rows = re.findall(r"^\| (?!to change|---).*$", where.group(), re.MULTILINE)
    assert len(rows) <= 30
    files = {path.as_posix() for path in (ROOT / "MedSAMSlicer").rglob("*")}
    named = [name for row in rows for name in re.findall(r"`([\w/]+(?:\.\w+|/))`", row)]
    missing = [name for name in named if not any(path.endswith("/" + name.rstrip("/")) for path in files)]
    assert missing == []
