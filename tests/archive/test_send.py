"""Handing objects over: what an archive says is what is told, what may pass is tried again, nothing else is."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import MRImageStorage  # type: ignore[attr-defined]

import exams
from cinesax.archive import DicomNode, DicomWeb, Fate, deliver, find_objects, parse_destination, send
from cinesax.core.errors import CinesaxError, InputError, UsageError


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "FIRST_PAUSE_S", 0.001)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three MR images, and things that are none."""
    folder = tmp_path_factory.mktemp("out")
    exams.write_exam(folder, exams.small_cine(phases=1, slices=3))
    (folder / "report.html").write_text("<html></html>")
    (folder / "short.dcm").write_bytes(b"DICM")
    return folder


# where it goes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ARCHIVE@pacs.example.org:104", DicomNode("ARCHIVE", "pacs.example.org", 104)),
        ("MY ARCHIVE@10.0.0.1:11112", DicomNode("MY ARCHIVE", "10.0.0.1", 11112)),
        ("A@[::1]:104", DicomNode("A", "::1", 104)),
        ("https://pacs.example.org/dicom-web/", DicomWeb("https://pacs.example.org/dicom-web")),
        ("http://127.0.0.1:8042/dicom-web", DicomWeb("http://127.0.0.1:8042/dicom-web")),
    ],
)
def test_destinations_are_read(text: str, expected: object) -> None:
    assert parse_destination(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "ARCHIVE",
            "ARCHIVE@host",
            "@host:104",
            "A@host:0",
            "A@host:65536",
            "A@host:x",
            "A@ho st:104",
            "A\\B@h:104",
        ),
        *("SEVENTEEN_LETTERS@host:104", "ÄRCHIV@host:104", "ftp://host/x", "https://", "https://user:pa55@host/x"),
        *("https://host/x?y=1", "https://host:99999/x"),
    ],
)
def test_what_is_no_destination_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_destination(text)
    assert "\n" not in str(error.value) and "pa55" not in str(error.value)


def test_a_token_does_not_go_unencrypted_over_a_network_nor_into_texts() -> None:
    with pytest.raises(UsageError, match="plain http"):
        parse_destination("http://pacs.example.org/x", token="secret")
    with pytest.raises(UsageError, match="DICOMweb only"):
        parse_destination("A@host:104", token="secret")
    for url in ("https://pacs.example.org/x", "http://localhost:8042/x", "http://127.0.0.1/x"):
        server = parse_destination(url, token="secret")
        assert "secret" not in f"{server} {server!r}"


# what is sent


def test_only_dicom_objects_are_found_images_before_segmentations_before_reports(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "deep").mkdir()
    image = next(folder.glob("IM*"))
    for name, sop_class in (
        ("a_sr.dcm", "1.2.840.10008.5.1.4.1.1.88.33"),
        ("b_seg", "1.2.840.10008.5.1.4.1.1.66.4"),
        ("deep/c_image.dcm", MRImageStorage),
    ):
        dataset = pydicom.dcmread(image)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.save_as(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no DICOM")
    objects = find_objects(tmp_path)
    assert [one.path.name for one in objects] == ["c_image.dcm", "b_seg", "a_sr.dcm"]
    assert [one.kind for one in objects] == ["MR Image", "Segmentation", "Comprehensive SR"]
    assert find_objects(tmp_path / "b_seg") == (objects[1],)


def test_a_folder_without_objects_and_a_damaged_object_are_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.raises(InputError, match="holds no DICOM objects"):
        find_objects(tmp_path)
    whole = next(folder.glob("IM*")).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:200])
    with pytest.raises(InputError, match=r"cut\.dcm is a damaged DICOM file"):
        find_objects(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        find_objects(tmp_path / "nothing")


# C-STORE


@contextmanager
def archive(
    store: Callable[[Any], int | pydicom.Dataset], *, contexts: Any = AllStoragePresentationContexts, **settings: Any
) -> Iterator[DicomNode]:
    """An application entity that answers each C-STORE with what `store` says."""
    entity = AE(ae_title="ARCHIVE")
    entity.supported_contexts = contexts
    for name, value in settings.items():
        setattr(entity, name, value)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield DicomNode("ARCHIVE", "127.0.0.1", server.socket.getsockname()[1])  # type: ignore[union-attr]
    finally:
        server.shutdown()


def answers(*statuses: int) -> Callable[[Any], int]:
    """Each in turn, then the last for ever."""
    left = list(statuses)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def fates(node: DicomNode | DicomWeb, folder: Path, **settings: Any) -> list[tuple[Fate, int]]:
    return [(one.fate, one.attempts) for one in send(find_objects(folder), node, **settings)]


def test_objects_arrive_as_they_are_in_their_files(folder: Path) -> None:
    arrived = {}

    def keep(event: Any) -> int:
        arrived[str(event.request.AffectedSOPInstanceUID)] = event.encoded_dataset()
        return 0

    steps: list[tuple[int, int]] = []
    with archive(keep) as node:
        assert fates(node, folder, progress=lambda *step: steps.append(step)) == [(Fate.TAKEN, 1)] * 3
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for path in folder.glob("IM*"):
        sent = pydicom.dcmread(path)
        assert path.read_bytes().endswith(arrived[sent.SOPInstanceUID][-2000:])
        received = pydicom.dcmread(pydicom.filebase.DicomBytesIO(arrived[sent.SOPInstanceUID]))
        assert received == sent


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((0xA700, 0x0000), [(Fate.TAKEN, 2), (Fate.TAKEN, 1), (Fate.TAKEN, 1)]),
        ((0xA700,), [(Fate.REFUSED, 3)] * 3),
        ((0x0110, 0x0110, 0x0000), [(Fate.TAKEN, 2), (Fate.TAKEN, 2), (Fate.TAKEN, 1)]),
        ((0xC000,), [(Fate.REFUSED, 1)] * 3),
        ((0xA900, 0x0000), [(Fate.REFUSED, 1), (Fate.TAKEN, 1), (Fate.TAKEN, 1)]),
        ((0xB000,), [(Fate.TAKEN_CHANGED, 1)] * 3),
    ],
)
def test_only_what_may_pass_is_sent_again(folder: Path, statuses: tuple[int, ...], expected: list[Any]) -> None:
    with archive(answers(*statuses)) as node:
        assert fates(node, folder, attempts=3) == expected


def test_the_words_of_the_archive_are_told(folder: Path) -> None:
    def refuse(_: Any) -> pydicom.Dataset:
        status = pydicom.Dataset()
        status.Status, status.ErrorComment = 0xC001, "no such patient"
        return status

    with archive(refuse) as node:
        reasons = {one.reason for one in send(find_objects(folder), node)}
    assert reasons == {"0xC001, the archive cannot understand the object (no such patient)"}


def test_a_broken_association_is_taken_up_again_where_it_broke(folder: Path) -> None:
    taken: list[str] = []

    def break_once(event: Any) -> int:
        if len(taken) == 1:
            taken.append("broken")
            event.assoc.abort()
            return 0x0110
        taken.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    with archive(break_once) as node:
        assert fates(node, folder) == [(Fate.TAKEN, 1), (Fate.TAKEN, 2), (Fate.TAKEN, 2)]
    assert len(taken) == len(set(taken)) == 4


def test_nobody_at_the_address_is_tried_again_and_a_wrong_name_is_not(folder: Path) -> None:
    with archive(answers(0), require_called_aet=True) as node:
        wrong = DicomNode("SOMEBODY", node.host, node.port)
        deliveries = send(find_objects(folder), wrong)
    assert {(one.fate, one.attempts) for one in deliveries} == {(Fate.NOT_SENT, 1)}
    assert "Called AE title not recognised" in deliveries[0].reason
    deliveries = send(find_objects(folder), node, attempts=3, timeout_s=5)
    assert {(one.fate, one.attempts) for one in deliveries} == {(Fate.NOT_SENT, 3)}
    assert "nobody answers" in deliveries[0].reason


def test_kinds_that_the_archive_does_not_take_are_told(folder: Path, tmp_path: Path) -> None:
    image = next(folder.glob("IM*"))
    dataset = pydicom.dcmread(image)
    dataset.save_as(tmp_path / "image.dcm")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    dataset.save_as(tmp_path / "seg.dcm")
    only_images = [one for one in AllStoragePresentationContexts if one.abstract_syntax == MRImageStorage]
    with archive(answers(0), contexts=only_images) as node:
        deliveries = send(find_objects(tmp_path), node)
        alone = send(find_objects(tmp_path / "seg.dcm"), node)
    assert [(one.fate, one.attempts) for one in deliveries] == [(Fate.TAKEN, 1), (Fate.REFUSED, 1)]
    assert deliveries[1].reason == "the archive does not take Segmentation"
    assert [(one.fate, one.attempts) for one in alone] == [(Fate.NOT_SENT, 1)]
    assert alone[0].reason == "the archive takes none of these kinds of object"


def test_a_transfer_syntax_is_named_only_where_it_is_the_reason(folder: Path, tmp_path: Path) -> None:
    image = next(folder.glob("IM*"))
    dataset = pydicom.dcmread(image)
    dataset.save_as(tmp_path / "plain.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.99"
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "rle.dcm")
    plain = [build_context(MRImageStorage, ImplicitVRLittleEndian)]
    with archive(answers(0), contexts=plain) as node:
        deliveries = send(find_objects(tmp_path), node)
        alone = send(find_objects(tmp_path / "rle.dcm"), node)
    assert [one.fate for one in deliveries] == [Fate.TAKEN, Fate.REFUSED]
    assert deliveries[1].reason == "the archive does not take MR Image in its transfer syntax (RLE Lossless)"
    assert alone[0].reason == "the archive takes none of these objects in their transfer syntax"


def test_a_silent_archive_is_waited_for_no_longer_than_asked(folder: Path) -> None:
    done = threading.Event()

    def hang(_: Any) -> int:
        done.wait(10)
        return 0

    with archive(hang) as node:
        deliveries = send(find_objects(folder), node, attempts=1, timeout_s=0.5)
        done.set()
    assert {(one.fate, one.attempts) for one in deliveries} == {(Fate.NOT_SENT, 1)}
    assert "no answer in time" in deliveries[0].reason


# STOW-RS


@contextmanager
def web(*answers: tuple[int, dict[str, str], Any]) -> Iterator[tuple[DicomWeb, list[dict[str, str]]]]:
    """A server that gives these answers in turn (a status, headers, a body), then the last for ever."""
    left, asked = list(answers), list[dict[str, str]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(dict(self.headers) | {"path": self.path})
            start = body.index(b"DICM") - 128
            uid = str(pydicom.dcmread(pydicom.filebase.DicomBytesIO(body[start:]), force=True).SOPInstanceUID)
            status, headers, reply = left.pop(0) if len(left) > 1 else left[0]
            text = reply if isinstance(reply, str) else json.dumps(reply).replace("UID", uid)
            self.send_response(status)
            for name, value in ({"Content-Type": "application/dicom+json"} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            self.send_error(500)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield DicomWeb(f"http://127.0.0.1:{server.server_address[1]}/dicom-web", "secret"), asked
    finally:
        server.shutdown()
        server.server_close()


def listed(sequence: str, **reason: int) -> dict[str, Any]:
    tags = {"taken": "00081199", "failed": "00081198", "FailureReason": "00081197", "WarningReason": "00081196"}
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": ["UID"]}}
    item |= {tags[name]: {"vr": "US", "Value": [value]} for name, value in reason.items()}
    return {tags[sequence]: {"vr": "SQ", "Value": [item]}}


TAKEN = (200, {}, listed("taken"))


@pytest.mark.parametrize(
    ("said", "expected", "reason"),
    [
        ((TAKEN,), [(Fate.TAKEN, 1)] * 3, ""),
        (((503, {}, "busy"), TAKEN), [(Fate.TAKEN, 2), (Fate.TAKEN, 1), (Fate.TAKEN, 1)], ""),
        (((503, {}, "busy"),), [(Fate.REFUSED, 3)] * 3, "HTTP 503 Service Unavailable"),
        (
            ((409, {}, listed("failed", FailureReason=0x0122)),),
            [(Fate.REFUSED, 1)] * 3,
            "0x0122, the archive does not take this SOP class",
        ),
        (
            ((202, {}, listed("taken", WarningReason=0xB000)),),
            [(Fate.TAKEN_CHANGED, 1)] * 3,
            "0xB000, elements were changed",
        ),
        (
            ((202, {}, listed("failed", FailureReason=0xA700)), TAKEN),
            [(Fate.TAKEN, 2), (Fate.TAKEN, 1), (Fate.TAKEN, 1)],
            "",
        ),
        (((400, {}, ""),), [(Fate.REFUSED, 1)] * 3, "HTTP 400 Bad Request"),
        (((401, {}, ""),), [(Fate.NOT_SENT, 1)] * 3, "HTTP 401: the server does not let this program in"),
        # A page that asks to log in is no success, though its status says so.
        (
            ((200, {"Content-Type": "text/html"}, "<html>Log in</html>"),),
            [(Fate.REFUSED, 1)] * 3,
            "the server's answer does not say that it took the object",
        ),
        (
            ((302, {"Location": "/login"}, ""),),
            [(Fate.NOT_SENT, 1)] * 3,
            "the server points to /login: give that address",
        ),
    ],
)
def test_each_answer_of_a_server_is_told_for_what_it_is(
    folder: Path, said: tuple[Any, ...], expected: list[Any], reason: str
) -> None:
    with web(*said) as (server, _):
        deliveries = send(find_objects(folder), server, attempts=3)
    assert [(one.fate, one.attempts) for one in deliveries] == expected
    assert deliveries[-1].reason == reason


def test_requests_are_those_of_the_standard(folder: Path) -> None:
    with web(TAKEN) as (server, asked):
        send(find_objects(folder), server)
    assert {one["path"] for one in asked} == {"/dicom-web/studies"}
    assert all(one["Content-Type"].startswith('multipart/related; type="application/dicom"') for one in asked)
    assert {(one["Accept"], one["Authorization"]) for one in asked} == {("application/dicom+json", "Bearer secret")}


def test_a_server_that_is_not_there_is_tried_again(folder: Path) -> None:
    with web(TAKEN) as (server, _):
        pass
    deliveries = send(find_objects(folder), server, attempts=2, timeout_s=5)
    assert {(one.fate, one.attempts) for one in deliveries} == {(Fate.NOT_SENT, 2)}
    assert "refused" in deliveries[0].reason


def test_only_errors_of_the_house_leave(folder: Path) -> None:
    """Objects that vanish between listing and sending are told, not raised."""
    objects = find_objects(folder)
    gone = [
        type(one)(one.path.with_name("gone"), *(getattr(one, name) for name in one.__slots__[1:])) for one in objects
    ]
    with archive(answers(0)) as node, web(TAKEN) as (server, _):
        for destination in (node, server):
            try:
                deliveries = send(gone, destination, attempts=1)
            except CinesaxError:
                continue
            assert {one.fate for one in deliveries} == {Fate.NOT_SENT}
