"""The devices of this computer that the network can run on, and their free memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..core.errors import MedSAMError
from .process_memory import available_bytes


def chosen_device(wanted: str | torch.device) -> str:
    """The device for "auto", a GPU where PyTorch finds one, else the processor; or the one that was named.

    Raises:
        MedSAMError: The device is unknown, or not there.
    """
    if wanted == "auto":
        if torch.cuda.is_available():  # not run: no such device available
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(wanted)
    except RuntimeError:
        place = None
    there: dict[str, Callable[[torch.device], bool]] = {
        "cpu": lambda place: True,
        "cuda": lambda place: torch.cuda.is_available() and (place.index or 0) < torch.cuda.device_count(),
        "mps": lambda place: torch.backends.mps.is_available(),
    }
    if place is None or place.type not in there:
        raise MedSAMError(f"The device must be auto, cpu, cuda, cuda:1 or mps, got {str(wanted)!r}.")
    if not there[place.type](place):
        raise MedSAMError(
            f"This computer, or its installation of PyTorch, has no device {str(wanted)!r}; cpu is always available."
        )
    return str(wanted)


def device_name(device: str | torch.device) -> str:
    """The device with the name of its hardware, where PyTorch gives it."""
    place = torch.device(device)
    if place.type == "cuda":  # not run: no such device available
        return f"{place} ({torch.cuda.get_device_name(place)})"
    return str(place)


def free_bytes(device: str | torch.device) -> int | None:
    """Memory in bytes that programs can still have where the network runs; None = not known."""
    place = torch.device(device)
    if place.type == "cuda":  # not run: no such device available
        return int(torch.cuda.mem_get_info(place)[0])
    return available_bytes() if place.type == "cpu" else None
