"""Reading and writing weights: published torch archives and safetensors, strictly and without running pickle.

Which network a file holds is, in this order: what the caller says; the config in a safetensors file's metadata; the
image trunk's shapes. Networks of equal shapes cannot be told apart: MedSAM2 is the official tiny network at 512
pixels, MedSAM is SAM ViT-B. A file whose name begins with "MedSAM2" or "medsam" is therefore taken for one; the
registry always says so itself. The forms in which published files come are in :mod:`.dialects`.
"""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core.errors import CheckpointError
from .config import PUBLISHED, Config, Sam1Config, any_config
from .dialects import Dialect, read_archive, recognize, renamed, table_of, without_prefixes
from .model import SAM2
from .networks import Network, build
from .tensors import (
    MALFORMED,
    ZIP_MAGIC,
    check_finite,
    is_safetensors,
    read_tensors,
    tensors_bytes,
    write_replacing,
)

logger = logging.getLogger(__name__)


def load(path: str | os.PathLike[str], config: Config | None = None) -> tuple[SAM2, Config]:
    """Read a checkpoint into a network on the CPU, in float32 and evaluation mode.

    Args:
        path: An official `.pt` file, or `.safetensors`.
        config: The network the file must hold; None = recognize it (see the module's docstring).

    Raises:
        CheckpointError: If the file is missing, truncated, not a checkpoint, holds anything but tensors, belongs to
            another network (the first missing, unexpected or mis-shaped key is named), or has a weight that is
            not finite.
    """
    model = load_network(path, config)
    if not isinstance(model, SAM2):
        raise CheckpointError(f"{Path(path).name} holds {model.config.name}, a network without memory.")
    return model, model.config


def load_network(path: str | os.PathLike[str], config: Config | Sam1Config | None = None) -> Network:
    """Read a checkpoint of SAM 2 or of SAM 1, as :func:`load` does."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"The checkpoint file {path} does not exist.")
    described: Config | Sam1Config | None = None
    if is_safetensors(path):
        weights, described = _read_safetensors(path)
    else:
        weights = table_of(_read_official(path), path.name)
    weights, dialect = renamed(weights, path.name)
    config = config or described or recognize(weights, path.name)
    try:
        model = without_storage(config)
    except (*MALFORMED, ArithmeticError) as error:
        raise CheckpointError(f"{path.name} describes a network that cannot be built.") from error
    _check(weights, model, dialect, path.name)
    float32 = {name: weight.to(torch.float32) for name, weight in weights.items()}
    model.load_state_dict(float32, strict=True, assign=True)
    logger.info("Read %s from %s", config.name, path)
    return model.eval()


def load_named(path: str | os.PathLike[str], name: str | None) -> Network:
    """Read a checkpoint of the registry, which says by `name` what an official file holds.

    A safetensors file says itself which network it holds.

    Raises:
        CheckpointError: As :func:`load`.
    """
    known = {config.name: config for config in PUBLISHED}
    return load_network(path, None if is_safetensors(Path(path)) else known.get(name or ""))


def save(
    model: Network,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> None:
    """Write a safetensors file that :func:`load` reads without being given the config.

    Args:
        model: The network; its config goes into the metadata as "config".
        path: Replaced only once everything is written.
        metadata: More text to keep with the weights, such as the license.
        half: Store float16, half the size; the network computes in float32 all the same.

    Raises:
        CheckpointError: If a weight is not finite (as float16, with `half`).
        OSError: If the file cannot be written.
    """
    path = Path(path)
    write_replacing(path, serialized(model, path.name, metadata, half))


def serialized(
    model: Network, file_name: str, metadata: Mapping[str, str] | None = None, half: bool = False
) -> bytes:
    """The content of a safetensors file of that name; see :func:`save`."""
    weights = {}
    for name, weight in model.state_dict().items():
        halved = half and (
            isinstance(model, SAM2) or weight.ndim > 1
        )  # statistics of batch norms span too much
        weights[name] = weight.detach().to(torch.float16 if halved else torch.float32)
    check_finite(weights, file_name)
    return tensors_bytes(weights, {**(metadata or {}), "config": model.config.to_json()})


def without_storage(config: Config | Sam1Config) -> Network:
    """A network whose weights have shapes and no values, to be filled from a file."""
    with torch.device("meta"), _Unfilled():
        return build(config)


class _Unfilled(TorchFunctionMode):
    """Inside, new parameters get no first values, since they come from a file.

    Random numbers for tensors without storage would make torch load its compiler, which takes seconds.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if getattr(function, "__module__", None) == nn.init.__name__:
            return args[0] if args else given["tensor"]
        return (torch.empty if function is torch.randn else function)(*args, **given)


def seeded(config: Config, seed: int = 0) -> SAM2:
    """A network with random weights that behaves like a trained one, for tests and benchmarks.

    Parameters that start at zero become random, the object is always there (object score near 5), and memory attention
    is sharpened (queries and keys x6), since trained attention is sharper than random. The global random state is kept.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = SAM2(config)
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        for name, parameter in model.memory_attention.named_parameters():
            if ".q_proj." in name or ".k_proj." in name:
                parameter.mul_(6)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].get_parameter("bias").fill_(5.0)
    return model.eval()


def _read_official(path: Path) -> object:
    try:
        with path.open("rb") as file:
            if file.read(4) != ZIP_MAGIC:  # the older formats of torch.save are plain pickles
                raise ValueError("not a zip archive")
        with zipfile.ZipFile(
            path
        ) as archive:  # torch stores without compression, so that nothing can grow in reading
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("a compressed archive")
        return read_archive(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} is damaged or contains more than weights; it was not opened, because that could run code."
        ) from error
    except (zipfile.BadZipFile, *MALFORMED) as error:
        raise CheckpointError(f"{path.name} is damaged, incomplete or not a checkpoint.") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Config | Sam1Config | None]:
    weights, texts = read_tensors(path)
    if "config" not in texts:
        return without_prefixes(weights), None
    try:
        return weights, any_config(texts["config"])
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} cannot be used. {error}") from error


def _check(weights: Mapping[str, Tensor], model: Network, dialect: Dialect, file_name: str) -> None:
    """Raise CheckpointError naming the first weight that is missing, of another shape or unknown."""
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    no = f"{file_name} is not a {model.config.name} checkpoint:"
    read_as = f"(it was read as {dialect.name})"
    for name, shape in expected.items():
        if name not in weights:
            raise CheckpointError(f"{no} it has no weight {name} {read_as}.")
        if tuple(weights[name].shape) != shape:
            found = tuple(weights[name].shape)
            raise CheckpointError(f"{no} the weight {name} has shape {found}, not {shape} {read_as}.")
    for name in weights:
        if name not in expected:
            raise CheckpointError(f"{no} it has an unknown weight {name} {read_as}.")
    check_finite(weights, file_name)
