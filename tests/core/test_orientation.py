"""Base and apex, and the standard position: one answer for the same slices, however they are stored."""

import nibabel as nib
import numpy as np
import pytest

import exams
import orientations
from cinesax.core.grid import Grid, stacked_grid
from cinesax.core.orientation import (
    TURNS,
    USUAL_LONG_AXIS,
    Turn,
    base_first,
    off_axis_degrees,
    standard_position,
)
from cinesax.inputs import open_cine
from cinesax.phantom.make import make_truth
from cinesax.phantom.settings import draw_settings


def _stored(grid: Grid, turn: Turn) -> Grid:
    """Where the pixels lie once each frame was stored turned: slices follow the normal, so a mirror reverses them."""
    rows, columns = turn.apply_pair(grid.shape[1:])
    along_row, along_column = turn.apply_pair((grid.along_row, grid.along_column))
    corner = turn.undo_points([0.0, 0.0], grid.shape[1:])[::-1]
    origins = np.array([grid.to_patient((index, *corner)) for index in range(grid.shape[0])])
    return Grid(
        origins[::-1] if turn.mirrors else origins,
        -along_row if turn.columns_reversed else along_row,
        -along_column if turn.rows_reversed else along_column,
        turn.apply_pair(grid.spacing_mm),
        (grid.shape[0], rows, columns),
    )


def _plane(towards_apex: np.ndarray, *, columns_above_level_degrees: float = 0.0) -> Grid:
    """A stack seen from the apex whose columns rise by an angle above the horizontal."""
    normal = -towards_apex / np.linalg.norm(towards_apex)
    level = np.cross([0.0, 0.0, -1.0], normal)
    level /= np.linalg.norm(level)
    angle = np.radians(columns_above_level_degrees)
    row = np.cos(angle) * level - np.sin(angle) * np.cross(normal, level)
    return stacked_grid(
        (0, 0, 0),
        spacing_mm=(1.4, 1.2),
        slice_distance_mm=9.0,
        shape=(5, 20, 24),
        along_row=row,
        along_column=np.cross(normal, row),
    )


def _axis(azimuth: float, down: float) -> np.ndarray:
    """The direction to the apex: degrees from straight left to the front, and down."""
    a, d = np.radians([azimuth, down])
    return np.array([np.cos(a) * np.cos(d), -np.sin(a) * np.cos(d), -np.sin(d)])


class TestTurn:
    def test_the_eight_are_all_there_is_and_each_is_undone(self):
        frames = np.arange(2 * 3 * 5).reshape(2, 3, 5)
        assert len({turn.apply(frames).tobytes() + bytes(turn.apply(frames).shape) for turn in TURNS}) == 8
        for turn in TURNS:
            np.testing.assert_array_equal(turn.undo(turn.apply(frames)), frames)
            np.testing.assert_array_equal(turn.apply(turn.undo(frames)), frames)
            assert turn.apply(frames).base is not None
        assert sum(turn.mirrors for turn in TURNS) == 4
        np.testing.assert_array_equal(TURNS[0].apply(frames), frames)

    @pytest.mark.parametrize("turn", TURNS, ids=str)
    def test_points_go_where_their_pixels_go(self, turn):
        frame = np.arange(7 * 4).reshape(7, 4)
        turned = turn.apply(frame)
        assert turned.shape == turn.apply_pair(frame.shape)
        for row, column in np.ndindex(frame.shape):
            x, y = turn.apply_points([column, row], frame.shape)
            assert turned[int(y), int(x)] == frame[row, column]
        points = np.array([[0.5, -0.5], [3.25, 6.0]])
        np.testing.assert_array_equal(turn.undo_points(turn.apply_points(points, frame.shape), frame.shape), points)
        np.testing.assert_array_equal(points, [[0.5, -0.5], [3.25, 6.0]])


class TestBaseAndApex:
    def test_of_the_usual_axis_and_of_a_body_plane(self):
        assert base_first(_plane(USUAL_LONG_AXIS)) is False
        assert base_first(_stored(_plane(USUAL_LONG_AXIS), Turn(columns_reversed=True))) is True
        axial = stacked_grid((0, 0, 0), spacing_mm=(1.0, 1.0), slice_distance_mm=8.0, shape=(5, 9, 9))
        assert base_first(axial) is None
        assert base_first(None) is None
        assert off_axis_degrees(-USUAL_LONG_AXIS) == pytest.approx(0, abs=1e-5)

    @pytest.mark.parametrize("reversed_rows", [False, True])
    def test_nifti_says_what_dicom_says(self, tmp_path, reversed_rows):
        """Also where a converter stores rows bottom-up, and the slices therefore run the other way."""
        exams.write_exam(tmp_path / "dicom")
        cine = open_cine(tmp_path / "dicom")
        grid, pixels = cine.grid, cine.pixels
        if reversed_rows:
            turn = Turn(rows_reversed=True)
            grid, pixels = _stored(cine.grid, turn), turn.apply(cine.pixels)[:, ::-1]
        affine = np.diag([-1, -1, 1, 1]) @ grid.affine_lps()
        nib.save(nib.Nifti1Image(np.ascontiguousarray(pixels.transpose(3, 2, 1, 0)), affine), tmp_path / "c.nii.gz")
        read = open_cine(tmp_path / "c.nii.gz")
        ours, theirs = standard_position(cine.grid), standard_position(read.grid)
        order = 1 if read.base_first == cine.base_first else -1
        assert cine.base_first is False and read.base_first is base_first(read.grid)
        np.testing.assert_array_equal(theirs.apply(read.pixels)[:, ::order], ours.apply(cine.pixels))

    def test_the_grid_of_a_phantom_says_where_its_base_is(self):
        for seed in range(20):
            settings = draw_settings(seed)
            grid, _, _ = make_truth(settings, phases=[])
            assert base_first(grid) is settings.base_first


class TestStandardPosition:
    @pytest.mark.parametrize("angle", [-180, -110, -65, -45, -20, -19.9999, 0, 10, 25, 70, 125, 160])
    def test_however_a_slice_is_stored_it_is_the_same_frame_afterwards(self, angle):
        """At 25 it lies as it should, at -20 and 70 half-way between two turns."""
        grid = _plane(_axis(50, 35), columns_above_level_degrees=angle)
        frame = np.arange(20 * 24).reshape(20, 24)
        expected = standard_position(grid).apply(frame)
        for turn in TURNS:
            again = standard_position(_stored(grid, turn))
            np.testing.assert_array_equal(again.apply(turn.apply(frame)), expected)

    def test_the_result_is_seen_from_the_apex_with_the_feet_below(self):
        for pose in orientations.EVERY_POSE[::3]:
            grid = orientations.stack(pose)[0].grid
            turn = standard_position(grid)
            assert (turn is None) is (base_first(grid) is None)
            if turn is None:
                continue
            upright = _stored(grid, turn)
            assert standard_position(upright) == TURNS[0]
            assert base_first(upright) is False
            assert upright.along_column @ [0, 0, -1] > 0.4
            assert upright.along_row @ [1, 1, 0] > 0.4

    def test_a_scanner_that_lays_columns_level_gets_one_turn_in_every_plane(self):
        """All short-axis planes of real hearts, and rows to the feet give or take what was seen."""
        for azimuth in range(10, 81, 5):
            for down in range(0, 66, 5):
                if off_axis_degrees(_axis(azimuth, down)) > 35:
                    continue
                for angle in (-12, -2, 0, 12, 30, 51):
                    grid = _plane(_axis(azimuth, down), columns_above_level_degrees=angle)
                    assert standard_position(grid) == TURNS[0], (azimuth, down, angle)
                grid = _plane(_axis(azimuth, down), columns_above_level_degrees=-35)
                assert standard_position(grid) == Turn(transposed=True, columns_reversed=True), (azimuth, down)

    def test_frames_of_unknown_orientation_have_no_standard_position(self):
        axial = stacked_grid((0, 0, 0), spacing_mm=(1.0, 1.0), slice_distance_mm=8.0, shape=(5, 9, 9))
        assert standard_position(axial) is None
        assert standard_position(None) is None

    @pytest.mark.data
    @pytest.mark.parametrize(
        ("study", "turn"),
        [
            ("SC-HF-I-01", Turn(transposed=True, columns_reversed=True)),
            ("SC-HF-I-02", Turn()),
            ("SC-HF-I-04", Turn()),
        ],
    )
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_of_real_exams_far_from_the_border(self, sunnybrook, study, turn):
        """Turned by a further 17 degrees to either side, they get the same turn."""
        grid = open_cine(sunnybrook / "dicom" / study / "cine_sax").grid
        assert standard_position(grid) == turn
        for degrees in (-17, 17):
            c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            row, column = c * grid.along_row + s * grid.along_column, c * grid.along_column - s * grid.along_row
            assert standard_position(Grid(grid.origins_mm, row, column, grid.spacing_mm, grid.shape)) == turn
