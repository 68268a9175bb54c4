"""Find out if this computer can draw with VTK off screen; tests that need it skip with the reason where not."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys

_PROBE = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
renderer = vtk.vtkRenderer()
renderer.SetBackground(1, 0, 0)
window.AddRenderer(renderer)
window.Render()
pixels = vtk.vtkUnsignedCharArray()
window.GetPixelData(0, 0, 7, 7, 0, pixels, 0)
raise SystemExit(pixels.GetValue(0) != 255)
"""
PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libxkbcommon0 libfontconfig1 libglib2.0-0"


@functools.cache
def why_not() -> str | None:
    """None where SlicerHost can run; otherwise what is missing, in one sentence."""
    for name, wheel in (("slicer_core", "slicer-core"), ("PySide6", "PySide6-Essentials")):
        if importlib.util.find_spec(name) is None:
            return f"the {wheel} wheel is not installed"
    environment = dict(os.environ)
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        environment.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _PROBE], check=False, capture_output=True, timeout=120, env=environment
        )
    except subprocess.TimeoutExpired:
        return "VTK did not draw within two minutes"
    if ran.returncode != 0:
        return f"VTK cannot draw off screen here; on Debian and Ubuntu: apt-get install {PACKAGES}"
    qt = "from PySide6 import QtWidgets; QtWidgets.QApplication([])"
    environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    ran = subprocess.run([sys.executable, "-c", qt], check=False, capture_output=True, env=environment)
    if ran.returncode != 0:
        return f"Qt cannot start here; on Debian and Ubuntu: apt-get install {PACKAGES}"
    return None
