"""The main path: from an exam to an Analysis.

Every front end calls `analyze`; nothing else strings its steps together.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from cinesax._version import __version__
from cinesax.core.analysis import Analysis, Provenance
from cinesax.core.cine import Cine
from cinesax.core.errors import UsageError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.measurements import Measurements
from cinesax.core.presence import BaseRule
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import (
    NO_OVERRIDES,
    ChoiceFields,
    LabelReading,
    Overrides,
    Selection,
    overrides_of,
    refuse_others,
    selection_of,
)
from cinesax.measure.plausibility import check
from cinesax.measure.volumes import check_overrides, measure, measure_checked
from cinesax.trust.assess import assess, calibration_of, check_trust

if TYPE_CHECKING:
    from cinesax.network.segmenter import Segmenter

Progress = Callable[[int, int], None]

_LOG = logging.getLogger(__name__)


def analyze(
    exam: str | PathLike[str] | Sequence[str | PathLike[str]] | Cine,
    *,
    segmentation: str | PathLike[str] | Sequence[str | PathLike[str]] | Segmentation | None = None,
    labels: str | None = None,
    segmentation_phase: int | None = None,
    segmenter: "Segmenter | None" = None,
    model: str | PathLike[str] | None = None,
    threads: int | None = None,
    base: BaseRule | str | None = None,
    unvalidated: bool = False,
    selection: Selection | None = None,
    overrides: Overrides | None = None,
    progress: Progress | None = None,
    **choices: Unpack[ChoiceFields],
) -> Analysis:
    """Read an exam, segment the left ventricle in every frame, measure it, and report what to doubt.

    Args:
        exam: a folder (any depth), a file or a zip of DICOM; a NIfTI file; a folder or list of NIfTI files that
            together hold one cine (ED and ES, or one file per phase or slice); or a Cine.
        segmentation: what to measure instead of running a network: a Segmentation, a NIfTI label file (or one for each
            phase), a DICOM segmentation or structure set, a cvi42 workspace, or a folder of contour files.
        labels: what the numbers in the label file mean: "acdc", "mnms", "totalsegmentator", or "lv=3,myo=2,rv=1".
        segmentation_phase: the phase (0-based) of a segmentation of one phase that does not say which.
        segmenter: segments the left ventricle, instead of a network from a bundle.
        model: the bundle folder of the network to run; by default the shipped one.
        threads: how many CPU threads the network may use; by default one a core.
        base: which slices at the base count as left ventricle: "half" (the default: wall around at least half of the
            blood), "any" (blood of the left ventricle), "whole" (closed wall). Only for a network from a bundle.
        unvalidated: whether the network also draws structures for which it was not validated; the shipped network
            then draws the RV cavity, with a finding.
        selection: which series, study or patient to read, if there are several.
        overrides: ED and ES phases, body size and papillary convention that replace those read or measured.
        progress: called with the number of finished frames and their total while a network runs.
        **choices: fields of `selection` and `overrides` by name, such as `series_uid` or `ed_phase`.

    Raises:
        InputError: no exam, or one that cannot be read (also NoShortAxisError, GeometryError).
        UsageError: options that do not fit the exam, or contradict each other.
        BundleError: the network is damaged.
    """
    if sum(choice is not None for choice in (segmentation, segmenter, model)) > 1:
        raise UsageError("give only one of a segmentation, a segmenter and a model")
    if base is not None and (segmentation is not None or segmenter is not None):
        raise UsageError("`base` is for a network from a bundle: in a given segmentation every slice counts")
    if unvalidated and (segmentation is not None or segmenter is not None):
        raise UsageError("`unvalidated` is for a network from a bundle: of a given segmentation everything is measured")
    refuse_others("analyze", choices, Selection, Overrides)
    selection, overrides = selection_of(selection, choices), overrides_of(overrides, choices)
    if overrides.papillary_muscles_included is not None and segmentation is None:
        raise UsageError("`papillary_muscles_included` needs a `segmentation`")
    if (labels is not None or segmentation_phase is not None) and segmentation is None:
        raise UsageError("`labels` and `segmentation_phase` need a `segmentation`")
    clock = _Clock()
    loading = None
    if segmentation is None and segmenter is None:
        # Two cores: the network starts while files are read.
        loading = _in_background(lambda: _load(model, threads, base, unvalidated))
    with clock.step("read"):
        if isinstance(exam, Cine):
            cine = exam
        else:
            from cinesax.inputs import open_cine

            paths = Path(exam) if isinstance(exam, str | PathLike) else [Path(file) for file in exam]
            cine = open_cine(paths, selection=selection)
        check_overrides(cine, overrides)
    if segmentation is None:
        with clock.step("load network"):
            segmenter = segmenter or (_load(model, threads, base, unvalidated) if loading is None else loading.result())
        with clock.step("segment"):
            result, source = segmenter.segment(cine, progress), "network"
    else:
        with clock.step("read segmentation"):
            reading = LabelReading(labels, segmentation_phase, selection.nifti_geometry)
            result, source = _given(segmentation, cine, reading)
            if overrides.papillary_muscles_included is not None:
                result = replace(result, papillary_muscles_included=overrides.papillary_muscles_included)
    with clock.step("measure"):
        measured = measure_checked(cine, result, overrides)
        calibration = None if segmenter is None else calibration_of(segmenter)
        # The interval is calibrated for the EF of the phases that the curve gives, not for those that a person chose.
        trust = None if _are_chosen(measured, overrides) else assess(result, measured.ef_percent, calibration)
        findings = _findings(cine, result, measured, *check_trust(trust, calibration))
    return Analysis(cine, result, measured, findings, _provenance(segmenter, source, clock), trust=trust)


def remeasure(analysis: Analysis, segmentation: Segmentation, overrides: Overrides = NO_OVERRIDES) -> Analysis:
    """The analysis with another segmentation of the same exam, measured and checked again: fast enough for each edit.

    Args:
        analysis: gives the exam and the provenance.
        segmentation: for example `analysis.segmentation.with_contour(...)`.
        overrides: ED and ES phases and body size that replace those read or measured, as for `analyze`. Overrides of
            the earlier analysis are not kept.

    Raises:
        GeometryError: a segmentation of another shape.
        UsageError: overrides that do not fit.
    """
    measured = measure(analysis.cine, segmentation, overrides)
    # The trust is in the network's own contours and phases; approval of a frame changes neither.
    before = analysis.segmentation
    same = segmentation.labels is before.labels and segmentation.contours is before.contours
    trust = analysis.trust if same and measured.ef_percent == analysis.measurements.ef_percent else None
    doubts = [one for one in analysis.findings if one.code is Code.LOW_TRUST and trust is not None]
    findings = _findings(analysis.cine, segmentation, measured, *doubts)
    # What somebody approved was the analysis before.
    return replace(
        analysis, segmentation=segmentation, measurements=measured, findings=findings, approval=None, trust=trust
    )


def _are_chosen(measured: Measurements, overrides: Overrides) -> bool:
    """Whether ED or ES were given and are not those of the curve."""
    given = (overrides.ed_phase, measured.curve_ed_phase), (overrides.es_phase, measured.curve_es_phase)
    return any(phase is not None and phase != of_curve for phase, of_curve in given)


def _findings(cine: Cine, segmentation: Segmentation, measured: Measurements, *others: Finding) -> tuple[Finding, ...]:
    return _by_severity(*cine.findings, *segmentation.findings, *others, *check(cine, segmentation, measured))


def _in_background(work: "Callable[[], Segmenter]") -> "Future[Segmenter]":
    executor = ThreadPoolExecutor(1)
    future = executor.submit(work)
    executor.shutdown(wait=False)
    return future


def _load(
    model: str | PathLike[str] | None, threads: int | None, base: BaseRule | str | None, unvalidated: bool
) -> "Segmenter":
    from cinesax.network.segmenter import load_segmenter

    if base is not None and base not in set(BaseRule):
        raise UsageError(f"the base rule is half, any or whole, seen {base}")
    rule = BaseRule.HALF if base is None else BaseRule(base)
    return load_segmenter(None if model is None else str(model), threads=threads, base=rule, unvalidated=unvalidated)


def _given(
    segmentation: str | PathLike[str] | Sequence[str | PathLike[str]] | Segmentation, cine: Cine, reading: LabelReading
) -> tuple[Segmentation, str]:
    if isinstance(segmentation, Segmentation):
        return segmentation, "given"
    from cinesax.inputs import read_segmentation

    if isinstance(segmentation, str | PathLike):
        return read_segmentation(Path(segmentation), cine, reading)
    return read_segmentation([Path(file) for file in segmentation], cine, reading)


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
        _LOG.info("%s: %.2f s", name, self.seconds[name])
