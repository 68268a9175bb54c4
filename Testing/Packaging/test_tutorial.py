"""The tutorial shows what there is: its shortcuts are the module's, its pictures are those that are taken."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
SHORTCUTS = ROOT / "MedSAMSlicer" / "MedSAMSlicerLib" / "panel" / "shortcuts.py"
PICTURES = ROOT / "Resources" / "Screenshots"
PANEL = ROOT / "MedSAMSlicer" / "Resources" / "UI" / "MedSAMSlicer.ui"
NO_BUTTONS = {"A box with depth", "The mask leaks, or stops short"}
OF_SLICER = {"Show 3D"}
LARGEST, ALL = 250_000, 2_500_000


def test_table_of_shortcuts_is_that_of_the_module():
    """Read from the source, since the file itself needs Qt."""
    calls = (node for node in ast.walk(ast.parse(SHORTCUTS.read_text("utf-8"))) if isinstance(node, ast.Call))
    defined = [
        (call.args[1].value, call.args[2].args[0].value)  # Shortcut("action", "key", _("text"))
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Shortcut"
    ]
    section = TUTORIAL.read_text("utf-8").split("## Shortcuts\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(.+?)` \| (.+) \|$", section, re.MULTILINE) == defined


def test_every_picture_is_shown_and_small():
    shown = set()
    for page in (ROOT / "README.md", TUTORIAL):
        shown |= set(re.findall(r"Screenshots/([\w-]+\.png)\)", page.read_text("utf-8")))
    sizes = {path.name: path.stat().st_size for path in PICTURES.glob("*.png")}
    assert shown == set(sizes)
    assert {name: size for name, size in sizes.items() if size > LARGEST} == {}
    assert sum(sizes.values()) < ALL


def test_no_two_pictures_are_the_same():
    """Such as before and after a step that had no effect."""
    by_content: dict[bytes, list[str]] = {}
    for path in PICTURES.glob("*.png"):
        by_content.setdefault(path.read_bytes(), []).append(path.name)
    assert [sorted(names) for names in by_content.values() if len(names) > 1] == []


def test_what_the_tutorial_prints_bold_is_on_the_panel():
    """Bold are the texts of buttons and fields; beside them only sentences that end with a full stop."""
    texts = set(re.findall(r"<string[^>]*>([^<]+)</string>", PANEL.read_text("utf-8")))
    code = "".join(path.read_text("utf-8") for path in SHORTCUTS.parent.glob("panel/*.py"))
    named = set(re.findall(r"\*\*([A-Z3][^*\n]+)\*\*", TUTORIAL.read_text("utf-8")))
    buttons = {name for name in named if not name.endswith(".") and name not in NO_BUTTONS | OF_SLICER}
    assert {
        name for name in buttons if not {name, f"{name}:"} & texts and f'_("{name}")' not in code
    } == set()
