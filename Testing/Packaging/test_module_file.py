"""The scripted module is loaded without torch, which Slicer may not have yet.

`slicer.ScriptedLoadableModule`, `slicer.i18n` and `slicer.app` exist only inside Slicer, so they stand in here as empty
base classes, an untranslated `tr` and an application that notes what it is asked to call. That proves what importing
the file needs, and what its logic returns; the panel itself is tested in SlicerHost.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .load_time import run_with_stand_ins

ROOT = Path(__file__).resolve().parents[2]
MODULE_FILE = ROOT / "MedSAMSlicer" / "MedSAMSlicer.py"
PROBE = """
before = set(sys.modules)
import MedSAMSlicer
after_import = sorted(set(sys.modules) - before)
parent = types.SimpleNamespace()
MedSAMSlicer.MedSAMSlicer(parent)
ready = MedSAMSlicer.MedSAMSlicerLogic().readiness()
print(json.dumps({
    "parent": vars(parent), "after_import": after_import, "torch": "torch" in sys.modules,
    "connected": connected,
    "version": ready.version, "checkpoints": ready.checkpoints,
    "classes": [name for name in vars(MedSAMSlicer) if name.startswith("MedSAMSlicer")],
}))
"""


@pytest.fixture(scope="module")
def loaded() -> dict:
    return json.loads(run_with_stand_ins(PROBE))


def test_module_loads_and_lists_what_is_ready_without_torch(loaded):
    assert loaded["torch"] is False
    assert loaded["version"]
    assert len(loaded["checkpoints"]) >= 5
    assert {state for _, state in loaded["checkpoints"]} <= {"bundled", "on disk", "not downloaded"}


def test_loading_the_module_is_quick_since_it_loads_nothing_but_the_standard_library(loaded):
    """How quick it is, `python -m Testing.Packaging.load_time` prints."""
    packages = {name.split(".")[0] for name in loaded["after_import"]}
    assert packages - sys.stdlib_module_names == {"MedSAMSlicer"}


def test_sample_data_is_registered_when_slicer_has_started_and_not_before(loaded):
    assert ["startupCompleted()", "registerSampleData"] in loaded["connected"]


def test_effect_of_segment_editor_is_registered_when_slicer_has_started_and_not_before(loaded):
    assert ["startupCompleted()", "registerEffect"] in loaded["connected"]


def test_slicer_finds_the_four_classes_of_a_scripted_module(loaded):
    assert {"MedSAMSlicer", "MedSAMSlicerWidget", "MedSAMSlicerLogic", "MedSAMSlicerTest"} <= set(
        loaded["classes"]
    )


def test_module_says_who_made_it_where_it_belongs_and_what_it_is_not(loaded):
    parent = loaded["parent"]
    assert parent["title"] == "MedSAMSlicer"
    assert parent["categories"] == ["Segmentation"]
    assert parent["contributors"]
    assert "not a medical device" in parent["helpText"]
    assert "Apache-2.0" in parent["acknowledgementText"]


PANELS = [ElementTree.parse(path) for path in sorted((ROOT / "MedSAMSlicer/Resources/UI").glob("*.ui"))]
WIDGETS = {widget.get("name"): widget for panel in PANELS for widget in panel.iter("widget")}
SECTIONS = sorted((ROOT / "MedSAMSlicer/MedSAMSlicerLib/panel").glob("*.py"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in [MODULE_FILE, *SECTIONS])


def test_panel_has_every_widget_that_the_module_uses():
    used = set(re.findall(r"\bui\.(\w+)", SOURCE))
    named = set(re.findall(r'"((?!qMRML|QTool)\w+(?:Button|Box|Selector|Widget|Label))"', SOURCE))
    assert len(used) > 20
    assert used - set(WIDGETS) == set()
    assert named - set(WIDGETS) == set()


def test_every_widget_that_the_user_can_touch_says_what_it_is_for():
    passive = {"QWidget", "qMRMLWidget", "QFrame", "QGroupBox", "ctkCollapsibleButton"}
    silent = [
        name
        for name, widget in WIDGETS.items()
        if widget.get("class") not in passive
        and not name.endswith(("Caption", "Icon"))
        and widget.find("property[@name='toolTip']") is None
    ]
    assert silent == []


def test_every_icon_that_the_panel_names_is_there_and_every_icon_is_used():
    there = {path.stem for path in (ROOT / "MedSAMSlicer/Resources/Icons").glob("*.svg")}
    words = set(re.findall(r'"([A-Z]\w+)"', SOURCE))
    assert there
    assert there <= words
    dressed = set(re.findall(r'dress\("\w+", "(\w+)"', SOURCE))
    assert dressed <= there


def test_requirements_inside_slicer_are_those_of_the_package_that_slicer_does_not_bring():
    wanted = (ROOT / "MedSAMSlicer/Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line for line in wanted if line and not line.startswith("#")}
    declared = re.search(
        r"^dependencies = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert declared is not None
    package = set(re.findall(r'"([^"]+)"', declared.group(1)))
    by_slicer_or_its_extensions = {line for line in package if re.match("torch|numpy|SimpleITK", line)}
    assert wanted == package - by_slicer_or_its_extensions
