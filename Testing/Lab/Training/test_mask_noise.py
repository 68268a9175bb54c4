"""The errors that a network is shown while it learns to come back from its own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.lab.training.fields import Source  # noqa: E402
from MedSAMSlicerLib.lab.training.mask_noise import corrupted, moved  # noqa: E402


def square() -> torch.Tensor:
    logits = torch.full((2, 1, 64, 64), -8.0)
    logits[:, :, 20:44, 20:44] = 8.0
    return logits


def test_a_moved_mask_keeps_its_area_and_nothing_comes_in_from_outside() -> None:
    assert (moved(square(), 5, -3)[:, :, 25:49, 17:41] == 8).all()
    assert int((moved(square(), 5, -3) > 0).sum()) == 2 * 24 * 24
    assert not (moved(square(), 40, 40) > 0)[:, :, :40, :40].any()
    assert int((moved(square(), 40, 0) > 0).sum()) == 2 * 4 * 24


def test_noisy_masks_are_mostly_too_large_as_in_tracking() -> None:
    areas = torch.tensor(
        [float((corrupted(Source(seed), square()) > 0).sum()) / (2 * 24 * 24) for seed in range(60)]
    )
    assert (areas > 1).float().mean() > 0.5
    assert (areas < 1).float().mean() > 0.05
    assert float(areas.min()) > 0.05
    assert float(areas.max()) < 4


def test_the_same_seed_makes_the_same_mistake() -> None:
    assert torch.equal(corrupted(Source(3), square(), 2.0), corrupted(Source(3), square(), 2.0))
