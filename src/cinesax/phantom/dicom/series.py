"""Writing a scan or a Cine as DICOM series."""

import gc
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.fileset import FileSet
from pydicom.uid import UID

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, OutputError
from cinesax.dicom.uid import derived_uid
from cinesax.files.stored_files import replacing
from cinesax.phantom.dicom.classic import classic_instances
from cinesax.phantom.dicom.enhanced import enhanced_instances
from cinesax.phantom.dicom.headers import HeaderOddity, file_name, spoil
from cinesax.phantom.dicom.parts import SeriesIdentity, Writing, store_pixels
from cinesax.phantom.dicom.storage import TransferSyntax, encode
from cinesax.phantom.dicom.vendors import STYLES, Style, Vendor
from cinesax.phantom.scanning import Scan, ScannedFrame, take_apart


def write_series(cine: Cine, folder: Path, identity: SeriesIdentity, *, first_instance: int = 1) -> list[Path]:
    """Write a Cine as a series of classic MR Image Storage, one instance per frame, explicit little endian.

    InstanceNumber counts slice by slice in the order of the Cine, and phases within each slice, from
    `first_instance`. The files are named IM-SSSS-NNNN.dcm after series and instance number.

    Args:
        cine: the cine, with a grid; pixels of an integer type of at most 16 bits, or real numbers, which are rounded.
        folder: created if it does not exist.
        identity: identity of the series.
        first_instance: the first InstanceNumber; lets cines of different orientation (localizers) form one series.

    Returns:
        The files, in the order of InstanceNumber.

    Raises:
        GeometryError: the Cine has no grid.
        InputError: the pixels do not fit into 16 bits.
        OutputError: the files cannot be written.
    """
    if cine.grid is None:
        raise GeometryError("a cine without geometry cannot be written as DICOM")
    return _save(instances(take_apart(cine), identity, first_instance=first_instance), folder)


def instances(
    scan: Scan, identity: SeriesIdentity, *, vendor: Vendor = Vendor.PLAIN, first_instance: int = 1
) -> list[pydicom.Dataset]:
    """Turn a scan into uncompressed DICOM instances with file meta information.

    Args:
        scan: the scan.
        identity: identity of the series, or of the first one if each slice is a series.
        vendor: the make of scanner whose style to follow.
        first_instance: the first InstanceNumber.

    Returns:
        In the order of SeriesNumber and InstanceNumber.

    Raises:
        InputError: the pixels do not fit into 16 bits.
    """
    style = STYLES[vendor]
    stored = store_pixels([frame.pixels for frame in scan.frames], style)
    made: list[pydicom.Dataset] = []
    for index, frames in enumerate(_series(scan.frames, style)):
        own = replace(identity, number=identity.number + index)
        if index > 0:
            own = replace(own, series_uid=derived_uid(identity.seed, *scan.source.series_uids, "series", own.number))
        write = enhanced_instances if style.enhanced else classic_instances
        made += write(Writing(scan, own, style, stored), frames, first_instance=first_instance)
    return made


def write_scan(
    scan: Scan,
    folder: Path,
    identity: SeriesIdentity,
    *,
    vendor: Vendor = Vendor.PLAIN,
    headers: Collection[HeaderOddity] = (),
    syntax: TransferSyntax = TransferSyntax.EXPLICIT,
) -> list[Path]:
    """Write a scan in the style of one make of scanner.

    Args:
        scan: the scan, with its oddities.
        folder: created if it does not exist.
        identity: identity of the series, or of the first one if each slice is a series.
        vendor: the make of scanner whose style to follow.
        headers: oddities of headers and file names.
        syntax: transfer syntax.

    Returns:
        The files, in the order of SeriesNumber, and of InstanceNumber as the vendor counts.

    Raises:
        InputError: the pixels do not fit into 16 bits.
        UsageError: the vendor's instances cannot have these header oddities, or the syntax cannot be encoded.
        OutputError: the files cannot be written.
    """
    made = instances(scan, identity, vendor=vendor)
    spoil(made, headers)
    for instance in made:
        encode(instance, syntax)
    return _save_medium(made, folder) if HeaderOddity.DICOMDIR in headers else _save(made, folder, headers)


def _save_medium(made: Sequence[pydicom.Dataset], folder: Path) -> list[Path]:
    """Files and their DICOMDIR, as on a CD."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            medium = FileSet()
            medium.UID = UID(derived_uid("medium", *(instance.SOPInstanceUID for instance in made)))
            for instance in made:
                medium.add(instance)
            medium.write(folder)
            # pydicom leaves its temporary folder to the garbage collector, with a warning.
            del medium
            gc.collect()
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {_reason(error)}") from error
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "DICOMDIR")


def _save(made: Sequence[pydicom.Dataset], folder: Path, headers: Collection[HeaderOddity] = ()) -> list[Path]:
    written = []
    try:
        for instance in made:
            path = folder / file_name(instance, headers)
            path.parent.mkdir(parents=True, exist_ok=True)
            with config.disable_value_validation(), replacing(path) as temporary:
                instance.save_as(temporary, enforce_file_format=True)
            written.append(path)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {_reason(error)}") from error
    return written


def _reason(error: OSError) -> str:
    """Why a file cannot be written; pydicom puts the traceback into the message, and keeps the error as its cause."""
    first = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return first.strerror or str(error).partition("\n")[0]


def _series(frames: Sequence[ScannedFrame], style: Style) -> list[list[ScannedFrame]]:
    """The frames of each series, in the order of InstanceNumber; a slice that was acquired again comes last."""
    groups: dict[tuple[int, int], list[ScannedFrame]] = {}
    for frame in frames:
        key = (
            0 if style.again_in_same_series else frame.acquisition,
            frame.slice_index if style.one_series_a_slice else 0,
        )
        groups.setdefault(key, []).append(frame)

    def order(frame: ScannedFrame) -> tuple[int, ...]:
        place = (frame.phase, frame.slice_index) if style.phase_by_phase else (frame.slice_index, frame.phase)
        return frame.acquisition, *place

    return [sorted(groups[key], key=order) for key in sorted(groups)]
