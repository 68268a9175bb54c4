"""What makes tests of the window quick."""

from __future__ import annotations


def leave_out_the_second_network() -> None:
    """Have the module that is opened next refine without LiteMedSAM, whose seconds most tests do not need."""
    import qt

    qt.QSettings().setValue("MedSAMSlicer/VolumeStage", "learned")
