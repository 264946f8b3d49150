"""Make a synthetic exam whose volumes and ejection fraction are known.

OUT/dicom holds the exam as DICOM (MR Image Storage), OUT/truth its truth: truth.json with the exact volumes, and
segmentation.nii.gz. The same seed and options give the same bytes. `cinesax analyze OUT` reads it.

--vendor writes the exam as a vendor's scanners do, --oddity (any number of times) adds something that goes wrong in
practice, --transfer-syntax chooses the encoding: docs/phantom.md lists them. The volumes stay the same.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cinesax._version import __version__
from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, OutputError, UsageError
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.dicom.uid import derived_uid
from cinesax.files.folder_swap import new_folder
from cinesax.formats.nifti import write_segmentation
from cinesax.inputs import open_cine
from cinesax.phantom import DecoyKind, Oddity, Phantom, Scan, draw_settings, make_decoys, make_phantom, scan
from cinesax.phantom.dicom import HeaderOddity, SeriesIdentity, TransferSyntax, Vendor, write_scan, write_series

SCHEMA = "cinesax/phantom-truth/1"
_TRUTH = Path("truth", "truth.json")
_MYOCARDIUM_G_PER_ML = 1.05
_SHORT_AXIS = SeriesIdentity(number=100)

_OVERRIDES = {
    "edv": ("edv_ml", float, "ML", "end-diastolic volume", "60 to 350"),
    "ef": ("ef_percent", float, "PERCENT", "ejection fraction", "10 to 80"),
    "phases": ("n_phases", int, "N", "phases of the beat", "12 to 40"),
    "slice-distance": ("slice_distance_mm", float, "MM", "slice distance, centre to centre", "6 to 12"),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """How the short-axis cine is stored.

    Attributes:
        vendor: whose scanners' way of writing to follow.
        oddities: what goes wrong in the scan.
        headers: oddities of headers and file names.
        syntax: transfer syntax.
    """

    vendor: Vendor = Vendor.PLAIN
    oddities: tuple[Oddity, ...] = ()
    headers: tuple[HeaderOddity, ...] = ()
    syntax: TransferSyntax = TransferSyntax.EXPLICIT


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which heart (default: 1)")
    parser.add_argument(
        "--decoys", action="store_true", help="add localizers, a long-axis cine and a late-enhancement stack"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is an earlier phantom")
    for option, choices, text in (
        ("vendor", Vendor, "imitate the files of this vendor's scanners (default: plain)"),
        ("transfer-syntax", TransferSyntax, "the encoding (default: explicit, little endian)"),
    ):
        names = [choice.value for choice in choices]
        parser.add_argument(
            f"--{option}", choices=names, default=names[0], metavar="NAME", help=f"{text}: {', '.join(names)}"
        )
    oddities = [oddity.value for oddity in (*Oddity, *HeaderOddity)]
    parser.add_argument(
        "--oddity",
        choices=oddities,
        action="append",
        default=[],
        metavar="NAME",
        help=f"an oddity of the exam; may be given several times: {', '.join(oddities)}",
    )
    for option, (_, kind, metavar, text, limits) in _OVERRIDES.items():
        parser.add_argument(
            f"--{option}", type=kind, metavar=metavar, help=f"{text} (default: the seed chooses from {limits})"
        )


def run(args: argparse.Namespace) -> None:
    """Make the phantom and print its true volumes.

    Raises:
        OutputError: OUT is not empty, or cannot be written.
        UsageError: a setting out of range, or oddities that exclude each other.
    """
    _refuse_occupied(args.out, force=args.force)
    variant = _variant(args)
    given = {option: getattr(args, option.replace("-", "_")) for option in _OVERRIDES}
    overrides = {_OVERRIDES[option][0]: value for option, value in given.items() if value is not None}
    try:
        settings = draw_settings(args.seed, **overrides)
    except GeometryError as error:
        raise UsageError(str(error)) from error
    phantom = make_phantom(settings)
    decoys = make_decoys(settings) if args.decoys else ()
    write_exam(phantom, decoys, args.out, variant)
    truth = _truth(phantom, variant)
    sys.stdout.write(
        f"{args.out}: seed {args.seed}, {phantom.cine.n_slices} slices of {phantom.cine.n_phases} phases; "
        f"true EDV {truth['edv_ml']:.1f} ml, ESV {truth['esv_ml']:.1f} ml, EF {truth['ef_percent']:.1f} %\n"
    )


def _variant(args: argparse.Namespace) -> Variant:
    names = set(args.oddity)
    return Variant(
        Vendor(args.vendor),
        tuple(oddity for oddity in Oddity if oddity in names),
        tuple(oddity for oddity in HeaderOddity if oddity in names),
        TransferSyntax(args.transfer_syntax),
    )


def write_exam(
    phantom: Phantom, decoys: tuple[tuple[DecoyKind, Cine], ...], out: Path, variant: Variant | None = None
) -> None:
    """Write the exam and its truth: the folder appears complete, or not at all.

    Args:
        phantom: the short-axis cine and its truth.
        decoys: other series of the same exam.
        out: the folder; an existing one is replaced.
        variant: how the short-axis cine is stored; None: plainly.

    Raises:
        OutputError: the folder cannot be written.
    """
    variant = variant or Variant()
    out = out.absolute()
    try:
        with new_folder(out) as work:
            _fill(work, phantom, decoys, variant)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}") from error


def _fill(folder: Path, phantom: Phantom, decoys: tuple[tuple[DecoyKind, Cine], ...], variant: Variant) -> None:
    scanned = scan(phantom, variant.oddities)
    write_scan(
        scanned,
        folder / "dicom" / "short-axis",
        _SHORT_AXIS,
        vendor=variant.vendor,
        headers=variant.headers,
        syntax=variant.syntax,
    )
    _write_decoys(phantom, decoys, folder / "dicom")
    (folder / "truth").mkdir()
    (folder / _TRUTH).write_text(json.dumps(_truth(phantom, variant), indent=2) + "\n", encoding="utf-8")
    cine, truth = phantom.cine, phantom.truth
    if variant.oddities:
        cine, truth = _truth_as_read(scanned, folder / "truth")
    write_segmentation(truth, cine, folder / "truth" / "segmentation.nii.gz")


def _truth_as_read(scanned: Scan, folder: Path) -> tuple[Cine, Segmentation]:
    """The truth of an odd scan, in the phases and on the grid that result from reading it.

    If phases or matrices differ between slices, the DICOM reader decides which frames are used. So the scan is written
    plainly, with each frame's truth as its pixels, and read.
    """
    frames = [replace(frame, pixels=frame.pixels if frame.labels is None else frame.labels) for frame in scanned.frames]
    with TemporaryDirectory(dir=folder) as name:
        write_scan(replace(scanned, frames=tuple(frames)), Path(name), _SHORT_AXIS)
        cine = open_cine(name)
    drawn = (Structure.CAVITY, Structure.MYOCARDIUM)
    known = {structure: np.ones(cine.n_phases, dtype=bool) for structure in drawn}
    return cine, Segmentation(cine.pixels.astype(np.uint8), known, author="truth")


def _refuse_occupied(out: Path, *, force: bool) -> None:
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return
        if not out.is_dir():
            raise OutputError(f"{out} is a file: name a folder to make")
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}") from error
    if not force:
        raise OutputError(f"{out} is not empty: name another folder, or replace an earlier phantom with --force")
    # --force on the wrong folder must never delete anything but a phantom.
    if not (out / _TRUTH).is_file():
        raise OutputError(f"{out} is not empty and not a phantom, so --force does not replace it: name another folder")
    others = sorted({entry.name for entry in out.iterdir()} - {"dicom", _TRUTH.parts[0]})
    if others:
        raise OutputError(f"{out} holds more than a phantom ({others[0]}), so --force does not replace it")


def _write_decoys(phantom: Phantom, decoys: tuple[tuple[DecoyKind, Cine], ...], folder: Path) -> None:
    localizer = SeriesIdentity(
        number=1,
        description="Localizer",
        image_type=("ORIGINAL", "PRIMARY", "OTHER", "LOCALIZER"),
        series_uid=derived_uid(phantom.cine.source.study_uid, "localizer"),
    )
    others = {
        DecoyKind.LONG_AXIS: SeriesIdentity(number=5),
        DecoyKind.LATE_ENHANCEMENT: SeriesIdentity(
            number=20, scanning_sequence=("GR", "IR"), sequence_variant=("SP", "MP"), inversion_time_ms=280.0
        ),
    }
    written = 0
    for kind, cine in decoys:
        if kind in others:
            write_series(cine, folder / str(kind), others[kind])
        else:
            written += len(write_series(cine, folder / "localizer", localizer, first_instance=written + 1))


def _truth(phantom: Phantom, variant: Variant) -> dict[str, Any]:
    edv, esv = float(phantom.volumes_ml[0]), float(phantom.volumes_ml[phantom.es_phase])
    return {
        "schema": SCHEMA,
        "software": f"cinesax {__version__}",
        "note": "synthetic; phases and slices are counted from 0 in the order in which the exam is read",
        "ed_phase": 0,
        "es_phase": phantom.es_phase,
        "edv_ml": edv,
        "esv_ml": esv,
        "sv_ml": edv - esv,
        "ef_percent": 100 * (edv - esv) / edv,
        "lv_mass_g": phantom.myocardial_volume_ml * _MYOCARDIUM_G_PER_ML,
        "heart_rate_bpm": phantom.cine.heart_rate_bpm,
        "volumes_ml": phantom.volumes_ml.tolist(),
        "vendor": variant.vendor,
        "oddities": [*variant.oddities, *variant.headers],
        "transfer_syntax": variant.syntax,
        "settings": asdict(phantom.settings),
    }
