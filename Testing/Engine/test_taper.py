"""What a slice range shows about the size of the mask that a network is shown."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.engine.taper import expected_share, tapered, zoomed  # noqa: E402


def disc(radius: float, at: tuple[float, float] = (32, 32)) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    distance = ((y - at[0]).square() + (x - at[1]).square()).sqrt()
    return (2 * (radius - distance)).clamp(-8, 8)[None, None]


def area(logits: torch.Tensor) -> int:
    return int((logits > 0).sum())


def test_an_object_is_expected_to_shrink_from_its_largest_slice_to_its_last() -> None:
    shares = [expected_share(distance, 10) for distance in range(11)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[10] < 0.15


def test_a_zoomed_mask_stays_where_it_is() -> None:
    small = zoomed(disc(12, (20, 40)), torch.tensor([0.5]))
    assert area(small) == pytest.approx(area(disc(6)), rel=0.1)
    rows, columns = torch.nonzero(small[0, 0] > 0).float().mean(0).tolist()
    assert (rows, columns) == pytest.approx((20, 40), abs=0.3)


def test_without_a_known_end_the_mask_is_shown_as_it_is() -> None:
    logits = disc(12)
    assert torch.equal(tapered(logits, 3, torch.tensor([-1.0]), torch.tensor([400])), logits)


def test_only_the_objects_with_a_known_end_are_tapered() -> None:
    logits = disc(12).repeat(2, 1, 1, 1)
    shown = tapered(logits, 5, torch.tensor([-1.0, 5.0]), torch.tensor([area(disc(12))] * 2))
    assert torch.equal(shown[0], logits[0])
    assert area(shown[1]) < area(logits[1])


def test_what_exceeds_the_expected_area_is_shown_as_unsure() -> None:
    leaked, key_area = disc(20), torch.tensor([area(disc(10))])
    shown = tapered(leaked, 1, torch.tensor([30.0]), key_area)
    assert float(shown[0, 0, 32, 32]) == pytest.approx(8, abs=0.01)
    assert 0 < float(shown[0, 0, 32, 32 + 14]) < 4
    assert float(shown[0, 0, 0, 0]) == pytest.approx(-8, abs=0.01)
