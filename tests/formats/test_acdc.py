"""Folders as ACDC has them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import labelled
from cinesax.core.errors import GeometryError, InputError
from cinesax.formats.acdc import is_truth, read_info, read_patient

SPACING = (10.0, 1.37, 1.37)


def _write(folder: Path, case: str = "patient001") -> Path:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 900, (2, 4, 20, 30)).astype(np.int16)
    labels = rng.integers(0, 4, (2, 4, 20, 30)).astype(np.uint8)
    frames = [(0, images[0], labels[0]), (11, images[1], labels[1])]
    return labelled.write_patient(folder, case, frames, spacing_mm=SPACING, Group="DCM", Height=184.0, NbFrame=30)


def test_round_trip(tmp_path):
    patient = read_patient(_write(tmp_path))
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 900, (2, 4, 20, 30)), rng.integers(0, 4, (2, 4, 20, 30))
    assert patient.case == "patient001" and [frame.phase for frame in patient.frames] == [0, 11]
    assert patient.info == {"ED": "1", "ES": "12", "Group": "DCM", "Height": "184.0", "NbFrame": "30"}
    for frame, image, label in zip(patient.frames, images, labels, strict=True):
        np.testing.assert_array_equal(frame.cine.pixels[0], image)
        np.testing.assert_array_equal(frame.labels, label)
        assert frame.cine.grid is not None
        assert frame.cine.grid.spacing_mm == pytest.approx(SPACING[1:])
        assert np.linalg.norm(np.diff(frame.cine.grid.origins_mm, axis=0), axis=1) == pytest.approx([10.0] * 3)
    assert patient.unused == ()


def test_the_files_are_those_of_acdc(tmp_path):
    place = _write(tmp_path)
    names = ["Info.cfg"] + [f"patient001_frame{n}{end}.nii.gz" for n in ("01", "12") for end in ("", "_gt")]
    assert sorted(path.name for path in place.iterdir()) == sorted(names)
    assert [is_truth(place / name) for name in names] == [False, False, True, False, True]
    stored = nib.load(place / "patient001_frame01_gt.nii.gz")
    np.testing.assert_array_equal(stored.affine, np.eye(4))
    assert stored.header.get_zooms() == pytest.approx((1.37, 1.37, 10.0))
    # RV is 1 and the LV cavity 3 in the file
    ours = read_patient(place).frames[0].labels
    values = np.asanyarray(stored.dataobj).transpose(2, 1, 0)
    assert set(values[ours == 1]) == {3} and set(values[ours == 2]) == {2} and set(values[ours == 3]) == {1}


def test_other_files_are_named_with_their_reason(tmp_path):
    place = _write(tmp_path)
    (place / "patient001_4d.nii.gz").write_bytes(b"")
    (place / "patient001_frame05.nii.gz").write_bytes(b"")
    (place / "more").mkdir()
    (place / "more" / "notes.txt").write_text("")
    unused = {path.name: reason for path, reason in read_patient(place).unused}
    assert unused == {
        "patient001_4d.nii.gz": "the whole cine: only its labelled frames are used",
        "patient001_frame05.nii.gz": "a frame without labels",
        "notes.txt": "not a file of an ACDC patient",
    }


class TestBadInput:
    def test_no_labels(self, tmp_path):
        with pytest.raises(InputError, match="holds no labelled frame"):
            read_patient(tmp_path)

    def test_labels_without_image(self, tmp_path):
        place = _write(tmp_path)
        (place / "patient001_frame12.nii.gz").unlink()
        with pytest.raises(InputError, match="has no image: expected patient001_frame12.nii.gz"):
            read_patient(place)

    def test_two_patients(self, tmp_path):
        place = _write(tmp_path)
        (place / "patient001_frame01_gt.nii.gz").rename(place / "patient002_frame01_gt.nii.gz")
        with pytest.raises(InputError, match="frames of patient001, patient002"):
            read_patient(place)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "has no Info.cfg"),
            ("ED: 1\nES: 7\n", "says that ES is frame 7, but the labelled frames are 1, 12"),
            ("ED: 1\n", "gives no frame number for ES"),
            ("ED 1\n", "line 1: expected 'key: value'"),
            ("ED: 1\nES: 12\n" + "x" * 70_000, "too long"),
        ],
    )
    def test_info(self, tmp_path, content, words):
        place = _write(tmp_path)
        (place / "Info.cfg").unlink()
        if content is not None:
            (place / "Info.cfg").write_text(content)
        with pytest.raises(InputError, match=words):
            read_patient(place)

    def test_other_labels(self, tmp_path):
        place = _write(tmp_path)
        nib.save(nib.Nifti1Image(np.full((30, 20, 4), 7, np.uint8), np.eye(4)), place / "patient001_frame01_gt.nii.gz")
        with pytest.raises(InputError, match="values other than the labels 0, 1 \\(RV\\)"):
            read_patient(place)

    def test_another_shape(self, tmp_path):
        place = _write(tmp_path)
        nib.save(nib.Nifti1Image(np.zeros((30, 20, 3), np.uint8), np.eye(4)), place / "patient001_frame01_gt.nii.gz")
        with pytest.raises(GeometryError, match="expected one phase and equal shapes"):
            read_patient(place)

    def test_damaged(self, tmp_path):
        place = _write(tmp_path)
        path = place / "patient001_frame01.nii.gz"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(InputError, match="not a readable NIfTI"):
            read_patient(place)

    def test_info_keeps_what_stands_there(self, tmp_path):
        (tmp_path / "Info.cfg").write_text("ED: 1\n\nGroup: NOR: mild\n")
        assert read_info(tmp_path / "Info.cfg") == {"ED": "1", "Group": "NOR: mild"}
