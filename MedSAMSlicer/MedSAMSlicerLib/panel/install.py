"""The packages that Slicer's Python needs before the network can run, and their installation when the user asks.

PyTorch comes through the extension PyTorch (`PyTorchUtils.py` of fepegar/SlicerPyTorch), which chooses the build for
the computer's GPU; everything else through `slicer.packaging` (Slicer 5.12) or, on 5.10, `slicer.util.pip_install`
after a question. Both ask before they change anything. Nothing here imports torch.
"""

from __future__ import annotations

import importlib
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

from ..app.installed import (
    TORCH,
    computing_device,
    installed_version,
    is_installed,
    loaded_in_another_version,
    numbers_of,
)
from ..core.errors import MedSAMError
from ..core.foreign_errors import Failure, failure_of

logger = logging.getLogger(__name__)

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
_SIZE_CPU, _SIZE_GPU = "0.3 GB", "3 GB"  # to download; unpacked about three times as much


@dataclass(frozen=True)
class Missing:
    """The packages that are not installed; false when nothing is missing.

    Attributes:
        torch: whether PyTorch is.
        packages: requirements of other packages.
        restart: packages that are installed and were loaded in another version before.
    """

    torch: bool
    packages: tuple[str, ...]
    restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.torch or bool(self.packages) or bool(self.restart)


class InstallError(MedSAMError):
    """Something could not be installed."""


def missing() -> Missing:
    """Look what is not installed, by the notes that pip leaves; imports nothing."""
    return Missing(
        torch=not is_installed(TORCH),
        packages=tuple(line for line in requirements() if not is_installed(line)),
        restart=loaded_in_another_version(_names(TORCH, *requirements())),
    )


def requirements() -> tuple[str, ...]:
    """The packages besides PyTorch that the module needs, from Resources/requirements.txt."""
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def dicom_packages() -> tuple[str, ...]:
    """Return what DICOM SEG needs besides; Slicer 5.12 brings all of it.

    Slicer 5.10 brings pydicom 2.4 and NumPy 2, and no version of highdicom takes both: pydicom has to be replaced,
    which the question then says by its name.
    """
    pydicom = installed_version("pydicom")
    old = pydicom is not None and numbers_of(pydicom) < (3,)
    return ("highdicom>=0.25", "pydicom>=3.0.1") if old else ("highdicom>=0.25",)


def needed_sentence(what: Missing) -> str:
    """One sentence: what Install will install, how big it is and where it goes."""
    folder = sysconfig.get_paths()["purelib"]
    if not what.torch and not what.packages and what.restart:
        return _("Restart Slicer: {names} was installed after another version had been loaded.").format(
            names=", ".join(what.restart)
        )
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
        InstallError: The user declined, or it failed: one sentence with what to try.
    """
    torch = _install_torch() if what.torch else None
    if what.packages:
        ensure(what.packages)
    restart = ask_for_restart(_names(TORCH, *requirements()))
    if restart is not None:
        return restart
    if torch is None:
        return _("Everything is installed.")
    return device_sentence(torch, computing_device())


def ask_for_restart(names: Sequence[str]) -> str | None:
    """Offer to restart Slicer where an older version of a package stays loaded; one sentence, None when none does."""
    stale = loaded_in_another_version(names)
    if not stale:
        return None
    text = _("{names} was installed, but another version stays in use until Slicer is restarted.").format(
        names=", ".join(stale)
    )
    if slicer.util.confirmYesNoDisplay(_("{text} Restart now?").format(text=text), _("MedSAMSlicer")):
        slicer.util.restart()
    return text


def device_sentence(torch: Any, device: str) -> str:
    """The sentence about the device of an installed PyTorch: "cuda", "mps" or "cpu"; plain where there is no GPU."""
    version = torch.__version__
    if device == "cuda":
        return _("PyTorch {version} is installed and uses the GPU {name}.").format(
            version=version, name=torch.cuda.get_device_name(0)
        )
    if device == "mps":
        return _("PyTorch {version} is installed and uses the Apple GPU.").format(version=version)
    return _(
        "PyTorch {version} is installed. It found no GPU, so the network runs on the CPU, which is slower."
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
    """Install what DICOM SEG needs, after a question. Raises InstallError, also when Slicer has to be restarted."""
    ensure(dicom_packages())
    restart = ask_for_restart(("highdicom", "pydicom", "numpy"))
    if restart is not None:
        raise InstallError(restart)


def failure_sentence(what: str, error: BaseException) -> str:
    """The reason why an installation failed, in one sentence with what to try."""
    failure = failure_of(error, Failure.DECLINED, Failure.DISK_FULL, Failure.NO_PERMISSION)
    if failure is Failure.DECLINED:
        return _("Nothing was installed.")
    if failure is Failure.DISK_FULL:
        return _("{what} could not be installed: the disk is full.").format(what=what)
    if failure is Failure.NO_PERMISSION:
        return _(
            "{what} could not be installed: Slicer cannot write to its own folder; install Slicer in a folder that "
            "you can write to."
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
                "The extension PyTorch, which installs PyTorch, is missing: get it from the Extensions Manager, "
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


def _names(*requirements: str) -> list[str]:
    return [re.split("[><=]", line)[0] for line in requirements]
