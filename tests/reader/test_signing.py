"""Approve: the results of a person, as `cinesax analyze` writes them; DICOM objects say who drew and signed."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest

from checkers import dciodvfy
from cinesax.cli.main import main
from cinesax.core.errors import UsageError
from cinesax.core.origins import Origin
from cinesax.core.structures import Structure
from cinesax.dicom.write.people import person_name
from cinesax.reader import messages
from cinesax.results.read import read_results
from reader.served import Made, Server, circle, flat, serving

DRAWN = {"op": "set", "structure": "cavity", "phase": 0, "slice": 2, "polygons": flat(circle(9))}


@pytest.fixture(scope="module")
def signing(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        made.out, "--store", tmp_path_factory.mktemp("store"), "--show-patient", "--organization", "Ünit 7"
    ) as server:
        yield server


def approve(server: Server, exam: str, by: str = "Dr. Anna Müller", **more: object) -> httpx.Response:
    body = {"version": server.state(exam)["version"], "by": by, "comment": "base redrawn", "dicom": True, **more}
    return server.client.post(f"/api/exams/{exam}/approve", json=body)


@pytest.fixture(scope="module")
def versions(signing: Server) -> list[Path]:
    """Two approved versions: one with a corrected contour, one with another."""
    exam, folders = signing.only(), []
    for phase, by in ((0, "Dr. Anna Müller"), (4, "Bob Reader")):
        version = signing.state(exam)["version"]
        done = signing.edit(exam, version, {**DRAWN, "phase": phase}, by=by)
        assert done.status_code == 200, done.text
        answer = approve(signing, exam, by, rtstruct=True)
        assert answer.status_code == 200, answer.text
        assert answer.json()["warning"] is None
        folders.append(Path(answer.json()["folder"]))
    return folders


def test_approved_results_are_those_of_the_page(signing: Server, made: Made, versions: list[Path]) -> None:
    analysis = read_results(versions[1], made.exam)
    state = signing.state(signing.only())
    assert state["state"] == "approved"
    assert state["numbers"]["ef_percent"] == pytest.approx(analysis.measurements.ef_percent, abs=1e-9)
    assert analysis.approval is not None
    assert (analysis.approval.by, analysis.approval.number, analysis.approval.comment) == (
        "Bob Reader",
        2,
        "base redrawn",
    )
    one, other = (analysis.segmentation.drawn(Structure.CAVITY, 0, place) for place in (2, 3))
    assert (one.origin, one.by, one.approved) == (Origin.EDITED, "Dr. Anna Müller", True)
    assert other.approved and other.origin is not Origin.EDITED
    report = (versions[1] / "report.html").read_text()
    assert "Approved by" in report and "Bob Reader" in report and "not a medical device" in report
    assert "Corrected by Dr. Anna Müller" in report and "endocardium: 1 drawn" in report
    # The first version is as it was.
    assert read_results(versions[0], made.exam).approval.number == 1  # type: ignore[union-attr]
    shown = signing.client.get(f"/api/exams/{state['id']}/report", params={"number": 1})
    assert "Dr. Anna Müller" in shown.text and "sandbox" in shown.headers["content-security-policy"]


def test_objects_of_each_version_are_new_and_valid(versions: list[Path]) -> None:
    kinds = {"seg_ed.dcm": "Segmentation", "measurements_sr.dcm": "ComprehensiveSR", "rtstruct.dcm": "RTStructureSet"}
    for name, kind in kinds.items():
        files = [folder / name for folder in versions]
        assert len({pydicom.dcmread(file).SOPInstanceUID for file in files}) == 2
        for file in files:
            said = dciodvfy(file, kind=kind)
            assert not [line for line in said if line.startswith("Error")], said


def test_objects_say_who_drew_and_who_signed(versions: list[Path]) -> None:
    seg = pydicom.dcmread(versions[0] / "seg_ed.dcm")
    drawings = {str(one.SegmentLabel): one.SegmentAlgorithmType for one in seg.SegmentSequence}
    assert drawings == {"LV cavity, papillary muscles included": "SEMIAUTOMATIC", "LV myocardium": "AUTOMATIC"}
    assert seg.ContentCreatorName == "Mueller^Anna^^Dr."
    contours = pydicom.dcmread(versions[0] / "rtstruct.dcm")
    assert (contours.ApprovalStatus, contours.ReviewerName) == ("APPROVED", "Mueller^Anna^^Dr.")
    assert {one.ROIGenerationAlgorithm for one in contours.StructureSetROISequence} == {"SEMIAUTOMATIC", "AUTOMATIC"}
    first, second = (pydicom.dcmread(folder / "measurements_sr.dcm") for folder in versions)
    assert (first.CompletionFlag, first.VerificationFlag, first.PreliminaryFlag) == ("COMPLETE", "VERIFIED", "FINAL")
    (observer,) = first.VerifyingObserverSequence
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == ("Mueller^Anna^^Dr.", "Uenit 7")
    people = [item.PersonName for item in first.ContentSequence if item.ValueType == "PNAME"]
    assert people == ["Mueller^Anna^^Dr."]
    assert "PredecessorDocumentsSequence" not in first
    (study,) = second.PredecessorDocumentsSequence
    (referenced,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert referenced.ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_an_edit_after_the_signature_needs_another_one(signing: Server, versions: list[Path]) -> None:
    exam = signing.only()
    before = {path: path.read_bytes() for path in versions[1].rglob("*") if path.is_file()}
    done = signing.edit(exam, signing.state(exam)["version"], {"op": "delete", "phase": 2, "slice": 1}).json()
    assert done["state"] == "edited"
    assert len(signing.state(exam)["versions"]) == 2
    assert {path: path.read_bytes() for path in before} == before
    back = {"version": done["version"], "by": "Chief", "comment": "apex"}
    assert signing.client.post(f"/api/exams/{exam}/send_back", json=back).status_code == 200
    listed = signing.worklist()[0]
    assert (listed["sent_back"], listed["comment"], listed["approved_versions"]) == (True, "apex", 2)
    comparison = signing.client.get(f"/api/exams/{exam}/compare", params={"a": "1", "b": "current"}).json()
    assert (comparison["a"]["by"], comparison["b"]["by"]) == ("Dr. Anna Müller", "Chief")
    assert comparison["slices"][2]["dice_ed"] == 1.0


def test_two_readers_are_compared_over_the_worklist(signing: Server, versions: list[Path]) -> None:
    comparison = signing.client.get("/api/compare", params={"a": "Dr. Anna Müller", "b": "Bob Reader"}).json()
    assert comparison["readers"] == ["Bob Reader", "Dr. Anna Müller"]
    (pair,) = comparison["exams"]
    assert (pair["a"]["by"], pair["b"]["by"]) == ("Dr. Anna Müller", "Bob Reader")
    # The second reader has enlarged the cavity at ES: less is ejected.
    assert pair["a"]["ef_percent"] > pair["b"]["ef_percent"]
    first = signing.client.get("/api/compare").json()["exams"][0]["a"]
    assert first["by"] == "a network"
    assert signing.client.get("/api/compare", params={"a": "nobody"}).json()["exams"] == []


def test_a_signature_needs_a_name_and_the_present_version(signing: Server, versions: list[Path]) -> None:
    exam = signing.only()
    assert approve(signing, exam, " ").status_code == 422
    stale = signing.client.post(f"/api/exams/{exam}/approve", json={"version": 0, "by": "Ann"})
    assert stale.status_code == 409


def test_an_analysis_never_replaces_what_a_person_made(
    signing: Server, made: Made, versions: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    exam = signing.only()
    again = signing.client.post(f"/api/exams/{exam}/analyze", json={})
    assert (again.status_code, "never analyzed again" in again.text) == (422, True)
    before = (versions[0] / "analysis.json").read_bytes()
    code = main(["analyze", str(made.exam), "-o", str(versions[0]), "--force"])
    assert (code, "a person has approved" in capsys.readouterr().err) == (7, True)
    assert (versions[0] / "analysis.json").read_bytes() == before


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Anna Müller", "Mueller^Anna"),
        ("Prof. Dr. Jan de Vries", "de Vries^Jan^^Prof. Dr."),
        ("Müller, Anna", "Mueller^Anna"),
        ("von der Leyen, Dr. Anna", "von der Leyen^Anna^^Dr."),
        ("Anna von der Leyen", "von der Leyen^Anna"),
        ("anna müller", "mueller^anna"),
        ("Anna Müller, MD", "Mueller^Anna^^^MD"),
        (", Anna", "Anna"),
        ("Smith,^John=Jim\\^a^b^c^d", "Smith^John Jim^a^b^c d"),
        (",=", "Reader"),
        ("Smith^John", "Smith^John"),
        ("AM", "AM"),
        ("李", "Reader"),
    ],
)
def test_names_become_dicom_names(typed: str, name: str) -> None:
    assert person_name(typed) == name


def test_a_name_with_a_control_character_is_refused() -> None:
    with pytest.raises(UsageError, match="control character"):
        person_name("Anna\0Müller")


@pytest.mark.parametrize(
    ("what", "field", "text"),
    [
        ("approve", "by", "Ann\0"),
        ("approve", "comment", "seen\x1b[2J"),
        ("send_back", "by", "Ann\n"),
        ("exclude", "reason", "another\theart"),
        ("undo", "by", "\x85"),
    ],
)
def test_control_characters_are_refused_in_what_a_person_writes(
    server: Server, what: str, field: str, text: str
) -> None:
    reason = {"reason": "no heart"} if what == "exclude" else {}
    body = {"version": 0, "by": "Ann", **reason, field: text}
    refused = server.client.post(f"/api/exams/{server.only()}/{what}", json=body)
    assert (refused.status_code, "control character" in refused.json()["error"]["message"]) == (400, True), refused.text


def test_a_comment_may_have_lines_and_tabs() -> None:
    body = b'{"version": 0, "by": "Ann", "comment": "one\\n\\ttwo"}'
    assert messages.parsed(body, messages.ApproveBody).comment == "one\n\ttwo"
