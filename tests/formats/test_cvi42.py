"""Workspaces of cvi42: a file built as public parsers read it, against polygons that are known."""

import numpy as np
import pytest

import hearts
from cinesax.core.cine import Source
from cinesax.core.errors import InputError, UsageError
from cinesax.core.selection import LabelReading
from cinesax.core.structures import Structure
from cinesax.inputs import read_segmentation
from cinesax.measure.volumes import measure

PHASES, SLICES = 3, 4
UIDS = tuple(tuple(f"1.2.{phase}.{place}" for place in range(SLICES)) for phase in range(PHASES))
CINE = hearts.cine(phases=PHASES, slices=SLICES, source=Source("dicom", study_uid="1.2", instance_uids=UIDS))
SQUARE = np.array([(10, 10), (30, 10), (30, 30), (10, 30)], float)


def contour(name, points, *, per_pixel=4):
    listed = "".join(
        f"<List:item><Point:x>{x * per_pixel:g}</Point:x><Point:y>{y * per_pixel:g}</Point:y></List:item>"
        for x, y in points
    )
    return (
        f'<Hash:item Hash:key="{name}" Hash:count="3"><Hash:item Hash:key="Points" List:count="{len(points)}">{listed}'
        f'</Hash:item><Hash:item Hash:key="SubpixelResolution">{per_pixel}</Hash:item>'
        '<Hash:item Hash:key="IsManuallyDrawn">true</Hash:item></Hash:item>'
    )


def workspace(path, images, *, head="", names=True):
    """uid -> contours, with what else lies in a workspace round them."""
    spaces = " ".join(
        f'xmlns:{name}="http://www.circlecvi.com/cvi42/Workspace/{name}/"' for name in ("Hash", "List", "Point")
    )
    states = "".join(
        f'<Hash:item Hash:key="{uid}"><Hash:item Hash:key="Zoom">1</Hash:item>'
        f'<Hash:item Hash:key="Contours" Hash:count="{len(drawn)}">{"".join(drawn)}</Hash:item></Hash:item>'
        for uid, drawn in images.items()
    )
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<Workspace {spaces if names else ""}>'
        '<Hash:item Hash:key="StudyMapStates"><List:item><Hash:item Hash:key="StudyUid">1.2</Hash:item>'
        f'<Hash:item Hash:key="ImageStates">{states}</Hash:item></List:item></Hash:item></Workspace>'
    )
    return path


def drawn(size=1.0):
    middle = (20, 20)
    inner, outer = middle + (SQUARE - 20) * size, middle + (SQUARE - 20) * 1.4 * size
    return [
        contour("saendocardialContour", inner),
        contour("saepicardialContour", outer),
        contour("sarvendocardialContour", inner + (15, 0)),
        contour("sapapilMuscContour", inner / 10 + 18),
        contour("laendocardialContour", inner),
    ]


class TestWorkspace:
    def test_contours_land_on_their_frames_with_their_areas(self, tmp_path):
        images = {UIDS[0][1]: drawn(), UIDS[0][2]: drawn(), UIDS[2][1]: drawn(0.5), "9.9": drawn()}
        seen, kind = read_segmentation(workspace(tmp_path / "w.cvi42wsx", images), CINE)
        assert (kind, seen.author) == ("cvi42", "manual")
        assert seen.known_phases[Structure.CAVITY].tolist() == [True, False, True]
        np.testing.assert_array_equal(seen.outline(Structure.CAVITY, 0, 1)[0], SQUARE)
        measured = measure(CINE, seen)
        assert (measured.edv_ml, measured.esv_ml) == pytest.approx((2 * 400 * 10 / 1000, 100 * 10 / 1000))
        assert measured.lv_mass_g == pytest.approx(2 * (784 - 400) * 10 / 1000 * 1.05)
        assert set(seen.known_phases) == {Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY}

    @pytest.mark.parametrize("per_pixel", [1, 2, 8])
    def test_resolution(self, tmp_path, per_pixel):
        image = [contour("saendocardialContour", SQUARE + 0.5, per_pixel=per_pixel)]
        seen, _ = read_segmentation(workspace(tmp_path / "w.cvi42wsx", {UIDS[1][0]: image}), CINE)
        np.testing.assert_allclose(seen.outline(Structure.CAVITY, 1, 0)[0], SQUARE + 0.5)

    def test_prefixes_that_are_not_declared(self, tmp_path):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: drawn()}, names=False)
        assert read_segmentation(path, CINE)[0].known_phases[Structure.CAVITY][0]

    def test_open_contours_are_closed_and_closed_ones_count_before_them(self, tmp_path):
        open_one = contour("saendocardialOpenContour", SQUARE[:3])
        images = {UIDS[0][0]: [open_one], UIDS[0][1]: [contour("saendocardialContour", SQUARE), open_one]}
        seen, _ = read_segmentation(workspace(tmp_path / "w.cvi42wsx", images), CINE)
        assert len(seen.outline(Structure.CAVITY, 0, 0)[0]) == 3
        np.testing.assert_array_equal(seen.outline(Structure.CAVITY, 0, 1)[0], SQUARE)

    @pytest.mark.parametrize("order", [(0, 2, 1, 3), (0, 1, 3, 2)])
    def test_a_figure_of_eight_names_file_and_frame(self, tmp_path, order):
        images = {UIDS[0][1]: drawn(), UIDS[2][3]: [contour("saepicardialContour", SQUARE[list(order)])]}
        with pytest.raises(InputError, match=r"w.cvi42wsx: the epicardium of frame 12 \(phase 2, slice 3\) crosses"):
            read_segmentation(workspace(tmp_path / "w.cvi42wsx", images), CINE)

    def test_of_another_exam(self, tmp_path):
        path = workspace(tmp_path / "w.cvi42wsx", {"9.9": drawn(), "9.8": drawn()})
        with pytest.raises(InputError, match="no contour of this exam: its 2 images"):
            read_segmentation(path, CINE)

    def test_of_an_exam_without_uids(self, tmp_path):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: drawn()})
        with pytest.raises(InputError, match="give it as DICOM"):
            read_segmentation(path, hearts.cine())

    def test_only_long_axis_contours(self, tmp_path):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: [contour("laendocardialContour", SQUARE)]})
        with pytest.raises(InputError, match="no contour of a ventricle"):
            read_segmentation(path, CINE)

    def test_what_it_says_itself(self, tmp_path):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: drawn()})
        for reading, option in (
            (LabelReading(labels="acdc"), "--labels"),
            (LabelReading(phase=0), "--segmentation-phase"),
        ):
            with pytest.raises(UsageError, match=f"leave {option} out"):
                read_segmentation(path, CINE, reading)


class TestBadFiles:
    @pytest.mark.parametrize("cut", [0, 10, 300, -20])
    def test_cut_short(self, tmp_path, cut):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: drawn()})
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(InputError, match="not a readable cvi42 workspace"):
            read_segmentation(path, CINE)

    @pytest.mark.parametrize(
        "head",
        [
            '<!DOCTYPE Workspace [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>',
            '<!DOCTYPE Workspace [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
            '<!DOCTYPE Workspace SYSTEM "http://127.0.0.1/x.dtd">',
        ],
    )
    def test_entities_are_refused(self, tmp_path, head):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: drawn()}, head=head)
        with pytest.raises(InputError, match="declares a document type"):
            read_segmentation(path, CINE)

    def test_endlessly_nested_elements(self, tmp_path):
        path = tmp_path / "w.cvi42wsx"
        path.write_text("<a>" * 100_000 + "</a>" * 100_000)
        with pytest.raises(InputError, match="too deeply"):
            read_segmentation(path, CINE)

    @pytest.mark.parametrize(
        ("points", "said"),
        [
            ([(10, 10), (30, 10), (30, 500)], "leaves its image"),
            ([(10, 10), (30, 10), (30, float("nan"))], "leaves its image"),
            ([(10, 10), (30, 10), (30, float("inf"))], "leaves its image"),
        ],
    )
    def test_points_that_cannot_be(self, tmp_path, points, said):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: [contour("saendocardialContour", points)]})
        with pytest.raises(InputError, match=said):
            read_segmentation(path, CINE)

    @pytest.mark.parametrize("per_pixel", ["0", "-4", "x"])
    def test_resolution_that_cannot_be(self, tmp_path, per_pixel):
        path = workspace(tmp_path / "w.cvi42wsx", {UIDS[0][1]: drawn()})
        text = path.read_text().replace('Resolution">4<', f'Resolution">{per_pixel}<')
        path.write_text(text)
        with pytest.raises(InputError, match=r"w\.cvi42wsx"):
            read_segmentation(path, CINE)

    def test_the_binary_form(self, tmp_path):
        (tmp_path / "w.cvi42ws").write_bytes(b"\0\1\2")
        with pytest.raises(InputError, match="export it from cvi42 as XML"):
            read_segmentation(tmp_path / "w.cvi42ws", CINE)
