"""Results back into an Analysis: from the folder that `write_results` wrote, and the exam."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from cinesax.core.analysis import Analysis, Provenance
from cinesax.core.cine import Cine
from cinesax.core.errors import InputError, UsageError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.measurements import Measurements
from cinesax.core.origins import Drawn, Origin
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

Told = Mapping[str, Any]
"""The content of analysis.json, or a part of it."""


def read_results(
    out: str | os.PathLike[str],
    exam: str | Path | Sequence[str | Path] | Cine | None = None,
    **choices: Unpack[SelectionFields],
) -> Analysis:
    """Read back what `write_results` wrote.

    Labels, contours, findings and the phases that were looked at come from the folder. They are measured again, and
    the numbers must be those of analysis.json. Written again, the files are the same.

    The seconds and the numbers of findings are rounded as in analysis.json. Texts of results that were written without
    `show_patient` stay without the patient.

    Args:
        out: the folder.
        exam: the exam, as `open_cine` takes it, or a Cine. None: it is opened where it lay, which only results that
            were written with `show_patient` say.
        choices: fields of a `Selection` by name, where the exam was opened with them.

    Raises:
        InputError: no results, results of an older version, files that were changed; no exam, or another one than that
            which was analyzed, or one that was changed.
        CinesaxError: the exam cannot be opened: see `open_cine`.
    """
    folder = Path(out)
    told = tables.read_json(folder / JSON_NAME)
    if "exam" not in told:
        raise InputError(
            f"{folder} was written by an older version, which did not store everything needed to read it back"
        )
    with _understood(folder / JSON_NAME):
        where = _where(told)
        findings = tuple(map(_finding, told["findings"]))
        provenance = _provenance(told)
    cine = exam if isinstance(exam, Cine) else _opened(exam, where, folder, choices)
    with _understood(folder / JSON_NAME):
        cine = _with_texts(cine, told)
        refuse_another_exam(cine, told, str(folder))
        segmentation = _segmentation(folder, told["segmentation"], cine, findings)
        analysis = Analysis(cine, segmentation, measure(cine, segmentation), findings, provenance)
        return _with_same_numbers(analysis, told, folder)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """A context in which what analysis.json lacks, or has of another type, is an error that says so."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Where:
    """Where the exam lay, as far as it is known, and what was picked of it."""

    paths: tuple[str, ...]
    pixels_sha256: str
    study_uid: str | None
    series_uid: str | None


def _where(told: Told) -> _Where:
    exam, series = told["exam"], told["series"]
    series_uid = next(iter(series.get("series_uids", ())), None)
    return _Where(tuple(exam["paths"]), exam["pixels_sha256"], series.get("study_uid"), series_uid)


def _opened(
    exam: str | Path | Sequence[str | Path] | None, where: _Where, folder: Path, choices: SelectionFields
) -> Cine:
    from cinesax.inputs import open_cine

    if exam is not None:
        return open_cine(exam, **choices)
    if not where.paths:
        raise InputError(f"{folder} does not say where its exam lies: give the exam too")
    gone = [path for path in where.paths if not Path(path).exists()]
    if gone:
        raise InputError(f"the exam of {folder} is no longer at {gone[0]}: give the exam too")
    cine = open_cine(where.paths, selection=Selection(study_uid=where.study_uid), **choices)
    if cine.pixels_sha256 != where.pixels_sha256 and where.series_uid is not None:
        # A series was asked for that is not picked by itself.
        cine = open_cine(where.paths, selection=Selection(series_uid=where.series_uid), **choices)
    return cine


def _with_texts(cine: Cine, told: Told) -> Cine:
    """The exam with the reasons of then: those of now depend on the folder that was given to open it."""
    series = told["series"]
    others = tuple((other["series"], other["reason"]) for other in series["not_picked"])
    return replace(cine, source=replace(cine.source, picked_because=series["picked_because"], not_picked=others))


def _finding(told: Told) -> Finding:
    return Finding(
        Code(told["code"]),
        Severity(told["severity"]),
        told["message"],
        told["phase"],
        told["slice"],
        numbers=told["numbers"],
        files=tuple(told.get("files", ())),
    )


def _segmentation(folder: Path, told: Told, cine: Cine, findings: tuple[Finding, ...]) -> Segmentation:
    known = {}
    for name, phases in told["known_phases"].items():
        known[Structure[name.upper()]] = looked_at = np.zeros(cine.n_phases, dtype=bool)
        looked_at[phases] = True
    contours, presence = None, folder / PRESENCE_NAME
    if told["contours"] is not None:
        counts = {_key(one): one["points"] for one in told["contours"]}
        contours = contour_files.read_written(folder / CONTOURS_NAME, cine, counts, told["author"])
    return Segmentation(
        read_written(folder / LABELS_NAME, cine),
        known,
        contours,
        findings=tuple(findings[index] for index in told["findings"]),
        author=told["author"],
        papillary_muscles_included=told["papillary_muscles_included"],
        origin=Origin(told["origin"]),
        presence=read_presence(presence) if presence.exists() else None,
        origins={_key(one): Drawn(Origin(one["origin"]), one["by"], one["approved"]) for one in told["origins"]},
    )


def _key(told: Told) -> ContourKey:
    return Structure[told["structure"].upper()], told["phase"], told["slice"]


def _provenance(told: Told) -> Provenance:
    model, software = told["model"] or {}, told["software"]
    return Provenance(
        f"{software['name']} {software['version']}",
        model=model.get("name"),
        model_checksum=model.get("sha256"),
        segmentation_source=told["segmentation"]["source"],
        seconds=tuple(software["seconds"].items()),
    )


def _with_same_numbers(analysis: Analysis, told: Told, folder: Path) -> Analysis:
    """The analysis, with those of its phases and body sizes given that make its numbers the ones that were written."""
    for measurements in _measured(analysis, told["measurements"]):
        made = replace(analysis, measurements=measurements)
        numbers = tables.document(made)["measurements"]
        # Older versions wrote fewer than all of them, and none fewer than these.
        names = {*tables.SCALARS, *tables.ARRAYS, *told["measurements"]}
        if all(numbers.get(name) == told["measurements"][name] for name in names):
            return made
    version = told["software"]["version"]
    raise InputError(
        f"the numbers in {folder / JSON_NAME} do not follow from contours and labels beside it: they were changed, "
        f"or cinesax {version} measured differently. Analyze the exam again, with --segmentation {CONTOURS_NAME}/"
    )


def _measured(analysis: Analysis, told: Told) -> Iterator[Measurements]:
    """The measurements, and then those with phases and sizes given, as they may have been: the numbers tell."""
    own = analysis.measurements
    yield own
    sizes = Overrides(height_cm=_given_size("height_cm", own, told), weight_kg=_given_size("weight_kg", own, told))
    for ed, es in product((None, told["ed_phase"]), (None, told["es_phase"])):
        try:
            yield measure(analysis.cine, analysis.segmentation, replace(sizes, ed_phase=ed, es_phase=es))
        except UsageError:
            continue  # the phase given alone is that of the other extreme: both were given


def _given_size(name: str, own: Measurements, told: Told) -> float | None:
    """A body size, where it is not that of the exam."""
    return None if tables.rounded(getattr(own, name)) == told[name] else told[name]
