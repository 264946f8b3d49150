"""Contour files: the experts' own, the round trip, and what is no contour."""

import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exams
import hearts
import orientations
from cinesax.core.errors import InputError, OutputError
from cinesax.core.segmentation import area_px, from_contours, polygon_area, rasterise
from cinesax.core.structures import Structure
from cinesax.formats.contour_convention import first_pixel_centres
from cinesax.formats.contours import join, read_contours, read_polygon, write_contours
from cinesax.inputs import open_cine

# ED and ES in the study's own count (README of the data), EF by polygon areas over true distances.
EXPERTS = {"SC-HF-I-01": (18, 7, 26.1), "SC-HF-I-02": (19, 6, 25.5), "SC-HF-I-04": (19, 6, 21.8)}


def _volumes_ml(segmentation, cine):
    """By phase: a slice counts half the distance to each neighbour, an end slice a whole one."""
    distances = cine.grid.slice_distances_mm
    weights = np.concatenate([distances[:1], (distances[1:] + distances[:-1]) / 2, distances[-1:]])
    volumes = np.zeros(cine.n_phases)
    for (outline, phase, index), polygons in segmentation.contours.items():
        if outline is Structure.CAVITY:
            volumes[phase] += area_px(polygons) * cine.grid.pixel_area_mm2 * weights[index] / 1000
    return volumes


@pytest.mark.data
@pytest.mark.parametrize("study", EXPERTS)
class TestExperts:
    def test_volumes_and_ejection_fraction(self, sunnybrook, study):
        ed, es, ef = EXPERTS[study]
        cine = open_cine(sunnybrook / "dicom" / study)
        volumes = _volumes_ml(read_contours(sunnybrook / "contours" / study, cine), cine)
        assert set(np.flatnonzero(volumes)) == {ed, es}
        assert volumes.argmax() == ed
        assert 100 * (1 - volumes[es] / volumes[ed]) == pytest.approx(ef, abs=0.1)

    def test_the_cavity_narrows_towards_the_apex_which_comes_first(self, sunnybrook, study):
        cine = open_cine(sunnybrook / "dicom" / study)
        segmentation = read_contours(sunnybrook / "contours" / study, cine)
        areas = {
            key[2]: area_px(p)
            for key, p in segmentation.contours.items()
            if key[:2] == (Structure.CAVITY, EXPERTS[study][0])
        }
        slices = sorted(areas)
        assert cine.base_first is False
        assert areas[slices[0]] < 0.5 * areas[slices[-1]]

    def test_the_contour_surrounds_bright_blood(self, sunnybrook, study):
        """Wrong slices or phases would put contours on other tissue."""
        cine = open_cine(sunnybrook / "dicom" / study)
        segmentation = read_contours(sunnybrook / "contours" / study, cine)
        cavity, wall = segmentation.labels == 1, segmentation.labels == 2
        assert cine.pixels[cavity].mean() > 1.8 * cine.pixels[wall].mean()

    def test_labels_are_those_of_the_training_pairs(self, sunnybrook, study):
        from cinesax.formats.pairs import load_label

        cine = open_cine(sunnybrook / "dicom" / study)
        segmentation = read_contours(sunnybrook / "contours" / study, cine)
        compared = 0
        for (outline, phase, index), _ in segmentation.contours.items():
            number = cine.source.instance_numbers[phase][index]
            path = sunnybrook / "train" / "labels" / f"{study}-IM-0001-{number:04d}.png"
            if outline is Structure.CAVITY and path.exists():
                np.testing.assert_array_equal(load_label(path), segmentation.labels[phase, index] == 1)
                compared += 1
        assert compared > 10

    def test_round_trip(self, sunnybrook, tmp_path, study):
        cine = open_cine(sunnybrook / "dicom" / study)
        segmentation = read_contours(sunnybrook / "contours" / study, cine)
        files = write_contours(segmentation, cine, tmp_path)
        assert {path.name for path in files} == {path.name for path in (sunnybrook / "contours" / study).iterdir()}
        again = read_contours(tmp_path, cine)
        assert again.contours.keys() == segmentation.contours.keys()
        for key, polygons in segmentation.contours.items():
            np.testing.assert_array_equal(again.contours[key][0], polygons[0])


def _circle(x, y, radius, *, turn=1):
    angles = turn * np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


class TestRoundTrip:
    @given(
        circles=st.lists(
            st.tuples(st.floats(2, 20), st.floats(2, 16), st.floats(0.3, 3), st.sampled_from([1, -1])),
            min_size=1,
            max_size=5,
        )
    )
    @settings(max_examples=50, deadline=None)
    def test_joined_polygons_keep_their_total_area(self, circles):
        polygons = tuple(_circle(x, y, radius, turn=turn) for x, y, radius, turn in circles)
        assert polygon_area(join(polygons)) == pytest.approx(sum(map(polygon_area, polygons)), rel=1e-9)

    def test_several_polygons_in_a_frame(self, tmp_path):
        cine = exams.small_cine()
        contours = {
            (Structure.CAVITY, 1, 2): (_circle(6, 6, 3), _circle(15, 12, 2, turn=-1), _circle(20, 5, 1)),
            (Structure.MYOCARDIUM, 1, 2): (_circle(9, 9, 8),),
        }
        segmentation = from_contours(contours, cine.pixels.shape, author="net 1")
        files = write_contours(segmentation, cine, tmp_path)
        assert sorted(path.name for path in files) == [
            "IM-0001-0014-icontour-auto.txt",
            "IM-0001-0014-ocontour-auto.txt",
        ]
        again = read_contours(tmp_path, cine)
        for key, polygons in contours.items():
            assert area_px(again.contours[key]) == pytest.approx(area_px(polygons), rel=1e-12)
        np.testing.assert_array_equal(again.labels, segmentation.labels)

    def test_numbers_are_those_of_the_instances(self, tmp_path):
        """A study that counts from the other end: the contour goes to the frame of that InstanceNumber."""
        files = exams.write_exam(tmp_path / "exam")
        exams.edit(files, InstanceNumber=lambda one: 31 - one.InstanceNumber)
        cine = open_cine(tmp_path / "exam")
        np.savetxt(tmp_path / "IM-0001-0030-icontour-manual.txt", _circle(8, 8, 3))
        assert list(read_contours(tmp_path, cine).contours) == [(Structure.CAVITY, 0, 0)]

    def test_labels_without_contours_are_traced(self, tmp_path):
        cine = exams.small_cine()
        drawn = from_contours({(Structure.CAVITY, 0, 1): (_circle(9, 9, 5),)}, cine.pixels.shape)
        masks = type(drawn)(drawn.labels, drawn.known_phases, author="net")
        write_contours(masks, cine, tmp_path)
        again = read_contours(tmp_path, cine)
        np.testing.assert_array_equal(again.labels, drawn.labels)

    def test_manual_counts_before_automatic(self, tmp_path):
        np.savetxt(tmp_path / "IM-0001-0001-icontour-auto.txt", _circle(8, 8, 3))
        np.savetxt(tmp_path / "IM-0001-0001-icontour-manual.txt", _circle(8, 8, 5))
        segmentation = read_contours(tmp_path, exams.small_cine())
        assert area_px(segmentation.contours[Structure.CAVITY, 0, 0]) > 70
        assert segmentation.author == "manual"

    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("seen by two readers")
        (tmp_path / "IM-0001-0001-p1contour-manual.txt").write_text("1 1\n2 2\n3 1\n")
        np.savetxt(tmp_path / "IM-0001-0001-icontour-manual.txt", _circle(8, 8, 3))
        assert len(read_contours(tmp_path, exams.small_cine()).contours) == 1

    def test_a_closed_contour_is_the_same_as_an_open_one(self, tmp_path):
        path = tmp_path / "IM-0001-0001-icontour-manual.txt"
        path.write_text("﻿1 1\r\n5.0 1\r\n\r\n5 5e0\r\n1 1\r\n", encoding="utf-8")
        np.testing.assert_array_equal(read_polygon(path), [[1, 1], [5, 1], [5, 5]])


class TestConvention:
    """Where the first pixel's centre is: (0.5, 0.5), but in what older versions wrote."""

    NAME = "IM-0001-0001-icontour-auto.txt"
    SQUARE = np.array([[4.5, 5.5], [9.5, 5.5], [9.5, 12.5], [4.5, 12.5]])
    MARKER = '{"schema": "cinesax/contours/1", "first_pixel_centre": [%s], "exceptions": {%s}}'

    def _read(self, folder):
        return read_contours(folder, exams.small_cine()).contours[Structure.CAVITY, 0, 0][0] - self.SQUARE

    def _write(self, folder):
        folder.mkdir(parents=True)
        np.savetxt(folder / self.NAME, self.SQUARE)
        return folder

    def test_files_without_a_recorded_convention(self, tmp_path):
        np.testing.assert_array_equal(self._read(self._write(tmp_path / "contours")), -0.5)
        np.testing.assert_array_equal(self._read(tmp_path / "contours" / self.NAME), -0.5)

    def test_what_is_written_says_so_and_covers_the_pixels_that_it_is_of(self, tmp_path):
        cine = exams.small_cine()
        drawn = from_contours({(Structure.CAVITY, 0, 0): (self.SQUARE,)}, cine.pixels.shape)
        (path,) = write_contours(drawn, cine, tmp_path)
        np.testing.assert_array_equal(np.loadtxt(path), self.SQUARE + 0.5)
        document = json.loads((tmp_path / "convention.json").read_text())
        assert document == {"schema": "cinesax/contours/1", "first_pixel_centre": [0.5, 0.5]}
        # From corner to corner of the pixels of rows 6 to 12 and columns 5 to 9.
        assert np.argwhere(drawn.labels[0, 0]).min(axis=0).tolist() == [6, 5]
        np.testing.assert_array_equal(read_contours(tmp_path, cine).labels, drawn.labels)

    @pytest.mark.parametrize(
        ("convention", "moved"),
        [
            ('{"schema": "cinesax/analysis/1", "segmentation": {"author": "net"}}', 0),
            ('{"schema": "cinesax/analysis/1", "segmentation": {"contour_first_pixel_centre": [0.5, 0.5]}}', -0.5),
            ('{"schema": "cinesax/analysis/1", "segmentation": {"contour_first_pixel_centre": [1, 1]}}', -1),
            ('{"schema": "another/1"}', -0.5),
            ("no JSON", -0.5),
        ],
    )
    def test_without_a_marker_the_result_counts_that_they_are_part_of(self, tmp_path, convention, moved):
        (tmp_path / "analysis.json").write_text(convention)
        np.testing.assert_array_equal(self._read(self._write(tmp_path / "contours")), moved)
        np.testing.assert_array_equal(self._read(self._write(tmp_path / "other")), -0.5)

    def test_the_marker_counts_before_the_result_and_travels(self, tmp_path):
        (tmp_path / "analysis.json").write_text('{"schema": "cinesax/analysis/1", "segmentation": {}}')
        folder = self._write(tmp_path / "contours" / "corrected")
        np.testing.assert_array_equal(self._read(folder), 0)
        (tmp_path / "contours" / "convention.json").write_text(self.MARKER % ("0.5, 0.5", ""))
        np.testing.assert_array_equal(self._read(folder), -0.5)
        (tmp_path / "contours").rename(tmp_path / "moved")
        np.testing.assert_array_equal(self._read(tmp_path / "moved"), -0.5)

    def test_files_of_another_convention_keep_theirs_when_contours_are_written_next_to_them(self, tmp_path):
        (tmp_path / "analysis.json").write_text('{"schema": "cinesax/analysis/1", "segmentation": {}}')
        folder, cine = self._write(tmp_path / "contours"), exams.small_cine()
        drawn = from_contours({(Structure.MYOCARDIUM, 0, 0): (self.SQUARE,)}, cine.pixels.shape, author="net")
        write_contours(drawn, cine, folder)
        again = read_contours(folder, cine).contours
        assert len(again) == 2
        for polygons in again.values():
            np.testing.assert_array_equal(polygons[0], self.SQUARE)

    @pytest.mark.parametrize(
        "text",
        ["{", MARKER % ("0.5", ""), MARKER % ("NaN, 1", ""), MARKER % ('"a", 1', ""), MARKER % ("0, 0", '"x": 3')],
    )
    def test_a_broken_marker(self, tmp_path, text):
        (self._write(tmp_path / "c") / "convention.json").write_text(text)
        with pytest.raises(InputError, match=r"convention\.json") as caught:
            self._read(tmp_path / "c")
        assert "\n" not in str(caught.value)

    def test_a_marker_of_another_program(self, tmp_path):
        (self._write(tmp_path / "c") / "convention.json").write_text('{"first_pixel_centre": [0, 0]}')
        np.testing.assert_array_equal(self._read(tmp_path / "c"), -0.5)


@pytest.mark.data
@pytest.mark.parametrize(("kind", "letter", "count"), [("labels", "i", 155), ("walls", "o", 77)])
def test_masks_of_the_expert_contours_are_the_labels_of_the_pairs(sunnybrook, kind, letter, count):
    """Of every patient that has contour points, to the pixel."""
    from cinesax.formats.pairs import load_label

    files = sorted((sunnybrook / "contours").rglob(f"*-{letter}contour-manual.txt"))
    assert len(files) == count
    centres = first_pixel_centres(files)
    for path in files:
        name = f"{path.parent.name}-{path.name.removesuffix(f'-{letter}contour-manual.txt')}.png"
        (label,) = (file for file in sunnybrook.glob(f"*/{kind}/{name}"))
        mask = load_label(label)
        np.testing.assert_array_equal(rasterise([read_polygon(path) - centres[path]], mask.shape), mask, str(path))


class TestBadInput:
    NAME = "IM-0001-0001-icontour-manual.txt"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("1 1\n2 2\nthree four\n", "line 3: expected a point"),
            ("1 1 1\n", "line 1: expected a point"),
            ("1 1\n\n5\n", "line 3: expected a point"),
            ("1 1\nnan 2\n3 3\n", "line 2: a point must be finite"),
            ("1 1\n2 inf\n3 3\n", "line 2: a point must be finite"),
            ("", "holds 0 points"),
            ("1 1\n2 2\n", "holds 2 points"),
            ("1 1\n2 2\n900 3\n", "leaves the image"),
        ],
    )
    def test_what_is_no_contour(self, tmp_path, text, said):
        (tmp_path / self.NAME).write_text(text)
        with pytest.raises(InputError, match=said) as caught:
            read_contours(tmp_path, exams.small_cine())
        assert self.NAME in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_bytes_that_are_no_text(self, tmp_path):
        (tmp_path / self.NAME).write_bytes(bytes(range(128, 256)))
        with pytest.raises(InputError, match="not a text file"):
            read_contours(tmp_path, exams.small_cine())

    def test_no_contours(self, tmp_path):
        with pytest.raises(InputError, match="has no contour files"):
            read_contours(tmp_path, exams.small_cine())
        with pytest.raises(InputError, match="has no contour files"):
            read_contours(tmp_path / "absent", exams.small_cine())

    def test_a_frame_that_the_exam_does_not_have(self, tmp_path):
        np.savetxt(tmp_path / "IM-0001-0031-icontour-manual.txt", _circle(8, 8, 3))
        with pytest.raises(InputError, match="belongs to frame 31, but the frames of the cine are numbered 1 to 30"):
            read_contours(tmp_path, exams.small_cine())

    def test_two_contours_of_one_frame(self, tmp_path):
        for name in ("IM-0001-0001-icontour-manual.txt", "X-IM-0001-0001-icontour-manual.txt"):
            np.savetxt(tmp_path / name, _circle(8, 8, 3))
        with pytest.raises(InputError, match="keep one"):
            read_contours(tmp_path, exams.small_cine())

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        cine = exams.small_cine()
        drawn = from_contours({(Structure.CAVITY, 0, 1): (_circle(9, 9, 5),)}, cine.pixels.shape)
        with pytest.raises(OutputError, match="cannot be written"):
            write_contours(drawn, cine, tmp_path / "file")


def test_contours_of_a_padded_slice_count_its_stored_pixels(tmp_path):
    cine = exams.small_cine(pixels=np.zeros((exams.PHASES, exams.SLICES, exams.ROWS, exams.COLUMNS), np.uint16))
    paddings = ((0, 0),) * 3 + ((4, 7), (0, 0))
    padded = replace(cine, source=replace(cine.source, paddings_px=paddings))
    square = np.array([[9.0, 8.0], [15.0, 8.0], [15.0, 14.0], [9.0, 14.0]])
    truth = from_contours({(Structure.CAVITY, 2, place): (square,) for place in (2, 3)}, cine.pixels.shape)
    first, second = (np.loadtxt(path) for path in sorted(write_contours(truth, padded, tmp_path)))
    np.testing.assert_allclose(first - second, np.broadcast_to([7, 4], square.shape), atol=0.02)
    np.testing.assert_array_equal(read_contours(tmp_path, padded).labels, truth.labels)


@pytest.mark.parametrize("pose", orientations.SOME_POSES, ids=str)
def test_in_any_orientation_they_lie_on_the_millimetres_of_the_solid(pose, tmp_path):
    """Read as anybody would: the frame by the number in the name, x and y in pixels of that frame."""
    cine, truth = orientations.stack(pose)
    paths = write_contours(truth, cine, tmp_path)
    place = {
        number: (phase, index)
        for phase, row in enumerate(cine.source.instance_numbers)
        for index, number in enumerate(row)
    }
    parted: list[bool] = []
    for path in paths:
        number, kind = int(path.name.split("-")[2]), path.name.split("-")[3][0]
        phase, index = place[number]
        points = np.loadtxt(path) - 0.5  # the first pixel's centre is (0.5, 0.5) in the files
        # A border lies between what is inside and what is not: half a pixel to either side tells them apart.
        middle = (points + np.roll(points, -1, axis=0)) / 2
        along = np.roll(points, -1, axis=0) - points
        length = np.linalg.norm(along, axis=1, keepdims=True)
        across = (along[:, ::-1] * (1, -1) / np.where(length == 0, 1, length))[length[:, 0] > 0]
        sides = [
            orientations.labels_at(_patient(cine, middle[length[:, 0] > 0] + side * across, index), phase=phase)
            for side in (-0.5, 0.5)
        ]
        ours = [labels == 1 if kind == "i" else labels > 0 for labels in sides]
        parted += list(ours[0] != ours[1])
    # Corners are cut.
    assert np.mean(parted) > 0.98
    assert len(paths) == sum(
        bool(hit.any()) for labels in truth.labels for one in labels for hit in (one == 1, one > 0)
    )


def _patient(cine, points, index):
    """(n, 3), LPS, of (n, 2) x and y on a slice."""
    return cine.grid.to_patient(np.column_stack([np.full(len(points), index), points[:, 1], points[:, 0]]))


EIGHT = "20 20\n40 40\n40 20\n20 40\n"


@pytest.mark.parametrize(
    "points",
    [
        EIGHT,
        "20 20\n30 30\n40 40\n40 20\n30 30\n20 40\n",  # through a point in its middle
        "20 20\n40 40\n40 20\n30 30\n20 40\n",  # whose edge goes through a point
    ],
)
def test_a_contour_that_crosses_itself_is_refused_with_file_and_frame(tmp_path, points):
    (tmp_path / "IM-0001-0003-icontour-manual.txt").write_text(points)
    with pytest.raises(
        InputError, match=r"IM-0001-0003-icontour-manual.txt: the contour of frame 3 crosses itself"
    ) as raised:
        read_contours(tmp_path, hearts.cine())
    assert "near x 30.0, y 30.0" in str(raised.value)


def test_points_out_of_order_are_refused(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)[np.random.default_rng(0).permutation(40)]
    np.savetxt(
        tmp_path / "IM-0001-0003-icontour-manual.txt", 24 + 12 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    )
    with pytest.raises(InputError, match="Are its points in order"):
        read_contours(tmp_path, hearts.cine())


def test_what_only_touches_itself_is_read(tmp_path):
    """Two squares with a corner in common, drawn in one go and in one direction: their areas add up."""
    path = tmp_path / "IM-0001-0003-icontour-manual.txt"
    path.write_text("10 10\n20 10\n20 20\n30 20\n30 30\n20 30\n20 20\n10 20\n")
    assert polygon_area(read_polygon(path)) == 200


def test_several_polygons_of_a_frame_are_read_back_whose_cuts_cross_their_outlines(tmp_path):
    cine = hearts.cine()
    first = np.array([[5.0, 5], [15, 5], [15, 15], [5, 15]])
    second = np.array([[35.0, 35], [25, 35], [25, 25], [35, 25]])
    made = from_contours({(Structure.CAVITY, 0, 2): (first, second)}, cine.pixels.shape)
    write_contours(made, cine, tmp_path)
    assert polygon_area(read_contours(tmp_path, cine).contours[Structure.CAVITY, 0, 2][0]) == 200


@given(
    words=st.lists(
        st.one_of(
            st.floats(-600, 600).map(repr),
            st.decimals(-300, 300, places=4).map(str),
            st.sampled_from(["0.5", "0.50000000000000001", "128.49999999999999999", "1.0", "0.25", "-0.5", "2.5e-9"]),
        ),
        min_size=2,
        max_size=2,
    ),
    by=st.sampled_from([0.0, -0.5, 0.5, -1.0, 3.5]),
)
def test_points_are_moved_as_exactly_as_decimal_numbers(tmp_path_factory, words, by):
    """To the last bit: results read back must equal those that were written."""
    file = tmp_path_factory.getbasetemp() / "IM-0001-0001-icontour-manual.txt"
    file.write_text(" ".join(words) + "\n9000 0\n0, 9000\n\n")
    point = read_polygon(file, moved_by=(by, by))[0]
    assert point.tolist() == [float(Decimal(word) + Decimal(by)) for word in words]
