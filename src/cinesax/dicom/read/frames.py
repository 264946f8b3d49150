"""The frames of an Enhanced MR instance: one Header per frame, from the shared and the per-frame functional groups.

What a classic instance states at the top level, an Enhanced one states for each frame in sequences of one item
(PS3.3, C.7.6.16 and C.8.13.5): plane position and orientation, pixel measures, place in the heart beat, pixel value
transformation. A value in the frame's own group overrides the shared one.
"""

from dataclasses import replace
from typing import Any, BinaryIO

from cinesax.core.cine import StoredFile
from cinesax.dicom.read.elements import (
    Decoder,
    double,
    number,
    numbers,
    raw_value,
    short,
    single,
    text,
    texts,
    unsigned,
)
from cinesax.dicom.read.header import (
    ENHANCED_MR_IMAGE,
    LEGACY_ENHANCED_MR_IMAGE,
    PER_FRAME_GROUPS,
    SHARED_GROUPS,
    Header,
    NotDicomError,
    Reason,
    read_instance,
    understanding,
)
from cinesax.dicom.read.parse import Elements, items

# A damaged NumberOfFrames must not make millions of headers.
_MAX_FRAMES = 100_000

_FRAME_CONTENT = 0x00209111
_CARDIAC_SYNCHRONIZATION = 0x00189118
_PIXEL_MEASURES = 0x00289110
_PIXEL_VALUES = 0x00289145
_FRAME_TYPE = 0x00189226

# Field of Header -> (sequence, tag in its item, how to read it). If a field has two rows, the first that has a value
# counts.
_GROUPS: tuple[tuple[str, int, int, Decoder], ...] = (
    ("position_mm", 0x00209113, 0x00200032, numbers),
    ("orientation", 0x00209116, 0x00200037, numbers),
    ("pixel_spacing_mm", _PIXEL_MEASURES, 0x00280030, numbers),
    ("slice_thickness_mm", _PIXEL_MEASURES, 0x00180050, number),
    ("spacing_between_slices_mm", _PIXEL_MEASURES, 0x00180088, number),
    ("temporal_position", _FRAME_CONTENT, 0x00209128, unsigned),
    ("acquisition_time", _FRAME_CONTENT, 0x00189074, text),
    ("content_time", _FRAME_CONTENT, 0x00189151, text),
    ("acquisition_number", _FRAME_CONTENT, 0x00209156, short),
    ("cardiac_phase_percent", _FRAME_CONTENT, 0x00209241, single),
    ("trigger_time_ms", _CARDIAC_SYNCHRONIZATION, 0x00209153, double),
    ("trigger_time_ms", _CARDIAC_SYNCHRONIZATION, 0x00209252, double),
    ("nominal_interval_ms", _CARDIAC_SYNCHRONIZATION, 0x00209251, double),
    ("image_type", _FRAME_TYPE, 0x00089007, texts),
    ("complex_component", _FRAME_TYPE, 0x00089208, text),
    ("echo_time_ms", 0x00189114, 0x00189082, double),
    ("inversion_time_ms", 0x00189115, 0x00189079, double),
    ("rescale_intercept", _PIXEL_VALUES, 0x00281052, number),
    ("rescale_slope", _PIXEL_VALUES, 0x00281053, number),
)


def read_headers(file: StoredFile, stream: BinaryIO) -> tuple[Header, ...]:
    """Read the headers of one file: one for each frame.

    Args:
        file: what the stream was opened from, kept in the result.
        stream: at its start, seekable.

    Raises:
        NotDicomError: the bytes are not a DICOM file, or are damaged; with the reason.
    """
    instance, elements = read_instance(file, stream)
    if instance.sop_class_uid not in (ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE):
        return (instance,)
    with understanding():
        return frames_of(instance, elements)


def frames_of(instance: Header, elements: Elements) -> tuple[Header, ...]:
    """One Header for each frame of an Enhanced MR instance.

    Args:
        instance: what the top level says.
        elements: its elements, with the functional group sequences, if any.

    Returns:
        NumberOfFrames headers, in the order of the frames; without positions if there are no functional groups.

    Raises:
        NotDicomError: NumberOfFrames and the functional groups contradict each other.
    """
    shared = next(iter(items(elements.get(SHARED_GROUPS))), {})
    per_frame = items(elements.get(PER_FRAME_GROUPS))
    count = int(instance.number_of_frames or len(per_frame) or 1)
    if (per_frame and len(per_frame) != count) or not 1 <= count <= _MAX_FRAMES:
        raise NotDicomError(Reason.DAMAGED, f"functional groups of {len(per_frame)} frames, NumberOfFrames {count}")
    common = _values(shared)
    if not per_frame:
        whole = _placed(instance, common)
        return tuple(replace(whole, frame_number=index) for index in range(1, count + 1))
    return tuple(
        replace(_placed(instance, {**common, **_values(groups)}), frame_number=index)
        for index, groups in enumerate(per_frame, 1)
    )


def _values(groups: Elements) -> dict[str, Any]:
    """The values in one item of functional groups, by field of Header; missing values are left out."""
    values: dict[str, Any] = {}
    inner: dict[int, Elements] = {}
    for name, sequence, tag, decode in _GROUPS:
        if name in values:
            continue
        if sequence not in inner:
            inner[sequence] = next(iter(items(groups.get(sequence))), {})
        value = decode(*raw_value(inner[sequence], tag))
        if value not in (None, ()):
            values[name] = value
    return values


def _placed(instance: Header, values: dict[str, Any]) -> Header:
    """The header of one frame: that of the instance, with the values of the functional groups."""
    fields = dict(values)
    for name in ("acquisition_time", "content_time"):
        if name in fields:
            # FrameAcquisitionDateTime and FrameReferenceDateTime hold YYYYMMDDHHMMSS.FFFFFF&ZZXX.
            fields[name] = fields[name][8:].split("+")[0].split("-")[0] or None
    percent = fields.pop("cardiac_phase_percent", None)
    beat = fields.get("nominal_interval_ms", instance.nominal_interval_ms)
    if percent is not None and beat and fields.get("trigger_time_ms", instance.trigger_time_ms) is None:
        fields["trigger_time_ms"] = percent / 100 * beat
    return replace(instance, **fields)
