"""An Analysis without anything that identifies the patient, for everything that is shared or shown.

`write_results` calls `pseudonymise` once. The writers of HTML, JSON, CSV, NIfTI and contours write everything that an
Analysis holds. DICOM objects are made from the original, because an archive files them by patient and study.
"""

from collections.abc import Iterable
from dataclasses import replace

from cinesax.core.analysis import Analysis
from cinesax.core.cine import Patient, Source
from cinesax.core.findings import Finding
from cinesax.core.identity import Identifiers, identifying_texts, remove_texts
from cinesax.core.origins import Approval
from cinesax.core.segmentation import Segmentation

VENDOR_WORDS = ("siemens", "philips", "ge", "canon", "toshiba", "hitachi", "phantom")
"""Stay in manufacturer and model, although some people have these names."""

OLDEST_AGE_YEARS = 90.0
"""Replaces every higher age: so few people are older that their age can identify them."""


def pseudonymise(analysis: Analysis) -> Analysis:
    """Remove everything that identifies the patient from an Analysis; numbers, pixels and `case` stay.

    Names, IDs, dates, UIDs and file names are removed; ages above 90 become 90. Free texts (descriptions, findings)
    lose every name, ID and date of the patient that the exam contains, and every UID. The description of an exam that
    is not DICOM is a file name, and is removed.

    Returns:
        An Analysis whose `pseudonym` is its case key. An Analysis with a pseudonym is returned unchanged.
    """
    if analysis.pseudonym is not None:
        return analysis
    source, patient = analysis.cine.source, analysis.cine.patient
    others = _others(source)
    identifying = identifying_texts(patient, others)
    cine = replace(
        analysis.cine,
        source=_source(source, identifying),
        patient=_patient(patient),
        findings=_findings(analysis.cine.findings, identifying),
    )
    return replace(
        analysis,
        cine=cine,
        segmentation=_segmentation(analysis, identifying),
        findings=_findings(analysis.findings, identifying),
        pseudonym=analysis.case,
        approval=_approval(analysis.approval, identifying),
    )


def _others(source: Source) -> Identifiers:
    """Identifiers in the exam other than the patient's name, ID and birth date."""
    known = Identifiers(dates=(source.study_date,) if source.study_date else ())
    if not source.copied:
        return known
    from cinesax.dicom.copied import identifiers

    copied = identifiers(source.copied)
    return replace(copied, dates=(*known.dates, *copied.dates))


def _source(source: Source, identifying: tuple[str, ...]) -> Source:
    """Only the fields named here stay: a field added to Source is left out until somebody decides on it."""
    vendor = tuple(text for text in identifying if text.lower() not in VENDOR_WORDS)
    return Source(
        source.kind,
        frame_numbers=source.frame_numbers,
        sop_class_uid=source.sop_class_uid,
        instance_numbers=source.instance_numbers,
        paddings_px=source.paddings_px,
        stored_matrices=source.stored_matrices,
        # In other formats the description is a file name.
        description=_without(source.description, identifying) if source.kind == "dicom" else None,
        manufacturer=_without(source.manufacturer, vendor),
        scanner=_without(source.scanner, vendor),
        field_strength_t=source.field_strength_t,
        slice_thickness_mm=source.slice_thickness_mm,
        protocol=_without(source.protocol, identifying),
        picked_because=_without(source.picked_because, identifying),
        not_picked=tuple(
            (remove_texts(series, identifying), remove_texts(why, identifying)) for series, why in source.not_picked
        ),
        stored_axes=source.stored_axes,
    )


def _without(text: str | None, identifying: Iterable[str]) -> str | None:
    return None if text is None else remove_texts(text, identifying)


def _patient(patient: Patient) -> Patient:
    age = patient.age_years
    return Patient(
        sex=patient.sex,
        age_years=None if age is None else min(age, OLDEST_AGE_YEARS),
        height_cm=patient.height_cm,
        weight_kg=patient.weight_kg,
    )


def _approval(approval: Approval | None, identifying: tuple[str, ...]) -> Approval | None:
    """The name of who approved stays; what that person typed may name the patient."""
    return None if approval is None else replace(approval, comment=remove_texts(approval.comment, identifying))


def _findings(findings: Iterable[Finding], identifying: tuple[str, ...]) -> tuple[Finding, ...]:
    return tuple(_finding(finding, identifying) for finding in findings)


def _finding(finding: Finding, identifying: tuple[str, ...]) -> Finding:
    texts = {name: remove_texts(text, identifying) for name, text in finding.texts.items()}
    # The sentence is cinesax's own, unless another program's segmenter made the finding.
    return replace(finding, sentence=remove_texts(finding.sentence, identifying), files=(), texts=texts)


def _segmentation(analysis: Analysis, identifying: tuple[str, ...]) -> Segmentation:
    """Without the patient in findings and author; the same object if nothing has to be removed."""
    given = analysis.segmentation
    # Neither a network's name nor "manual" says anything about the patient.
    ours = analysis.provenance.model is not None or given.author == "manual"
    author = given.author if ours else remove_texts(given.author, identifying)
    origins = {key: replace(drawn, by=remove_texts(drawn.by, identifying)) for key, drawn in given.origins.items()}
    if author == given.author and origins == given.origins and not given.findings:
        return given
    return replace(given, author=author, origins=origins, findings=_findings(given.findings, identifying))
