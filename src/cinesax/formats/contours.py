"""Contour text files as the Sunnybrook Cardiac Data have them, both ways.

A file `IM-0001-NNNN-{i,o,r,p}contour-{manual,auto}.txt` holds one closed polygon: a point `x y` a line, in pixels, x to
the right, y down, from the outer corner of the first pixel: its centre is (0.5, 0.5). In a Segmentation it is (0, 0),
so half a pixel is added on the way out and taken away on the way in; `contour_convention` tells the files apart that
older versions wrote without it. The letter names the structure: i is the endocardium and o the epicardium, as in
Sunnybrook, which has no letter for the RV; r is the RV's endocardium and p the papillary muscles (of which Sunnybrook
has files p1, p2, ..., which are not read: they lie in the cavity). NNNN counts the frames of the study as the
study does: it is the InstanceNumber, where every frame has its own, else slice * phases + phase + 1 in the order of the
Cine. (In Sunnybrook the study counts from base to apex, which is against the order along the slice normal that a Cine
has.)
"""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, localcontext
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError, OutputError, UsageError
from cinesax.core.grid import Floats
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, from_contours
from cinesax.core.structures import Structure
from cinesax.files.stored_files import replacing
from cinesax.formats.contour_convention import MARKER_NAME, STANDARD, first_pixel_centres, write_marker
from cinesax.formats.crossings import crossing

_LETTERS = "".join(one.facts.letter for one in Structure)
_NAME = re.compile(rf"(?:.*-)?IM-\d+-(\d+)-([{_LETTERS}])contour-(manual|auto)\.txt", re.IGNORECASE)
_ANY_CONTOUR = re.compile(r"(?:.*-)?IM-\d+-\d+-[a-z]\d?contour-(manual|auto)\.txt", re.IGNORECASE)
_MAX_FILE_BYTES = 16 * 1024**2
_EXACT = Context(prec=60)
"""Digits for the sum of a coordinate and a whole number of half pixels, without any rounding."""

Contours = dict[ContourKey, Polygons]


def frame_numbers(cine: Cine) -> dict[int, tuple[int, int]]:
    """The study's number of each frame -> (phase, slice) in the Cine."""
    numbers = cine.source.instance_numbers
    places = ((phase, place) for phase in range(cine.n_phases) for place in range(cine.n_slices))
    if numbers:
        return {numbers[phase][place]: (phase, place) for phase, place in places}
    return {place * cine.n_phases + phase + 1: (phase, place) for phase, place in places}


def read_contours(folder: Path, cine: Cine, *, phase: int | None = None) -> Segmentation:
    """Read the contour files in a folder (any depth) as a Segmentation of a cine, with its contours kept.

    Files of other names are left alone. Where a frame has a manual and an automatic contour, the manual counts.

    Args:
        folder: the folder, or one contour file.
        cine: the study whose frames the files name.
        phase: of files that are of one phase and count its slices from 1, instead of the frames of the study.

    Raises:
        UsageError: a phase for files of other phases.
        InputError: no contour file there, a file with anything but points in it, a frame that the cine does not
            have, points outside of the image, two files of one contour, a broken `convention.json`.
    """
    chosen = chosen_files(folder)
    numbers = (
        frame_numbers(cine) if phase is None else _of_one_phase(folder, cine, {number for number, _ in chosen}, phase)
    )
    centres = first_pixel_centres(chosen.values())
    contours: dict[ContourKey, Polygons] = {}
    for (number, letter), path in chosen.items():
        if number not in numbers:
            raise InputError(
                f"{path} belongs to frame {number}, but the frames of the cine are numbered {min(numbers)} to "
                f"{max(numbers)}: do the contours belong to this exam?"
            )
        phase, place = numbers[number]
        polygon = read_polygon(path, moved_by=_padding_xy(cine, place) - centres[path])
        _refuse_outside(path, polygon, cine)
        contours[Structure.of_letter(letter), phase, place] = (polygon,)
    manual = any("manual" in path.name.lower() for path in chosen.values())
    shape = (cine.n_phases, cine.n_slices, cine.pixels.shape[2], cine.pixels.shape[3])
    return from_contours(contours, shape, author="manual" if manual else "auto")


def _of_one_phase(folder: Path, cine: Cine, seen: set[int], phase: int) -> dict[int, tuple[int, int]]:
    """Number in the names -> (phase, slice), of files of one phase: numbers of its frames, or of its slices from 1.

    Slices count as the study counts its frames: from the other end, where its frame numbers fall along the stack.
    """
    numbers = frame_numbers(cine)
    of_phase = {number: where for number, where in numbers.items() if where[0] == phase}
    if seen <= of_phase.keys():
        return of_phase
    if max(seen) <= cine.n_slices and min(seen) >= 1:
        return {index: of_phase[number] for index, number in enumerate(sorted(of_phase), start=1)}
    raise UsageError(
        f"{folder} holds contours of frames {min(seen)} to {max(seen)}, which are neither frames of phase {phase} nor "
        f"its {cine.n_slices} slices: leave --segmentation-phase out"
    )


def is_contour_file(path: Path) -> bool:
    """Whether the name is that of a contour of one of the structures."""
    return _NAME.fullmatch(path.name) is not None


def contour_files(folder: Path) -> list[Path]:
    """All contours in a folder (any depth), those of papillary muscles included."""
    return sorted(path for path in folder.rglob("*.[tT][xX][tT]") if _ANY_CONTOUR.fullmatch(path.name))


def chosen_files(folder: Path) -> dict[tuple[int, str], Path]:
    """The contour files in a folder (any depth) that count: (number of the frame, letter of the structure) -> file.

    Raises:
        InputError: no contour file there, or two of one contour.
    """
    try:
        files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*.[tT][xX][tT]"))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    chosen: dict[tuple[int, str], Path] = {}
    for path in files:
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        key = int(match[1]), match[2].lower()
        other = chosen.get(key)
        if other is not None and _is_manual(other) == _is_manual(path):
            raise InputError(f"{path} and {other} are contours of the same frame: keep one")
        if other is None or _is_manual(path):
            chosen[key] = path
    if not chosen:
        raise InputError(
            f"{folder} has no contour files: expected names like IM-0001-0048-icontour-manual.txt in a folder"
        )
    return chosen


def _is_manual(path: Path) -> bool:
    return path.name.lower().endswith("-manual.txt")


def read_polygon(path: Path, *, moved_by: ArrayLike = (0.0, 0.0)) -> Floats:
    """The points of one contour file.

    Args:
        path: the file.
        moved_by: (x, y), what is added to the points as they are written. The sum is rounded once, so what
            `write_contours` took away comes back to the last bit.

    Returns:
        (point, 2): x, y in pixels; a last point that repeats the first is left out.

    Raises:
        InputError: with file and line, where a line is not two finite numbers, or there are fewer than three points;
            with file and frame, where the polygon crosses itself.
    """
    points = _read_points(path, moved_by)
    if len(points) > 1 and points[0] == points[-1]:
        points.pop()
    if len(points) < 3:
        raise InputError(f"{path} holds {len(points)} points: a contour has at least three")
    polygon = np.array(points, dtype=np.float64)
    _refuse_crossing(path, polygon, moved_by)
    return polygon


def _refuse_crossing(path: Path, polygon: Floats, moved_by: ArrayLike) -> None:
    """Raise where the area of a polygon would be anything but what it encloses."""
    place = crossing(polygon)
    if place is None:
        return
    x, y = np.array(place) - np.asarray(moved_by, dtype=np.float64)
    match = _NAME.fullmatch(path.name)
    frame = "" if match is None else f" of frame {int(match[1])}"
    raise InputError(
        f"{path}: the contour{frame} crosses itself near x {x:.1f}, y {y:.1f}: its area means nothing. Are its points "
        "in order round the outline?"
    )


def _read_points(path: Path, moved_by: ArrayLike) -> list[tuple[float, float]]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(f"{path} is too long for a contour: {path.stat().st_size} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file: expected one point 'x y' per line") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    by_x, by_y = (Decimal(float(part)) for part in np.asarray(moved_by, dtype=np.float64))
    with localcontext(_EXACT):
        return [_point(line, path, number, (by_x, by_y)) for number, line in enumerate(lines, start=1) if line.strip()]


def _point(line: str, path: Path, number: int, moved_by: tuple[Decimal, Decimal]) -> tuple[float, float]:
    try:
        x, y = (float(word) for word in line.replace(",", " ").split())
        if math.isfinite(x) and math.isfinite(y):
            x, y = (
                float(Decimal(word) + by) for word, by in zip(line.replace(",", " ").split(), moved_by, strict=True)
            )
    except ValueError:
        seen = line.strip()[:40]
        raise InputError(f"{path}, line {number}: expected a point 'x y' in pixels, seen {seen!r}") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InputError(f"{path}, line {number}: a point must be finite, seen {line.strip()[:40]!r}")
    return x, y


def _refuse_outside(path: Path, polygon: Floats, cine: Cine) -> None:
    rows, columns = cine.pixels.shape[2:]
    if np.any(polygon < -1) or np.any(polygon > [columns, rows]):
        polygon = polygon + STANDARD
        raise InputError(
            f"{path} leaves the image, which has {columns} columns and {rows} rows: x {polygon[:, 0].min():.1f} to "
            f"{polygon[:, 0].max():.1f}, y {polygon[:, 1].min():.1f} to {polygon[:, 1].max():.1f}"
        )


def write_contours(segmentation: Segmentation, cine: Cine, folder: Path) -> list[Path]:
    """Write one file for each frame and outline; reading them back gives the same contours and areas.

    A frame of several polygons becomes one file, as the format wants it: the polygons are joined by cuts of no
    width, which leaves the total area as it is. Existing contour files of the folder are left alone. Beside them a
    `convention.json` says where the first pixel's centre is.

    Returns:
        The contour files.

    Raises:
        GeometryError: a segmentation that does not fit the cine.
        OutputError: the files cannot be written.
    """
    if segmentation.labels.shape != cine.pixels.shape:
        raise GeometryError(f"labels of shape {segmentation.labels.shape} do not fit a cine of {cine.pixels.shape}")
    maker = _maker(segmentation.author)
    places = {place: number for number, place in frame_numbers(cine).items()}
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        outlines = {
            folder / _written_name(places[phase, place], structure, maker): (polygons, place)
            for (structure, phase, place), polygons in sorted(_outlines(segmentation).items())
        }
        # First, so that no file is ever there without what it means.
        write_marker(folder, others=[path for path in contour_files(folder) if path not in outlines])
        for path, (polygons, place) in outlines.items():
            _write_polygon(join(polygons), STANDARD - _padding_xy(cine, place), path)
            written.append(path)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def read_written(folder: Path, cine: Cine, counts: Mapping[ContourKey, Sequence[int]], author: str) -> Contours:
    """The contours that `write_contours` wrote, to the last bit.

    Args:
        folder: where they are.
        cine: the study.
        counts: of each contour the number of points of its polygons: see `point_counts`.
        author: of the segmentation.

    Raises:
        InputError: a file that is missing, cannot be read or has another number of points.
    """
    places = {place: number for number, place in frame_numbers(cine).items()}
    paths = {key: folder / _written_name(places[key[1:]], key[0], _maker(author)) for key in counts}
    centres = first_pixel_centres(paths.values())
    contours = {}
    for key, path in paths.items():
        points = np.array(_read_points(path, _padding_xy(cine, key[2]) - centres[path]))
        if len(points) != _joined_length(counts[key]):
            raise InputError(f"{path} has {len(points)} points where {_joined_length(counts[key])} were written")
        contours[key] = _split(points, counts[key])
    return contours


def point_counts(polygons: Polygons) -> list[int]:
    """How many points each polygon has; negative where its file runs through it backwards (see `join`)."""
    if len(polygons) == 1:
        return [len(polygons[0])]
    return [len(polygon) if _signed_area(polygon) >= 0 else -len(polygon) for polygon in polygons]


def _joined_length(counts: Sequence[int]) -> int:
    # Joined polygons return to their first points, and then along the cuts between them.
    return abs(counts[0]) if len(counts) == 1 else sum(map(abs, counts)) + 2 * len(counts) - 1


def _split(points: Floats, counts: Sequence[int]) -> Polygons:
    """Undo `join`."""
    polygons, start = [], 0
    for count in counts:
        polygon = points[start : start + abs(count)]
        polygons.append(polygon if count > 0 else polygon[::-1])
        start += abs(count) + 1
    return tuple(polygons)


def _written_name(number: int, structure: Structure, maker: str) -> str:
    return f"IM-0001-{number:04d}-{structure.facts.letter}contour-{maker}.txt"


def is_written_name(name: str, author: object) -> bool:
    """Whether `write_contours` gives files such a name, of a segmentation by this author."""
    return (
        name == MARKER_NAME
        or re.fullmatch(rf"IM-0001-[-0-9][0-9]{{3,}}-[{_LETTERS}]contour-{_maker(author)}\.txt", name) is not None
    )


def _maker(author: object) -> str:
    return "manual" if author == "manual" else "auto"


def _padding_xy(cine: Cine, place: int) -> Floats:
    """(x, y): what lies before the first stored pixel of a slice; files count pixels as they are stored."""
    if not cine.source.paddings_px:
        return np.zeros(2)
    rows, columns = cine.source.paddings_px[place]
    return np.array([columns, rows], dtype=np.float64)


def _outlines(segmentation: Segmentation) -> Mapping[ContourKey, Polygons]:
    if segmentation.contours is not None:
        return segmentation.contours
    phases, slices = segmentation.labels.shape[:2]
    keys = [
        (one, phase, place) for one in segmentation.known_phases for phase in range(phases) for place in range(slices)
    ]
    traced = {key: segmentation.outline(*key) for key in keys}
    return {key: polygons for key, polygons in traced.items() if polygons}


def join(polygons: Polygons) -> Floats:
    """One polygon of the same total area: the polygons in one direction, joined by cuts of no width."""
    if len(polygons) == 1:
        return polygons[0]
    points = []
    for polygon in polygons:
        turned = polygon if _signed_area(polygon) >= 0 else polygon[::-1]
        points += [turned, turned[:1]]
    # Back along the same cuts: through the starts of the polygons between, in reverse.
    points += [polygon[:1] for polygon in points[-4::-2]]
    return np.concatenate(points)


def _signed_area(polygon: Floats) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return (float(np.dot(x, np.roll(y, -1))) - float(np.dot(y, np.roll(x, -1)))) / 2


def _write_polygon(polygon: Floats, moved_by: Floats, path: Path) -> None:
    """Write the points in decimals that are the exact sums: rounded ones would not come back to the last bit."""
    by_x, by_y = (Decimal(float(part)) for part in moved_by)
    moved = polygon + moved_by
    # Where the sum is exact and as fine as the point, its shortest decimal comes back too, and is written faster.
    short = np.all((moved - moved_by == polygon) & (np.spacing(moved) == np.spacing(polygon)), axis=1).tolist()
    with localcontext(_EXACT), replacing(path) as temporary:
        lines = (
            f"{sum_x!r} {sum_y!r}\n" if plain else f"{Decimal(repr(x)) + by_x} {Decimal(repr(y)) + by_y}\n"
            for plain, (x, y), (sum_x, sum_y) in zip(short, polygon.tolist(), moved.tolist(), strict=True)
        )
        temporary.write_text("".join(lines), encoding="ascii")
