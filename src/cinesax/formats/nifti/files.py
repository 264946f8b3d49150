"""A cine in several NIfTI files: ED and ES, one file per phase, per slice, or per frame; listed or in a folder.

Files on the same grid are phases, in the order of their names. Files of single, parallel slices are a stack, in the
order of their positions. If the files have no position in the patient, their names decide.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine, Source
from cinesax.core.errors import GeometryError, InputError, printable
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Grid
from cinesax.core.orientation import base_first, body_plane, off_axis, off_axis_degrees
from cinesax.core.selection import NiftiGeometry
from cinesax.formats.nifti import names
from cinesax.formats.nifti.image import Part, read_part

_SAME_PLACE_MM = 1.0
_PARALLEL_DEGREES = 2.0
_SAME_SPACING = 0.01
_FEWEST_SLICES = 3
_ACROSS_THE_HEART_DEGREES = 35.0
_MOST_LABELS, _LEAST_IMAGE = 20, 100
"""A file of whole numbers up to the first limit, in a folder with an image above the second, holds labels."""


def read_files(paths: Sequence[Path], *, geometry: NiftiGeometry | None = None, of_folder: bool = False) -> Cine:
    """Read the files of one cine.

    Args:
        paths: the files.
        geometry: the part of the headers that gives position and spacing, if their parts disagree.
        of_folder: whether these are all files of a folder, instead of a list by the user: files of other views may be
            left out, and the order must be in the names.

    Raises:
        InputError: the files do not belong together, or their order is not known.
        GeometryError: as `read_part`, or the slices are not one stack.
    """
    parts = [read_part(path, geometry=geometry) for path in dict.fromkeys(paths)]
    chosen, left_out = of_one_cine(parts, of_folder=of_folder)
    cine = together(chosen, of_folder=of_folder)
    return replace(
        cine, source=replace(cine.source, not_picked=tuple((_nameless(part), why) for part, why in left_out))
    )


def together(parts: Sequence[Part], *, of_folder: bool = False) -> Cine:
    """One cine from files that belong together: see `read_files`."""
    if len(parts) == 1:
        return _with_axis(parts[0].cine, parts[0].oriented)
    if len({part.oriented for part in parts}) > 1:
        placed = next(part for part in parts if part.oriented)
        bare = next(part for part in parts if not part.oriented)
        raise InputError(
            f"{bare.path} has no position in the patient, but {placed.path.name} has: they do not form one cine"
        )
    if parts[0].oriented:
        groups = _by_place(parts)
    else:
        groups = _by_name(parts)
    stacks = [_in_time(group, given=not of_folder) for group in groups]
    if len(stacks) == 1:
        return _with_axis(_named(stacks[0].cine, parts, "one per phase"), parts[0].oriented)
    several = next((stack for stack in stacks if stack.cine.n_slices > 1), None)
    if several is not None:
        other = next(stack for stack in stacks if stack is not several)
        raise GeometryError(
            f"{several.path} and {other.path.name} do not lie on one grid: expected phases of one stack, or single "
            "slices"
        )
    how = "one per slice" if len(stacks) == len(parts) else "one per slice and phase"
    return _with_axis(_named(_stack(stacks), parts, how), parts[0].oriented)


def _with_axis(cine: Cine, oriented: bool) -> Cine:
    """The cine, with a finding if its position in the patient is not that of a short-axis stack.

    There is no finding for axial slices: many sets have lost their orientation, and their headers say that slices lie
    along z.
    """
    if cine.grid is None or not oriented or cine.n_slices < _FEWEST_SLICES or body_plane(cine.grid.normal) == "axial":
        return cine
    return replace(cine, findings=(*cine.findings, *off_axis(cine.grid.normal)))


def _named(cine: Cine, parts: Sequence[Part], how: str) -> Cine:
    first, last = (printable(part.path.name) for part in (parts[0], parts[-1]))
    description = f"{len(parts)} files, {first} to {last}"
    source = Source(
        "nifti", description=description, picked_because=f"{len(parts)} NIfTI files, {how}",
        stored_axes=cine.source.stored_axes,
    )  # fmt: skip
    return replace(cine, source=source)


# Which files of a folder are read


def of_one_cine(parts: Sequence[Part], *, of_folder: bool) -> tuple[list[Part], list[tuple[Part, str]]]:
    """The files of the short-axis cine in a folder, and (file, why not) for the others.

    Args:
        parts: the files.
        of_folder: as in `read_files`; files that the user listed are all read.

    Raises:
        InputError: several views are short axis, or none is.
    """
    if not of_folder or len(parts) == 1:
        return list(parts), []
    parts, no_images = _images_once(parts)
    chosen, others = _of_one_view(parts) if len(parts) > 1 else (parts, [])
    return chosen, [*others, *no_images]


def _images_once(parts: Sequence[Part]) -> tuple[list[Part], list[tuple[Part, str]]]:
    """The images among files, each once; and (file, why not) for copies and for labels without a name of labels."""
    most = [float(part.cine.pixels.max()) for part in parts]
    images: list[Part] = []
    left_out: list[tuple[Part, str]] = []
    for part, largest in zip(parts, most, strict=True):
        whole_numbers = bool(np.all(part.cine.pixels == np.round(part.cine.pixels)))
        if largest <= _MOST_LABELS and max(most) > _LEAST_IMAGE and whole_numbers:
            left_out.append((part, f"labels: its values are whole numbers from 0 to {largest:.0f}"))
        elif any(_is_copy(part, other) for other in images):
            left_out.append((part, "a copy of another file"))
        else:
            images.append(part)
    return images, left_out


def _is_copy(part: Part, other: Part) -> bool:
    same_place = part.grid.same_as(other.grid, tolerance_mm=_SAME_PLACE_MM)
    return same_place and np.array_equal(part.cine.pixels, other.cine.pixels)


def _of_one_view(parts: Sequence[Part]) -> tuple[list[Part], list[tuple[Part, str]]]:
    """`of_one_cine` for the images of a folder."""
    whole = [part for part in parts if part.cine.n_phases > 2 and part.cine.n_slices >= _FEWEST_SLICES]
    if len(whole) == 1 and all(part.cine.n_phases == 1 for part in parts if part is not whole[0]):
        return whole, [(part, "one phase, next to a file of many") for part in parts if part is not whole[0]]
    views = _views(parts)
    if len(views) == 1:
        return list(parts), []
    across = [view for view in views if _is_short_axis(view)]
    if len(across) != 1:
        listed = "; ".join(f"{view[0].path.name} and {len(view) - 1} more" for view in views[:6])
        raise InputError(
            f"the folder holds NIfTI files of {len(views)} views, {len(across)} of them short axis: give the files of "
            f"one view ({printable(listed)})"
        )
    others = [part for view in views if view is not across[0] for part in view]
    return across[0], [(part, "another view, matrix or number of phases") for part in others]


def _nameless(part: Part) -> str:
    """A description for results of a file that was left out; results must not contain file names."""
    phases, slices, rows, columns = part.cine.pixels.shape
    return f"NIfTI file of {slices} slices, {phases} phases, {rows} x {columns}"


def _views(parts: Sequence[Part]) -> list[list[Part]]:
    """Groups of files with the same orientation, spacing, matrix and number of phases."""
    views: list[list[Part]] = []
    for part in parts:
        view = next((view for view in views if _is_of_view(part, view[0])), None)
        if view is None:
            views.append([part])
        else:
            view.append(part)
    return views


def _is_of_view(part: Part, other: Part) -> bool:
    shape, other_shape = part.cine.pixels.shape, other.cine.pixels.shape
    return shape[0] == other_shape[0] and shape[2:] == other_shape[2:] and _is_parallel(part.grid, other.grid)


def _is_short_axis(view: Sequence[Part]) -> bool:
    slices = sum(part.cine.n_slices for part in _by_place_first(view))
    across = off_axis_degrees(view[0].grid.normal) <= _ACROSS_THE_HEART_DEGREES
    return slices >= _FEWEST_SLICES and across and view[0].oriented


def _by_place_first(view: Sequence[Part]) -> list[Part]:
    return [group[0] for group in _by_place(view)]


# Which files are phases of one slice or stack


def _by_place(parts: Sequence[Part]) -> list[list[Part]]:
    """Groups of files on the same grid."""
    groups: list[list[Part]] = []
    for part in parts:
        same = (group for group in groups if group[0].grid.same_as(part.grid, tolerance_mm=_SAME_PLACE_MM))
        group = next(same, None)
        if group is None:
            groups.append([part])
        else:
            group.append(part)
    if len(groups) == len(parts) == 2 and all(names.moment(part.path) is not None for part in parts):
        raise GeometryError(
            f"{parts[0].path} and {parts[1].path.name} are called ED and ES and do not lie on one grid "
            f"{_difference(parts[0].grid, parts[1].grid)}"
        )
    return groups


def _difference(first: Grid, second: Grid) -> str:
    if first.shape != second.shape:
        return f"(slices, rows, columns {first.shape} and {second.shape})"
    apart = float(np.linalg.norm(first.origins_mm[0] - second.origins_mm[0]))
    return f"({apart:.1f} mm apart; spacings {first.spacing_mm} and {second.spacing_mm} mm)"


def _by_name(parts: Sequence[Part]) -> list[list[Part]]:
    """Groups of files without a position: stacks are phases of one group; names of single slices give their slice."""
    shapes = {part.cine.pixels.shape[1:] for part in parts}
    spacings = {(part.grid.spacing_mm, part.step_mm) for part in parts}
    if len(shapes) > 1 or len(spacings) > 1:
        raise GeometryError(f"{parts[0].path} and the other files differ in matrix, number of slices or spacing")
    if parts[0].cine.n_slices > 1:
        return [list(parts)]
    numbers = [names.slice_number(part.path) for part in parts]
    if None in numbers:
        if all(names.moment(part.path) is not None or names.phase_number(part.path) is not None for part in parts):
            return [list(parts)]
        raise InputError(
            f"{parts[0].path} and the other files hold single slices without a position: expected names like "
            "slice03.nii.gz or slice03_phase07.nii.gz"
        )
    by_slice: dict[int, list[Part]] = {}
    for number, part in zip(numbers, parts, strict=True):
        by_slice.setdefault(number or 0, []).append(part)
    return [_shifted(by_slice[number], place) for place, number in enumerate(sorted(by_slice))]


def _shifted(parts: Sequence[Part], place: int) -> list[Part]:
    """Files of one slice without a position, moved along z by its index, so that each slice has its own grid."""
    return [replace(part, grid=replace(part.grid, origins_mm=part.grid.origins_mm + [0, 0, place])) for part in parts]


# The order of phases


def _in_time(group: Sequence[Part], *, given: bool) -> Part:
    """One part with all phases of a group of files on the same grid."""
    if len(group) == 1:
        return group[0]
    order = names.order([part.path for part in group])
    if order is None and not given:
        listed = ", ".join(part.path.name for part in group[:4])
        raise InputError(
            f"{group[0].path.parent}: the names do not give the order of the phases ({printable(listed)}): "
            "give the files in their order"
        )
    ordered = [group[index] for index in order or range(len(group))]
    spans = {part.cine.n_phases for part in ordered}
    if spans != {1}:
        raise InputError(
            f"{ordered[0].path} and {ordered[1].path.name} hold the same slices, {max(spans)} phases in one: "
            "give only the one to read"
        )
    first = ordered[0].cine
    cine = replace(
        first,
        pixels=_joined([part.cine.pixels for part in ordered], axis=0),
        trigger_times_ms=None,
        rr_intervals_ms=None,
        findings=_gathered([part.cine for part in ordered]) + _without_times(),
    )
    return replace(ordered[0], cine=cine)


def _without_times() -> tuple[Finding, ...]:
    message = "files of one phase each do not give times in the beat: heart rate and rates are not known"
    return (Finding(Code.MISSING_TRIGGER_TIMES, Severity.WARNING, message),)


# How slices become a stack


def _stack(slices: Sequence[Part]) -> Cine:
    """One cine from single slices."""
    first = slices[0]
    for part in slices[1:]:
        if part.cine.pixels.shape[2:] != first.cine.pixels.shape[2:] or not _is_parallel(part.grid, first.grid):
            raise GeometryError(
                f"{first.path} and {part.path.name} are not slices of one stack: matrix, spacing or orientation differ"
            )
        if part.cine.n_phases != first.cine.n_phases:
            raise InputError(
                f"{first.path} has {first.cine.n_phases} phases and {part.path.name} {part.cine.n_phases}: "
                "slices of one stack must have the same number"
            )
    ordered = sorted(slices, key=lambda part: float(part.grid.origins_mm[0] @ first.grid.normal))
    cines = [part.cine for part in ordered]
    grid = _stacked(ordered)
    times, beats = [cine.trigger_times_ms for cine in cines], [cine.rr_intervals_ms for cine in cines]
    measured = all(cine.grid is not None for cine in cines)
    findings = _gathered(cines) + _of_distances(grid, first.oriented) if measured else _gathered(cines)
    return Cine(
        _joined([cine.pixels for cine in cines], axis=1),
        grid if measured else None,
        None if any(time is None for time in times) else np.hstack([time for time in times if time is not None]),
        None if any(beat is None for beat in beats) else np.hstack([beat for beat in beats if beat is not None]),
        source=first.cine.source,
        base_first=base_first(grid) if measured else None,
        findings=findings,
    )


def _is_parallel(first: Grid, second: Grid) -> bool:
    if not np.allclose(first.spacing_mm, second.spacing_mm, rtol=_SAME_SPACING):
        return False
    least = float(min(first.along_row @ second.along_row, first.along_column @ second.along_column))
    return bool(least >= np.cos(np.deg2rad(_PARALLEL_DEGREES)))


def _stacked(ordered: Sequence[Part]) -> Grid:
    """One Grid for slices that are parallel within two degrees: each is turned around its centre."""
    first = ordered[len(ordered) // 2].grid
    rows, columns = first.shape[1:]
    centre = (0, (rows - 1) / 2, (columns - 1) / 2)
    at_origin = replace(first, origins_mm=np.zeros((1, 3)))
    origins = np.array([part.grid.to_patient(centre) - at_origin.to_patient(centre) for part in ordered])
    if not ordered[0].oriented:
        origins = np.arange(len(ordered))[:, None] * ordered[0].step_mm * first.normal
    return Grid(origins, first.along_row, first.along_column, first.spacing_mm, (len(ordered), rows, columns))


def _of_distances(grid: Grid, oriented: bool) -> tuple[Finding, ...]:
    if not oriented:
        message = "the slices have no position: they are assumed to be pixdim[3] apart"
        return (Finding(Code.UNEVEN_SLICE_DISTANCE, Severity.WARNING, message),)
    if grid.is_even():
        return ()
    distances = grid.slice_distances_mm
    numbers = {"least_mm": float(distances.min()), "most_mm": float(distances.max())}
    message = (
        "the slices are {least_mm:.1f} to {most_mm:.1f} mm apart: true distances are used, and a file may be missing"
    )
    return (Finding(Code.UNEVEN_SLICE_DISTANCE, Severity.WARNING, message, numbers=numbers),)


def _joined(arrays: Sequence[NDArray[np.generic]], axis: int) -> NDArray[np.generic]:
    return np.concatenate(list(arrays), axis=axis)


def _gathered(cines: Sequence[Cine]) -> tuple[Finding, ...]:
    """Each finding once: what is odd in one file is odd in all."""
    return tuple({finding.code: finding for cine in cines for finding in cine.findings}.values())
