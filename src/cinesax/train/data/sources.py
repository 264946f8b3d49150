"""Sources: find what the source folders of a set contain, and read it.

`find_sources` looks at names, and at headers only if names are not enough; `produce` reads one source and returns its
examples. Together they ensure that every file either gives an example or is listed with the reason.
"""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cinesax.core.errors import InputError, UsageError, counted
from cinesax.core.selection import AS_IT_SAYS, LabelReading
from cinesax.core.structures import Structure
from cinesax.dicom.read.exam import open_exam
from cinesax.files.stored_files import list_files
from cinesax.formats import acdc, chla, contours, cvi42, label_maps, nifti, pair_studies, pairs
from cinesax.formats.contour_convention import MARKER_NAME
from cinesax.network.framing import Framing
from cinesax.results.tables import read_json
from cinesax.results.write import JSON_NAME
from cinesax.train.data.examples import (
    Example,
    classes_in,
    from_acdc,
    from_chla,
    from_label_map,
    from_pairs,
    from_phantoms,
)
from cinesax.train.data.leaks import patient_key
from cinesax.train.data.manifest import MANIFEST
from cinesax.train.data.studies import Leftover, read_approved, read_study

PAIRS_EACH, PHANTOMS_EACH = 128, 4
_PAPILLARY = re.compile(r"(?:.*-)?IM-\d+-\d+-p\d+contour-(manual|auto)\.txt", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PairsSource:
    """Some pairs of a folder, and the classes in the labels of the whole folder.

    Attributes:
        pairs: some of the folder's pairs.
        labelled: the classes that occur in the folder's labels.
        phases: phases per slice, if the names of the folder's pictures count the frames of a study; None: unknown.
    """

    pairs: tuple[pairs.Pair, ...]
    labelled: frozenset[Structure]
    phases: int | None = None


@dataclass(frozen=True, slots=True)
class StudySource:
    """The DICOM files of one patient.

    Attributes:
        case: the patient.
        folder: the folder of the files.
        files: all of them.
        labels: a folder of contour files, a NIfTI, DICOM (SEG, RTSTRUCT) or cvi42 file; None: a DICOM SEG among
            `files`.
        reading: how to read labels that do not describe themselves.
    """

    case: str
    folder: Path
    files: tuple[Path, ...]
    labels: Path | None
    reading: LabelReading = AS_IT_SAYS


@dataclass(frozen=True, slots=True)
class AcdcSource:
    """The folder of one ACDC patient."""

    folder: Path


@dataclass(frozen=True, slots=True)
class PhantomSource:
    """Synthetic hearts by their seeds."""

    seeds: tuple[int, ...]
    frames_each: int


@dataclass(frozen=True, slots=True)
class ChlaSource:
    """The file of one patient of the CHLA set."""

    file: Path


@dataclass(frozen=True, slots=True)
class LabelMapSource:
    """A stack with a label map next to it."""

    file: Path


@dataclass(frozen=True, slots=True)
class ApprovedSource:
    """A folder of results that a person approved, and where to look for its exam."""

    folder: Path
    exams: Path | None


Source = ApprovedSource | PairsSource | StudySource | AcdcSource | PhantomSource | ChlaSource | LabelMapSource


@dataclass(frozen=True)
class Listing:
    """The sources in the folders, and the unused files.

    Attributes:
        sources: the sources to read.
        unused: (file, reason) of files that belong to no source.
    """

    sources: list[Source] = field(default_factory=list)
    unused: list[Leftover] = field(default_factory=list)


def phantom_sources(seeds: Iterable[int], frames_each: int) -> list[Source]:
    """Synthetic hearts, a few in each source."""
    listed = tuple(seeds)
    starts = range(0, len(listed), PHANTOMS_EACH)
    return [PhantomSource(listed[start : start + PHANTOMS_EACH], frames_each) for start in starts]


def find_sources(
    folders: Sequence[Path],
    labels: Path | None = None,
    reading: LabelReading = AS_IT_SAYS,
    *,
    exams: Path | None = None,
) -> Listing:
    """Search folders for training sources.

    Each folder is one of

    - pairs: `images/` and `labels/`;
    - ACDC: `patientNNN_frameFF_gt.nii.gz` files at any depth;
    - CHLA: `.npz` files of the congenital set (see `formats.chla`) at any depth;
    - label maps: `sa_ED.nii.gz` or `sa_ES.nii.gz` with `seg*.nii.gz` next to it, at any depth;
    - results that a person approved (`cinesax view`): `analysis.json` at any depth;
    - studies: DICOM files at any depth, in folders by patient, whose contours or label files lie in `labels`, among the
        folders, or (DICOM SEG) next to the images.

    A patient folder and a label folder belong together if their names agree apart from zeros and case (SC-HF-I-1,
    SC-HF-I-01), if a CSV file with the columns PatientID and OriginalID says so (SCD0000101, SC-HF-I-1), or if the
    PatientID in the DICOM headers equals the name of the labels.

    Args:
        folders: the sources.
        labels: a folder of contours or label files by patient, for all studies.
        reading: how to read labels that do not describe themselves.
        exams: where the exams of approved results lie, if these do not say it.

    Raises:
        InputError: a folder does not exist or holds no source, or pairs are not valid.
        UsageError: a folder has no files.
    """
    for folder in (*folders, *(one for one in (labels, exams) if one is not None)):
        if not folder.is_dir():
            raise InputError(f"{folder} {'is a file: name its folder' if folder.exists() else 'does not exist'}")
    listing = Listing()
    for folder in folders:
        known = len(listing.sources), len(listing.unused)
        files = [file.path for file in list_files(folder)]
        _add_folder(listing, folder, files, labels=labels, exams=exams)
        if len(listing.sources) == known[0]:
            raise InputError(_no_source(folder, files, listing.unused[known[1] :]))
    listing.sources[:] = [
        replace(source, reading=reading) if isinstance(source, StudySource) else source for source in listing.sources
    ]
    return listing


def _add_folder(
    listing: Listing, folder: Path, files: Sequence[Path], *, labels: Path | None, exams: Path | None
) -> None:
    if any(file.parent == folder / pairs.IMAGES and pairs.is_picture(file) for file in files):
        _add_pairs(listing, folder, files)
    elif any(acdc.is_truth(file) for file in files):
        _add_acdc(listing, files)
    elif any(chla.is_chla(file) for file in files):
        _add_files(listing, files, chla.is_chla, ChlaSource)
    elif any(label_maps.is_image(file) for file in files):
        _add_files(listing, files, label_maps.is_image, LabelMapSource)
    elif any(file.name == JSON_NAME for file in files):
        listing.sources.extend(ApprovedSource(one, exams) for one in _latest_approved(files))
    elif files:
        _add_studies(listing, folder, files, labels)
    else:
        raise UsageError(f"{folder} has no images/ and labels/; for DICOM studies add --contours")


def _no_source(folder: Path, files: Sequence[Path], unused: Sequence[Leftover]) -> str:
    """Why a folder holds nothing to learn from, and what to name instead."""
    if (folder / MANIFEST).is_file():
        return f"{folder} is a prepared set: name the sources that it was made from"
    beside = folder.absolute().parent
    if (beside / pairs.IMAGES).is_dir() and (beside / pairs.LABELS).is_dir():
        return f"{folder} is a part of a folder of pairs: name {folder.parent}"
    if all(_is_contour(file) for file in files):
        return f"{folder} has contours and no images: name the folder of the DICOM studies, and give it with --contours"
    file, reason = unused[0] if unused else (files[0], "not an image to learn from")
    return f"{folder} holds nothing to learn from: {counted(len(files), 'file')}, such as {file.name} ({reason})"


def _latest_approved(files: Sequence[Path]) -> list[Path]:
    """The folders of results, of approved versions of one exam the latest alone."""
    latest: dict[object, tuple[int, Path]] = {}
    for file in sorted(file for file in files if file.name == JSON_NAME):
        content = read_json(file)
        approval = content.get("approval")
        number = int(approval.get("number", 0)) if isinstance(approval, dict) else 0
        key = content.get("case") or file
        if number >= latest.get(key, (0, file))[0]:
            latest[key] = number, file.parent
    return [folder for _, folder in latest.values()]


def _add_pairs(listing: Listing, folder: Path, files: Sequence[Path]) -> None:
    listed = pairs.read_pairs(folder)
    labelled = classes_in(listed)
    phases = pair_studies.phases_by_numbers([pair.name for pair in listed], [pair.case for pair in listed])
    for start in range(0, len(listed), PAIRS_EACH):
        listing.sources.append(PairsSource(tuple(listed[start : start + PAIRS_EACH]), labelled, phases))
    taken = {path for pair in listed for path in (pair.image, pair.label, pair.wall)}
    listing.unused.extend((file, "not a picture of a pair") for file in files if file not in taken)


def _add_files(
    listing: Listing,
    files: Sequence[Path],
    is_one: Callable[[Path], bool],
    kind: type[ChlaSource] | type[LabelMapSource],
) -> None:
    """Add a source for each source file; the files next to a stack are listed when the stack is read."""
    of_kind = [file for file in files if is_one(file)]
    listing.sources.extend(kind(file) for file in of_kind)
    places = {file.parent for file in of_kind} if kind is LabelMapSource else set()
    others = [file for file in files if file not in set(of_kind) and file.parent not in places]
    listing.unused.extend((file, "not a file of labelled images") for file in others)


def _add_acdc(listing: Listing, files: Sequence[Path]) -> None:
    patients = sorted({file.parent for file in files if acdc.is_truth(file)})
    listing.sources.extend(AcdcSource(folder) for folder in patients)
    for file in files:
        if not any(folder in file.parents for folder in patients):
            listing.unused.append((file, "not a file of a labelled ACDC patient"))


def _add_studies(listing: Listing, folder: Path, files: Sequence[Path], labels: Path | None) -> None:
    label_files = [file.path for file in list_files(labels)] if labels else [f for f in files if _is_contour(f)]
    by_patient = _labels_by_patient(label_files, labels or folder, any_kind=labels is not None)
    aliases = _aliases([*files, *label_files])
    aside = {*label_files, *(file for file in files if file.suffix.lower() == ".csv" or file.name == MARKER_NAME)}
    others = [file for file in files if file not in aside]
    groups, leftover = _by_patient(folder, others, by_patient, aliases)
    listing.unused.extend(leftover)
    for (case, place, path), members in sorted(groups.items(), key=lambda item: item[0][:2]):
        listing.sources.append(StudySource(case, place, tuple(sorted(members)), path))
    listing.unused.extend((file, "a table of patients") for file in files if file.suffix.lower() == ".csv")
    if labels is None:
        used = {path for _, _, path in groups if path is not None}
        listing.unused.extend(unmatched_labels(label_files, used))


def unmatched_labels(files: Iterable[Path], used: Iterable[Path]) -> list[Leftover]:
    """(file, reason) of every label file that was not used to read a study."""
    places = set(used)
    left = [file for file in files if not places & {file, *file.parents}]
    return [(file, _why_no_labels(file)) for file in left]


def _why_no_labels(file: Path) -> str:
    if _is_contour(file) or _is_label_file(file):
        return "labels of a patient without images here"
    return "a table of patients" if file.suffix.lower() == ".csv" else "not a contour or label file"


def _is_contour(file: Path) -> bool:
    return contours.is_contour_file(file) or _PAPILLARY.fullmatch(file.name) is not None


def _is_label_file(file: Path) -> bool:
    return nifti.is_nifti(file) or file.suffix.lower() in (".dcm", cvi42.XML_SUFFIX)


Key = tuple[str, ...]


def _labels_by_patient(files: Sequence[Path], root: Path, *, any_kind: bool) -> dict[Key, tuple[str, Path]]:
    """Key of the patient -> (name of the patient, its folder of contours or its label file)."""
    by_patient: dict[Key, tuple[str, Path]] = {}
    for file in files:
        if _is_contour(file):
            parents = [folder for folder in (file, *file.parents) if root in folder.parents]
            named = [folder for folder in parents[1:] if re.search(r"\d", folder.name)]
            place = (named or parents[1:] or [root])[0]
            name = place.name
        elif any_kind and _is_label_file(file):
            place, name = file, re.sub(r"\.(nii\.gz|nii|dcm|cvi42wsx)$", "", file.name, flags=re.IGNORECASE)
            if file.parent != root and re.search(r"\d", file.parent.name):
                name = file.parent.name
        else:
            continue
        earlier = by_patient.setdefault(patient_key(name), (name, place))
        if earlier[1] != place:
            raise InputError(f"{place} and {earlier[1]} are labels of the same patient: keep only one")
    return by_patient


def _aliases(files: Iterable[Path]) -> dict[Key, Key]:
    """PatientID -> OriginalID, from the tables of the distribution."""
    aliases: dict[Key, Key] = {}
    for file in files:
        if file.suffix.lower() != ".csv":
            continue
        try:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                for line in csv.DictReader(stream):
                    if line.get("PatientID") and line.get("OriginalID"):
                        aliases[patient_key(line["PatientID"])] = patient_key(line["OriginalID"])
        except (OSError, UnicodeDecodeError, csv.Error):
            continue  # not a table of patients; it is listed as unused like any other file
    return aliases


Groups = dict[tuple[str, Path, Path | None], list[Path]]


def _by_patient(
    root: Path, files: Sequence[Path], labels: Mapping[Key, tuple[str, Path]], aliases: Mapping[Key, Key]
) -> tuple[Groups, list[Leftover]]:
    """(patient, folder of the images, labels) -> files of the images; and the files without a patient."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)

    def match(name: str | None) -> tuple[str, Path] | None:
        key = patient_key(name or "")
        return labels.get(key) or labels.get(aliases.get(key, ()))

    groups: Groups = defaultdict(list)
    by_identity: dict[tuple[str, Path], list[Path]] = defaultdict(list)
    unused: list[Leftover] = []
    for folder, members in by_folder.items():
        place, known = _named(folder, root, match)
        if place is not None and known is not None:
            groups[known[0], place, known[1]].extend(members)
            continue
        is_dicom, identity = _identity(members)
        if not is_dicom:
            unused.extend((file, "not DICOM") for file in members)
        elif known := match(identity):
            by_identity[known].extend(members)
        else:
            # This patient may have a DICOM SEG next to the images.
            place = root / folder.relative_to(root).parts[0] if folder != root else root
            groups[place.name, place, None].extend(members)
    for (case, path), members in by_identity.items():
        groups[case, Path(os.path.commonpath([file.parent for file in members])), path].extend(members)
    return groups, [*unused, *_without_mixtures(groups)]


def _without_mixtures(groups: Groups) -> list[Leftover]:
    """Drop groups whose folder also holds files of another group: an exam is read from its whole folder."""
    mixed = [
        key for key in groups if any(other is not key and key[1] in (other[1], *other[1].parents) for other in groups)
    ]
    return [(file, "in a folder with files of several patients") for key in mixed for file in groups.pop(key)]


def _named(
    folder: Path, root: Path, match: Callable[[str], tuple[str, Path] | None]
) -> tuple[Path | None, tuple[str, Path] | None]:
    for place in (folder, *folder.parents):
        if known := match(place.name):
            return place, known
        if place == root:
            break
    return None, None


def _identity(files: Iterable[Path]) -> tuple[bool, str | None]:
    """Whether files of one folder include a DICOM instance, and the PatientID of the first."""
    for file in files:
        try:
            return True, open_exam(file).series[0].headers[0].patient_id
        except InputError:
            continue
    return False, None


def produce(source: Source, framing: Framing) -> tuple[list[Example], list[Leftover]]:
    """Read one source.

    A patient whose files cannot be read, or whose labels do not fit the images, gives no examples: with half of the
    labels, the other half would be learned as background.

    Returns:
        Its examples, and (file, reason) for every file without examples.

    Raises:
        InputError: pictures cannot be read.
    """
    match source:
        case PairsSource():
            examples = from_pairs(source.pairs, framing, labelled=source.labelled, phases=source.phases)
            return list(examples), []
        case PhantomSource():
            return list(from_phantoms(source.seeds, framing, frames_each=source.frames_each)), []
        case AcdcSource():
            return _produce_acdc(source, framing)
        case ChlaSource():
            return _produce_chla(source, framing)
        case LabelMapSource():
            return _produce_label_map(source, framing)
        case ApprovedSource():
            return read_approved(source.folder, source.exams, framing=framing)
        case StudySource():
            return read_study(
                source.case, source.folder, source.files, source.labels, framing=framing, reading=source.reading
            )


def _produce_acdc(source: AcdcSource, framing: Framing) -> tuple[list[Example], list[Leftover]]:
    try:
        patient = acdc.read_patient(source.folder)
        return list(from_acdc(patient, framing)), list(patient.unused)
    except InputError as error:
        files = [path for path in sorted(source.folder.rglob("*")) if path.is_file()]
        return [], [(path, f"patient left out: {error}") for path in files]


def _produce_chla(source: ChlaSource, framing: Framing) -> tuple[list[Example], list[Leftover]]:
    try:
        return list(from_chla(chla.read_patient(source.file), framing)), []
    except InputError as error:
        return [], [(source.file, f"patient left out: {error}")]


def _produce_label_map(source: LabelMapSource, framing: Framing) -> tuple[list[Example], list[Leftover]]:
    in_folder = [path for path in sorted(source.file.parent.iterdir()) if path.is_file()]
    try:
        stack = label_maps.read_stack(source.file)
    except InputError as error:
        return [], [(path, f"patient left out: {error}") for path in in_folder]
    unused = [path for path in in_folder if path not in stack.files and not label_maps.is_image(path)]
    return list(from_label_map(stack, framing)), [(path, "no labels on the grid of the stack") for path in unused]
