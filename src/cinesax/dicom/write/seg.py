"""Writing a DICOM Segmentation (SEG): the masks of an analysis as objects for archives and viewers.

seg_ed.dcm, seg_es.dcm    one phase each: a plain stack of slices, which any viewer shows
seg_cine.dcm              all segmented phases in one object, with TemporalPositionIndex as one of its dimensions

Every frame refers to its source frame. Frames without a structure are left out, except one in each known phase in which
the structure is absent: so nothing is lost when an object is read again (`cinesax.dicom.objects.seg`).

highdicom makes the object, and refuses repeated plane positions. So it gets one stack that holds whatever is in any of
the phases, and this file makes the frames of the phases from those of that stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from highdicom.seg import Segmentation as SegmentationObject
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cinesax._version import __version__
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Concept, Part, Structure
from cinesax.dicom.copied import lenient
from cinesax.dicom.read.header import MR_IMAGE
from cinesax.dicom.uid import derived_uid
from cinesax.dicom.write.filing import Filing, ObjectKind, describe, finish, reference, series_of_frames, source_images
from cinesax.dicom.write.options import SEG_CINE_NAME as CINE_NAME
from cinesax.dicom.write.options import SEG_ED_NAME as ED_NAME
from cinesax.dicom.write.options import SEG_ES_NAME as ES_NAME
from cinesax.dicom.write.options import SegmentationType
from cinesax.dicom.write.people import Drawing, creator, drawing_of

NAMES = (ED_NAME, ES_NAME, CINE_NAME)

ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_TEMPORAL_POSITION_INDEX, _FRAME_CONTENT = 0x00209128, 0x00209111
_LONGEST_NAME = 64


def label_of(structure: Structure, *, papillary_muscles_included: bool) -> str:
    """SegmentLabel: the code names the whole ventricle, so the words say what the cavity includes."""
    words = structure.facts.words
    if not any(entry.enclosing is structure and entry.facts.part is Part.MUSCLE for entry in Structure):
        return words
    return f"{words}, papillary muscles {'included' if papillary_muscles_included else 'excluded'}"


def code_of(concept: Concept) -> Code:
    """A concept of the table of structures as a pydicom code."""
    return Code(concept.value, concept.scheme, concept.meaning)


def tracking(filing: Filing, structure: Structure, segmentation: Segmentation) -> tuple[str, str]:
    """TrackingID and TrackingUID of a structure: the same in every object of a study, because it is the same heart."""
    label = label_of(structure, papillary_muscles_included=segmentation.papillary_muscles_included)
    # A cavity without its papillary muscles is tracked separately.
    usual = label_of(structure, papillary_muscles_included=True)
    what = [structure.name] if label == usual else [structure.name, label]
    return label, derived_uid(filing.study_uid, "tracking", *what)


def seg_datasets(
    analysis: Analysis, filing: Filing, *, kind: SegmentationType = SegmentationType.BINARY
) -> dict[str, Dataset]:
    """All SEG objects of an analysis, by the names of their files.

    Args:
        analysis: the analysis of an exam read from DICOM.
        filing: see `cinesax.dicom.write.filing.file_under`.
        kind: how the pixels are stored.

    Returns:
        seg_ed.dcm and seg_es.dcm if the phases are known, and seg_cine.dcm.

    Raises:
        GeometryError: the exam has no geometry.
    """
    m, everything = analysis.measurements, tuple(range(analysis.cine.n_phases))
    wanted = [
        (ED_NAME, "LV_ED", "Left ventricle at end diastole", () if m.ed_phase is None else (m.ed_phase,)),
        (ES_NAME, "LV_ES", "Left ventricle at end systole", () if m.es_phase is None else (m.es_phase,)),
        (CINE_NAME, "LV_CINE", "Left ventricle over the heart beat", everything),
    ]
    made = {}
    with lenient():
        for number, (name, label, description, phases) in enumerate(wanted, 1):
            frames = _frames(analysis.segmentation, phases, kind)
            if not frames.places:
                continue
            dataset = _stack(
                analysis, filing, frames, kind=kind, texts=(filing.uid(name, kind.value), number, label, description)
            )
            _refer(dataset, analysis.cine, filing, frames)
            _fill(dataset, analysis.cine, filing, frames, in_time=name == CINE_NAME)
            dataset.PixelData = _pixel_data(analysis.segmentation, frames, packed=dataset.BitsAllocated == 1)
            finish(dataset, filing)
            made[name] = dataset
    return made


def _algorithm(analysis: Analysis, drawing: Drawing) -> AlgorithmIdentificationSequence | None:
    """The algorithm that drew a segment; None if a person drew it."""
    made = analysis.provenance
    if drawing is Drawing.MANUAL:
        return None
    return AlgorithmIdentificationSequence(
        name=_ascii(made.model or analysis.segmentation.author)[:_LONGEST_NAME],
        family=_ARTIFICIAL_INTELLIGENCE,
        version=f"cinesax {__version__}",
        source="cinesax",
        parameters=None if made.model_checksum is None else {"sha256": made.model_checksum},
    )


def _describe(structure: Structure, number: int, filing: Filing, analysis: Analysis) -> SegmentDescription:
    facts, drawing = structure.facts, drawing_of(analysis, structure)
    label, tracking_uid = tracking(filing, structure, analysis.segmentation)
    return SegmentDescription(
        number,
        label,
        ANATOMICAL_STRUCTURE,
        code_of(facts.code),
        SegmentAlgorithmTypeValues(drawing.value),
        algorithm_identification=_algorithm(analysis, drawing),
        tracking_id=label,
        tracking_uid=tracking_uid,
        display_color=CIELabColor.from_rgb(*facts.rgb),
    )


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


@dataclass(frozen=True)
class _Frames:
    """The frames of one object.

    Attributes:
        structures: in the order of their segment numbers.
        places: (structure, phase, slice) of each frame, in the order of the object; the structure is None in a label
            map, where a frame holds all of them.
    """

    structures: tuple[Structure, ...]
    phases: tuple[int, ...]
    places: tuple[tuple[Structure | None, int, int], ...]

    def pixels(self, labels: NDArray[np.uint8], structure: Structure | None) -> NDArray[np.uint8]:
        """Labels of any shape as an object stores them: 0 and 1 for one structure, or (None) segment numbers."""
        if structure is not None:
            return np.asarray(labels == structure, dtype=np.uint8)
        numbers = np.zeros(max(Structure) + 1, dtype=np.uint8)
        numbers[list(self.structures)] = np.arange(1, len(self.structures) + 1)
        return numbers[labels]


def _frames(segmentation: Segmentation, phases: tuple[int, ...], kind: SegmentationType) -> _Frames:
    def is_written(structure: Structure) -> bool:
        return any(segmentation.known_phases[structure][phase] for phase in phases)

    structures = tuple(sorted(filter(is_written, segmentation.known_phases)))
    places: list[tuple[Structure | None, int, int]] = []
    for segment in structures if kind is SegmentationType.BINARY else [None] * bool(structures):
        for phase in phases:
            labels = segmentation.labels[phase]
            slices = np.flatnonzero(np.any(labels > 0 if segment is None else labels == segment, axis=(1, 2)))
            wanted = structures if segment is None else (segment,)
            if len(slices) == 0 and any(segmentation.known_phases[entry][phase] for entry in wanted):
                slices = np.zeros(1, dtype=np.intp)  # one empty frame says that it was segmented and is absent
            places += [(segment, phase, int(place)) for place in slices]
    return _Frames(structures, phases, tuple(places))


def _pixel_data(segmentation: Segmentation, frames: _Frames, *, packed: bool) -> bytes:
    """The frames one after the other; packed: eight pixels a byte, without gaps between frames."""
    parts = []
    for first in range(0, len(frames.places), 8):  # eight frames are whole bytes, and little memory
        block = [
            frames.pixels(segmentation.labels[phase, place], structure)
            for structure, phase, place in frames.places[first : first + 8]
        ]
        parts.append((np.packbits(np.stack(block), bitorder="little") if packed else np.stack(block)).tobytes())
    data = b"".join(parts)
    return data + b"\0" * (len(data) % 2)


def _stack(
    analysis: Analysis, filing: Filing, frames: _Frames, *, kind: SegmentationType, texts: tuple[str, int, str, str]
) -> Dataset:
    """The object that highdicom makes from one stack, with a mark wherever any phase has a frame."""
    cine = analysis.cine
    uid, number, label, description = texts
    marks = np.zeros((*cine.pixels.shape[1:], len(frames.structures)), dtype=np.uint8)
    for structure, _, place in frames.places:
        marks[place, 0, 0, slice(None) if structure is None else frames.structures.index(structure)] = 1
    return SegmentationObject(
        source_images=_one_phase(cine, filing),
        pixel_array=marks if kind is SegmentationType.BINARY else marks.max(axis=-1),
        segmentation_type=kind.value,
        segment_descriptions=[_describe(entry, i, filing, analysis) for i, entry in enumerate(frames.structures, 1)],
        sop_instance_uid=uid,
        instance_number=number,
        content_label=label,
        content_description=description,
        content_creator_name=creator(analysis),
        omit_empty_frames=True,
        **describe(filing, ObjectKind.SEG),
    )


def _one_phase(cine: Cine, filing: Filing) -> list[Dataset]:
    """One phase of the source as single-frame instances named after their slices, to find them again in the frames."""
    images = source_images(cine, filing)[0]
    for place, image in enumerate(images):
        image.SOPClassUID = MR_IMAGE
        image.SOPInstanceUID, image.SeriesInstanceUID = _slice_uid(place), "2.25.1"
    return images


def _slice_uid(place: int) -> str:
    return f"2.25.{place + 1}"


def _refer(dataset: Dataset, cine: Cine, filing: Filing, frames: _Frames) -> None:
    """Refer to the instances of the phases in the object, by their series."""
    series = series_of_frames(cine)
    instances: dict[str, dict[str, Dataset]] = {}
    for phase in frames.phases:
        for place in range(cine.n_slices):
            item = reference(cine, filing, phase, place)
            item.pop("ReferencedFrameNumber", None)
            instances.setdefault(series[phase][place], {}).setdefault(item.ReferencedSOPInstanceUID, item)
    dataset.ReferencedSeriesSequence = [_series_item(uid, list(items.values())) for uid, items in instances.items()]
    dataset.SourceImageSequence = [item for items in instances.values() for item in items.values()]


def _series_item(uid: str, instances: list[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ReferencedInstanceSequence = instances
    return item


def _fill(dataset: Dataset, cine: Cine, filing: Filing, frames: _Frames, *, in_time: bool) -> None:
    """Describe the frames, replacing the marks."""
    models = {_place(item): item for item in dataset.PerFrameFunctionalGroupsSequence}
    items = []
    for structure, phase, place in frames.places:
        number = 0 if structure is None or len(frames.structures) < 2 else frames.structures.index(structure) + 1
        model = models[number, place]
        item = _without(model, "FrameContentSequence", "DerivationImageSequence")
        index = [] if structure is None else [frames.structures.index(structure) + 1]
        item.FrameContentSequence = [_frame_content([*index, *([phase + 1] if in_time else []), place + 1])]
        if in_time:
            item.FrameContentSequence[0].TemporalPositionIndex = phase + 1
        item.DerivationImageSequence = [_derivation(model.DerivationImageSequence[0], cine, filing, (phase, place))]
        items.append(item)
    dataset.PerFrameFunctionalGroupsSequence = items
    dataset.NumberOfFrames = len(items)
    dataset.SegmentsOverlap = "NO"
    _dimensions(dataset, filing.uid("dimensions", dataset.SOPInstanceUID), in_time=in_time)


def _place(item: Dataset) -> tuple[int, int]:
    """(segment number, or 0 if all frames are of one segment; slice) of a frame that highdicom made."""
    uid = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    segment = item.get("SegmentIdentificationSequence")
    return int(segment[0].ReferencedSegmentNumber) if segment else 0, int(uid.rpartition(".")[2]) - 1


def _frame_content(index: Sequence[int]) -> Dataset:
    item = Dataset()
    item.DimensionIndexValues = list(index)
    return item


def _derivation(model: Dataset, cine: Cine, filing: Filing, frame: tuple[int, int]) -> Dataset:
    source = _without(model.SourceImageSequence[0], "ReferencedSOPInstanceUID", "ReferencedSOPClassUID")
    source.update(reference(cine, filing, *frame))
    matrices = cine.source.stored_matrices
    if matrices and matrices[frame[1]] != cine.pixels.shape[2:]:
        # Slices with a smaller matrix are padded to the largest: the pixels are not those of the source image.
        source = _without(source, "SpatialLocationsPreserved")
        source.SpatialLocationsPreserved = "NO"
    item = _without(model, "SourceImageSequence")
    item.SourceImageSequence = [source]
    return item


def _without(model: Dataset, *keywords: str) -> Dataset:
    """A data set with the elements of another except some. The elements are shared: changing one changes both."""
    item = Dataset()
    item.update({element.tag: element for element in model if element.keyword not in keywords})
    return item


def _dimensions(dataset: Dataset, uid: str, *, in_time: bool) -> None:
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    dimensions = list(dataset.DimensionIndexSequence)
    if in_time:
        dataset.pop("DimensionOrganizationType", None)
        time = Dataset()
        time.DimensionIndexPointer, time.FunctionalGroupPointer = _TEMPORAL_POSITION_INDEX, _FRAME_CONTENT
        time.DimensionDescriptionLabel = "Temporal Position Index"
        dimensions.insert(len(dimensions) - 1, time)
    for dimension in dimensions:
        dimension.DimensionOrganizationUID = uid
    dataset.DimensionIndexSequence = dimensions
