"""Several processes as one trainer: started by `torchrun`, each on its own GPU, or alone.

Gradients are averaged by hand, in one buffer after the backward pass. `DistributedDataParallel` is made for one forward
call a step; a clip calls parts of the network slice after slice, and which of them depends on the prompts.

Without a process group every function here answers for one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """The device of this process: `device` itself, or under torchrun its own GPU, with the others reachable.

    Raises what `torch.distributed` raises when the other processes cannot be reached.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield device
        return
    if device.startswith("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 for the one that judges, saves and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Return whether this process has number 0; also known before the processes are connected."""
    return dist.get_rank() == 0 if dist.is_initialized() else os.environ.get("RANK", "0") == "0"


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def mean(values: Tensor) -> Tensor:
    """The mean of a tensor over the processes; the tensor itself when there is one."""
    if world() > 1:
        values = values.clone()
        dist.all_reduce(values)
        values /= world()
    return values


def everywhere(flag: bool, device: torch.device | str) -> bool:
    """Return whether all processes say yes."""
    if world() == 1:
        return flag
    return bool(mean(torch.tensor(float(flag), device=device)) == 1)


def from_first(values: Sequence[float], device: torch.device | str) -> list[float]:
    """The numbers of process 0, for decisions that must be the same everywhere."""
    if world() == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(numbers, 0)
    return [float(number) for number in numbers]


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace every gradient by its mean over the processes; one that no process has stays away."""
    if world() == 1 or not parameters:
        return
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    had = torch.tensor([float(p.grad is not None) for p in parameters], device=parts[0].device)
    together = mean(torch.cat([part.flatten() for part in parts] + [had]))
    sizes = [part.numel() for part in parts]
    *averaged, had = together.split([*sizes, len(parts)])
    for parameter, part, any_had in zip(parameters, averaged, had.tolist(), strict=True):
        parameter.grad = part.view_as(parameter) if any_had else None
