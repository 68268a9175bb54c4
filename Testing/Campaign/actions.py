"""Random users: sequences of actions on the session alone, and on the real scene where Slicer's libraries are."""

from __future__ import annotations

import importlib.util

from Testing.Actions.core_user import CoreUser
from Testing.Actions.driver import failure_of

from .rows import Row

COUNT = 1000
CORE_ACTIONS, SCENE_ACTIONS = 60, 45
SCENE_SHARE = 5
"""One sequence on the scene for this many on the session."""


def run(seed: int, count: int) -> list[Row]:
    """Play `count` sequences on the session and a fifth as many on the scene, from the seed on."""
    rows = [_row(f"{CORE_ACTIONS} random actions on a session", CoreUser, CORE_ACTIONS, seed, count)]
    if importlib.util.find_spec("slicer") is not None:
        from Testing.Mrml.conftest import MrmlScene  # which prepares Slicer's translations

        mrml = MrmlScene.boot()
        from Testing.Actions.scene_user import SceneUser

        SceneUser.mrml = mrml
        count = -(-count // SCENE_SHARE)
        rows.append(_row(f"{SCENE_ACTIONS} random actions on a scene", SceneUser, SCENE_ACTIONS, seed, count))
    return rows


def _row(what: str, user: type, actions: int, seed: int, count: int) -> Row:
    failures = [failure_of(user, user.WEIGHTS, seed + number, actions) for number in range(count)]
    found = [text for text in failures if text]
    return Row(what, count, len(found), found[0] if found else "")
