"""Run the self test inside 3D Slicer and leave with 0 or 1; see the README beside this file."""

from __future__ import annotations

import logging

import slicer


def main() -> int:
    """0 when every test passed."""
    try:
        slicer.selfTests["MedSAMSlicer"](msec=0)
    except Exception:
        logging.getLogger(__name__).exception("The self test of MedSAMSlicer failed")
        return 1
    return 0


slicer.util.exit(main())
