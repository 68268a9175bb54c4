from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.core.intensity import (
    CT_PRESETS,
    Window,
    choose_window,
    mr_percentiles,
    pet_suv,
    with_contrast,
)

REAL_TYPES = [
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]


def noise(seed: int, shape: tuple[int, ...] = (8, 40, 40)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def ct_like(seed: int = 0) -> np.ndarray:
    """Air around soft tissue with fat and a little bone, in HU."""
    volume = np.full((6, 64, 64), -1000.0)
    volume[:, 8:56, 8:56] = -100
    volume[:, 14:50, 14:50] = 50
    volume[:, 30:34, 30:34] = 700
    return np.rint(volume + 12 * noise(seed, volume.shape)).astype(np.int16)


# -- applying


@pytest.mark.parametrize("dtype", REAL_TYPES)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_window_spans_black_to_white_for_every_voxel_type(dtype: str, byte_order: str) -> None:
    values = np.array([[0, 10, 15, 20, 21, 100]], dtype=np.dtype(dtype).newbyteorder(byte_order))
    assert Window(10, 20).apply(values).tolist() == [[0, 0, 128, 255, 255, 255]]


@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
        hnp.array_shapes(max_dims=3, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    st.floats(-1e5, 1e5),
    st.floats(1e-2, 1e6),
)
def test_gray_is_within_half_a_level_of_the_exact_value(
    volume: np.ndarray, lower: float, width: float
) -> None:
    window = Window(lower, lower + width)
    gray = window.apply(volume)
    clipped = np.clip(volume.astype(np.float64), window.lower, window.upper)
    exact = (clipped - window.lower) / (window.upper - window.lower) * 255
    assert gray.dtype == np.uint8
    assert gray.shape == volume.shape
    assert np.abs(gray - exact).max(initial=0.0) <= 0.5 + 1e-6


def test_not_a_number_is_black_and_infinity_an_end() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0], dtype=np.float32)
    assert Window(-1, 1).apply(values).tolist() == [0, 255, 0, 128]


def test_true_is_brighter_than_false() -> None:
    assert Window(0, 1).apply(np.array([False, True])).tolist() == [0, 255]


def test_extreme_values_neither_overflow_nor_warn() -> None:
    largest = np.finfo(np.float64).max
    assert Window(-largest, largest).apply(np.array([-largest, 0.0, largest])).tolist() == [0, 128, 255]
    assert Window(0, 1e300).apply(np.array([-1e300, 5e299, 1e300, np.inf])).tolist() == [0, 128, 255, 255]
    assert Window(0, 5e-324).apply(np.array([0.0, 5e-324])).tolist() == [0, 255]
    integers = np.iinfo(np.int64)
    assert Window(-(2.0**63), 2.0**63).apply(np.array([integers.min, 0, integers.max])).tolist() == [
        0,
        128,
        255,
    ]
    assert Window(0, 2.0**64).apply(np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)).tolist() == [
        0,
        128,
        255,
    ]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_any_memory_layout_gives_the_same_gray_values_in_c_order(dtype: type) -> None:
    volume = (100 * noise(1)).astype(dtype)
    wanted = Window(-100, 100).apply(volume)
    for view in (np.asfortranarray(volume), volume.transpose(2, 0, 1), volume[::-1, ::2, ::-3]):
        gray = Window(-100, 100).apply(view)
        assert gray.flags.c_contiguous
        assert np.array_equal(gray, Window(-100, 100).apply(view.copy()))
    assert np.array_equal(Window(-100, 100).apply(np.asfortranarray(volume)), wanted)
    assert all(np.array_equal(Window(-100, 100).apply(volume[k]), wanted[k]) for k in range(len(volume)))


def test_read_only_and_empty_arrays_are_taken() -> None:
    volume = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    volume.setflags(write=False)
    assert Window(0, 7).apply(volume).max() == 255
    assert Window(0, 7).apply(np.empty((0, 3, 3))).shape == (0, 3, 3)


@pytest.mark.parametrize("dtype", [np.complex64, object, "U1", np.longdouble])
def test_voxels_that_are_not_real_numbers_are_refused(dtype: object) -> None:
    with pytest.raises(VolumeError, match="real numbers"):
        Window(0, 1).apply(np.zeros(3, dtype=dtype))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "limit_mb"), [(np.int16, 24), (np.float32, 24)])
def test_a_large_volume_is_windowed_without_a_copy_of_it(dtype: type, limit_mb: int) -> None:
    volume = np.zeros((300, 512, 512), dtype=dtype)
    volume[:, 100:400, 100:400] = np.arange(300, dtype=dtype)
    gray_mb = volume.size / 2**20
    tracemalloc.start()
    window = choose_window(volume, "auto")
    chosen_mb = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.reset_peak()
    window.apply(volume)
    applied_mb = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert chosen_mb < 100  # two million sampled float64 voxels, sorted: not the 600 MB of a float64 volume
    assert applied_mb < gray_mb + limit_mb


# -- choosing


@pytest.mark.parametrize("name", CT_PRESETS)
def test_ct_presets_are_known_by_name(name: str) -> None:
    assert choose_window(ct_like(), name.upper()) == CT_PRESETS[name]
    assert CT_PRESETS[name].name == name


def test_presets_have_the_usual_level_and_width() -> None:
    bounds = {name: (window.lower, window.upper) for name, window in CT_PRESETS.items()}
    assert bounds == {
        "soft-tissue": (-160, 240),
        "lung": (-1350, 150),
        "bone": (-500, 1300),
        "brain": (0, 80),
        "liver": (-20, 140),
        "mediastinum": (-125, 225),
    }


def test_bounds_may_be_given() -> None:
    assert choose_window(ct_like(), " -200, 1e2 ") == Window(-200.0, 100.0, "custom")


@pytest.mark.parametrize("spec", ["", "softtissue", "1", "1,2,3", "a,b", "auto,1"])
def test_unknown_window_is_refused_with_the_known_ones(spec: str) -> None:
    with pytest.raises(VolumeError, match=r"one of auto, soft-tissue, lung.*LOWER,UPPER"):
        choose_window(ct_like(), spec)


@pytest.mark.parametrize("spec", ["2,1", "1,1", "nan,1", "0,inf", "1e999,2"])
def test_bounds_out_of_order_or_without_end_are_refused(spec: str) -> None:
    with pytest.raises(VolumeError, match=r"from a lower to an upper|finite numbers"):
        choose_window(ct_like(), spec)


@pytest.mark.parametrize("spec", ["auto", "soft-tissue", "percentile", "pet", "full", "0,1"])
@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (np.full((2, 3, 4), 7, dtype=np.int16), "value 7: there is nothing"),
        (np.full((2, 3, 4), -0.5, dtype=np.float32), "value -0.5"),
        (np.full((2, 3, 4), np.nan), "no finite voxel"),
        (np.full((2, 3, 4), np.inf), "no finite voxel"),
        (np.array([[[np.nan, 3.0], [np.inf, 3.0]]]), "value 3"),
        (np.empty((0, 3, 4)), r"empty: its shape is \(0, 3, 4\)"),
        (np.zeros((2, 2, 2), dtype=complex), "real numbers"),
    ],
)
def test_volume_with_nothing_to_see_is_refused(volume: np.ndarray, reason: str, spec: str) -> None:
    with pytest.raises(VolumeError, match=reason):
        choose_window(volume, spec)


def test_full_window_ignores_what_is_not_finite() -> None:
    volume = np.array([[[np.nan, -5.0, 3.0, np.inf, -np.inf]]])
    assert choose_window(volume, "full") == Window(-5.0, 3.0, "full")


@pytest.mark.parametrize("spec", ["auto", "percentile", "full"])
def test_huge_ranges_are_no_obstacle(spec: str) -> None:
    floats = 1e300 * noise(2)
    window = choose_window(floats, spec)
    assert np.ptp(window.apply(floats)) > 200
    extremes = np.array([[[-(2**63), 0, 5, 2**63 - 1]]], dtype=np.int64)
    assert choose_window(extremes, "full").apply(extremes).tolist() == [[[0, 128, 128, 255]]]
    neighbors = np.array([[[2**63 - 2, 2**63 - 1]]], dtype=np.int64)
    assert choose_window(neighbors, spec).lower == 2.0**63


def test_one_hot_voxel_does_not_darken_the_rest() -> None:
    volume = 100 + 10 * noise(3)
    volume[0, 0, 0] = 1e9
    assert choose_window(volume, "auto").upper < 150


@pytest.mark.parametrize("background", [0.0, -3.62, 12.0])
def test_percentiles_leave_a_constant_background_out_wherever_it_lies(background: float) -> None:
    brain = noise(4)
    volume = np.full((8, 100, 100), background, dtype=np.float32)
    volume[:, 30:70, 30:70] = brain
    window = mr_percentiles(volume)
    low, high = np.percentile(brain.astype(np.float32), (0.5, 99.5))
    assert (window.lower, window.upper) == pytest.approx((low, high), abs=0.1)
    assert window.name == "percentile"


def test_percentiles_keep_a_common_tissue_value() -> None:
    # A peak of white matter is no background: its neighbors are nearly as common.
    volume = np.rint(66 + 5 * noise(5)).astype(np.int16)
    window = mr_percentiles(volume)
    assert window.lower < 55
    assert window.upper > 77


def test_dark_organs_stay_visible() -> None:
    volume = np.abs(3 * noise(6, (8, 80, 80)))
    volume[:, 10:70, 10:70] = 100 + 10 * noise(7, (8, 60, 60))
    volume[:, 30:50, 30:50] = 15 + 3 * noise(8, (8, 20, 20))
    assert mr_percentiles(volume).lower < 5


def test_nearly_constant_volume_shows_its_extremes() -> None:
    volume = np.zeros((4, 50, 50), dtype=np.uint8)
    volume[0, 0, 0] = 3
    assert mr_percentiles(volume) == Window(0, 3, "percentile")


def test_percentiles_ignore_what_is_not_finite() -> None:
    volume = noise(9)
    wanted = mr_percentiles(volume)
    spoiled = np.concatenate([volume, np.full_like(volume, np.nan), np.full_like(volume, np.inf)])
    assert mr_percentiles(spoiled) == wanted


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_the_same_values_in_another_type_get_the_same_window(dtype: type) -> None:
    mr = np.rint(300 + 80 * noise(10)).astype(np.int16)
    assert choose_window(mr.astype(dtype)) == choose_window(mr)
    assert choose_window(ct_like().astype(dtype)) == CT_PRESETS["soft-tissue"]


def test_auto_knows_a_ct_crop_without_air() -> None:
    assert choose_window(ct_like()[:, 9:55, 9:55]) == CT_PRESETS["soft-tissue"]


def test_auto_knows_a_padded_ct() -> None:
    volume = ct_like()
    volume[:, :4] = -3024
    assert choose_window(volume) == CT_PRESETS["soft-tissue"]


@pytest.mark.parametrize("modality", ["CT", " ct"])
def test_auto_believes_the_file_about_its_modality(modality: str) -> None:
    rescaled = np.rint(40 + 100 * noise(11)).astype(np.int16)
    assert choose_window(rescaled, modality=modality) == CT_PRESETS["soft-tissue"]
    assert choose_window(ct_like(), modality="MR").name == "percentile"
    assert choose_window(np.abs(noise(12)), modality="PT") == pet_suv() == Window(0.0, 10.0, "pet")


def unscaled_ct() -> np.ndarray:
    """A CT whose file does not say how its values become HU: a body of about 1,100 in air of about 30."""
    return np.rint(np.clip(ct_like() + 1024, 0, None)).astype(np.uint16)


@pytest.mark.parametrize(
    ("volume", "spec", "modality"),
    [
        (unscaled_ct(), "auto", "CT"),
        (unscaled_ct(), "soft-tissue", None),
        (4095 - unscaled_ct(), "auto", "CT"),  # MONOCHROME1
        (unscaled_ct() * 50, "auto", "PT"),  # counts, not SUV
        (np.abs(noise(18)), "liver", "MR"),  # all of it is one gray
        (ct_like(), "5000,6000", "CT"),
        (ct_like(), "-3000,-2000", "CT"),
    ],
)
def test_a_window_that_shows_nothing_gives_way_to_percentiles_and_it_is_reported(
    volume: np.ndarray, spec: str, modality: str | None
) -> None:
    notes: list[str] = []
    window = choose_window(volume, spec, modality, notes.append)
    assert window == mr_percentiles(volume)
    assert [f"{window.lower:g} to {window.upper:g} was taken instead" in note for note in notes] == [True]
    given = (
        Window(*(float(n) for n in spec.split(","))) if "," in spec else CT_PRESETS.get(spec, pet_suv(1e-3))
    )
    assert with_contrast(given, volume, notes.append) == window


@pytest.mark.parametrize("modality", ["CT", None])
@pytest.mark.parametrize("water", [1000, 1024])
def test_auto_takes_percentiles_of_a_ct_whose_signed_values_are_inverted(
    modality: str | None, water: int
) -> None:
    """MONOCHROME1 without rescaling: air lies about 0, where the soft-tissue window is, and the body at -1,000."""
    volume = (-1 - (ct_like() + water)).astype(np.int16)
    notes: list[str] = []
    window = choose_window(volume, "auto", modality, notes.append)
    assert window == mr_percentiles(volume)
    assert [("inverted" in note) for note in notes] == [True]
    body, fat = (np.median(window.apply(volume)[:, place, place]) for place in (slice(20, 28), slice(9, 13)))
    assert fat - body > 20


def test_windows_that_show_something_stay() -> None:
    notes: list[str] = []
    for spec in CT_PRESETS:
        assert choose_window(ct_like(), spec, "CT", notes.append) == CT_PRESETS[spec]
    two_values = np.zeros((4, 8, 8), np.uint8)
    two_values[:, :4] = 255
    for spec in ("auto", "full", "percentile", "0,255"):
        assert choose_window(two_values, spec, None, notes.append).upper == 255
    assert with_contrast(Window(0.0, 1.0), np.full((2, 2, 2), np.nan), notes.append) == Window(0.0, 1.0)
    assert notes == []


def test_auto_takes_phase_and_difference_images_for_mr() -> None:
    phase = np.random.default_rng(13).integers(-4096, 4096, size=(8, 40, 40)).astype(np.int16)
    assert choose_window(phase).name == "percentile"
    difference = np.rint(60 * noise(14)).astype(np.int16)
    difference[0, 0, 0] = -950
    assert choose_window(difference).name == "percentile"


def test_auto_keeps_what_was_windowed_to_8_bits_before() -> None:
    windowed = CT_PRESETS["soft-tissue"].apply(ct_like())
    assert choose_window(windowed) == Window(0, 255, "8-bit")
    assert choose_window(windowed.astype(np.float32)) == Window(0, 255, "8-bit")
    assert np.array_equal(Window(0, 255).apply(windowed), windowed)


def test_auto_stretches_8_bit_images_that_fill_only_a_part() -> None:
    dim = np.clip(np.rint(40 + 8 * noise(15)), 0, 254).astype(np.uint8)
    dim[0, 0, :2] = 0, 255
    assert choose_window(dim).upper < 80


def test_auto_stretches_images_that_saturate_elsewhere() -> None:
    clipped = np.clip(np.rint(200 + 40 * noise(17)), 90, 255).astype(np.int16)
    assert choose_window(clipped).name == "percentile"


def test_one_slice_volume_has_a_window() -> None:
    assert choose_window(ct_like()[:1]) == CT_PRESETS["soft-tissue"]


def test_window_is_chosen_from_all_of_a_large_volume() -> None:
    # Sides that share factors with the sampling step must not hide rows or columns.
    volume = np.zeros((40, 256, 256), dtype=np.float32)
    volume[:, :, 128:] = 1.0 + np.abs(noise(16, (40, 256, 128)))
    assert mr_percentiles(volume).upper == pytest.approx(1 + 2.8, abs=0.1)


# -- JSON


@given(st.floats(-1e300, 1e300), st.floats(1e-3, 1e300), st.text())
def test_window_comes_back_exactly_from_json(lower: float, width: float, name: str) -> None:
    if lower < lower + width:
        window = Window(lower, lower + width, name)
        assert Window.from_json(window.to_json()) == window


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "as JSON"),
        ("[1, 2]", "a name, a lower and an upper"),
        ('{"lower": 0, "upper": 1}', "a name, a lower and an upper"),
        ('{"name": 3, "lower": 0, "upper": 1}', "must be text, got 3"),
        ('{"name": "a", "lower": "0", "upper": 1}', "two numbers, got '0'"),
        ('{"name": "a", "lower": true, "upper": 1}', "two numbers, got True"),
        ('{"name": "a", "lower": NaN, "upper": 1}', "finite"),
        ('{"name": "a", "lower": 2, "upper": 1}', "from a lower to an upper value, got 2 to 1"),
        (json.dumps({"name": "a", "lower": 0, "upper": 10**400}), "finite"),
    ],
)
def test_json_that_is_no_window_is_refused(text: str, reason: str) -> None:
    with pytest.raises(VolumeError, match=reason):
        Window.from_json(text)
