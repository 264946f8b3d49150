"""Results back into an Analysis: equal to the one that was written, and written again as the same bytes."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cinesax
import exams
import hearts
from cinesax.core.cine import Cine, Source
from cinesax.core.errors import InputError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.origins import Origin
from cinesax.core.presence import BaseRule, Presence
from cinesax.core.segmentation import Outline, Segmentation, from_contours
from cinesax.core.structures import Structure
from cinesax.formats.contours import point_counts, read_written, write_contours

SQUARE = np.array([(10.1, 10.2), (24.7, 10.0), (24.3, 24.9), (10.0, 24.0)])
FINDINGS = (
    Finding(Code.REMOVED_REGION, Severity.NOTE, "{number} regions were removed", 1, 2, {"number": 2}),
    Finding(Code.FRAME_CROPPED, Severity.WARNING, "a warning"),
)


def several_polygons() -> Segmentation:
    small = (SQUARE - 17) * 0.3
    contours = {
        (Outline.EPICARDIUM, 0, 2): (SQUARE * 1.3 - 5,),
        (Outline.ENDOCARDIUM, 0, 2): (SQUARE, small[::-1] + 31, small + 38),
        (Outline.ENDOCARDIUM, 3, 2): (SQUARE * 0.7 + 5, small + 30),
        (Outline.ENDOCARDIUM, 3, 3): (np.concatenate([SQUARE, SQUARE[:1]])[::-1] * 0.5,),  # closed, and backwards
    }
    return from_contours(contours, (10, 6, 48, 48), author="A. Reader")


def empty_but_known() -> Segmentation:
    made = hearts.labels([20, 18, 0, 10, 0, 12, 15, 18, 19, 20])
    known = {Structure.CAVITY: np.arange(10) != 1, Structure.MYOCARDIUM: np.arange(10) == 4}
    return dataclasses.replace(
        made, known_phases=known, labels=np.where(known[Structure.CAVITY][:, None, None, None], made.labels, 0)
    )


def edited() -> Segmentation:
    made = dataclasses.replace(several_polygons(), origin=Origin.NETWORK, author="a network 1")
    made = made.with_contour(3, 3, Structure.CAVITY, SQUARE * 0.9, by="A.  {Reader}", approved=True)
    made = made.with_contour(3, 4, Structure.CAVITY, SQUARE * 0.8, by="linear", origin=Origin.INTERPOLATED)
    return made.without(0, 2, by="A. Reader").with_approval(3, 2)


MADE: dict[str, tuple[Segmentation, dict[str, Any]]] = {
    "labels": (hearts.labels(), {}),
    "several polygons": (several_polygons(), {}),
    "no contour at all": (dataclasses.replace(hearts.labels([0] * 10), contours={}), {}),
    "known but empty": (empty_but_known(), {}),
    "findings": (dataclasses.replace(hearts.labels(), findings=FINDINGS), {}),
    "papillary muscles": (dataclasses.replace(hearts.labels(), papillary_muscles_included=False), {}),
    "edited": (edited(), {}),
    "labels edited": (hearts.labels().without(3, 2, by="A. Reader"), {}),
    "phases given": (hearts.labels(), {"ed_phase": 9, "es_phase": 5}),
    "extremes given the other way round": (hearts.labels(), {"ed_phase": 3, "es_phase": 0}),
    "body size given": (several_polygons(), {"height_cm": 171.5, "weight_kg": 70.25, "es_phase": 3}),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("name", "show_patient"), [*((name, False) for name in MADE), ("several polygons", True), ("findings", True)]
)
def test_write_read_write_is_the_same(tmp_path: Path, name: str, show_patient: bool) -> None:
    segmentation, options = MADE[name]
    made = cinesax.analyze(hearts.cine(), segmentation=segmentation, **options)
    first = cinesax.write_results(made, tmp_path / "first", show_patient=show_patient)
    read = cinesax.read_results(first, made.cine)
    assert read.segmentation == segmentation and read.measurements == made.measurements and read.cine == made.cine
    assert [*map(str, read.findings)] == [*map(str, made.findings)]
    assert read.provenance.software == made.provenance.software
    assert read.provenance.segmentation_source == "given"
    second = cinesax.write_results(read, tmp_path / "second", show_patient=show_patient)
    assert contents(second) == contents(first)


def test_what_was_decided_at_the_base_comes_back(tmp_path: Path) -> None:
    drawn = several_polygons()
    inside = np.ones((10, 6), dtype=bool)
    inside[3, 4] = False
    certainty = np.random.default_rng(3).normal(size=(10, 6))
    enclosure = np.where(inside, 0.75, np.nan)
    aside = {(Structure.CAVITY, 3, 4): (SQUARE * 0.6 + 1 / 3,)}
    presence = Presence(BaseRule.HALF, {BaseRule.HALF: inside, BaseRule.ANY: ~inside}, certainty, enclosure, aside)
    made = cinesax.analyze(hearts.cine(), segmentation=dataclasses.replace(drawn, presence=presence))
    out = cinesax.write_results(made, tmp_path / "out")
    read = cinesax.read_results(out, made.cine)
    assert read.segmentation == made.segmentation and read.measurements == made.measurements
    assert len(made.measurements.by_base_rule) == 2
    assert contents(cinesax.write_results(read, tmp_path / "again")) == contents(out)
    (out / "presence.json").write_text("{}")
    with pytest.raises(InputError, match=r"presence\.json cannot be read"):
        cinesax.read_results(out, made.cine)
    # The next result in the same folder has none.
    cinesax.write_results(cinesax.analyze(hearts.cine(), segmentation=drawn), out)
    assert not (out / "presence.json").exists()


def test_who_drew_is_kept_unless_it_is_the_patient(tmp_path: Path) -> None:
    segmentation = hearts.labels().without(3, 2, by="Jane Doe").without(4, 2, by="A. Reader")
    made = cinesax.analyze(hearts.cine(), segmentation=segmentation)
    text = (cinesax.write_results(made, tmp_path / "out") / "analysis.json").read_text()
    assert "A. Reader" in text and "Doe" not in text
    assert (
        "Jane Doe" in (cinesax.write_results(made, tmp_path / "out", show_patient=True) / "analysis.json").read_text()
    )


def test_a_network_is_named_again(tmp_path: Path) -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    by = dataclasses.replace(
        made.provenance,
        model="net 3",
        model_checksum="ab" * 32,
        segmentation_source="network",
        software="cinesax 0.0.1",
    )
    out = cinesax.write_results(dataclasses.replace(made, provenance=by), tmp_path / "out")
    assert dataclasses.replace(cinesax.read_results(out, made.cine).provenance, seconds=by.seconds) == by


def test_the_exam_is_found_where_it_lay(tmp_path: Path) -> None:
    exams.write_exam(tmp_path / "exam")
    made = cinesax.analyze(tmp_path / "exam", segmentation=empty_of(exams.small_cine()))
    out = cinesax.write_results(made, tmp_path / "out", show_patient=True)
    read = cinesax.read_results(out)
    assert read.cine == made.cine and read.cine.source.paths == (tmp_path / "exam",)
    assert contents(cinesax.write_results(read, tmp_path / "again", show_patient=True)) == contents(out)


def empty_of(cine: Cine) -> Segmentation:
    return Segmentation(np.zeros(cine.pixels.shape, np.uint8), {Structure.CAVITY: np.ones(cine.n_phases, dtype=bool)})


def test_the_exam_may_be_given_from_elsewhere(tmp_path: Path) -> None:
    exams.write_exam(tmp_path / "exam")
    made = cinesax.analyze(tmp_path / "exam", segmentation=empty_of(exams.small_cine()))
    out = cinesax.write_results(made, tmp_path / "out")
    assert str(tmp_path) not in (out / "analysis.json").read_text()
    with pytest.raises(InputError, match=r"the place of the exam is not stored in .*out: give the exam"):
        cinesax.read_results(out)
    shutil.move(tmp_path / "exam", tmp_path / "moved")
    assert cinesax.read_results(out, tmp_path / "moved").cine == made.cine


def test_a_nifti_exam_is_found_too(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 300, (20, 22, 4, 6)).astype(np.int16)
    image = nibabel.Nifti1Image(pixels, np.diag([-1.5, -1.25, 8, 1]))
    image.header.set_zooms((1.5, 1.25, 8, 0.15))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "cine.nii.gz")
    made = cinesax.analyze(tmp_path / "cine.nii.gz", segmentation=empty_of(cinesax.open_cine(tmp_path / "cine.nii.gz")))
    out = cinesax.write_results(made, tmp_path / "out", show_patient=True)
    read = cinesax.read_results(out)
    assert read.cine == made.cine and read.segmentation == made.segmentation


def test_an_exam_that_is_gone_is_asked_for(tmp_path: Path) -> None:
    exams.write_exam(tmp_path / "exam")
    made = cinesax.analyze(tmp_path / "exam", segmentation=empty_of(exams.small_cine()))
    out = cinesax.write_results(made, tmp_path / "out", show_patient=True)
    shutil.rmtree(tmp_path / "exam")
    with pytest.raises(InputError, match=r"no longer at .*exam: give the exam"):
        cinesax.read_results(out)


def with_pixel(cine: Cine) -> Cine:
    pixels = cine.pixels.copy()
    pixels[3, 2, 10, 10] += 1
    return dataclasses.replace(cine, pixels=pixels)


def with_spacing(cine: Cine) -> Cine:
    assert cine.grid is not None
    return dataclasses.replace(cine, grid=dataclasses.replace(cine.grid, spacing_mm=(1.0, 1.001)))


def with_times(cine: Cine) -> Cine:
    assert cine.trigger_times_ms is not None
    return dataclasses.replace(cine, trigger_times_ms=cine.trigger_times_ms + 1)


CHANGED: list[tuple[Callable[[Cine], Cine], str]] = [
    (with_pixel, "different pixels"),
    (with_spacing, "different positions, spacing or times"),
    (with_times, "different positions, spacing or times"),
    (lambda cine: dataclasses.replace(cine, grid=None), "different positions, spacing or times"),
    (lambda cine: dataclasses.replace(cine, source=Source("dicom", study_uid="1.2.4")), "different StudyInstanceUID"),
    (lambda cine: hearts.cine(phases=9), "different pixels"),
]


@pytest.mark.parametrize(("change", "message"), CHANGED)
def test_a_changed_exam_is_an_error(tmp_path: Path, change: Callable[[Cine], Cine], message: str) -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    out = cinesax.write_results(made, tmp_path / "out")
    with pytest.raises(InputError, match=f"another exam than that of .*out, or it has changed since: {message}"):
        cinesax.read_results(out, change(made.cine))


def test_a_changed_file_is_an_error(tmp_path: Path) -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=several_polygons())
    out = cinesax.write_results(made, tmp_path / "out")
    path = out / "contours" / "IM-0001-0021-icontour-auto.txt"
    before = path.read_text()
    lines = before.splitlines()
    path.write_text("\n".join(["11 11", *lines[1:]]))
    with pytest.raises(InputError, match=r"numbers in .*analysis\.json do not follow from the contours"):
        cinesax.read_results(out, made.cine)
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match="has 16 points, but 17 were written"):
        cinesax.read_results(out, made.cine)
    path.unlink()
    with pytest.raises(InputError, match=r"icontour-auto\.txt cannot be read"):
        cinesax.read_results(out, made.cine)
    path.write_text(before)
    assert cinesax.read_results(out, made.cine).segmentation == made.segmentation


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("segmentation", 7, "analysis.json is damaged"),
        ("segmentation", {"author": "x"}, "analysis.json is damaged"),
        ("findings", [{"code": "no-such-code"}], "analysis.json is damaged"),
        ("exam", None, "analysis.json is damaged"),
        ("measurements", {}, "analysis.json is damaged"),
        ("schema", "cinesax/analysis/9", "has the schema"),
    ],
)
def test_a_damaged_document_is_an_error(tmp_path: Path, part: str, value: object, message: str) -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    out = cinesax.write_results(made, tmp_path / "out")
    document = json.loads((out / "analysis.json").read_text())
    (out / "analysis.json").write_text(json.dumps({**document, part: value}))
    with pytest.raises(InputError, match=message):
        cinesax.read_results(out, made.cine)


def test_results_of_before_cannot_be_read_back_and_say_so(tmp_path: Path) -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    out = cinesax.write_results(made, tmp_path / "out")
    document = json.loads((out / "analysis.json").read_text())
    del document["exam"]
    (out / "analysis.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="written by an older version"):
        cinesax.read_results(out, made.cine)
    with pytest.raises(InputError, match=r"nothing.analysis\.json cannot be read"):
        cinesax.read_results(tmp_path / "nothing", made.cine)


COORDINATE = st.floats(-1, 47, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-20)
POLYGONS = st.lists(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=6), min_size=1, max_size=3)


@given(polygons=POLYGONS, padding=st.sampled_from([(0, 0), (3, 5), (0, 16)]))
@settings(max_examples=60, deadline=None)
def test_contours_come_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, polygons: list[list[tuple[float, float]]], padding: tuple[int, int]
) -> None:
    key = (Outline.ENDOCARDIUM, 1, 2)
    drawn = {key: tuple(np.array(polygon) for polygon in polygons)}
    source = Source("dicom", paddings_px=(padding,) * 6)
    cine = hearts.cine(source=source)
    made = dataclasses.replace(hearts.labels(), contours=drawn)
    folder = tmp_path_factory.mktemp("contours")
    write_contours(made, cine, folder)
    read = read_written(folder, cine, {key: point_counts(drawn[key])}, made.author)
    assert [polygon.tolist() for polygon in read[key]] == [polygon.tolist() for polygon in drawn[key]]


def test_each_contour_is_a_line_of_the_document(tmp_path: Path) -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=several_polygons())
    text = (cinesax.write_results(made, tmp_path / "out") / "analysis.json").read_text()
    assert '      {"structure": "cavity", "phase": 0, "slice": 2, "points": [4, -4, 4]},\n' in text
    text = (cinesax.write_results(cinesax.remeasure(made, edited()), tmp_path / "out") / "analysis.json").read_text()
    line = (
        '{"structure": "cavity", "phase": 3, "slice": 4, "origin": "interpolated", "by": "linear", "approved": false}'
    )
    assert f"      {line},\n" in text
