"""`make host`: the module in a window for people, or as a picture.

python -m Testing.Host [VOLUME] [--module FILE] [--screenshot PNG] [--dark]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Open the module on a volume, by default on the generated one."""
    parser = argparse.ArgumentParser(prog="make host", description="MedSAMSlicer beside Slicer's own views.")
    parser.add_argument(
        "volume", nargs="?", type=Path, help="an image file; without it a generated CT-like abdomen"
    )
    parser.add_argument("--module", type=Path, help="another scripted module's .py file")
    parser.add_argument("--screenshot", type=Path, help="write the window as a PNG and end")
    parser.add_argument("--dark", action="store_true", help="Slicer's dark colors")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(REPOSITORY / "MedSAMSlicer"))

    from .host import MODULE_FILE, SlicerHost

    host = SlicerHost(on_screen=options.screenshot is None, dark=options.dark, settings=None)
    try:
        if options.volume is not None:
            host.load_volume(options.volume)
        else:
            from MedSAMSlicerLib.phantom.ct import ct_phantom

            array, geometry, _ = ct_phantom()
            host.set_window(host.add_volume(array, geometry.ijk_to_ras, "GeneratedAbdomenCT"), 400, 40)
        host.open_module(options.module or MODULE_FILE)
        if options.screenshot is not None:
            host.screenshot(options.screenshot)
            return 0
        return host.run()
    finally:
        host.close()


if __name__ == "__main__":
    sys.exit(main())
