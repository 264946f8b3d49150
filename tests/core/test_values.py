"""Values go through pickle, copy and another process: equal after it, and as frozen as before."""

import copy
import multiprocessing
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cinesax
import hearts
from cinesax.core.cine import Cine, Gating, Source, StoredFile
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Grid, stacked_grid
from cinesax.core.origins import Drawn, Origin
from cinesax.core.segmentation import Segmentation, from_contours
from cinesax.core.structures import Structure
from cinesax.evaluate.evaluation import Evaluation, evaluate
from cinesax.evaluate.study import LabelledStudy


def drawn() -> Segmentation:
    square = np.array([(10.25, 10.0), (20.5, 10.0), (20.5, 20.125), (10.25, 20.0)])
    contours = {
        (Structure.CAVITY, 0, 2): (square, square + 15),
        (Structure.MYOCARDIUM, 0, 2): (square * 1.5 - 7,),
        (Structure.CAVITY, 3, 2): (square * 0.8,),
    }
    return from_contours(contours, (10, 6, 48, 48))


def evaluation() -> Evaluation:
    study = LabelledStudy("p1", {(0, 2): "a", (3, 2): "b"}, hearts.cine(), hearts.labels())
    return evaluate([study], lambda cine: hearts.labels(hearts.BEAT[::-1]), pictures=2)


def analysis() -> cinesax.Analysis:
    findings = (Finding(Code.RULES_OFF, Severity.WARNING, "a sentence", 1, 2),)
    source = Source("dicom", study_uid="1.2.3", not_picked=(("a", "b"),), copied=b"\1\2")
    cine = hearts.cine(gating=Gating.RETROSPECTIVE, findings=findings, source=source)
    return cinesax.analyze(cine, segmentation=drawn())


def tilted() -> Grid:
    turned = np.array([0.6, 0.8, 0.1]) / np.linalg.norm([0.6, 0.8, 0.1])
    down = np.cross(turned, [0.0, 0.3, 1.0])
    return stacked_grid(
        (1.5, -2, 3),
        along_row=turned,
        along_column=down / np.linalg.norm(down),
        spacing_mm=(1.25, 1.5),
        slice_distance_mm=8.0,
        shape=(4, 9, 8),
    )


VALUES: dict[str, Any] = {
    "cine": hearts.cine(),
    "cine without grid": hearts.cine(grid=None, trigger_times_ms=None, rr_intervals_ms=None),
    "grid": tilted(),
    "labels": hearts.labels(),
    "contours": drawn(),
    "edited": drawn().without(0, 2, by="A. Reader"),
    "drawn": Drawn(Origin.EDITED, "A. Reader"),
    "measurements": analysis().measurements,
    "analysis": analysis(),
    "evaluation": evaluation(),
    "picture": evaluation().pictures[0],
    "finding": Finding(Code.RULES_OFF, Severity.NOTE, "a sentence"),
    "patient": hearts.cine().patient,
    "source": analysis().cine.source,
    "provenance": analysis().provenance,
    "options": cinesax.DicomOptions(),
    "selection": cinesax.Selection(series_uid="1.2"),
    "overrides": cinesax.Overrides(ed_phase=1),
}


def arrays(value: object) -> Iterator[np.ndarray]:
    """All arrays in a value, what is computed from its fields included."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        yield from arrays(tuple(value.values()))
    elif isinstance(value, tuple):
        for item in value:
            yield from arrays(item)
    elif is_dataclass(value):
        yield from arrays(tuple(getattr(value, field.name) for field in fields(value)))
        if isinstance(value, Grid):
            yield from (value.normal, value.positions_mm, value.slice_distances_mm)


def check(made: object, original: object) -> None:
    assert type(made) is type(original)
    assert (made == original) is True and (made != original) is False
    assert [array.flags.writeable for array in arrays(made)] == [False for _ in arrays(original)]
    if isinstance(made, Segmentation):
        with pytest.raises(TypeError):
            made.known_phases[Structure.CAVITY] = np.ones(10, dtype=bool)  # type: ignore[index]


@pytest.mark.parametrize("name", VALUES)
def test_copies_are_equal_and_as_frozen(name: str) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        check(pickle.loads(pickle.dumps(VALUES[name], protocol)), VALUES[name])
    check(copy.copy(VALUES[name]), VALUES[name])
    check(copy.deepcopy(VALUES[name]), VALUES[name])


def test_another_process_gets_and_returns_them() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for made, original in zip(pool.map(copy.deepcopy, VALUES.values()), VALUES.values(), strict=True):
            check(made, original)


def test_all_public_values_are_among_them() -> None:
    public = {getattr(cinesax, name) for name in cinesax.__all__ if is_dataclass(getattr(cinesax, name))}
    assert public <= {type(value) for value in VALUES.values()}


def test_equality_is_of_contents() -> None:
    cine, labels, contours = hearts.cine(), hearts.labels(), drawn()
    assert cine == hearts.cine() and labels == hearts.labels() and contours == drawn()
    assert cine != hearts.cine(base_first=False)
    assert cine != replace(cine, pixels=cine.pixels + 1)
    assert cine != replace(cine, trigger_times_ms=None) and replace(cine, grid=None) != cine
    assert cine != replace(cine, grid=tilted_like(cine))
    assert labels != hearts.labels(hearts.BEAT[::-1]) and labels != replace(labels, author="x")
    moved = {key: tuple(polygon + 0.25 for polygon in polygons) for key, polygons in (contours.contours or {}).items()}
    assert contours != replace(contours, contours=moved) and contours != replace(contours, contours=None)
    assert cine != "cine"
    assert analysis().measurements != cinesax.analyze(cine, segmentation=labels).measurements
    measured = analysis().measurements  # phases that are not known are nan, which is no difference
    assert np.isnan(measured.cavity_areas_px).any() and measured == analysis().measurements
    # Where the files lie is no part of what a cine is.
    assert Source("dicom", files=((StoredFile(Path("a")),),)) == Source("dicom")
    with pytest.raises(TypeError, match="unhashable"):
        hash(cine)


def tilted_like(cine: Cine) -> Grid:
    assert cine.grid is not None
    return stacked_grid((0, 0, 0), spacing_mm=(1.0, 1.0), slice_distance_mm=9.0, shape=cine.grid.shape)


def test_what_was_given_is_not_frozen() -> None:
    pixels, times, origins = np.zeros((3, 2, 8, 8), np.int16), np.zeros((3, 2)), np.array([[0.0, 0, 0], [0, 0, 9]])
    grid = Grid(origins, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0), (2, 8, 8))
    cine = Cine(pixels, grid, trigger_times_ms=times)
    labels, known = np.zeros((3, 2, 8, 8), np.uint8), np.ones(3, dtype=bool)
    segmentation = Segmentation(labels, {Structure.CAVITY: known})
    assert all(array.flags.writeable for array in (pixels, times, origins, labels, known))
    assert not any(array.flags.writeable for array in arrays((cine, segmentation)))
    assert cine.pixels.base is pixels and segmentation.labels.base is labels, "nothing large is copied"
