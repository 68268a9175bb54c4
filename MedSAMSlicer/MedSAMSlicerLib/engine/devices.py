"""Where the network can run on this computer, and how much memory is free there."""

from __future__ import annotations

import torch

from .process_memory import available_bytes


def pick_device(wanted: str) -> str:
    """The device for "auto": a GPU where PyTorch finds one, else the processor; any other name as it is."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():  # not run: no such device at hand
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device: str | torch.device) -> str:
    """The device with the name of its hardware, where PyTorch tells it."""
    place = torch.device(device)
    if place.type == "cuda":  # not run: no such device at hand
        return f"{place} ({torch.cuda.get_device_name(place)})"
    return str(place)


def free_bytes(device: str | torch.device) -> int | None:
    """Memory in bytes that programs can still have where the network runs; None = not known."""
    place = torch.device(device)
    if place.type == "cuda":  # not run: no such device at hand
        return int(torch.cuda.mem_get_info(place)[0])
    return available_bytes() if place.type == "cpu" else None
