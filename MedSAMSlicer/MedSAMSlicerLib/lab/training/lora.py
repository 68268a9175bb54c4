"""Low-rank adapters (Hu et al. 2021): a weight W learns as W + B A, with few numbers, and W itself stays as it was.

An adapter is a parametrization of `weight`, so that a linear layer and a convolution are one case and every use of the
weight in the network sees the sum. `merged` gives an ordinary network again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...core.errors import MedSAMError
from ...sam2.networks import Network, build


class LowRank(nn.Module):
    """W -> W + scale * B A for W of shape (out, ...), the other axes taken together; starts as W itself.

    Args:
        shape: of the weight.
        rank: columns of B and rows of A.
        scale: of the sum; more makes the adapter learn faster.
    """

    def __init__(self, shape: torch.Size, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, shape[1:].numel()))  # A
        self.up = nn.Parameter(torch.zeros(shape[0], rank))  # B
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def add_adapters(model: Network, rank: int, scale: float = 2.0) -> list[nn.Parameter]:
    """Give every linear layer and ungrouped convolution an adapter; the adapters' weights, everything else frozen.

    Layers with fewer than 2 * `rank` rows or columns get none, since it would be as large as the weight.

    Raises MedSAMError when no layer gets one.
    """
    model.requires_grad_(False)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    adapters = []
    for layer in layers:
        weight = layer.weight
        if min(len(weight), weight[0].numel()) < 2 * rank or getattr(layer, "groups", 1) > 1:
            continue
        adapter = LowRank(weight.shape, rank, scale).to(weight.device)
        parametrize.register_parametrization(layer, "weight", adapter)
        adapters += [adapter.down, adapter.up]
    if not adapters:
        raise MedSAMError(
            f"Adapters of rank {rank} are larger than every layer of this network; take a lower rank."
        )
    return adapters


@torch.no_grad()
def merged(model: Network) -> Network:
    """An ordinary network that computes the same: adapters added to their weights; on the CPU, in evaluation mode."""
    plain = build(model.config)
    weights: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList | LowRank):
            continue
        prefix = f"{name}." if name else ""
        for own, _ in module.named_parameters(recurse=False):
            weights[prefix + own] = getattr(module, own)
        for own, _ in module.named_buffers(recurse=False):
            weights[prefix + own] = getattr(module, own)
        if parametrize.is_parametrized(module, "weight"):
            weights[prefix + "weight"] = module.weight
    wanted = plain.state_dict().keys()
    plain.load_state_dict({name: weights[name].detach().cpu() for name in wanted})
    return plain.eval()
