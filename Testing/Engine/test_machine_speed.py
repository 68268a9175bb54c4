"""What a network would take on this computer: its arithmetic, which the registry gives, by a measured speed."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.engine.machine_speed import _TOKENS, FLOPS, _block, measured_speed
from MedSAMSlicerLib.models.registry import read_entries
from MedSAMSlicerLib.sam2.checkpoint import without_storage
from MedSAMSlicerLib.sam2.config import PUBLISHED


@pytest.mark.parametrize("name", ["medsamslicer-nano", "litemedsam", "medsam2-latest", "mobile-sam"])
def test_registry_gives_the_arithmetic_of_an_encoded_slice_and_a_step_of_tracking(name: str) -> None:
    entry = next(each for each in read_entries() if each.id == name)
    config = next(each for each in PUBLISHED if each.name == entry.config)
    side = config.image_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        without_storage(config).eval().encode_image(torch.zeros(1, 3, side, side, device="meta"))
    encoded = counter.get_total_flops() / 1e9
    assert entry.gigaflops is not None
    assert 0.99 * encoded <= entry.gigaflops <= 2 * encoded


def test_block_has_the_arithmetic_that_its_speed_is_computed_from() -> None:
    shapes = ((768, 256), (256, 256), (1024, 256), (256, 1024))
    weights = [torch.zeros(*shape, device="meta") for shape in shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _block(torch.zeros(1, _TOKENS, 256, device="meta"), weights)
    assert counter.get_total_flops() == pytest.approx(FLOPS, rel=0.01)


def test_speed_of_this_computer_is_plausible() -> None:
    assert 1e8 < measured_speed("cpu", threads=1) < 1e15
    with pytest.raises(MedSAMError, match="must be auto, cpu"):
        measured_speed("abacus")
