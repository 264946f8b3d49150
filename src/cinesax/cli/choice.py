"""What a command reads of a folder that holds more than one series, study or patient."""

import argparse
from typing import TypedDict


class Choice(TypedDict):
    """The arguments of `cinesax.dicom.read.pick.open_cine` that choose."""

    series_uid: str | None
    study_uid: str | None
    patient_id: str | None
    ignore_frame_of_reference: bool
    nifti_geometry: str | None


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    chosen = parser.add_argument_group("what to read of the folder")
    chosen.add_argument("--series", metavar="UID", help="the series to read instead of the one chosen by itself")
    chosen.add_argument("--study", metavar="UID", help="the study to read, where there are several")
    chosen.add_argument("--patient", metavar="ID", help="the PatientID to read, where there are several")
    chosen.add_argument(
        "--ignore-frame-of-reference",
        action="store_true",
        help="read slices as one stack although the patient may have moved between them",
    )
    chosen.add_argument(
        "--nifti-geometry",
        choices=("sform", "qform", "pixdim"),
        help="the part of a NIfTI header to believe, where its parts contradict one another",
    )


def choice(args: argparse.Namespace) -> Choice:
    """What the options say."""
    return Choice(
        series_uid=args.series,
        study_uid=args.study,
        patient_id=args.patient,
        ignore_frame_of_reference=args.ignore_frame_of_reference,
        nifti_geometry=args.nifti_geometry,
    )
