"""A structure that does not exist, added by one entry in the table and nothing else, goes all the way through.

The package is copied, one entry is written behind the others in the copy of `core/structures.py`, and a process with
that copy reads, measures and writes.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cinesax

ENTRY = """
    LA_CAVITY = (
        5,
        Facts(
            words="LA cavity",
            chamber=Chamber(
                key="la",
                short="LA",
                name="left atrium",
                site=Concept("82471001", "SCT", "Left atrium"),
                edv=Concept("1", "99MADEUP", "Left Atrial ED Volume"),
                ejection_fraction=Concept("2", "99MADEUP", "Left Atrial Ejection Fraction"),
            ),
            part=Part.BLOOD,
            letter="a",
            border="LA endocardium",
            code=Concept("82471001", "SCT", "Left atrium"),
            rgb=(10, 120, 130),
            line_rgb=(90, 90, 250),
            class_name="la",
            bundle_name="LA",
        ),
    )
"""

# Runs with the copied package; what it prints is compared here.
SCRIPT = """
import json, sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pydicom

sys.path[:0] = sys.argv[2:3]
import cinesax
import exams
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure, of_bundle_name, of_class_name
from cinesax.dicom.objects.seg import read_seg
from cinesax.evaluate import LabelledStudy, score
from cinesax.formats.contours import read_contours
from cinesax.formats.nifti.labels import read_labels
from cinesax.formats.pairs import label_values
from labelled import write_pair
from cinesax.results import tables
from cinesax.train.data.examples import from_study
from cinesax.train.data.manifest import parse_classes
from cinesax.network.bundle import Bundle
from cinesax.network.framing import Framing
from cinesax.network.passes import Scores
from cinesax.network.segmenter import NetworkSegmenter

folder = Path(sys.argv[1])
exams.write_exam(folder / "exam")
cine = cinesax.open_cine(folder / "exam")
LA = Structure.LA_CAVITY
labels = np.zeros(cine.pixels.shape, np.uint8)
for phase in range(cine.n_phases):
    labels[phase, 1:3, 4:12, 4:12] = Structure.MYOCARDIUM
    labels[phase, 1:3, 6:10, 6:10] = Structure.CAVITY
    labels[phase, 1:3, 14 : 20 - phase, 4:8] = LA
known = {one: np.ones(cine.n_phases, dtype=bool) for one in (Structure.CAVITY, Structure.MYOCARDIUM, LA)}
given = Segmentation(labels, known, author="manual")
analysis = cinesax.analyze(cine, segmentation=given)
out = cinesax.write_results(analysis, folder / "out", dicom=cinesax.DicomOptions(rtstruct=True))

told = json.loads((out / "analysis.json").read_text())
lines = [line.split(",") for line in (out / "measurements.csv").read_text().splitlines()]
row = dict(zip(*lines))
seg = pydicom.dcmread(out / "seg_cine.dcm")
numbers, items = {}, [pydicom.dcmread(out / "measurements_sr.dcm")]
while items:
    item = items.pop()
    items += item.get("ContentSequence", [])
    if item.get("ValueType") == "NUM":
        numbers[item.ConceptNameCodeSequence[0].CodeMeaning] = float(item.MeasuredValueSequence[0].NumericValue)
html = (out / "report.html").read_text()
names = {(p, s): f"{p}-{s}" for p in range(cine.n_phases) for s in range(cine.n_slices)}
study = LabelledStudy("A", names, cine, given)
pair = write_pair(folder / "pairs", "A-IM-0001-0001", np.zeros((24, 20), np.uint8), labels[0, 1])
examples = list(from_study("A", cine, given, Framing(size=32)))

bundle = Bundle(folder, "made up", "1", Framing(size=48), {1: Structure.CAVITY, 2: LA}, "image", "classes", "")
network = NetworkSegmenter(bundle, SimpleNamespace(at_once=1))
placement = network.placement(cine)
regions = {}
for one in bundle.classes.values():
    frames = [bundle.framing.apply_labels((frame == one).astype(np.uint8), placement) for p in labels for frame in p]
    regions[one] = np.float32(frames).reshape(*labels.shape[:2], 48, 48)
drawn = network.finish(Scores(bundle.framing.whole, regions), cine, placement)

print(json.dumps({
    "edv_ml": analysis.measurements.of(LA.facts.chamber).edv_ml,
    "json": told["measurements"]["chambers"]["la"]["edv_ml"],
    "schema": not __import__("jsonschema").Draft202012Validator(tables.json_schema()).validate(told),
    "csv": float(row["la_edv_ml"]),
    "nifti": bool(np.array_equal(read_labels(out / "segmentation.nii.gz", cine).labels, labels)),
    "stored": sorted(set(np.asarray(nibabel.load(out / "segmentation.nii.gz").dataobj).ravel().tolist())),
    "contours": len(list((out / "contours").glob("*-acontour-*.txt"))),
    "contours read": bool(np.array_equal(read_contours(out / "contours", cine).labels == LA, labels == LA)),
    "segments": [str(one.SegmentLabel) for one in seg.SegmentSequence],
    "seg read": bool(np.array_equal(read_seg(out / "seg_cine.dcm", cine).labels, labels)),
    "sr": numbers.get("Left Atrial ED Volume"),
    "rois": [str(one.ROIName) for one in pydicom.dcmread(out / "rtstruct.dcm").StructureSetROISequence],
    "report": ["Left atrium" in html, "LA endocardium" in html, 'class="la_cavity"' in html, "rgb(90 90 250)" in html],
    "read back": cinesax.read_results(out, folder / "exam").measurements.of(LA.facts.chamber).edv_ml,
    "evaluate": [one.structure.key for one in score([(study, given)]).others],
    "names": [of_bundle_name("LA") is LA, of_class_name("la") is LA, parse_classes(["la"]) == (LA,)],
    "network": float(np.mean((drawn.labels == LA) == (labels == LA))),
    "drawn": (LA, 0, 1) in drawn.contours and bool(drawn.known_phases[LA].all()),
    "pairs": sorted(label_values(pair.label)),
    "examples": all(LA in one.known and int(LA) in one.label for one in examples if one.slice in (1, 2)),
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a process with one more entry in the table found."""
    folder = tmp_path_factory.mktemp("more")
    package = Path(cinesax.__file__).parent
    shutil.copytree(package, folder / "cinesax", ignore=shutil.ignore_patterns("*.onnx", "__pycache__"))
    table = folder / "cinesax" / "core" / "structures.py"
    before, last, after = table.read_text().partition("\n    # Earlier names, from before there was one table")
    assert last, "the entries of the table end where the earlier names begin"
    table.write_text(before + ENTRY + last + after)
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_made_up_chamber_is_measured_and_written_everywhere(seen: dict[str, object]) -> None:
    edv = seen["edv_ml"]
    assert isinstance(edv, float) and edv > 0
    for place in ("json", "csv", "sr", "read back"):
        assert seen[place] == pytest.approx(edv, abs=1e-4), place
    for place in ("schema", "nifti", "contours read", "seg read", "examples", "drawn"):
        assert seen[place] is True, place
    assert seen["stored"] == [0, 1, 2, 5] and seen["pairs"] == [0, 1, 2, 5]
    assert seen["segments"] == ["LV cavity, papillary muscles included", "LV myocardium", "LA cavity"]
    assert "LA cavity ED" in list(seen["rois"])  # type: ignore[call-overload]
    assert all(seen["report"]) and all(seen["names"])  # type: ignore[arg-type]
    assert seen["evaluate"] == ["myocardium", "la_cavity"]
    assert seen["contours"] == 2 * 6 and float(str(seen["network"])) > 0.97
