"""What has to be installed in Slicer's Python before the network can run, and installing it when the user asks.

PyTorch comes through the extension PyTorch (`PyTorchUtils.py` of fepegar/SlicerPyTorch), which chooses the build for
the computer's GPU; everything else through `slicer.packaging` (Slicer 5.12) or, on 5.10, `slicer.util.pip_install`
after a question. Both ask before they change anything. Nothing here imports torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.errors import MedSAMError

logger = logging.getLogger(__name__)

TORCH = "torch>=2.6"
DICOM_PACKAGES = ("highdicom>=0.25",)
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
_SIZE_CPU, _SIZE_GPU = "0.3 GB", "3 GB"  # to download; unpacked about three times as much


@dataclass(frozen=True)
class Missing:
    """What is not installed; false when nothing is missing.

    Attributes:
        torch: whether PyTorch is.
        packages: requirements of other packages.
    """

    torch: bool
    packages: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.torch or bool(self.packages)


class InstallError(MedSAMError):
    """Something could not be installed."""


def missing() -> Missing:
    """Look what is not installed, by the notes that pip leaves; imports nothing."""
    return Missing(
        torch=not is_installed(TORCH),
        packages=tuple(line for line in requirements() if not is_installed(line)),
    )


def requirements() -> tuple[str, ...]:
    """The packages besides PyTorch that the module needs, from Resources/requirements.txt."""
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def is_installed(requirement: str) -> bool:
    """Whether a package is installed, at least in the version that "name>=version" asks for."""
    name, _sign, least = requirement.partition(">=")
    try:
        found = importlib.metadata.version(name.strip())
    except importlib.metadata.PackageNotFoundError:
        return False
    return _numbers(found) >= _numbers(least)


def needed_sentence(what: Missing) -> str:
    """One sentence: what Install will install, how big it is and where it goes."""
    folder = sysconfig.get_paths()["purelib"]
    if not what.torch:
        names = ", ".join(re.split("[><=]", line)[0] for line in what.packages)
        return _("Press Install to add {names} (less than 5 MB) to Slicer's Python in {folder}.").format(
            names=names, folder=folder
        )
    return _(
        "Press Install to add PyTorch to Slicer's Python in {folder}: about {gpu} to download with an NVIDIA GPU, "
        "{cpu} without."
    ).format(gpu=_SIZE_GPU, cpu=_SIZE_CPU, folder=folder)


def install(what: Missing) -> str:
    """Install what is missing, asking first; returns one sentence that says what was done.

    Blocks, with Slicer's own progress where it has one; call it from a user's click only.

    Raises:
        InstallError: The user said no, or it failed: one sentence that says what to try.
    """
    torch = _install_torch() if what.torch else None
    if what.packages:
        ensure(what.packages)
    if torch is None:
        return _("Everything is installed.")
    return device_sentence(torch)


def device_sentence(torch: Any) -> str:
    """Where an installed PyTorch will compute; without a GPU this says so plainly."""
    version = torch.__version__
    if torch.cuda.is_available():
        return _("PyTorch {version} is installed and computes on the GPU {name}.").format(
            version=version, name=torch.cuda.get_device_name(0)
        )
    if torch.backends.mps.is_available():
        return _("PyTorch {version} is installed and computes on the Apple GPU.").format(version=version)
    return _(
        "PyTorch {version} is installed. It found no GPU, so everything is computed on the CPU, which is slower."
    ).format(version=version)


def ensure(packages: Sequence[str]) -> None:
    """Install packages that are missing, after a question.

    Raises:
        InstallError: see `install`.
    """
    wanted = [package for package in packages if not is_installed(package)]
    if not wanted:
        return
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        packaging = None
    try:
        if packaging is None:
            _ensure_in_5_10(wanted)
        else:
            packaging.pip_ensure(wanted, requester="MedSAMSlicer")
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise InstallError(failure_sentence(", ".join(wanted), error)) from error


def ensure_dicom_packages() -> None:
    """Install what DICOM SEG needs, after a question. Raises InstallError."""
    ensure(DICOM_PACKAGES)


def failure_sentence(what: str, error: BaseException) -> str:
    """Why an installation failed, in one sentence with what to try."""
    text = f"{error} {getattr(error, 'output', '') or ''} {getattr(error, 'stderr', '') or ''}".lower()
    if "declined" in text:
        return _("Nothing was installed.")
    if "no space left" in text or "errno 28" in text:
        return _("{what} could not be installed: the disk is full.").format(what=what)
    if "permission" in text or "access is denied" in text:
        return _(
            "{what} could not be installed: Slicer may not write to its own folder; install Slicer where you may."
        ).format(what=what)
    return _(
        "{what} could not be installed: is this computer online? Behind a proxy, set HTTPS_PROXY before Slicer starts; "
        "the log has the details."
    ).format(what=what)


def _install_torch() -> Any:
    try:
        utilities = importlib.import_module("PyTorchUtils")
    except ImportError as error:
        raise InstallError(
            _(
                "PyTorch is installed by the extension PyTorch, which is not there: get it in the Extensions Manager, "
                "restart Slicer and press Install again."
            )
        ) from error
    logic = utilities.PyTorchUtilsLogic()
    try:
        torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH.removeprefix("torch"))
    except (RuntimeError, OSError, ImportError, ValueError, subprocess.SubprocessError) as error:
        logger.exception("PyTorch could not be installed")
        raise InstallError(failure_sentence("PyTorch", error)) from error
    if torch is None:
        raise InstallError(_("Nothing was installed."))
    return torch


def _ensure_in_5_10(packages: Sequence[str]) -> None:
    """Slicer 5.10 has no slicer.packaging: ask, then call pip."""
    question = _("MedSAMSlicer needs {packages} in Slicer's Python. Install it now?").format(
        packages=", ".join(packages)
    )
    if not slicer.util.confirmOkCancelDisplay(question, _("MedSAMSlicer")):
        raise InstallError(_("Nothing was installed."))
    slicer.util.pip_install(list(packages))


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.5.1+cu121 -> (2, 5, 1)."""
    match = re.match(r"\d+(\.\d+)*", version.strip())
    return tuple(int(part) for part in match.group().split(".")) if match else ()
