"""The one geometry of training and reading: there and back, and the same input from PNG and from DICOM."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinesax.core.errors import GeometryError
from cinesax.core.orientation import TURNS, Turn
from cinesax.network.framing import Crop, Framing, crop_corner

FRAMING = Framing()


def disc(shape: tuple[int, int], centre: tuple[float, float], radius_px: float, spacing=(1.0, 1.0)) -> np.ndarray:
    rows, columns = np.indices(shape)
    far = np.hypot((rows - centre[0]) * spacing[0], (columns - centre[1]) * spacing[1])
    return np.clip(radius_px - far + 0.5, 0, 1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(100, 400),
    columns=st.integers(100, 400),
    spacing=st.tuples(st.floats(0.6, 2.5), st.floats(0.6, 2.5)),
)
def test_a_disc_comes_back_where_it_was_with_its_area(rows, columns, spacing):
    placement = FRAMING.place((rows, columns), spacing)
    centre = ((rows - 1) / 2 + 3, (columns - 1) / 2 - 4)
    native = disc((rows, columns), centre, 25.0, spacing)
    framing = Framing(window_percentiles=(0, 100))  # the disc can be smaller than what the usual window cuts off
    back = framing.undo(framing.apply(native, placement), placement)
    inside = back >= 0.5
    area_mm2 = inside.sum() * spacing[0] * spacing[1]
    assert area_mm2 == pytest.approx(np.pi * 25.0**2, rel=0.05)
    assert np.argwhere(inside).mean(axis=0) == pytest.approx(centre, abs=0.3)


@pytest.mark.parametrize("spacing", [None, (1.2, 1.2), (1.3671875, 1.3671875), (1.7, 1.7)])
def test_pixels_of_usual_size_or_unknown_size_are_never_resampled(spacing):
    frame = np.random.default_rng(0).integers(0, 1000, (256, 216))
    placement = FRAMING.place(frame.shape, spacing)
    assert placement.is_native
    framed = FRAMING.apply(frame, placement)
    assert len(np.unique(framed)) <= len(np.unique(frame)) + 1
    np.testing.assert_array_equal(FRAMING.undo(framed, placement)[:, :], framed[:, 20:236])


@pytest.mark.parametrize("spacing", [(0.7, 0.7), (2.0, 2.0), (1.3, 1.5)])
def test_small_large_and_oblong_pixels_are_resampled_to_the_same_size(spacing):
    placement = FRAMING.place((300, 300), spacing)
    assert placement.scale == pytest.approx((spacing[0] / 1.4, spacing[1] / 1.4))


def test_any_linear_change_of_the_intensities_gives_the_same_input():
    frame = np.random.default_rng(1).gamma(2, 100, (256, 256))
    placement = FRAMING.place(frame.shape, None)
    np.testing.assert_allclose(FRAMING.apply(frame * 7.5 + 300, placement), FRAMING.apply(frame, placement), atol=1e-4)


@pytest.mark.data
def test_a_slice_as_png_and_as_dicom_gives_the_same_input(sunnybrook):
    from cinesax.formats import contours, pairs
    from cinesax.inputs import open_cine

    by_name = {pair.name: pair for pair in pairs.read_pairs(sunnybrook / "train")}
    for case in ("SC-HF-I-01", "SC-HF-I-04"):
        cine = open_cine(sunnybrook / "dicom" / case / "cine_sax")
        numbers = contours.frame_numbers(cine)
        wanted = {n: by_name[name] for n in numbers if (name := f"{case}-IM-0001-{n:04d}") in by_name}
        assert len(wanted) >= 18
        for number, pair in wanted.items():
            frame, png = cine.pixels[numbers[number]], pairs.load(pair)[0]
            a = FRAMING.apply(frame, FRAMING.place(frame.shape, cine.grid.spacing_mm))
            b = FRAMING.apply(png, FRAMING.place(png.shape, None))
            # one grey level of the PNG, after the window has stretched it
            level = 1 / (np.percentile(png, 98) - np.percentile(png, 0.5))
            assert np.abs(a - b).max() <= 1.01 * level


def test_labels_are_framed_like_images():
    label = (disc((200, 180), (90, 100), 30) > 0.5).astype(np.uint8)
    for spacing in (None, (1.0, 1.0), (2.2, 2.2)):
        placement = FRAMING.place(label.shape, spacing)
        framed = FRAMING.apply_labels(label, placement)
        assert framed.dtype == np.uint8 and framed.shape == (256, 256)
        native_area = np.prod(placement.scale) * label.sum()
        assert framed.sum() == pytest.approx(native_area, rel=0.03)


@pytest.mark.parametrize("spacing", [(1.3, 1.4), (0.9, 2.1)])
@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_frame_comes_back_as_it_was_stored(turn, spacing):
    frame = disc((90, 120), (40, 66), 22.0, spacing)
    straight = FRAMING.place(frame.shape, spacing)
    stored = np.ascontiguousarray(turn.undo(frame))
    placement = FRAMING.place(stored.shape, turn.apply_pair(spacing), turn)
    seen = FRAMING.apply(stored, placement)
    np.testing.assert_array_equal(seen, FRAMING.apply(frame, straight))
    back = FRAMING.undo(seen, placement)
    np.testing.assert_array_equal(back, turn.undo(FRAMING.undo(seen, straight)))
    label = (stored > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(
        FRAMING.apply_labels(label, placement), FRAMING.apply_labels((frame > 0.5).astype(np.uint8), straight)
    )


@pytest.mark.parametrize("corner", [(0, 0), (40, 100), (128, 128), (97, 3)])
@pytest.mark.parametrize("spacing", [(1.3, 1.4), (0.9, 2.1)])
def test_a_crop_is_a_part_of_the_whole(spacing, corner):
    rng = np.random.default_rng(5)
    frame, crop = rng.random((180, 300)).astype(np.float32), Crop(corner, 128)
    placement = FRAMING.place(frame.shape, spacing, Turn(rows_reversed=True))
    window = (0.05, 0.9)
    part = (slice(corner[0], corner[0] + 128), slice(corner[1], corner[1] + 128))
    whole = FRAMING.cut(frame, placement, FRAMING.whole, window)
    np.testing.assert_allclose(FRAMING.cut(frame, placement, crop, window), whole[part], atol=1e-6)
    values = np.zeros((256, 256), np.float32)
    values[part] = rng.random((128, 128))
    rows, columns = FRAMING.native_crop(placement, crop)
    expected = placement.turn.apply(FRAMING.undo(values, placement))[rows, columns]
    np.testing.assert_allclose(FRAMING.uncut(values[part], placement, crop), expected, atol=1e-6)


@pytest.mark.parametrize("corner", [(0, 0), (128, 128), (3, 120), (60, 60)])
@pytest.mark.parametrize("spacing", [(1.4, 1.4), (0.9, 2.1)])
def test_outside_of_the_frame_the_pixels_at_its_edge_are_repeated(spacing, corner):
    frame, crop = np.random.default_rng(5).random((150, 100)).astype(np.float32), Crop(corner, 128)
    placement = FRAMING.place(frame.shape, spacing)
    empty = FRAMING.cut(frame, placement, crop, (-1.0, 1.0))
    full = FRAMING.cut(frame, placement, crop, (-1.0, 1.0), extended=True)
    inside = FRAMING.inside(placement, crop)
    np.testing.assert_array_equal(full[inside], empty[inside])
    assert empty[inside].min() >= 0.5
    outside = np.ones(full.shape, bool)
    outside[inside] = False
    assert (empty[outside] == 0).all() and (full >= 0.5).all()
    rows, columns = inside
    if placement.is_native:
        size = ((rows.start, 128 - rows.stop), (columns.start, 128 - columns.stop))
        np.testing.assert_array_equal(full, np.pad(full[inside], size, mode="edge"))


def test_a_crop_beside_the_frame_is_empty():
    frame, crop = np.ones((40, 40), np.float32), Crop((0, 0), 64)
    placement = FRAMING.place(frame.shape, None)
    assert not FRAMING.cut(frame, placement, crop, (0.0, 1.0), extended=True).any()
    assert all(side.start == side.stop for side in FRAMING.inside(placement, crop))


def test_a_constant_frame_is_no_error():
    framed = FRAMING.apply(np.full((64, 64), 7), FRAMING.place((64, 64), None))
    assert np.all(framed == 0)


def test_settings_survive_json_and_different_settings_have_different_digests():
    assert Framing.from_dict(FRAMING.to_dict()) == FRAMING
    assert Framing(size=128).digest != FRAMING.digest
    with pytest.raises(GeometryError, match="framing settings must be"):
        Framing.from_dict({"size": 256})
    with pytest.raises(GeometryError, match="are not valid"):
        Framing(size=0)


@pytest.mark.parametrize(
    ("middle", "corner"), [((40.4, 25.6), (30, 16)), ((0, 63), (0, 44)), ((9.9, -5), (0, 0)), ((54.1, 53.9), (44, 44))]
)
def test_a_crop_has_its_place_in_the_middle_and_stays_inside(middle, corner):
    assert crop_corner(middle, 20, 64) == corner
