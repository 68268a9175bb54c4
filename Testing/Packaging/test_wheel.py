"""What `pip install` brings: the library, the registry and the bundled checkpoint, and nothing beside them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = "medsamslicer_nano.safetensors"
LOOK_UP = """
import importlib.metadata, json, sys
sys.path.insert(0, sys.argv[1])
import MedSAMSlicerLib
from MedSAMSlicerLib.models import BUNDLED_ID, Registry
registry = Registry.from_environment()
entry = registry.find(BUNDLED_ID)
distribution = next(iter(importlib.metadata.distributions(name="medsamslicer", path=[sys.argv[1]])))
command = {e.name: e.value for e in distribution.entry_points}
print(json.dumps({
    "library": MedSAMSlicerLib.__file__, "version": MedSAMSlicerLib.__version__, "metadata": distribution.version,
    "bundled": str(registry.path_of(entry)), "checkpoints": len(list(registry)), "command": command,
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which a wheel of this tree was installed; built from a copy, so that no build is left here."""
    pytest.importorskip("setuptools", minversion="77.0.3", reason="older ones cannot build this wheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "MedSAMSlicer", source / "MedSAMSlicer", ignore=hidden)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    models = source / "MedSAMSlicer" / "Resources" / "Models"
    models.mkdir(exist_ok=True)
    if not (models / CHECKPOINT).is_file():  # the way must work before the first checkpoint is committed, too
        (models / CHECKPOINT).write_bytes(b"stands for the checkpoint")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *wheel], check=True, capture_output=True, text=True, cwd=folder)
    (built,) = folder.glob("medsamslicer-*.whl")
    target = folder / "target"
    install = ["install", "--no-deps", "--no-index", "--target", str(target), str(built)]
    subprocess.run([*pip, *install], check=True, capture_output=True, text=True, cwd=folder)
    return target


@pytest.fixture(scope="module")
def looked_up(installed) -> dict:
    ran = subprocess.run(
        [sys.executable, "-c", LOOK_UP, str(installed)],
        check=True,
        capture_output=True,
        text=True,
        cwd=installed.parent,
    )
    return json.loads(ran.stdout)


def test_library_comes_from_the_install(installed, looked_up):
    assert Path(looked_up["library"]).is_relative_to(installed)


def test_bundled_checkpoint_is_found_and_is_the_one_of_the_tree(installed, looked_up):
    bundled = Path(looked_up["bundled"])
    assert bundled.is_relative_to(installed / "MedSAMSlicerLib")
    source = installed.parent / "source" / "MedSAMSlicer" / "Resources" / "Models" / CHECKPOINT
    assert bundled.read_bytes() == source.read_bytes()


def test_registry_reaches_the_install(looked_up):
    assert looked_up["checkpoints"] >= 5


def test_version_is_stated_in_one_place(looked_up):
    assert looked_up["version"] == looked_up["metadata"]


def test_command_is_installed(looked_up):
    assert looked_up["command"] == {"medsamslicer": "MedSAMSlicerLib.cli:main"}


def test_install_puts_nothing_else_on_the_python_path(installed):
    names = {path.name for path in installed.iterdir() if path.name != "bin"}
    assert names == {"MedSAMSlicerLib"} | {name for name in names if name.startswith("medsamslicer-")}


def test_every_python_file_of_the_library_is_installed(installed):
    source = installed.parent / "source" / "MedSAMSlicer" / "MedSAMSlicerLib"
    expected = {path.relative_to(source) for path in source.rglob("*.py")}
    library = installed / "MedSAMSlicerLib"
    assert {path.relative_to(library) for path in library.rglob("*.py")} == expected
    assert (library / "py.typed").is_file()
