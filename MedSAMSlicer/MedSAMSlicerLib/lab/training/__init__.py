"""Training: generated volumes, simulated prompts, losses and the resumable training loop.

Nothing here is needed to segment; `medsamslicer train` and the tests are the only users.
"""
