"""Shortcuts: each key once, none that Slicer uses, there only while the module is open."""

from __future__ import annotations

LETTERS = "G T F B V R S I Q W Z Y [ ] { } + - = _ / * , . < > 0 1 2 3 4 5 6 7 8 9"
NAMED = "Left Right Up Down Home End PgUp PgDown Insert Del Backspace Esc Space"
TAKEN_BY_SLICER = {
    *LETTERS.split(),
    *NAMED.split(),
    *(f"Ctrl+{key}" for key in "0123456`BCFHOSVWX"),
    *("Ctrl+Left", "Ctrl+Right", "Ctrl+Shift+A", "Ctrl+Shift+T", "Ctrl+Shift+Space"),
    *("Ctrl+Shift+Down", "Ctrl+Shift+Left", "Ctrl+Shift+Right"),
    *(f"Shift+{key}" for key in "0123456789"),
}


def test_no_key_is_used_twice_and_none_is_slicers(host):
    from MedSAMSlicerLib.panel.shortcuts import shortcuts

    keys = [shortcut.key for shortcut in shortcuts()]
    assert len(keys) == len(set(keys))
    assert set(keys) & TAKEN_BY_SLICER == {"Esc", "T", "[", "]", "Del"}, (
        "taken only while they mean something"
    )


def test_every_shortcut_is_in_the_help_box(host):
    from MedSAMSlicerLib.panel.shortcuts import help_text, key_of, shortcuts

    text = help_text()
    for shortcut in shortcuts():
        assert f"<b>{shortcut.key}</b>" in text
        assert key_of(shortcut.action) == shortcut.key
    assert key_of("nothing of the kind") is None


def test_shortcuts_work_while_installed_and_not_afterwards(host):
    import slicer

    from MedSAMSlicerLib.panel.shortcuts import Shortcuts, shortcuts

    pressed: list[str] = []
    made = Shortcuts({s.action: lambda s=s: pressed.append(s.action) for s in shortcuts()})
    made.install([])
    made.install([slicer.util.mainWindow()])
    made.install([slicer.util.mainWindow()])
    for keys in ("P", "Shift+A", "A", "Ctrl+Shift+Z", "Ctrl+Z", "Ctrl+Return", "Ctrl+."):
        host.key(keys)
    assert pressed == ["positive", "accept_all", "accept", "redo", "undo", "propagate", "cancel"]
    made.allow("leave_tool", False)
    host.key("Esc")
    made.allow("leave_tool", True)
    host.key("Esc")
    assert pressed.pop() == "leave_tool"
    made.remove()
    host.key("Esc")
    host.key("P")
    assert len(pressed) == 7
