"""Bad input to `cinesax analyze`, as a user meets it: one line, the documented exit code, nothing left behind."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import exams
from cinesax.cli.main import main

Spoil = Callable[[Path], list[str]]


def empty_folder(place: Path) -> list[str]:
    (place / "exam").mkdir()
    return [str(place / "exam")]


def folder_of_jpegs(place: Path) -> list[str]:
    (place / "exam").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(place / "exam" / name)
    return [str(place / "exam")]


def absent(place: Path) -> list[str]:
    return [str(place / "nowhere")]


def truncated_dicom(place: Path) -> list[str]:
    files = exams.write_exam(place / "exam")
    files[7].write_bytes(files[7].read_bytes()[:-300])
    return [str(place / "exam")]


def without_pixels(place: Path) -> list[str]:
    exams.edit(exams.write_exam(place / "exam"), PixelData=None)
    return [str(place / "exam")]


def without_geometry(place: Path) -> list[str]:
    files = exams.write_exam(place / "exam")
    exams.edit(files, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    return [str(place / "exam")]


def contradictory_geometry(place: Path) -> list[str]:
    exams.edit(exams.write_exam(place / "exam"), ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    return [str(place / "exam")]


def one_phase_only(place: Path) -> list[str]:
    exams.write_exam(place / "exam", exams.small_cine(phases=1))
    return [str(place / "exam")]


def escaping_zip(place: Path) -> list[str]:
    with zipfile.ZipFile(place / "exam.zip", "w") as archive:
        archive.writestr("../../outside.dcm", b"x")
    return [str(place / "exam.zip")]


def boundless_zip(place: Path) -> list[str]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.dcm", b"\0" * 300_000_000)
    (place / "exam.zip").write_bytes(stream.getvalue())
    return [str(place / "exam.zip")]


def words_in_a_contour(place: Path) -> list[str]:
    exams.write_exam(place / "exam")
    (place / "contours").mkdir()
    (place / "contours" / "IM-0001-0001-icontour-manual.txt").write_text("3 4\nfive six\n7 8\n")
    return [str(place / "exam"), "--segmentation", str(place / "contours")]


def bundle_with_a_wrong_checksum(place: Path) -> list[str]:
    from cinesax.network.bundle import open_bundle

    exams.write_exam(place / "exam")
    shutil.copytree(open_bundle().folder, place / "bundle")
    graph = place / "bundle" / "graph.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0\0")
    return [str(place / "exam"), "--model", str(place / "bundle")]


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (empty_folder, 3, "exam"),
        (folder_of_jpegs, 3, "DICOM"),
        (absent, 3, "nowhere"),
        (truncated_dicom, 3, "pixel"),
        (without_pixels, 3, "pixel"),
        (without_geometry, 5, "ImagePositionPatient"),
        (contradictory_geometry, 5, "ImageOrientationPatient"),
        (one_phase_only, 4, "phase"),
        (escaping_zip, 3, "outside"),
        (boundless_zip, 3, "zip"),
        (words_in_a_contour, 3, "line 2"),
        (bundle_with_a_wrong_checksum, 6, "wrong checksum"),
    ],
)
def test_one_line_the_exit_code_and_nothing_behind(
    spoil: Spoil, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = spoil(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["analyze", *arguments, "-o", str(tmp_path / "out")]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("cinesax: error: ") and said.err.count("\n") == 1, said.err
    assert words in said.err
    assert sorted(tmp_path.rglob("*")) == before
