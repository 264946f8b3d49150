"""Whole exams, in memory, for damage to be done to: the phantom in every way of storing it, and real ones.

A sample is a set of small files by relative name, and the true pixels of every frame in them.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

import exams
import objects
from cinesax.analyze import analyze
from cinesax.core.cine import Cine
from cinesax.dicom.write.objects import write_objects
from cinesax.dicom.write.options import SEG_CINE_NAME, SEG_ED_NAME, DicomOptions, SegmentationType
from cinesax.formats.nifti import write_segmentation
from cinesax.inputs import open_cine
from cinesax.phantom.dicom import HeaderOddity, SeriesIdentity, TransferSyntax, Vendor, write_scan
from cinesax.phantom.scanning import take_apart

PHASES, SLICES = 3, 4
ROWS, COLUMNS = 34, 40
"""Small, so that inputs are fast; OpenJPEG compresses nothing smaller than 32 x 32."""
_ROOT = Path(__file__).resolve().parents[2]
FrameKey = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Sample:
    """An exam before anything is done to it.

    Attributes:
        name: for tables.
        files: relative name -> content.
        cine: what is read of it whole; None where it holds no short-axis cine (single files of other sources).
        frames: (relative name, 1-based frame number) -> (row, column) as it is read.
        segmentation: content of a segmentation of it; the damage is then done to that.
        suffix: of the segmentation file.
    """

    name: str
    files: Mapping[str, bytes]
    cine: Cine | None
    frames: Mapping[FrameKey, NDArray] = field(default_factory=dict)
    segmentation: bytes | None = None
    suffix: str = ".dcm"

    @property
    def deflated(self) -> bool:
        """Whether the files are deflated data sets, which byte damage has to go through to get anywhere."""
        return "deflated" in self.name


def _cine() -> Cine:
    """Distinct pixels, and not square."""
    few = exams.small_cine(phases=PHASES, slices=SLICES)
    repeats = np.tile(few.pixels, (1, 1, 2, 2))[:, :, :ROWS, :COLUMNS]
    noise = np.random.default_rng(3).integers(0, 900, repeats.shape).astype(np.uint16)
    grid = few.grid
    if grid is None:
        raise ValueError("the small cine has a place")
    return replace(few, pixels=repeats + noise, grid=replace(grid, shape=(SLICES, ROWS, COLUMNS)))


def frames_of(cine: Cine, root: Path) -> dict[FrameKey, NDArray]:
    """(relative name, frame number) -> the stored part of each frame of a cine."""
    return {(path.relative_to(root).as_posix(), number): pixels for path, number, pixels in located_frames(cine)}


def located_frames(cine: Cine) -> Iterator[tuple[Path, int, NDArray]]:
    """The file, the frame number and the pixels (without padding) of each place of a cine."""
    source = cine.source
    for phase, row in enumerate(source.files):
        for place, file in enumerate(row):
            number = source.frame_numbers[phase][place] if source.frame_numbers else 1
            pixels = cine.pixels[phase, place]
            if source.paddings_px:
                (top, left), (rows, columns) = source.paddings_px[place], source.stored_matrices[place]
                pixels = pixels[top : top + rows, left : left + columns]
            path = file.path if file.member is None else file.path.parent / file.member
            yield path, number, pixels


def _read(name: str, folder: Path) -> Sample:
    cine = open_cine(folder)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return Sample(name, dict(sorted(files.items())), cine, frames_of(cine, folder))


def _made(name: str, write: Callable[[Path], object]) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return _read(name, Path(folder))


def phantom_sample(vendor: Vendor, syntax: TransferSyntax, *headers: HeaderOddity) -> Sample:
    """The phantom in the way of a make of scanner and of a transfer syntax."""
    scan = take_apart(_cine())
    name = "+".join([vendor, *headers] + [syntax] * (syntax is not TransferSyntax.EXPLICIT))
    identity = SeriesIdentity(number=10)
    return _made(name, lambda folder: write_scan(scan, folder, identity, vendor=vendor, headers=headers, syntax=syntax))


def _jpeg_lossless() -> Sample | None:
    try:
        import gdcm
    except ImportError:
        return None

    def write(folder: Path) -> None:
        for path in exams.write_exam(folder, _cine()):
            reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
            reader.SetFileName(str(path))
            reader.Read()
            change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
            change.SetInput(reader.GetImage())
            change.Change()
            writer.SetFileName(str(path))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            writer.Write()

    return _made("plain+jpeg-lossless", write)


def _segmentation(kind: str) -> Sample:
    """The plain exam with a segmentation: a SEG of either kind, of all phases or one, or a NIfTI label file."""
    whole = phantom_sample(Vendor.PLAIN, TransferSyntax.EXPLICIT)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in whole.files.items():
            (Path(folder) / name).write_bytes(content)
        cine = open_cine(folder)
        analysis = analyze(cine, segmentation=objects.ring(cine))
        out = Path(folder) / "out"
        out.mkdir()
        if kind == "nifti":
            path = out / "labels.nii.gz"
            write_segmentation(analysis.segmentation, cine, path)
        else:
            of_type = SegmentationType.LABELMAP if kind == "labelmap" else SegmentationType.BINARY
            write_objects(analysis, out, DicomOptions(of_type))
            path = out / (SEG_ED_NAME if kind == "one phase" else SEG_CINE_NAME)
        content = path.read_bytes()
    suffix = ".nii.gz" if kind == "nifti" else ".dcm"
    return replace(whole, name=f"segmentation: {kind}", segmentation=content, suffix=suffix)


def _real_cine() -> Sample | None:
    """Three neighbouring slices of a real exam at four phases, as they are stored; None where the data are absent."""
    data = Path(os.environ.get("CINESAX_DATA", _ROOT.parent / "shared" / "data" / "sunnybrook"))
    folder = data / "dicom" / "SC-HF-I-01" / "cine_sax"
    if not folder.is_dir():
        return None
    files = open_cine(folder).source.files

    def write(to: Path) -> None:
        for phase in (0, 5, 10, 15):
            for place in (4, 5, 6):
                path = files[phase][place].path
                (to / path.name).write_bytes(path.read_bytes())

    return _made("real cine", write)


_PUBLIC = (
    *("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm"),
    *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "emri_small.dcm"),
    *("emri_small_RLE.dcm", "emri_small_big_endian.dcm", "emri_small_jpeg_2k_lossless.dcm", "MR2_J2KI.dcm"),
    *("emri_small_jpeg_ls_lossless.dcm", "image_dfl.dcm", "JPEG-lossy.dcm", "nested_priv_SQ.dcm", "badVR.dcm"),
    *("rtdose_rle.dcm", "SC_rgb_rle_2frame.dcm", "liver_1frame.dcm", "no_meta.dcm", "JPGExtended.dcm"),
)


def _public() -> Iterator[Callable[[], Sample | None]]:
    for name in _PUBLIC:
        path = None
        with suppress(ValueError, OSError):
            path = get_testdata_file(name, download=False)
        if path is not None:
            content = Path(path)
            yield lambda content=content: Sample(f"public {content.stem}", {content.name: content.read_bytes()}, None)


def _recipes() -> Iterator[Callable[[], Sample | None]]:
    for vendor in Vendor:
        yield lambda vendor=vendor: phantom_sample(vendor, TransferSyntax.EXPLICIT)
    for syntax in TransferSyntax:
        if syntax is not TransferSyntax.EXPLICIT:
            yield lambda syntax=syntax: phantom_sample(Vendor.PLAIN, syntax)
            yield lambda syntax=syntax: phantom_sample(Vendor.PHILIPS_ENHANCED, syntax)
    yield _jpeg_lossless
    yield lambda: phantom_sample(Vendor.GE, TransferSyntax.EXPLICIT, HeaderOddity.ANONYMISED)
    yield lambda: phantom_sample(Vendor.SIEMENS, TransferSyntax.EXPLICIT, HeaderOddity.DICOMDIR)
    yield lambda: phantom_sample(Vendor.PHILIPS_ENHANCED, TransferSyntax.RLE, HeaderOddity.DICOMDIR)
    yield _real_cine
    # Segmentations are files of their own kind: as many draws as the exams of one vendor.
    for kind in ("binary", "labelmap", "one phase", "nifti") * 2:
        yield lambda kind=kind: _segmentation(kind)
    yield from _public()


RECIPES = tuple(_recipes())


@cache
def sample(index: int) -> Sample | None:
    """One of the whole exams; None where it cannot be made here (real data or a decoder that are absent)."""
    with warnings.catch_warnings(action="ignore"):
        return RECIPES[index]()


def load(content: bytes) -> pydicom.Dataset:
    """A file of a sample, whatever it says of itself."""
    with warnings.catch_warnings(action="ignore"):
        return pydicom.dcmread(pydicom.filebase.DicomBytesIO(content), force=True)
