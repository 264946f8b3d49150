"""Source and patient from the headers of a stack."""

from collections.abc import Callable
from typing import TypeVar

from cinesax.core.cine import Patient, Source
from cinesax.dicom.copied import read_copied
from cinesax.dicom.read.header import Header
from cinesax.dicom.read.series import valid_date
from cinesax.dicom.read.stack import OrderedStack
from cinesax.dicom.uid import derived_uid

T = TypeVar("T")


def source_of(ordered: OrderedStack) -> Source:
    """The Source of a Cine, without the reason for the choice.

    Raises:
        InputError: a file can no longer be read.
    """
    first = ordered.frames[0][0]
    everything = [header for phase in ordered.frames for header in phase]
    numbers = [header.instance_number for header in everything]
    countable = None not in numbers and len(set(numbers)) == len(numbers)
    series = tuple(dict.fromkeys(header.series_uid or "" for header in everything))
    enhanced = any(header.frame_number is not None for header in everything)
    return Source(
        "dicom",
        study_uid=first.study_uid,
        series_uids=series,
        instance_uids=_each(ordered, lambda header: header.sop_instance_uid or ""),
        frame_numbers=_each(ordered, lambda header: header.frame_number or 1) if enhanced else (),
        sop_class_uid=first.sop_class_uid,
        files=_each(ordered, lambda header: header.file),
        instance_numbers=_each(ordered, lambda header: int(header.instance_number or 0)) if countable else (),
        frame_series_uids=_each(ordered, lambda header: header.series_uid or "") if len(series) > 1 else (),
        paddings_px=ordered.paddings,
        stored_matrices=tuple((header.rows or 0, header.columns or 0) for header in ordered.frames[0])
        if ordered.paddings
        else (),
        frame_of_reference_uid=_frame_of_reference(everything, first),
        description=first.series_description,
        study_date=valid_date(first.study_date),
        manufacturer=first.manufacturer,
        scanner=first.scanner,
        field_strength_t=first.field_strength_t,
        slice_thickness_mm=first.slice_thickness_mm,
        protocol=first.protocol_name or first.sequence_name,
        copied=read_copied(max(everything, key=_made)),
    )


def _each(ordered: OrderedStack, take: Callable[[Header], T]) -> tuple[tuple[T, ...], ...]:
    return tuple(tuple(take(header) for header in phase) for phase in ordered.frames)


def _frame_of_reference(headers: list[Header], first: Header) -> str | None:
    """The UID that all frames share; if they differ, a new one for all of them, the same at every reading."""
    uids = {header.frame_of_reference_uid for header in headers}
    if len(uids) == 1:
        return uids.pop()
    return derived_uid("frame of reference", first.study_uid, *sorted(uid or "" for uid in uids))


def _made(header: Header) -> tuple[str, str]:
    """When a frame was made, if its header has a valid date; new objects take the newest date of the exam."""
    date = valid_date(header.content_date) or valid_date(header.acquisition_date)
    return (date, header.content_time or header.acquisition_time or "") if date else ("", "")


def patient_of(header: Header) -> Patient:
    """The patient of a header; None for codes and dates that are not valid."""
    return Patient(
        name=header.patient_name,
        patient_id=header.patient_id,
        birth_date=valid_date(header.patient_birth_date),
        sex=header.patient_sex if header.patient_sex in ("M", "F", "O") else None,
        age_years=_age_years(header.patient_age),
        # An implausible height or weight is kept here: `measure` leaves it out, and a finding says so.
        height_cm=_stored(header.patient_size_m, 100),
        weight_kg=_stored(header.patient_weight_kg),
    )


def _stored(value: float | None, factor: float = 1.0) -> float | None:
    """Height or weight as stored; None for 0, which consoles write if nobody has entered a value."""
    return None if value is None or value == 0 else factor * value


def _age_years(text: str | None) -> float | None:
    years = {"Y": 1.0, "M": 1 / 12, "W": 1 / 52.18, "D": 1 / 365.25}
    if text is None or len(text) != 4 or not text[:3].isdigit() or text[3] not in years:
        return None
    return int(text[:3]) * years[text[3]]
