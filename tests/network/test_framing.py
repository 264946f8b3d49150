"""The one geometry of training and reading: there and back, and the same input from PNG and from DICOM."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinesax.core.errors import GeometryError
from cinesax.core.grid import Grid, stacked_grid
from cinesax.network.framing import Framing, Turn, crop_corner, upright

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


ROW, COLUMN = np.array([0.712221, 0.701112, -0.0343949]), np.array([-0.307716, 0.267798, -0.913015])


def grid_of(row, column, shape=(3, 60, 80), spacing=(2.0, 1.9)) -> Grid:
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return stacked_grid(
        (0, 0, 0),
        spacing_mm=spacing,
        slice_distance_mm=8,
        shape=shape,
        along_row=row,
        along_column=column / np.linalg.norm(column),
    )


@pytest.mark.parametrize(
    ("transpose", "rows", "columns"),
    [(False, False, False), (False, True, False), (False, False, True), (True, False, False), (True, True, True)],
)
def test_frames_that_are_stored_mirrored_are_seen_from_the_apex(transpose, rows, columns):
    frame = np.random.default_rng(3).random((60, 80)).astype(np.float32)
    usual = grid_of(ROW, COLUMN)
    assert upright(usual) == Turn()
    column = usual.along_column
    stored, along_row, along_column, spacing = frame, usual.along_row, column, (2.0, 1.9)
    if rows:
        stored, along_column = stored[::-1], -along_column
    if columns:
        stored, along_row = stored[:, ::-1], -along_row
    if transpose:
        stored, along_row, along_column, spacing = stored.T, along_column, along_row, (1.9, 2.0)
    grid = grid_of(along_row, along_column, (3, *stored.shape), spacing)
    seen = FRAMING.apply(stored, FRAMING.place_on(grid))
    np.testing.assert_allclose(seen, FRAMING.apply(frame, FRAMING.place_on(usual)), atol=1e-5)
    back = FRAMING.undo(seen, FRAMING.place_on(grid))
    assert back.shape == stored.shape
    assert np.corrcoef(back.ravel(), stored.ravel())[0, 1] > 0.8
    label = (stored > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(
        FRAMING.apply_labels(label, FRAMING.place_on(grid)),
        FRAMING.apply_labels((frame > 0.5).astype(np.uint8), FRAMING.place_on(usual)),
    )


@pytest.mark.parametrize("degrees", [-90, -40, 20, 120, 180])
def test_scanners_may_turn_their_frames(degrees):
    angle = np.deg2rad(degrees)
    column = COLUMN - (COLUMN @ ROW) / (ROW @ ROW) * ROW
    row = ROW / np.linalg.norm(ROW)
    column /= np.linalg.norm(column)
    turned = grid_of(np.cos(angle) * row + np.sin(angle) * column, np.cos(angle) * column - np.sin(angle) * row)
    assert upright(turned) == Turn()
    assert upright(None) == Turn()


@pytest.mark.data
def test_real_exams_lie_as_they_are(sunnybrook):
    from cinesax.inputs import open_cine

    for case in ("SC-HF-I-01", "SC-HF-I-02", "SC-HF-I-04"):
        assert upright(open_cine(sunnybrook / "dicom" / case / "cine_sax").grid) == Turn()


def test_a_constant_frame_is_no_error():
    framed = FRAMING.apply(np.full((64, 64), 7), FRAMING.place((64, 64), None))
    assert np.all(framed == 0)


def test_settings_survive_json_and_are_told_apart_by_their_digest():
    assert Framing.from_dict(FRAMING.to_dict()) == FRAMING
    assert Framing(size=128).digest != FRAMING.digest
    with pytest.raises(GeometryError, match="framing settings must be"):
        Framing.from_dict({"size": 256})
    with pytest.raises(GeometryError, match="make no sense"):
        Framing(size=0)


@pytest.mark.parametrize(
    ("middle", "corner"), [((40.4, 25.6), (30, 16)), ((0, 63), (0, 44)), ((9.9, -5), (0, 0)), ((54.1, 53.9), (44, 44))]
)
def test_a_crop_has_its_place_in_the_middle_and_stays_inside(middle, corner):
    assert crop_corner(middle, 20, 64) == corner
