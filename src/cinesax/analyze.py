"""The main path: from an exam to an Analysis.

Every front end calls `analyze`; nothing else strings its steps together.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from cinesax._version import __version__
from cinesax.core.analysis import Analysis, Provenance
from cinesax.core.cine import Cine
from cinesax.core.errors import UsageError
from cinesax.core.findings import Finding, Severity
from cinesax.core.segmentation import Segmentation
from cinesax.measure.plausibility import check
from cinesax.measure.volumes import check_given, measure

if TYPE_CHECKING:
    from cinesax.network.segmenter import Segmenter

Progress = Callable[[int, int], None]


def analyze(
    exam: str | PathLike[str] | Sequence[str | PathLike[str]] | Cine,
    *,
    segmentation: str | PathLike[str] | Segmentation | None = None,
    segmenter: "Segmenter | None" = None,
    model: str | PathLike[str] | None = None,
    threads: int | None = None,
    series_uid: str | None = None,
    study_uid: str | None = None,
    patient_id: str | None = None,
    ignore_frame_of_reference: bool = False,
    nifti_geometry: str | None = None,
    ed_phase: int | None = None,
    es_phase: int | None = None,
    height_cm: float | None = None,
    weight_kg: float | None = None,
    papillary_muscles_included: bool | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Read an exam, find the left ventricle in every frame, measure it, and say what to doubt.

    Args:
        exam: a folder (any depth), a file or a zip of DICOM; a NIfTI file, a folder or list of such files that hold one
            cine together (ED and ES, a file a phase or a slice); or a Cine that was read already.
        segmentation: a Segmentation, or a NIfTI label file, a DICOM segmentation or a folder of contour files, to
            measure instead of running a network.
        segmenter: what finds the left ventricle, instead of a network from a bundle.
        model: the bundle folder of the network to run; by default the one that ships.
        threads: how many CPU threads the network may use; by default as many as there are cores.
        series_uid: the series to read, where the choice made by itself is not the wanted one.
        study_uid: the study to read, where several lie in one folder.
        patient_id: the PatientID of the images to read, where images of several patients lie in one folder.
        ignore_frame_of_reference: read slices of a few different frames of reference as one stack, although the
            patient may have moved between them.
        nifti_geometry: "sform", "qform" or "pixdim": the part of a NIfTI header to believe, of the exam and of the
            segmentation, where its parts contradict one another.
        ed_phase: end diastole (0-based) instead of the phase of largest volume.
        es_phase: end systole (0-based) instead of the phase of smallest volume.
        height_cm: body height instead of the source's.
        weight_kg: body weight instead of the source's.
        papillary_muscles_included: whether the cavity of the segmentation that is given was drawn with the papillary
            muscles in it; by default what a DICOM segmentation says, else included. Volumes are those of what was
            drawn; outputs tell what it was.
        progress: told of the frames done and their total while a network runs.

    Raises:
        InputError: no exam, or one that cannot be read (also NoShortAxisError, GeometryError).
        UsageError: options that do not fit the exam or one another.
        BundleError: the network is damaged.
    """
    if sum(choice is not None for choice in (segmentation, segmenter, model)) > 1:
        raise UsageError("give only one of a segmentation, a segmenter and a model")
    if papillary_muscles_included is not None and segmentation is None:
        raise UsageError("whether the papillary muscles are included is said of a segmentation that is given")
    clock = _Clock()
    with clock.step("read"):
        if isinstance(exam, Cine):
            cine = exam
        else:
            from cinesax.inputs import open_cine

            cine = open_cine(
                Path(exam) if isinstance(exam, str | PathLike) else [Path(file) for file in exam],
                series_uid=series_uid,
                study_uid=study_uid,
                patient_id=patient_id,
                ignore_frame_of_reference=ignore_frame_of_reference,
                nifti_geometry=nifti_geometry,
            )
        check_given(cine, ed_phase=ed_phase, es_phase=es_phase, height_cm=height_cm, weight_kg=weight_kg)
    if segmentation is None:
        with clock.step("load network"):
            segmenter = segmenter or _load(model, threads)
        with clock.step("segment"):
            found, source = segmenter.segment(cine, progress), "network"
    else:
        with clock.step("read segmentation"):
            found, source = _given(segmentation, cine, nifti_geometry)
            if papillary_muscles_included is not None:
                found = replace(found, papillary_muscles_included=papillary_muscles_included)
    with clock.step("measure"):
        measured = measure(cine, found, ed_phase=ed_phase, es_phase=es_phase, height_cm=height_cm, weight_kg=weight_kg)
        findings = _by_severity(*cine.findings, *found.findings, *check(cine, found, measured))
    return Analysis(cine, found, measured, findings, _provenance(segmenter, source, clock))


def _load(model: str | PathLike[str] | None, threads: int | None) -> "Segmenter":
    from cinesax.network.segmenter import load_segmenter

    return load_segmenter(None if model is None else str(model), threads=threads)


def _given(
    segmentation: str | PathLike[str] | Segmentation, cine: Cine, nifti_geometry: str | None
) -> tuple[Segmentation, str]:
    if isinstance(segmentation, Segmentation):
        return segmentation, "given"
    from cinesax.inputs import read_segmentation

    return read_segmentation(Path(segmentation), cine, nifti_geometry=nifti_geometry)


def _provenance(segmenter: "Segmenter | None", source: str, clock: "_Clock") -> Provenance:
    return Provenance(
        f"cinesax {__version__}",
        model=None if segmenter is None else segmenter.name,
        model_checksum=None if segmenter is None else segmenter.checksum,
        segmentation_source=source,
        seconds=tuple(clock.seconds.items()),
    )


def _by_severity(*findings: Finding) -> tuple[Finding, ...]:
    order = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


class _Clock:
    """Wall time of each step, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
