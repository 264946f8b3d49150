"""Read results back into an Analysis: from the folder that `write_results` wrote, and the exam."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from cinesax.core.analysis import Analysis, Provenance, Reason, Trust
from cinesax.core.cine import Cine
from cinesax.core.errors import InputError, UsageError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.measurements import Measurements
from cinesax.core.origins import Approval, Drawn, Origin
from cinesax.core.segmentation import ContourKey, Segmentation
from cinesax.core.selection import Overrides, Selection, SelectionFields
from cinesax.core.structures import Structure
from cinesax.formats import contours as contour_files
from cinesax.formats.nifti import read_written
from cinesax.measure.volumes import measure
from cinesax.results import tables
from cinesax.results.exam import refuse_another_exam
from cinesax.results.presence import PRESENCE_NAME, read_presence
from cinesax.results.write import CONTOURS_NAME, JSON_NAME, LABELS_NAME

Content = Mapping[str, Any]
"""The content of analysis.json, or a part of it."""


def read_results(
    out: str | os.PathLike[str],
    exam: str | Path | Sequence[str | Path] | Cine | None = None,
    **choices: Unpack[SelectionFields],
) -> Analysis:
    """Read back what `write_results` wrote.

    Labels, contours, findings and the segmented phases come from the folder. They are measured again, and the numbers
    must equal those in analysis.json. Writing the Analysis again gives the same files.

    Seconds and the numbers in findings are rounded as in analysis.json. Texts written without `show_patient` stay
    without the patient.

    Args:
        out: the folder.
        exam: the exam, as for `open_cine`, or a Cine. None: the exam is opened where it was, which only results written
            with `show_patient` say.
        choices: the fields of a `Selection` with which the exam was opened, by name.

    Raises:
        InputError: no results, results of an older version, or files that were changed; no exam, another exam than the
            one analyzed, or an exam that was changed.
        CinesaxError: the exam cannot be opened: see `open_cine`.
    """
    folder = Path(out)
    content = tables.read_json(folder / JSON_NAME)
    if "exam" not in content:
        raise InputError(
            f"{folder} was written by an older version that did not store everything needed to read it back: "
            "analyze the exam again"
        )
    with _understood(folder / JSON_NAME):
        where = _where(content)
        findings = tuple(map(_finding, content["findings"]))
        provenance, approval, trust = _provenance(content), _approval(content), _trust(content)
    cine = exam if isinstance(exam, Cine) else _opened(exam, where, folder, choices)
    with _understood(folder / JSON_NAME):
        cine = _with_texts(cine, content)
        refuse_another_exam(cine, content, str(folder))
        segmentation = _segmentation(folder, content["segmentation"], cine, findings)
        measured = measure(cine, segmentation)
        analysis = Analysis(cine, segmentation, measured, findings, provenance, approval=approval, trust=trust)
        return _with_same_numbers(analysis, content, folder)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """A context that turns missing entries and wrong types in analysis.json into an InputError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Where:
    """Where the exam was, as far as known, and which study and series were picked."""

    paths: tuple[str, ...]
    pixels_sha256: str
    study_uid: str | None
    series_uid: str | None


def _where(content: Content) -> _Where:
    exam, series = content["exam"], content["series"]
    series_uid = next(iter(series.get("series_uids", ())), None)
    return _Where(tuple(exam["paths"]), exam["pixels_sha256"], series.get("study_uid"), series_uid)


def _opened(
    exam: str | Path | Sequence[str | Path] | None, where: _Where, folder: Path, choices: SelectionFields
) -> Cine:
    from cinesax.inputs import open_cine

    if exam is not None:
        return open_cine(exam, **choices)
    if not where.paths:
        raise InputError(f"the place of the exam is not stored in {folder}: give the exam too")
    gone = [path for path in where.paths if not Path(path).exists()]
    if gone:
        raise InputError(f"the exam of {folder} is no longer at {gone[0]}: give the exam too")
    cine = open_cine(where.paths, selection=Selection(study_uid=where.study_uid), **choices)
    if cine.pixels_sha256 != where.pixels_sha256 and where.series_uid is not None:
        # The series was chosen by the user: left alone, cinesax picks another one.
        cine = open_cine(where.paths, selection=Selection(series_uid=where.series_uid), **choices)
    return cine


def _with_texts(cine: Cine, content: Content) -> Cine:
    """The exam with the stored reasons: new ones would depend on the folder that it was opened from."""
    series = content["series"]
    others = tuple((other["series"], other["reason"]) for other in series["not_picked"])
    return replace(cine, source=replace(cine.source, picked_because=series["picked_because"], not_picked=others))


def _finding(content: Content) -> Finding:
    return Finding(
        Code(content["code"]),
        Severity(content["severity"]),
        content["message"],
        content["phase"],
        content["slice"],
        numbers=content["numbers"],
        files=tuple(content.get("files", ())),
    )


def _segmentation(folder: Path, content: Content, cine: Cine, findings: tuple[Finding, ...]) -> Segmentation:
    known = {}
    for name, phases in content["known_phases"].items():
        known[Structure[name.upper()]] = segmented = np.zeros(cine.n_phases, dtype=bool)
        segmented[phases] = True
    contours, presence = None, folder / PRESENCE_NAME
    if content["contours"] is not None:
        counts = {_key(contour): contour["points"] for contour in content["contours"]}
        contours = contour_files.read_written(folder / CONTOURS_NAME, cine, counts, content["author"])
    return Segmentation(
        read_written(folder / LABELS_NAME, cine),
        known,
        contours,
        findings=tuple(findings[index] for index in content["findings"]),
        author=content["author"],
        papillary_muscles_included=content["papillary_muscles_included"],
        origin=Origin(content["origin"]),
        presence=read_presence(presence) if presence.exists() else None,
        origins={
            _key(entry): Drawn(Origin(entry["origin"]), entry["by"], entry["approved"]) for entry in content["origins"]
        },
    )


def _key(content: Content) -> ContourKey:
    return Structure[content["structure"].upper()], content["phase"], content["slice"]


def _provenance(content: Content) -> Provenance:
    model, software = content["model"] or {}, content["software"]
    return Provenance(
        f"{software['name']} {software['version']}",
        model=model.get("name"),
        model_checksum=model.get("sha256"),
        segmentation_source=content["segmentation"]["source"],
        seconds=tuple(software["seconds"].items()),
    )


def _approval(content: Content) -> Approval | None:
    signed = content.get("approval")
    return None if signed is None else Approval(**signed)


def _trust(content: Content) -> Trust | None:
    held = content.get("trust")
    if held is None:
        return None
    values = {name: value for name, value in held.items() if name != "words"}
    return Trust(**values | {"reasons": tuple(map(Reason, held["reasons"]))})


def _with_same_numbers(analysis: Analysis, content: Content, folder: Path) -> Analysis:
    """The analysis with the given phases and body sizes that reproduce the written numbers."""
    for measurements in _measured(analysis, content["measurements"]):
        made = replace(analysis, measurements=measurements)
        numbers = tables.document(made)["measurements"]
        # Older versions wrote fewer numbers, but always those in SCALARS and ARRAYS.
        names = {*tables.SCALARS, *tables.ARRAYS, *content["measurements"]}
        if all(numbers.get(name) == content["measurements"][name] for name in names):
            return made
    version = content["software"]["version"]
    raise InputError(
        f"the numbers in {folder / JSON_NAME} do not follow from the contours and labels beside it: they were changed, "
        f"or cinesax {version} measured differently. Analyze the exam again, with --segmentation {CONTOURS_NAME}/"
    )


def _measured(analysis: Analysis, content: Content) -> Iterator[Measurements]:
    """Measurements without overrides, then with each combination that may have been given; numbers tell which was."""
    own = analysis.measurements
    yield own
    sizes = Overrides(
        height_cm=_given_size("height_cm", own, content), weight_kg=_given_size("weight_kg", own, content)
    )
    for ed, es in product((None, content["ed_phase"]), (None, content["es_phase"])):
        try:
            yield measure(analysis.cine, analysis.segmentation, replace(sizes, ed_phase=ed, es_phase=es))
        except UsageError:
            continue  # this phase alone is the other extreme, so both phases were given


def _given_size(name: str, own: Measurements, content: Content) -> float | None:
    """A body size that differs from the exam's, else None."""
    return None if tables.rounded(getattr(own, name)) == content[name] else content[name]
