"""A real archive (Orthanc) takes what cinesax writes, by both protocols, and gives it back unchanged."""

import json
import os
import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

import filed
from checkers import absent
from cinesax.analyze import analyze
from cinesax.cli.main import main
from cinesax.dicom.write.options import RTSTRUCT_NAME, SR_NAME, DicomOptions
from cinesax.results.write import write_results
from servers import orthanc

MR, SEG, SR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33"
PDF, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.481.3"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthanc.Orthanc]:
    reason = orthanc.missing()
    if reason is not None:
        absent(reason)
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def empty(server: orthanc.Orthanc) -> orthanc.Orthanc:
    server.clear()
    return server


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An exam, and the folder of what was written of it."""
    folder = tmp_path_factory.mktemp("results")
    of = filed.analysis(folder / "exam")
    return folder / "exam", write_results(of, folder / "out", dicom=DicomOptions(rtstruct=True))


Send = Callable[..., tuple[int, str, str]]


@pytest.fixture
def send(empty: orthanc.Orthanc, capsys: pytest.CaptureFixture[str]) -> Send:
    """`cinesax send` in the network of the server -> exit code, what it printed, what it complained of."""

    def sent(what: Path, to: str, *options: str) -> tuple[int, str, str]:
        with empty.entered():
            code = main(["send", str(what), "--to", to, *options])
        return code, *capsys.readouterr()

    return sent


@contextmanager
def client(server: orthanc.Orthanc) -> Iterator[DICOMwebClient]:
    with server.entered(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield DICOMwebClient(server.web, permissive_uid=True)


def read(paths: list[Path]) -> dict[str, Dataset]:
    """SOPInstanceUID -> object, by files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = [pydicom.dcmread(path) for path in paths]
        for one in stored:
            # Lengths of groups are retired, and written by nobody any more.
            for element in list(one):
                if element.tag.element == 0:
                    del one[element.tag]
        return {str(one.SOPInstanceUID): one for one in stored}


def back(server: orthanc.Orthanc, study_uid: str) -> dict[str, Dataset]:
    """SOPInstanceUID -> object, found by QIDO-RS and fetched by WADO-RS."""
    with client(server) as web:
        listed = web.search_for_instances(study_instance_uid=study_uid)
        uids = [(one["0020000E"]["Value"][0], one["00080018"]["Value"][0]) for one in listed]
        return {uid: web.retrieve_instance(study_uid, series, uid) for series, uid in uids}


def numbers(report: Dataset) -> list[tuple[str, float]]:
    """(code, value) of every measurement of a report."""
    values = []
    for item in report.get("ContentSequence", ()):
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            values.append((item.ConceptNameCodeSequence[0].CodeValue, float(value.NumericValue)))
        values += numbers(item)
    return values


@pytest.mark.parametrize("protocol", ["node", "web"])
def test_source_and_results_come_back_as_they_were_sent(
    empty: orthanc.Orthanc, results: tuple[Path, Path], protocol: str, send: Send
) -> None:
    exam, out = results
    for folder, kinds in ((exam, [MR] * 60), (out, [SEG] * 3 + [PDF, RTSTRUCT, SR])):
        code, printed, complaint = send(folder, getattr(empty, protocol), "--format", "json")
        assert code == 0, complaint
        rows = json.loads(printed)["objects"]
        assert {(one["fate"], one["attempts"]) for one in rows} == {("taken", 1)}
        assert sorted(one["sop_class_uid"] for one in rows) == sorted(kinds)
    assert send(out, getattr(empty, protocol))[0] == 0  # twice does no harm
    assert len(empty.ask("/instances")) == 66
    sent = read([*exam.iterdir(), *out.glob("*.dcm")])
    arrived = back(empty, "1.2.3.4")
    assert set(arrived) == set(sent)
    for uid, one in sent.items():
        assert arrived[uid].get("PixelData") == one.get("PixelData")
        assert arrived[uid] == one, uid
    [report] = [one for one in arrived.values() if one.SOPClassUID == SR]
    m = json.loads((out / "analysis.json").read_text())["measurements"]
    named = {
        "8821-1": "edv_ml",
        "8823-7": "esv_ml",
        "90096001": "sv_ml",
        "8811-2": "ef_percent",
        "18087-7": "lv_mass_g",
    }
    named |= {"82799009": "cardiac_output_l_per_min", "8867-4": "heart_rate_bpm"}
    assert dict(numbers(report)) == {code: m[name] for code, name in named.items()}
    # All of it is filed under one patient and one study.
    assert len(empty.ask("/patients")) == len(empty.ask("/studies")) == 1
    with client(empty) as web:
        series = web.search_for_series(study_instance_uid="1.2.3.4")
        [found] = web.search_for_instances(search_filters={"Modality": "SR"})
    assert sorted(one["00080060"]["Value"][0] for one in series) == ["DOC", "MR", "RTSTRUCT", "SEG", "SR"]
    assert found["00100020"]["Value"] == ["ID-77"]


def test_an_archive_that_does_not_know_the_caller_takes_nothing(
    empty: orthanc.Orthanc, results: tuple[Path, Path], send: Send
) -> None:
    code, printed, complaint = send(results[1], empty.node, "--from", "STRANGER")
    assert code == 9 and "Traceback" not in complaint
    assert re.search(r"took 0 of 6 objects; first failure: .+", complaint)
    assert "taken: 0 of 6" in printed and SR_NAME in printed and RTSTRUCT_NAME in printed
    assert empty.ask("/instances") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to make network namespaces")
def test_the_server_is_out_of_reach_of_the_network(server: orthanc.Orthanc) -> None:
    if server.namespace is None:
        pytest.skip("no network namespaces here: the server refuses all but this machine instead")
    with server.entered():
        links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in links.splitlines()] == ["lo"]
    with pytest.raises(OSError, match="refused"):
        orthanc.Orthanc(server.dicom_port, server.http_port, None).ask("/system")


@pytest.fixture(scope="module")
def real(sunnybrook: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Ten images of a real exam, what was written of it, and the UID of its study."""
    exam, folder = sunnybrook / "dicom" / "SC-HF-I-04" / "cine_sax", tmp_path_factory.mktemp("real")
    of = analyze(exam, segmentation=sunnybrook / "contours" / "SC-HF-I-04")
    write_results(of, folder / "out", dicom=DicomOptions(rtstruct=True))
    (folder / "some").mkdir()
    for number in range(1, 11):
        (folder / "some" / f"{number}.dcm").symlink_to(exam / f"{number}.dcm")
    return folder / "some", folder / "out", str(of.cine.source.study_uid)


@pytest.mark.data
@pytest.mark.parametrize("protocol", ["node", "web"])
def test_a_real_exam_with_identifiers_that_are_not_valid_comes_back_unchanged(
    empty: orthanc.Orthanc, real: tuple[Path, Path, str], protocol: str, send: Send
) -> None:
    some, out, study_uid = real
    for folder in (some, out):
        code, _, complaint = send(folder, getattr(empty, protocol))
        assert code == 0, complaint
    sent = read([*some.iterdir(), *out.glob("*.dcm")])
    arrived = back(empty, study_uid)
    assert set(arrived) == set(sent) and len(sent) == 16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for uid, one in sent.items():
            assert arrived[uid].get("PixelData") == one.get("PixelData")
            assert numbers(arrived[uid]) == numbers(one)
            assert arrived[uid] == one, uid
    assert len(empty.ask("/studies")) == 1
