"""The packages that are installed in this Python, and those loaded in another version; nothing is imported for it.

Only :func:`computing_device` imports torch.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable

TORCH = "torch>=2.6"
"""What the network needs."""


def is_installed(requirement: str) -> bool:
    """Return whether a package is installed in a version that "name>=version" or "name>=version,<version" asks for."""
    name = re.split("[><]", requirement, maxsplit=1)[0].strip()
    found = installed_version(name)
    if found is None:
        return False
    for sign, version in re.findall(r"(>=|<)\s*([\w.]+)", requirement):
        if (numbers_of(found) >= numbers_of(version)) is not (sign == ">="):
            return False
    return True


def installed_version(name: str) -> str | None:
    """The version that pip has noted; None when the package is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def loaded_in_another_version(names: Iterable[str]) -> tuple[str, ...]:
    """The packages that were imported before another version of them was installed: they need a restart."""
    found = []
    for name in names:
        loaded = getattr(sys.modules.get(name), "__version__", None)
        installed = installed_version(name)
        if loaded is not None and installed is not None and numbers_of(str(loaded)) != numbers_of(installed):
            found.append(name)
    return tuple(found)


def torch_is_usable() -> bool:
    """Return whether PyTorch is installed, new enough, and not loaded in another version."""
    return is_installed(TORCH) and not loaded_in_another_version(["torch"])


def computing_device() -> str:
    """The device that "auto" stands for: "cuda", "mps" or "cpu". Imports torch, which must be installed."""
    from ..engine.devices import chosen_device

    return chosen_device("auto")


def numbers_of(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.5.1+cu121 -> (2, 5, 1)."""
    match = re.match(r"\d+(\.\d+)*", version.strip())
    return tuple(int(part) for part in match.group().split(".")) if match else ()
