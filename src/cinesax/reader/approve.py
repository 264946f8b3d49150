"""A person signs: what is seen is written as a new version of the results, and none before it is touched."""

from dataclasses import dataclass, replace

import numpy as np

from cinesax.core.analysis import Analysis
from cinesax.core.errors import NoObjectsError
from cinesax.core.origins import Approval, Drawn
from cinesax.core.segmentation import ContourKey
from cinesax.dicom.write.options import DicomOptions
from cinesax.reader import messages
from cinesax.reader.exams import OpenExam
from cinesax.reader.store.database import Signature, StaleError, Store, now
from cinesax.results.write import write_results


@dataclass(frozen=True, slots=True)
class Signed:
    """An approved version.

    Attributes:
        version: of the exam, afterwards.
        number: of the approved version, from 1.
        folder: its results.
        warning: what could not be written, or None.
    """

    version: int
    number: int
    folder: str
    warning: str | None


def approve(
    store: Store, exam: OpenExam, asked: messages.ApproveBody, *, show_patient: bool, organization: str
) -> Signed:
    """Write what is seen as `cinesax analyze` writes it, and sign it.

    Raises:
        StaleError: the exam has another version than the one that was looked at.
        OutputError: the results cannot be written.
    """
    if asked.version != exam.version:
        raise StaleError
    number = len(store.signatures(exam.id)) + 1
    approval = Approval(asked.by.strip(), now(), asked.comment.strip(), number, organization)
    analysis = approved(exam, approval)
    folder = store.results_folder(exam.id, f"approved-{number}")
    warning = None
    try:
        write_results(analysis, folder, show_patient=show_patient, force=True, dicom=_objects(exam, asked))
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
    """The analysis of an open exam, with every frame approved, of the exam as it was read."""
    segmentation = exam.reading.segmentation
    marks: dict[ContourKey, Drawn | None] = {
        (structure, int(phase), place): replace(segmentation.drawn(structure, int(phase), place), approved=True)
        for structure, known in segmentation.known_phases.items()
        for phase in np.flatnonzero(known)
        for place in range(segmentation.labels.shape[1])
    }
    segmentation = segmentation.with_frames({}, marks, segmentation.known_phases)
    return replace(exam.analysis, cine=exam.cine, segmentation=segmentation, pseudonym=None, approval=approval)


def _objects(exam: OpenExam, asked: messages.ApproveBody) -> DicomOptions | None:
    """Which DICOM objects to write: none of an exam that is not DICOM."""
    if not asked.dicom or not exam.cine.source.copied:
        return None
    return DicomOptions(rtstruct=asked.rtstruct)
