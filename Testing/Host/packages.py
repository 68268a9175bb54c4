"""Python modules that other parts of Slicer bring: `slicer.packaging`, `PyTorchUtils`, `SampleData`.

Base/Python/slicer/packaging.py and Modules/Scripted/SampleData/SampleData.py of Slicer/Slicer,
PyTorchUtils/PyTorchUtils.py of fepegar/SlicerPyTorch. What is installed is reported as it is; what is not cannot be
installed here, and says so.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import types
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a file, comments and empty lines left out."""
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def pip_check(requirements: Any) -> bool:
    """True where everything that is asked for is installed in a fitting version."""
    if isinstance(requirements, str | Requirement):
        requirements = [requirements]
    for requirement in requirements:
        wanted = requirement if isinstance(requirement, Requirement) else Requirement(requirement)
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if not wanted.specifier.contains(version, prereleases=True):
            return False
    return True


def pip_ensure(requirements: Any, requester: str | None = None, **options: Any) -> list[str]:
    """Nothing where everything is there; RuntimeError where something would have to be installed."""
    if not pip_check(requirements):
        raise RuntimeError(f"SlicerHost installs nothing: {requirements} for {requester}")
    return []


def pip_install(requirements: Any, **options: Any) -> None:
    """RuntimeError: SlicerHost installs nothing."""
    raise RuntimeError(f"SlicerHost installs nothing: {requirements}")


class PyTorchUtilsLogic:
    """PyTorchUtils.py of the extension fepegar/SlicerPyTorch, where torch is installed."""

    def torchInstalled(self) -> bool:
        """True where torch can be imported."""
        return importlib.util.find_spec("torch") is not None

    @property
    def torch(self) -> Any:
        """The module torch, imported now."""
        import torch

        return torch

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        """The module torch where it is installed in a fitting version; None where the user would have declined."""
        if not self.torchInstalled() or not pip_check(f"torch{torchVersionRequirement or ''}"):
            return None
        return self.torch


class SampleDataLogic:
    """Keeps what was registered in slicer.modules.sampleDataSources, and downloads nothing."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: Any = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: Any = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """Offer a data set; the arguments are those of SampleData.py, and no others."""
        import slicer

        source = {name: value for name, value in locals().items() if name not in ("category", "slicer")}
        slicer.modules.__dict__.setdefault("sampleDataSources", {}).setdefault(category, []).append(source)


def modules() -> dict[str, types.ModuleType]:
    """What `import slicer.packaging` and `import PyTorchUtils` find."""
    packaging = types.ModuleType("slicer.packaging")
    for function in (load_requirements, pip_check, pip_ensure, pip_install):
        setattr(packaging, function.__name__, function)
    utils = types.ModuleType("PyTorchUtils")
    utils.PyTorchUtilsLogic = PyTorchUtilsLogic
    samples = types.ModuleType("SampleData")
    samples.SampleDataLogic = SampleDataLogic
    return {"slicer.packaging": packaging, "PyTorchUtils": utils, "SampleData": samples}
