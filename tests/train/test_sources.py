"""Every kind of source gives the examples that are in it, and every file that gives none is listed with the reason."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import labelled
from cinesax.cli.main import main  # noqa: E402
from cinesax.core.cine import Cine  # noqa: E402
from cinesax.core.segmentation import Segmentation, from_contours, trace  # noqa: E402
from cinesax.core.structures import Structure
from cinesax.formats.contours import write_contours  # noqa: E402
from cinesax.inputs import open_cine  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import Kind, labelled_frames  # noqa: E402
from cinesax.train.data.records import open_dataset, read_examples  # noqa: E402
from cinesax.train.data.sources import StudySource, find_sources, produce  # noqa: E402
from exams import small_cine, write_exam  # noqa: E402

CAVITY, WALL, RV = Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY
PHASES, SLICES, SIDE = 6, 5, 64
MIDDLE = (30.0, 27.0)


def _heart(seed: int = 0) -> Cine:
    """Bright blood in a darker wall on noise; 6 phases, 5 slices, of which the outer two have no LV."""
    rng = np.random.default_rng(seed)
    far = np.hypot(*(np.indices((SIDE, SIDE)) - np.array(MIDDLE)[:, None, None]))
    pixels = rng.normal(400, 30, (PHASES, SLICES, SIDE, SIDE))
    for phase, index in np.ndindex(PHASES, SLICES - 2):
        radius = _radius(phase)
        pixels[phase, index + 1] += 500 * (far < radius) - 250 * ((far >= radius) & (far < radius + 5))
    cine = small_cine(phases=PHASES, slices=SLICES)
    grid = replace(cine.grid, shape=(SLICES, SIDE, SIDE), spacing_mm=(1.4, 1.4))
    return replace(cine, pixels=pixels.astype(np.uint16), grid=grid)


def _radius(phase: int) -> float:
    return 10.0 - 1.5 * min(phase, PHASES - phase)


def _drawn(cine: Cine, *, without: tuple[Structure, int, int] | None = None) -> Segmentation:
    """The contours that an expert draws: endocardium at phases 0 (ED) and 3 (ES), epicardium at ED."""
    far = np.hypot(*(np.indices((SIDE, SIDE)) - np.array(MIDDLE)[:, None, None]))
    drawn = {}
    for index in range(1, SLICES - 1):
        for phase in (0, 3):
            drawn[Structure.CAVITY, phase, index] = trace(far < _radius(phase))
        drawn[Structure.MYOCARDIUM, 0, index] = trace(far < _radius(0) + 5)
    if without:
        del drawn[without]
    return from_contours(drawn, cine.pixels.shape)


def _study(folder: Path, labels: Path, *, seed: int = 0, drawn_on: int | None = None) -> Cine:
    write_exam(folder, _heart(seed))
    cine = open_cine(folder)
    write_contours(_drawn(cine), cine, labels)
    return cine


def _prepare(tmp_path: Path, *arguments: str | Path) -> list[tuple[str, str]]:
    """Make a set by the command; what unused.csv lists."""
    assert main(["prepare", *map(str, arguments), "-o", str(tmp_path / "set"), "--jobs", "1"]) == 0
    with (tmp_path / "set" / "unused.csv").open() as stream:
        return [(line["file"], line["reason"]) for line in csv.DictReader(stream)]


def test_a_study_gives_ed_and_es_and_lists_the_rest(tmp_path, capsys):
    _study(tmp_path / "dicom" / "P-01", tmp_path / "contours" / "P-01")
    (tmp_path / "dicom" / "P-01" / "notes.txt").write_text("seen")
    (tmp_path / "contours" / "P-01" / "IM-0001-0002-p1contour-manual.txt").write_text("1 1\n2 2\n1 2\n")
    (tmp_path / "contours" / "P-99").mkdir()
    (tmp_path / "contours" / "P-99" / "IM-0001-0002-icontour-manual.txt").write_text("1 1\n2 2\n1 2\n")
    unused = _prepare(tmp_path, tmp_path / "dicom", "--contours", tmp_path / "contours")
    examples = list(read_examples(open_dataset(tmp_path / "set"), "train"))
    assert [(e.phase, e.slice, bool(e.label.any())) for e in examples] == [
        *((phase, index, 0 < index < SLICES - 1) for phase in (0, 3) for index in range(SLICES)),
        # Empty at ED and ES, and so all the beat: every fourth phase is learned too.
        *((4, index, False) for index in (0, SLICES - 1)),
    ]
    reasons = dict(unused)
    assert len(unused) == len(reasons) == (PHASES - 2) * SLICES - 2 + 3
    assert sum("no label at this phase" in reason for reason in reasons.values()) == (PHASES - 2) * SLICES - 2
    assert "papillary" in reasons["contours/P-01/IM-0001-0002-p1contour-manual.txt"]
    assert "without images here" in reasons["contours/P-99/IM-0001-0002-icontour-manual.txt"]
    assert "dicom/P-01/notes.txt" in reasons
    assert "18  a frame of the cine with no label at this phase" in capsys.readouterr().out


def test_a_slice_with_its_cavity_but_not_its_wall_is_labelled_in_part(tmp_path):
    cine = _study(tmp_path / "dicom" / "P-01", tmp_path / "contours" / "P-01")
    _prepare(tmp_path, tmp_path / "dicom", "--contours", tmp_path / "contours", "--classes", "lv_cavity,myocardium")
    known = {(e.phase, e.slice): e.known for e in read_examples(open_dataset(tmp_path / "set"), "train")}
    # The wall was drawn at ED: in the slices with LV it is there, in the others there is none. At ES nobody drew it.
    assert all(known[0, index] == {CAVITY, WALL} for index in range(SLICES))
    assert all(known[3, index] == {CAVITY} for index in range(SLICES))
    frames, skipped = labelled_frames(_drawn(cine, without=(Structure.MYOCARDIUM, 0, 2)))
    assert next(f.known for f in frames if (f.phase, f.slice) == (0, 2)) == {CAVITY}
    assert len(frames) == 2 * SLICES + 2 and len(skipped) == (PHASES - 2) * SLICES - 2


def test_frames_that_nobody_judged_are_not_taken_for_empty():
    cine = _heart()
    _, skipped = labelled_frames(_drawn(cine, without=(Structure.CAVITY, 3, 2)))
    assert "between two slices" in skipped[3, 2]
    _, skipped = labelled_frames(_drawn(cine, without=(Structure.CAVITY, 0, 2)))
    assert "cavity is not known" in skipped[0, 2]
    drawn = dict(_drawn(cine).contours or {})
    drawn[Structure.CAVITY, 4, 2] = drawn[Structure.CAVITY, 3, 2]
    frames, skipped = labelled_frames(from_contours(drawn, cine.pixels.shape))
    assert (4, 2) in {(f.phase, f.slice) for f in frames}
    assert all("few slices" in skipped[4, index] for index in (1, 3))


@pytest.mark.parametrize(
    "layout",
    [
        ("SCD_IMAGES_01/SCD0000101/CINESAX_300", "SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert"),
        ("challenge_training/SC-HF-I-1", "ContoursPart3/TrainingDataContours/SC-HF-I-01/contours-manual/IRCCI-expert"),
        ("images/0001/sax", "labels/ID-77/contours-manual"),
    ],
)
def test_folders_whose_names_differ_find_one_another(layout, tmp_path):
    _study(tmp_path / "all" / layout[0], tmp_path / "all" / layout[1])
    (tmp_path / "all" / "scd_patientdata.csv").write_text("PatientID,OriginalID\nSCD0000101,SC-HF-I-1\n")
    (tmp_path / "all" / "README.txt").write_text("read me")
    unused = dict(_prepare(tmp_path, tmp_path / "all"))
    dataset = open_dataset(tmp_path / "set")
    assert dataset.cases("train") == [Path(layout[1]).parts[-2 if "ID-77" in layout[1] else -3]]
    assert dataset.manifest.counts == {"train": 2 * SLICES + 2}
    assert unused["all/README.txt"] == "not DICOM" and unused["all/scd_patientdata.csv"] == "a table of patients"


def test_contours_of_another_patient_are_refused(tmp_path, capsys):
    _study(tmp_path / "dicom" / "P-01", tmp_path / "contours" / "P-01")
    cine = open_cine(tmp_path / "dicom" / "P-01")
    moved = {key: tuple(one + 14 for one in polygons) for key, polygons in (_drawn(cine).contours or {}).items()}
    write_exam(tmp_path / "dicom" / "P-02", _heart(1))
    write_contours(from_contours(moved, cine.pixels.shape), cine, tmp_path / "contours" / "P-02")
    unused = _prepare(tmp_path, tmp_path / "dicom", "--contours", tmp_path / "contours")
    assert open_dataset(tmp_path / "set").cases("train") == ["P-01"]
    left = [file for file, reason in unused if "do not lie on LV blood" in reason]
    # The images, nine contours and the file that says how they are meant.
    assert len(left) == PHASES * SLICES + 9 + 1 and all("/P-02/" in file for file in left)
    assert "patient left out" in capsys.readouterr().out


def test_a_damaged_contour_leaves_its_patient_out_instead_of_making_it_empty(tmp_path, capsys):
    _study(tmp_path / "dicom" / "P-01", tmp_path / "contours" / "P-01")
    next((tmp_path / "contours" / "P-01").glob("*-icontour-*")).write_text("no numbers")
    arguments = ["prepare", str(tmp_path / "dicom"), "--contours", str(tmp_path / "contours"), "-o"]
    assert main([*arguments, str(tmp_path / "set")]) == 3
    error = capsys.readouterr().err
    assert "no examples" in error and "expected a point" in error and error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_a_dicom_segmentation_beside_the_images_or_by_itself(tmp_path):
    pytest.importorskip("cinesax.dicom.objects.seg")
    from cinesax.analyze import analyze
    from cinesax.dicom.write.filing import file_under
    from cinesax.dicom.write.seg import seg_datasets

    _study(tmp_path / "dicom" / "P-01", tmp_path / "contours" / "P-01")
    analysis = analyze(tmp_path / "dicom" / "P-01", segmentation=tmp_path / "contours" / "P-01")
    made = seg_datasets(analysis, file_under(analysis))["seg_cine.dcm"]
    (tmp_path / "labels").mkdir()
    made.save_as(tmp_path / "labels" / "P-01.dcm", enforce_file_format=True)
    _prepare(tmp_path, tmp_path / "dicom", "--contours", tmp_path / "labels")
    alone = list(read_examples(open_dataset(tmp_path / "set"), "train"))
    made.save_as(tmp_path / "dicom" / "P-01" / "seg.dcm", enforce_file_format=True)
    (tmp_path / "set").rename(tmp_path / "first")
    unused = _prepare(tmp_path, tmp_path / "dicom")
    beside = list(read_examples(open_dataset(tmp_path / "set"), "train"))
    assert not any("seg.dcm" in file for file, _ in unused)
    assert {(e.phase, e.slice) for e in alone} >= {(phase, index) for phase in (0, 3) for index in (1, 2, 3)}
    for first, second in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(first.label, second.label)


def test_labels_that_another_program_numbered(tmp_path):
    """Read as ours, 1 would be the cavity: with --labels the cavity is what the map says."""
    import nibabel as nib

    from cinesax.formats.nifti import write_segmentation

    cine = _heart()
    write_exam(tmp_path / "dicom" / "P-01", cine)
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "P-01.nii.gz"
    exam = open_cine(tmp_path / "dicom" / "P-01")
    write_segmentation(_drawn(exam), exam, path)
    image = nib.load(path)
    numbers = np.array([0, 3, 2], np.uint8)[np.asarray(image.dataobj)]
    nib.save(nib.Nifti1Image(numbers, image.affine), path)
    _prepare(tmp_path, tmp_path / "dicom", "--contours", tmp_path / "labels", "--labels", "acdc")
    examples = list(read_examples(open_dataset(tmp_path / "set"), "train"))
    assert {(e.phase, e.slice) for e in examples} >= {(phase, index) for phase in (0, 3) for index in (1, 2, 3)}
    drawn = {(e.phase, e.slice): int((e.label == 1).sum()) for e in examples}
    assert drawn[0, 2] == int((_drawn(exam).labels[0, 2] == CAVITY).sum())


def _acdc(folder: Path, case: str, seed: int = 0) -> Path:
    labels = np.zeros((4, 40, 50), np.uint8)
    rows, columns = np.indices((40, 50))
    far = np.hypot(rows - 20, columns - 30)
    labels[1:3, far < 12], labels[1:3, far < 7] = WALL, CAVITY
    labels[1:3, 10:30, 5:15] = RV
    rng = np.random.default_rng(seed)
    image = (rng.normal(200, 20, labels.shape) + 300 * (labels == CAVITY)).astype(np.int16)
    frames = [(0, image, labels), (11, image, labels)]
    return labelled.write_patient(folder, case, frames, spacing_mm=(10.0, 1.5625, 1.5625), Group="DCM", NbFrame=30)


def test_acdc_has_three_classes_and_negative_slices(tmp_path):
    for number in (1, 2):
        place = _acdc(tmp_path / "training", f"patient{number:03d}", number)
        (place / f"patient{number:03d}_4d.nii.gz").write_bytes(b"")
    (tmp_path / "training" / "MANDATORY_CITATION.md").write_text("cite")
    unused = _prepare(tmp_path, tmp_path / "training", "--classes", "rv,myocardium,lv_cavity", "--allow-leaks")
    dataset = open_dataset(tmp_path / "set")
    assert dataset.manifest.classes == ("background", "lv_cavity", "myocardium", "rv")
    examples = list(read_examples(dataset, "train"))
    assert len(examples) == 2 * 2 * 4 and {e.case for e in examples} == {"patient001", "patient002"}
    assert sum(not e.label.any() for e in examples) == 8 and {e.phase for e in examples} == {0, 11}
    full = next(e for e in examples if e.label.any())
    assert full.known == {CAVITY, WALL, RV} and full.spacing_mm == pytest.approx((1.5625, 1.5625))
    assert np.count_nonzero(full.label == RV) == 200 and full.label[108 + 20, 103 + 30] == CAVITY
    assert sorted(unused) == [
        ("training/MANDATORY_CITATION.md", "not a file of a labelled ACDC patient"),
        ("training/patient001/patient001_4d.nii.gz", "the whole cine: only its labelled frames are used"),
        ("training/patient002/patient002_4d.nii.gz", "the whole cine: only its labelled frames are used"),
    ]


def test_resampled_labels_leave_no_background_between_cavity_and_wall(tmp_path):
    place = _acdc(tmp_path, "patient001")
    wide = Framing(spacing_mm=0.9, native_range_mm=(0.8, 1.0), size=128)
    examples, unused = produce(find_sources([tmp_path]).sources[0], wide)
    assert not unused and place.is_dir()
    full = next(e for e in examples if e.label.any())
    assert full.spacing_mm == pytest.approx((0.9, 0.9))
    for one, pixels in ((CAVITY, 149), (WALL, 441 - 149), (RV, 200)):
        # areas scale by (1.5625 / 0.9)^2 = 3.01
        assert np.count_nonzero(full.label == one) == pytest.approx(3.01 * pixels, rel=0.04)
    row = full.label[int(np.argwhere(full.label == CAVITY)[:, 0].mean())]
    inside = np.flatnonzero((row == CAVITY) | (row == WALL))
    assert np.all(row[inside[0] : inside[-1] + 1] > 0)


def test_pictures_with_classes_and_unknown_pixels(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32)).astype(np.uint8)
    full, part = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    full[8:20, 8:20], full[10:18, 10:18], full[:4, :4] = 2, 1, 255
    part[10:18, 10:18] = 1
    for name, image, label in zip(("A-1", "A-2", "B-1"), images, (full, part, part * 0), strict=True):
        labelled.write_pair(tmp_path / "pairs", name, image, label)
    _prepare(tmp_path, tmp_path / "pairs", "--classes", "lv_cavity,myocardium")
    examples = {e.name: e for e in read_examples(open_dataset(tmp_path / "set"), "train")}
    assert np.count_nonzero(examples["A-1"].label == 255) == 16
    assert examples["A-1"].known == examples["B-1"].known == {CAVITY, WALL} and examples["A-2"].known == {CAVITY}


def test_of_twins_the_dicom_is_kept_and_the_pictures_are_listed(tmp_path):
    cine = _study(tmp_path / "dicom" / "P-01", tmp_path / "contours" / "P-01")
    number = cine.source.instance_numbers[0][2]
    frame = (cine.pixels[0, 2] // 5).astype(np.uint8)
    name = f"P-01-IM-0001-{number:04d}"
    labelled.write_pair(tmp_path / "pairs", name, frame, frame > 150)
    labelled.write_pair(tmp_path / "pairs", "Q-01-IM-0001-0001", frame.T.copy()[::-1], frame.T > 150)
    sources = [tmp_path / "pairs", tmp_path / "dicom", "--contours", tmp_path / "contours"]
    unused = _prepare(tmp_path, *sources, "--allow-leaks")
    examples = {e.name: e.kind for e in read_examples(open_dataset(tmp_path / "set"), "train")}
    assert examples[name] is Kind.STUDY and examples["Q-01-IM-0001-0001"] is Kind.PAIRS
    twins = [file for file, reason in unused if reason == "the same frame is there as DICOM"]
    assert twins == [f"pairs/images/{name}.png", f"pairs/labels/{name}.png"]


def test_a_folder_with_several_patients_says_so(tmp_path):
    _study(tmp_path / "all" / "P-01", tmp_path / "all" / "contours" / "P-01")
    write_exam(tmp_path / "all", _heart(2))
    sources = find_sources([tmp_path / "all"])
    assert [s.case for s in sources.sources if isinstance(s, StudySource)] == ["P-01"]
    assert {reason for _, reason in sources.unused} == {"in a folder with files of several patients"}


@pytest.mark.data
def test_every_real_file_is_used_or_listed_once(sunnybrook, tmp_path):
    arguments = [sunnybrook / "dicom", "--contours", sunnybrook / "contours", "--classes", "lv_cavity,myocardium"]
    unused = _prepare(tmp_path, *arguments)
    files = [path for name in ("dicom", "contours") for path in (sunnybrook / name).rglob("*") if path.is_file()]
    listed = [file for file, _ in unused]
    assert len(listed) == len(set(listed)) and set(listed) <= {str(p.relative_to(sunnybrook)) for p in files}
    examples = list(read_examples(open_dataset(tmp_path / "set"), "train"))
    # 56 contoured frames, the 14 that were left empty, and 35 more of slices that are so at ED and ES; 56 endocardial
    # and 28 epicardial contours
    assert len(examples) == 105 and len(files) - len(listed) == 105 + 56 + 28
    assert sum(not e.label.any() for e in examples) == 49
    assert sum(e.known == {CAVITY, WALL} for e in examples) == 35
    assert all(np.any(e.label == Structure.MYOCARDIUM) for e in examples if WALL in e.known and e.label.any())


@pytest.mark.data
def test_the_real_studies_as_they_are_distributed(sunnybrook, tmp_path):
    root = tmp_path / "scd"
    for number, case in (("SCD0000101", "SC-HF-I-01"), ("SCD0000201", "SC-HF-I-02")):
        (root / "SCD_IMAGES_01" / number).mkdir(parents=True)
        for series in (sunnybrook / "dicom" / case).iterdir():
            (root / "SCD_IMAGES_01" / number / series.name).mkdir()
            for file in series.iterdir():
                os.link(file, root / "SCD_IMAGES_01" / number / series.name / file.name)
        expert = root / "SCD_ManualContours" / case / "contours-manual" / "IRCCI-expert"
        expert.mkdir(parents=True)
        for file in (sunnybrook / "contours" / case).iterdir():
            os.link(file, expert / file.name)
    # Whose contours lie where is decided by the table, and checked on the pixels: here the table is wrong.
    table = "PatientID,OriginalID\nSCD0000101,SC-HF-I-{}\nSCD0000201,SC-HF-I-{}\n"
    (root / "scd_patientdata.csv").write_text(table.format(2, 1))
    assert main(["prepare", str(root), "-o", str(tmp_path / "set")]) == 3
    (root / "scd_patientdata.csv").write_text(table.format(1, 2))
    _prepare(tmp_path, root)
    manifest = open_dataset(tmp_path / "set").manifest
    assert {case: fact.n for case, fact in manifest.cases.items()} == {"SC-HF-I-01": 39, "SC-HF-I-02": 46}
