"""Framing: native pixels <-> the network's input. Training and reading share this one geometry.

It is applied when training records are prepared and when an exam is read; records and bundles identify its settings by
`Framing.digest`. Intensities are windowed by percentiles of the frame or the study, so any linear change of them (an
8-bit export, a rescale slope) leaves the network's input the same.

Spacing: a network sees hearts of many sizes in training, so frames with pixels within `native_range_mm` are not
resampled: nothing is blurred, and a slice as PNG (no spacing) gives the same input as the same slice as DICOM.
Outside that range frames are resampled to `spacing_mm`. With unknown spacing (None) they are not resampled.

Orientation: frames are first brought into the standard position of their grid (`core.orientation`), by a turn or a
mirror that changes no pixel value. So the same heart gives the same result, however it was stored.
"""

# SciPy takes a quarter of a second to load, and few frames are resampled: it is imported where it is used. A network's
# cleaning needs it too, but is loaded while files are read.

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import GeometryError
from cinesax.core.grid import Grid
from cinesax.core.orientation import Turn, standard_position
from cinesax.files.typed_json import Json, JsonObject, plain, typed

Image = NDArray[np.float32]


def crop_corner(middle: Sequence[float], crop: int, size: int) -> tuple[int, int]:
    """The first row and column of a crop around a point, moved as far as needed to stay inside the framed square.

    Args:
        middle: (row, column) of the point.
        crop: rows and columns of the crop, at most size.
        size: rows and columns of the square.
    """
    row, column = (min(max(round(float(at)) - crop // 2, 0), size - crop) for at in middle)
    return row, column


@dataclass(frozen=True, slots=True)
class Crop:
    """A square part of the framed square.

    Attributes:
        corner: its first row and column.
        size: its rows and columns.
    """

    corner: tuple[int, int]
    size: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a native frame lies in the framed square: framed = turned * scale + offset, along (row, column).

    Attributes:
        native_shape: (rows, columns) of the native frame, turned.
        scale: framed pixels per native pixel, (row, column); (1, 1) if nothing is resampled.
        offset: framed position of native pixel (0, 0) after the turn, (row, column).
        turn: applied to the native frame first.
    """

    native_shape: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]
    turn: Turn = Turn()

    @property
    def is_native(self) -> bool:
        """Whether native pixels are only cropped and padded, not resampled."""
        return self.scale == (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Framing:
    """Settings of the framing.

    Attributes:
        size: rows and columns of the framed square.
        spacing_mm: the pixel spacing after resampling.
        native_range_mm: the range of pixel spacings (both directions) in which a frame is not resampled.
        window_percentiles: percentiles of the intensities that become 0 and 1.
    """

    size: int = 256
    spacing_mm: float = 1.4
    native_range_mm: tuple[float, float] = (1.15, 1.7)
    window_percentiles: tuple[float, float] = (0.5, 99.8)

    def __post_init__(self) -> None:
        low, high = self.window_percentiles
        if not (self.size >= 16 and 0 <= low < high <= 100 and self.spacing_mm > 0):
            raise GeometryError(f"framing settings are not valid: {asdict(self)}")

    @property
    def whole(self) -> Crop:
        """The whole framed square as a crop."""
        return Crop((0, 0), self.size)

    @property
    def digest(self) -> str:
        """SHA-256 of the settings: equal framings have equal digests."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Json]:
        """The settings as plain values for JSON."""
        return plain(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> "Framing":
        """The inverse of `to_dict`; unknown or missing settings are a GeometryError."""
        expected = set(cls().to_dict())
        if set(values) != expected:
            raise GeometryError(f"framing settings must be {sorted(expected)}, seen {sorted(values)}")
        try:
            return typed(values, cls)
        except ValueError as error:
            raise GeometryError(f"framing settings are damaged: {error}") from None

    def place_on(self, grid: Grid) -> Placement:
        """The placement of the frames of a grid: in the standard position, centred in the square."""
        return self.place(grid.shape[1:], grid.spacing_mm, standard_position(grid) or Turn())

    def place(
        self,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float] | None,
        turn: Turn = Turn(),  # noqa: B008 - frozen
    ) -> Placement:
        """The placement of a frame, centred in the square.

        Args:
            shape: (rows, columns) of the native frame.
            spacing_mm: (between rows, between columns), or None if not known.
            turn: applied to the frame first.
        """
        shape = turn.apply_pair(shape)
        spacing_mm = None if spacing_mm is None else turn.apply_pair(spacing_mm)
        scale = self._scale(spacing_mm)
        if scale == (1.0, 1.0):
            # Whole pixels, so that native pixels keep their values.
            offset = (float((self.size - shape[0]) // 2), float((self.size - shape[1]) // 2))
        else:
            middle = (self.size - 1) / 2
            offset = (middle - (shape[0] - 1) / 2 * scale[0], middle - (shape[1] - 1) / 2 * scale[1])
        return Placement((int(shape[0]), int(shape[1])), scale, offset, turn)

    def _scale(self, spacing_mm: tuple[float, float] | None) -> tuple[float, float]:
        if spacing_mm is None:
            return (1.0, 1.0)
        low, high = self.native_range_mm
        square = abs(spacing_mm[0] / spacing_mm[1] - 1) < 0.02
        if square and low <= min(spacing_mm) and max(spacing_mm) <= high:
            return (1.0, 1.0)
        return (spacing_mm[0] / self.spacing_mm, spacing_mm[1] / self.spacing_mm)

    def apply(self, frame: NDArray[Any], placement: Placement) -> Image:
        """A frame as the network's input, with a window of its own.

        Args:
            frame: (row, column), any real type; brighter is more signal.
            placement: from `place`, for this shape.

        Returns:
            (size, size), float32, 0 to 1; 0 outside of the frame.
        """
        low, high = np.percentile(frame, self.window_percentiles)
        windowed = (placement.turn.apply(frame).astype(np.float32) - np.float32(low)) / np.float32(
            max(high - low, 1e-6)
        )
        return self._forward(np.clip(windowed, 0, 1), placement)

    def apply_labels(self, labels: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
        """Labels of a frame on the framed square: (row, column) -> (size, size); 0 outside the frame."""
        labels = placement.turn.apply(labels)
        if placement.is_native:
            return self._crop(labels, placement)
        # Label by label: interpolating label numbers would put label 1 between 0 and 2.
        values = [int(value) for value in np.unique(labels) if value]
        parts = [self._forward((labels == value).astype(np.float32), placement) for value in values]
        framed = np.zeros((self.size, self.size), np.uint8)
        for value, part in zip(values, parts, strict=True):
            framed[part >= 0.5] = value
        return framed

    def undo(self, framed: NDArray[np.float32], placement: Placement) -> Image:
        """Values on the framed square at the native pixels.

        Args:
            framed: (size, size), e.g. probabilities.
            placement: the one that `apply` was called with.

        Returns:
            (rows, columns) of the native frame, float32; 0 where a native pixel is outside the square.
        """
        rows, columns = placement.native_shape
        if placement.is_native:
            back = np.zeros((rows, columns), np.float32)
            native, inside = _overlap(placement, self.whole)
            back[native] = framed[inside]
        else:
            from scipy import ndimage

            matrix = np.asarray(placement.scale)
            back = ndimage.affine_transform(framed, matrix, placement.offset, (rows, columns), order=1)
        return np.ascontiguousarray(placement.turn.undo(back), dtype=np.float32)

    def window(self, frames: NDArray[Any]) -> tuple[float, float]:
        """The intensities that become 0 and 1, for all frames of a study.

        A network that standardises its image itself does not need a window per frame. Every third row and column is
        enough for two percentiles, and takes a ninth of the time.

        Args:
            frames: (..., row, column), in the standard position.
        """
        low, high = np.percentile(frames[..., ::3, ::3], self.window_percentiles)
        return float(low), float(max(high, low + 1e-6))

    def cut(
        self,
        frame: NDArray[Any],
        placement: Placement,
        crop: Crop,
        window: tuple[float, float],
        *,
        extended: bool = False,
    ) -> Image:
        """A crop of a frame as the network's input: as `apply`, but only the crop, with a given window.

        Args:
            frame: (row, column), any real type.
            placement: from `place`, for this shape.
            crop: the part of the framed square.
            window: the intensities that become 0 and 1.
            extended: whether the pixels at the edge of the frame are repeated outside of it; else it is 0 there.

        Returns:
            (crop.size, crop.size), float32, 0 to 1.
        """
        low, high = window
        turned = placement.turn.apply(frame)
        if not placement.is_native:
            windowed = np.clip((turned.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
            return self._resampled(windowed, placement, crop, extended=extended)
        native, inside = _overlap(placement, crop)
        part = turned[native].astype(np.float32)
        part = np.asarray(np.clip((part - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)
        if part.shape == (crop.size, crop.size):
            return part
        if extended and part.size:
            return np.pad(part, [(place.start, crop.size - place.stop) for place in inside], mode="edge")
        framed = np.zeros((crop.size, crop.size), np.float32)
        framed[inside] = part
        return framed

    def inside(self, placement: Placement, crop: Crop) -> tuple[slice, slice]:
        """The rows and columns of a crop that lie in the frame."""
        if placement.is_native:
            return _overlap(placement, crop)[1]
        sides = []
        for axis, length in enumerate(placement.native_shape):
            first = placement.offset[axis] - crop.corner[axis]
            last = first + (length - 1) * placement.scale[axis]
            start = min(max(int(np.ceil(first - 1e-9)), 0), crop.size)
            sides.append(slice(start, max(start, min(int(np.floor(last + 1e-9)) + 1, crop.size))))
        return sides[0], sides[1]

    def native_crop(self, placement: Placement, crop: Crop) -> tuple[slice, slice]:
        """The rows and columns of the turned native frame that a crop of the framed square covers."""
        sides = []
        for axis, length in enumerate(placement.native_shape):
            first = (crop.corner[axis] - placement.offset[axis]) / placement.scale[axis]
            last = (crop.corner[axis] + crop.size - 1 - placement.offset[axis]) / placement.scale[axis]
            start = min(max(int(np.ceil(first - 1e-9)), 0), length)
            sides.append(slice(start, max(start, min(int(np.floor(last + 1e-9)) + 1, length))))
        return sides[0], sides[1]

    def uncut(self, values: Image, placement: Placement, crop: Crop) -> Image:
        """Values on a crop at the native pixels that it covers (those of `native_crop`), still turned.

        Args:
            values: (crop.size, crop.size), e.g. probabilities.
            placement: the one that `cut` was called with.
            crop: likewise.
        """
        rows, columns = self.native_crop(placement, crop)
        if placement.is_native:
            _, (inside_rows, inside_columns) = _overlap(placement, crop)
            return values[inside_rows, inside_columns]
        scale = np.asarray(placement.scale)
        from scipy import ndimage

        start = np.array([rows.start, columns.start])
        offset = start * scale + np.asarray(placement.offset) - np.asarray(crop.corner)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return np.asarray(ndimage.affine_transform(values, scale, offset, shape, order=1), dtype=np.float32)

    def _resampled(self, values: Image, placement: Placement, crop: Crop, *, extended: bool = False) -> Image:
        from scipy import ndimage

        scale = np.asarray(placement.scale)
        # Shrinking without a low-pass filter would alias: the border of the cavity would jump by whole pixels.
        sigma = np.maximum(0.0, (1 / scale - 1) / 2)
        smooth = ndimage.gaussian_filter(values, sigma) if np.any(sigma > 0) else values
        offset = (np.asarray(crop.corner) - np.asarray(placement.offset)) / scale
        mode = "nearest" if extended else "constant"
        out = ndimage.affine_transform(smooth, 1 / scale, offset, (crop.size, crop.size), order=1, mode=mode)
        return np.asarray(out, dtype=np.float32)

    def _forward(self, values: Image, placement: Placement) -> Image:
        if placement.is_native:
            return self._crop(values, placement)
        return self._resampled(values, placement, self.whole)

    def _crop(self, values: NDArray[Any], placement: Placement) -> NDArray[Any]:
        framed = np.zeros((self.size, self.size), values.dtype)
        native, inside = _overlap(placement, self.whole)
        framed[inside] = values[native]
        return framed


def _overlap(placement: Placement, crop: Crop) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The common part of a crop and a native frame that is not resampled: in the turned frame, and in the crop."""
    native, inside = [], []
    for length, offset, corner in zip(placement.native_shape, placement.offset, crop.corner, strict=True):
        first = int(offset) - corner
        start, stop = max(0, first), max(0, first, min(crop.size, first + length))
        inside.append(slice(start, stop))
        native.append(slice(start - first, stop - first))
    return (native[0], native[1]), (inside[0], inside[1])
