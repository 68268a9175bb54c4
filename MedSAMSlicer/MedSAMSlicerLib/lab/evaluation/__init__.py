"""Measurements: how fast, how exact and how good the engine is, beside others."""
