"""What every other part stands on: geometry, windows, prompts, plans. Standard library and numpy only."""

from __future__ import annotations
