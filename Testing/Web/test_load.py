"""Thirty users at once on one server for a minute: `make soak`; `python -m Testing.Web.load` prints the times."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("gradio") is None:  # importing it takes seconds, and the server does
    pytest.skip("Gradio is not installed: pip install '.[web]'", allow_module_level=True)

from . import load


@pytest.mark.soak
def test_thirty_users_at_once_lose_nothing() -> None:
    measured = load.measure(users=30, seconds=60)
    assert measured.faults == []
    assert len(measured.seconds["end"]) >= 30, "each has gone from a file to a mask and back"
