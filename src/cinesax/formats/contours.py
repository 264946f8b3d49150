"""Reads and writes contour text files as in the Sunnybrook Cardiac Data.

A file `IM-0001-NNNN-{i,o,r,p}contour-{manual,auto}.txt` holds one closed polygon, one point `x y` per line, in pixels,
x to the right, y down, from the outer corner of the first pixel, whose centre is (0.5, 0.5). In a Segmentation that
centre is (0, 0), so writing adds half a pixel and reading subtracts it; `contour_convention` recognises files of older
versions without it. The letter names the structure: i is the endocardium and o the epicardium, as in Sunnybrook, which
has no letter for the RV; r is the RV's endocardium and p the papillary muscles. (Sunnybrook's own files p1, p2, ... are
not read: these muscles are part of the cavity.) NNNN counts frames as the study does: it is the InstanceNumber if every
frame has its own, else slice * phases + phase + 1 in the order of the Cine. (Sunnybrook studies count from base to
apex, which is the reverse of the slice order of a Cine.)
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

_LETTERS = "".join(structure.facts.letter for structure in Structure)
_NAME = re.compile(rf"(?:.*-)?IM-\d+-(\d+)-([{_LETTERS}])contour-(manual|auto)\.txt", re.IGNORECASE)
_ANY_CONTOUR = re.compile(r"(?:.*-)?IM-\d+-\d+-[a-z]\d?contour-(manual|auto)\.txt", re.IGNORECASE)
_MAX_FILE_BYTES = 16 * 1024**2
_EXACT = Context(prec=60)
_EXACT_BELOW = 2.0**40
"""Enough digits to add half pixels to a coordinate without rounding."""

Contours = dict[ContourKey, Polygons]


def frame_numbers(cine: Cine) -> dict[int, tuple[int, int]]:
    """The number of each frame in the study -> (phase, slice) in the Cine."""
    numbers = cine.source.instance_numbers
    places = ((phase, place) for phase in range(cine.n_phases) for place in range(cine.n_slices))
    if numbers:
        return {numbers[phase][place]: (phase, place) for phase, place in places}
    return {place * cine.n_phases + phase + 1: (phase, place) for phase, place in places}


def read_contours(folder: Path, cine: Cine, *, phase: int | None = None) -> Segmentation:
    """Read the contour files in a folder (any depth) as a Segmentation of a cine, with its contours.

    Files with other names are ignored. If a frame has a manual and an automatic contour, the manual one counts.

    Args:
        folder: the folder, or one contour file.
        cine: the study that the file names refer to.
        phase: the phase of files that all belong to one phase and may count its slices from 1 instead of frames.

    Raises:
        UsageError: the files do not belong to the given phase.
        InputError: there is no contour file, a file holds anything but points, the cine does not have a frame, points
            are outside the image, two files hold the same contour, or `convention.json` is damaged.
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


def _of_one_phase(folder: Path, cine: Cine, named: set[int], phase: int) -> dict[int, tuple[int, int]]:
    """Number in the names -> (phase, slice), for files of one phase: numbers of its frames, or of its slices from 1.

    Slices are counted in the order of the study's frame numbers, which may run from the last slice to the first.
    """
    numbers = frame_numbers(cine)
    of_phase = {number: where for number, where in numbers.items() if where[0] == phase}
    if named <= of_phase.keys():
        return of_phase
    if max(named) <= cine.n_slices and min(named) >= 1:
        return {index: of_phase[number] for index, number in enumerate(sorted(of_phase), start=1)}
    raise UsageError(
        f"{folder} holds contours of frames {min(named)} to {max(named)}, which are neither frames of phase {phase} "
        f"nor its {cine.n_slices} slices: leave --segmentation-phase out"
    )


def is_contour_file(path: Path) -> bool:
    """Whether the name is that of a contour of one of the structures."""
    return _NAME.fullmatch(path.name) is not None


def contour_files(folder: Path) -> list[Path]:
    """All contour files in a folder (any depth), including those of papillary muscles."""
    return sorted(path for path in folder.rglob("*.[tT][xX][tT]") if _ANY_CONTOUR.fullmatch(path.name))


def chosen_files(folder: Path) -> dict[tuple[int, str], Path]:
    """The contour files in a folder (any depth) that count: (number of the frame, letter of the structure) -> file.

    Raises:
        InputError: there is no contour file, or two files hold the same contour.
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
        moved_by: (x, y), added to the stored points. The sum is rounded only once, so that the points are exactly those
            that `write_contours` was given.

    Returns:
        (point, 2): x, y in pixels; a last point that repeats the first is left out.

    Raises:
        InputError: a line is not two finite numbers, there are fewer than three points, or the polygon crosses itself;
            the message names file and line, or file and frame.
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
    """Raise if a polygon crosses itself: its area would not be that of the region it encloses."""
    place = crossing(polygon)
    if place is None:
        return
    x, y = np.array(place) - np.asarray(moved_by, dtype=np.float64)
    match = _NAME.fullmatch(path.name)
    frame = "" if match is None else f" of frame {int(match[1])}"
    raise InputError(
        f"{path}: the contour{frame} crosses itself near x {x:.1f}, y {y:.1f}: its area means nothing. Are its points "
        "in order around the outline?"
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
    words = [line.replace(",", " ").split() for line in lines if line.strip()]
    by = np.asarray(moved_by, dtype=np.float64)
    quick = _moved(words, by)
    by_x, by_y = (Decimal(float(part)) for part in by)
    with localcontext(_EXACT):
        if quick is None:
            written = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
            return [_point(line, path, number, (by_x, by_y)) for number, line in written]
        points, doubtful = quick
        for index in doubtful:
            x, y = words[index]
            points[index] = float(Decimal(x) + by_x), float(Decimal(y) + by_y)
    return points


def _moved(words: list[list[str]], by: Floats) -> tuple[list[tuple[float, float]], list[int]] | None:
    """Points moved by `by` in floating point, and the indices of those whose last bit may be wrong.

    Several hundred files belong to an exam: decimal numbers throughout would take a third of the time to open it.

    Returns:
        None if the words are not two finite numbers each.
    """
    if not words or any(len(pair) != 2 for pair in words):
        return None
    try:
        read = np.array([(float(x), float(y)) for x, y in words])
    except ValueError:
        return None
    if not np.all(np.isfinite(read)) or np.any(np.abs(read) > _EXACT_BELOW) or np.any(2 * by % 1):
        return None
    moved = read + by
    # Halves are whole steps between neighbouring numbers here. As long as these steps stay the same, moving the rounded
    # number and rounding the moved one give the same. The steps change at 0 and at powers of two (mantissa 0.5).
    part, size = np.frexp(moved)
    doubtful = np.any((np.frexp(read)[1] != size) | (np.abs(part) <= 0.5), axis=1) & np.any(by)
    return [(x, y) for x, y in moved.tolist()], np.flatnonzero(doubtful).tolist()


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

    The format has one polygon per file: several polygons of a frame are joined by cuts of no width, which do not change
    the total area. Other contour files in the folder stay. A `convention.json` next to them records the position of the
    first pixel's centre.

    Returns:
        The contour files.

    Raises:
        GeometryError: the segmentation does not fit the cine.
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
        # First, so that no contour file ever exists without its convention.
        write_marker(folder, others=[path for path in contour_files(folder) if path not in outlines])
        for path, (polygons, place) in outlines.items():
            _write_polygon(join(polygons), STANDARD - _padding_xy(cine, place), path)
            written.append(path)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def read_written(folder: Path, cine: Cine, counts: Mapping[ContourKey, Sequence[int]], author: str) -> Contours:
    """The contours that `write_contours` wrote, exact to the last bit.

    Args:
        folder: the folder of the contours.
        cine: the study.
        counts: for each contour, the numbers of points of its polygons: see `point_counts`.
        author: the author of the segmentation.

    Raises:
        InputError: a file is missing, cannot be read or has another number of points.
    """
    places = {place: number for number, place in frame_numbers(cine).items()}
    paths = {key: folder / _written_name(places[key[1:]], key[0], _maker(author)) for key in counts}
    centres = first_pixel_centres(paths.values())
    contours = {}
    for key, path in paths.items():
        points = np.array(_read_points(path, _padding_xy(cine, key[2]) - centres[path]))
        if len(points) != _joined_length(counts[key]):
            raise InputError(f"{path} has {len(points)} points, but {_joined_length(counts[key])} were written")
        contours[key] = _split(points, counts[key])
    return contours


def point_counts(polygons: Polygons) -> list[int]:
    """The number of points of each polygon; negative if the file stores it in reverse (see `join`)."""
    if len(polygons) == 1:
        return [len(polygons[0])]
    return [len(polygon) if _signed_area(polygon) >= 0 else -len(polygon) for polygon in polygons]


def _joined_length(counts: Sequence[int]) -> int:
    # Each joined polygon returns to its first point, and then the path runs back along the cuts between them.
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
    """Whether `write_contours` uses this name for segmentations by this author."""
    return (
        name == MARKER_NAME
        or re.fullmatch(rf"IM-0001-[-0-9][0-9]{{3,}}-[{_LETTERS}]contour-{_maker(author)}\.txt", name) is not None
    )


def _maker(author: object) -> str:
    return "manual" if author == "manual" else "auto"


def _padding_xy(cine: Cine, place: int) -> Floats:
    """(x, y): the padding before the first stored pixel of a slice; files count stored pixels."""
    if not cine.source.paddings_px:
        return np.zeros(2)
    rows, columns = cine.source.paddings_px[place]
    return np.array([columns, rows], dtype=np.float64)


def _outlines(segmentation: Segmentation) -> Mapping[ContourKey, Polygons]:
    if segmentation.contours is not None:
        return segmentation.contours
    phases, slices = segmentation.labels.shape[:2]
    keys = [
        (structure, phase, place)
        for structure in segmentation.known_phases
        for phase in range(phases)
        for place in range(slices)
    ]
    traced = {key: segmentation.outline(*key) for key in keys}
    return {key: polygons for key, polygons in traced.items() if polygons}


def join(polygons: Polygons) -> Floats:
    """One polygon with the same total area: the polygons, all in one direction, joined by cuts of no width."""
    if len(polygons) == 1:
        return polygons[0]
    points = []
    for polygon in polygons:
        turned = polygon if _signed_area(polygon) >= 0 else polygon[::-1]
        points += [turned, turned[:1]]
    # Return along the same cuts, through the starts of the polygons in between, in reverse.
    points += [polygon[:1] for polygon in points[-4::-2]]
    return np.concatenate(points)


def _signed_area(polygon: Floats) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return (float(np.dot(x, np.roll(y, -1))) - float(np.dot(y, np.roll(x, -1)))) / 2


def _write_polygon(polygon: Floats, moved_by: Floats, path: Path) -> None:
    """Write the exact decimal sums of points and offset: rounded sums would not restore the points to the last bit."""
    by_x, by_y = (Decimal(float(part)) for part in moved_by)
    moved = polygon + moved_by
    # If the sum is exact and as fine as the point, its shortest decimal restores the point too, and is faster to write.
    short = np.all((moved - moved_by == polygon) & (np.spacing(moved) == np.spacing(polygon)), axis=1).tolist()
    with localcontext(_EXACT), replacing(path) as temporary:
        lines = (
            f"{sum_x!r} {sum_y!r}\n" if plain else f"{Decimal(repr(x)) + by_x} {Decimal(repr(y)) + by_y}\n"
            for plain, (x, y), (sum_x, sum_y) in zip(short, polygon.tolist(), moved.tolist(), strict=True)
        )
        temporary.write_text("".join(lines), encoding="ascii")
