"""`python -m MedSAMSlicerLib.cli`: the command line where the script of that name is not on the path."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
