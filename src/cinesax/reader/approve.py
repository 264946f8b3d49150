"""A person signs: the present reading is written as a new version of the results. Earlier versions do not change."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cinesax.core.analysis import Analysis
from cinesax.core.errors import NoObjectsError
from cinesax.core.origins import Approval, Drawn
from cinesax.core.segmentation import ContourKey
from cinesax.dicom.write.options import SR_NAME, DicomOptions
from cinesax.reader import messages
from cinesax.reader.exams import OpenExam
from cinesax.reader.store.database import Signature, StaleError, Store, now
from cinesax.results.write import write_results


@dataclass(frozen=True, slots=True)
class Signed:
    """An approved version.

    Attributes:
        version: the version of the exam after signing.
        number: the number of the approved version, from 1.
        folder: the folder of its results.
        warning: a message about what could not be written, or None.
    """

    version: int
    number: int
    folder: str
    warning: str | None


def approve(
    store: Store, exam: OpenExam, asked: messages.ApproveBody, *, show_patient: bool, organization: str
) -> Signed:
    """Write the present reading as `cinesax analyze` writes results, and sign it.

    Raises:
        StaleError: the exam has changed since the person saw it.
        OutputError: the results cannot be written.
    """
    if asked.version != exam.version:
        raise StaleError
    signatures, row = store.signatures(exam.id), store.exam(exam.id)
    number = len(signatures) + 1
    approval = Approval(asked.by.strip(), now(), asked.comment.strip(), number, organization)
    analysis = approved(exam, approval)
    folder = store.results_folder(exam.id, f"approved-{number}")
    earlier = [
        Path(folder)
        for folder in (row.results if row else None, *(signature.folder for signature in signatures))
        if folder
    ]
    wanted = asked.dicom and bool(exam.cine.source.copied)
    dicom = _objects(asked, approval, earlier) if wanted else None
    warning = "the exam is not DICOM: no objects were written" if asked.dicom and not wanted else None
    try:
        write_results(analysis, folder, show_patient=show_patient, force=True, dicom=dicom)
    except NoObjectsError as error:
        warning = str(error)
    signature = Signature(
        number,
        approval.by,
        approval.at,
        approval.comment,
        str(folder),
        exam.cine.pixels_sha256,
        analysis.provenance.model_checksum,
    )
    exam.version = store.sign(exam.id, asked.version, signature)
    return Signed(exam.version, number, str(folder), warning)


def approved(exam: OpenExam, approval: Approval) -> Analysis:
    """The analysis of an open exam with every frame approved, and with the patient as the exam names them."""
    segmentation = exam.reading.segmentation
    marks: dict[ContourKey, Drawn | None] = {
        (structure, int(phase), place): replace(segmentation.drawn(structure, int(phase), place), approved=True)
        for structure, known in segmentation.known_phases.items()
        for phase in np.flatnonzero(known)
        for place in range(segmentation.labels.shape[1])
    }
    segmentation = segmentation.with_frames({}, marks, segmentation.known_phases)
    return replace(exam.analysis, cine=exam.cine, segmentation=segmentation, pseudonym=None, approval=approval)


def _objects(asked: messages.ApproveBody, approval: Approval, earlier: list[Path]) -> DicomOptions:
    """The options for DICOM objects: which to write, their time, and the reports that they replace."""
    reports = [folder / SR_NAME for folder in earlier if (folder / SR_NAME).is_file()]
    # Local time, as in the scanner's objects.
    moment = approval.moment.astimezone().replace(tzinfo=None)
    return DicomOptions(
        rtstruct=asked.rtstruct,
        content_time=moment,
        repair_uids=asked.repair_uids,
        predecessors=tuple(reports[-1:]),
    )
