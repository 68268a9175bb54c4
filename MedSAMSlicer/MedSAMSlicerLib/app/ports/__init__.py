"""The demands of the module on the program around it, as small Protocols.

`scene/` implements them on 3D Slicer's scene; a web page or a test brings its own. Volumes and segmentations are
handles that only their owner looks into: in 3D Slicer they are nodes.
"""

from .choices import Choices
from .prompts import EditKind, ObjectMarkups, PromptEdit, PromptMarkups, PromptTools, Tool
from .scene import Scene, SceneListener
from .segments import Color, Mask, Segmentations, Segments, SegmentsListener
from .views import ALIGNED_DEGREES, ShownSlice, Views
from .volumes import Handle, Scheduler, VolumeListener, Volumes, Watch

__all__ = [
    "ALIGNED_DEGREES",
    "Choices",
    "Color",
    "EditKind",
    "Handle",
    "Mask",
    "ObjectMarkups",
    "PromptEdit",
    "PromptMarkups",
    "PromptTools",
    "Scene",
    "SceneListener",
    "Scheduler",
    "Segmentations",
    "Segments",
    "SegmentsListener",
    "ShownSlice",
    "Tool",
    "Views",
    "VolumeListener",
    "Volumes",
    "Watch",
]
