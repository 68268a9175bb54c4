"""The lock file pins what pyproject.toml asks for, within its bounds, each with a hash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

packaging = pytest.importorskip("packaging.requirements")
tomllib = pytest.importorskip("tomllib")

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def pinned() -> dict[str, str]:
    return {name_of(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.M)}


def asked_for() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return sorted({*PROJECT["dependencies"], *(text for extra in extras for text in extra)})


@pytest.mark.parametrize("text", asked_for())
def test_every_dependency_is_pinned_within_its_bounds(text: str) -> None:
    requirement = packaging.Requirement(text)
    version = pinned().get(name_of(requirement.name))
    assert version is not None, f"run `make lock`: {requirement.name} is not in requirements.lock"
    assert requirement.specifier.contains(version, prereleases=True)


def test_every_pin_has_the_hash_of_a_file() -> None:
    entries = re.split(r"\n(?=[\w.-]+==)", LOCK)[1:]
    assert len(entries) == len(re.findall(r"^[\w.-]+==", LOCK, re.M)) > 50
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_torch_is_asked_for_from_where_weights_only_is_sound() -> None:
    (torch,) = (packaging.Requirement(text) for text in PROJECT["dependencies"] if text.startswith("torch"))
    assert not torch.specifier.contains("2.5.1")
    assert torch.specifier.contains("2.6.0")
