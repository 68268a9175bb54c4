"""The foundation of every other part: geometry, windows, prompts, plans. Standard library and numpy only."""

from __future__ import annotations
