"""Group files into exams: the second step of a plan.

An exam is all DICOM files of one study and patient, in any folders and zips; a NIfTI file with many phases, or a folder
of NIfTI files that make one cine; or a folder with unreadable files, so that it gets a row with the reason. Copies of
the same files are one exam; different files with the same UIDs are different exams.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cinesax.cohort.planning.find_remote import ONE_OBJECT, ask
from cinesax.cohort.planning.keys import SEPARATOR, give_keys
from cinesax.cohort.planning.plan import Kind, Plan
from cinesax.core.cine import StoredFile
from cinesax.files.remote import RemoteError, as_file
from cinesax.files.stored_files import opener
from cinesax.formats.nifti import names

_FEWEST_PHASES = 3
_COMPARED = 3
_NAMED_IMAGES = " OR ".join(f"CAST(name AS TEXT) LIKE '%{suffix}'" for suffix in (".dcm", ".dicom", ".ima", ".zip"))
_ZIP = "(member = '' AND CAST(name AS TEXT) LIKE '%.zip')"


@dataclass(frozen=True, slots=True)
class _Group:
    """Files that belong together, before they have a key.

    Attributes:
        base: what identifies the exam, to be hashed: the StudyInstanceUID, or a path.
        more: what distinguishes exams with the same base.
    """

    scope: int
    kind: Kind
    root: Path
    base: str
    more: str
    patient: str = ""
    copies: int = 0
    where: str = field(default="", repr=False)
    values: tuple[object, ...] = field(default=(), repr=False)


def group(plan: Plan) -> None:
    """Make the exams of a plan from its files, with keys and fingerprints."""
    plan.index()
    plan.change("CREATE TEMP TABLE refused AS SELECT scope, root FROM exams")
    plan.change("DELETE FROM exams")
    for groups in (_of_dicom, _of_nifti, _attach_directories, _of_others, _of_refused):
        for exam in groups(plan):
            _put(plan, exam)
    _give_fingerprints(plan)
    give_keys(plan)


def _put(plan: Plan, exam: _Group) -> None:
    """Store an exam under a unique draft of its key; the keys are made when all exams are known."""
    ((name,),) = plan.rows("SELECT name FROM scopes WHERE scope = ?", (exam.scope,))
    draft = SEPARATOR.join((exam.base, exam.more, name))
    plan.change(
        "INSERT OR REPLACE INTO exams VALUES (?, ?, ?, ?, ?, '', 0, 0, ?, 0)",
        (draft, exam.scope, exam.kind.value, os.fsencode(exam.root), exam.patient, exam.copies),
    )
    if exam.where:
        plan.change(f"UPDATE files SET exam = ? WHERE {exam.where}", (draft, *exam.values))


def _by_path(plan: Plan, scope: int, path: Path) -> str:
    """A replacement for a missing UID: the path below the root, so that the root can move."""
    ((root, name),) = plan.rows("SELECT root, name FROM scopes WHERE scope = ?", (scope,))
    top = Path(os.fsdecode(root))
    inside = path.relative_to(top) if path.is_relative_to(top) else path
    return f"path {os.fsencode(inside).hex()} {name}"


def _of_refused(plan: Plan) -> Iterator[_Group]:
    """Paths that could not be listed: a folder without permission, a damaged zip, a broken link."""
    for scope, path in plan.rows("SELECT scope, root FROM temp.refused"):
        root = Path(os.fsdecode(path))
        yield _Group(scope, Kind.OTHER, root, _by_path(plan, scope, root), "")


def _of_dicom(plan: Plan) -> Iterator[_Group]:
    query = "SELECT DISTINCT scope, study, patient FROM files WHERE kind = 'dicom' AND study != ''"
    for scope, study, patient in plan.snapshot(query):
        yield from _parts(plan, scope, study, patient)
    # Files without a study belong to the only exam of their folder; otherwise they form an exam together.
    query = "SELECT DISTINCT scope, folder FROM files WHERE kind = 'dicom' AND study = ''"
    for scope, folder in plan.snapshot(query):
        where, values = "scope = ? AND folder = ? AND kind = 'dicom' AND study = ''", (scope, folder)
        exams = _exams_in(plan, scope, folder)
        if len(exams) == 1:
            plan.change(f"UPDATE files SET exam = ? WHERE {where}", (exams[0], *values))
            continue
        root = Path(os.fsdecode(folder))
        yield _Group(scope, Kind.DICOM, root, _by_path(plan, scope, root), "", where=where, values=values)


def _exams_in(plan: Plan, scope: int, folder: bytes) -> list[str]:
    """The exams with files in a folder; at most two are returned."""
    query = "SELECT DISTINCT exam FROM files WHERE scope = ? AND folder = ? AND exam IS NOT NULL LIMIT 2"
    return [row[0] for row in plan.rows(query, (scope, folder))]


def _parts(plan: Plan, scope: int, study: str, patient: str) -> Iterator[_Group]:
    """The exam of a study and patient; several if different folders hold different images with the same UIDs."""
    where = "kind = 'dicom' AND scope = ? AND study = ? AND patient = ?"
    values = (scope, study, patient)
    folders = [row[0] for row in plan.rows(f"SELECT DISTINCT folder FROM files WHERE {where}", values)]
    home = _home(plan, where, values, folders)
    query = f"SELECT 1 FROM files WHERE {where} AND instance != '' GROUP BY instance HAVING COUNT(*) > 1 LIMIT 1"
    twice = next(plan.rows(query, values), None) is not None
    if not twice:
        yield _Group(scope, Kind.DICOM, home, study, patient, patient, where=where, values=values)
        return
    parts, unsure, copied = _apart(plan, where, values, home)
    for number, part in enumerate([*parts, *unsure]):
        plan.change("CREATE TEMP TABLE IF NOT EXISTS part (folder BLOB, name BLOB, member TEXT)")
        plan.change("DELETE FROM part")
        for file in part:
            row = (os.fsencode(file.path.parent), os.fsencode(file.path.name), file.member or "")
            plan.change("INSERT INTO part VALUES (?, ?, ?)", row)
        inside = f"{where} AND (folder, name, member) IN (SELECT folder, name, member FROM part)"
        root = Path(os.path.commonpath([file.path if file.member else file.path.parent for file in part]))
        if number >= len(parts):
            base = _by_path(plan, scope, root)
            yield _Group(scope, Kind.UNDECIDED, root, base, "", patient, where=inside, values=values)
            continue
        more = patient if len(parts) == 1 else f"{patient} {_by_path(plan, scope, root)}"
        copies = copied if number == 0 else 0
        yield _Group(scope, Kind.DICOM, root, study, more, patient, copies, where=inside, values=values)


def _home(plan: Plan, where: str, values: tuple[object, ...], folders: list[bytes]) -> Path:
    paths = [Path(os.fsdecode(folder)) for folder in folders]
    if len(paths) > 1:
        return Path(os.path.commonpath(paths))
    # A single zip is itself the exam, not the folder that holds it.
    named = list(plan.rows(f"SELECT DISTINCT name, member != '' FROM files WHERE {where} LIMIT 2", values))
    return paths[0] / os.fsdecode(named[0][0]) if len(named) == 1 and named[0][1] else paths[0]


def _apart(
    plan: Plan, where: str, values: tuple[object, ...], home: Path
) -> tuple[list[list[StoredFile]], list[list[StoredFile]], int]:
    """Split the files of a study by folder if an instance differs between folders.

    Returns:
        The exams; folders that could not be compared with them; and the number of copies.

    Raises:
        InputError: the store of the files cannot be reached.
    """
    pieces: dict[str, dict[str, StoredFile]] = {}
    loose: dict[str, list[StoredFile]] = {}
    query = f"SELECT folder, name, member, instance FROM files WHERE {where} ORDER BY folder, name, member"
    for folder, name, member, instance in plan.rows(query, values):
        file = StoredFile(Path(os.fsdecode(folder)) / os.fsdecode(name), member or None)
        piece = _piece(file, home)
        loose.setdefault(piece, []).append(file)
        pieces.setdefault(piece, {})[instance] = file
    parts: list[list[str]] = []
    unsure: list[str] = []
    copies = 0
    for piece in sorted(pieces):
        shared = [(part, other) for part in parts for other in part if pieces[other].keys() & pieces[piece].keys()]
        if not shared:
            # Another series of the study, if there is only one exam that it can belong to.
            parts[0].append(piece) if len(parts) == 1 else parts.append([piece])
            continue
        answers = [_same(pieces[other], pieces[piece]) for _, other in shared]
        if True in answers:
            copies += len(loose[piece])
        elif None in answers:
            unsure.append(piece)
        else:
            parts.append([piece])
    exams = [[file for piece in part for file in loose[piece]] for part in parts]
    return exams, [loose[piece] for piece in unsure], copies


def _piece(file: StoredFile, home: Path) -> str:
    """The folder or zip directly below a study's home that holds a file; "" for the home itself."""
    inside = file.path if file.member is not None else file.path.parent
    below = inside.relative_to(home).parts if inside.is_relative_to(home) else ()
    return below[0] if below else ""


def _same(first: dict[str, StoredFile], second: dict[str, StoredFile]) -> bool | None:
    """Whether two folders hold the same image for a common UID; None: no such image can be read in both folders.

    Raises:
        InputError: the store of the files cannot be reached.
    """
    for instance in sorted(first.keys() & second.keys())[:_COMPARED]:
        digests = [_digest(files[instance]) for files in (first, second)]
        if None not in digests:
            return digests[0] == digests[1]
    return None


def _digest(file: StoredFile) -> str | None:
    """A hash of the content of a file; None if it cannot be read. An object is tried twice."""
    lost: RemoteError | None = None
    for _ in range(2):
        try:
            with as_file(file.path) as path, opener() as open_file, open_file(replace(file, path=path)) as stream:
                return hashlib.sha256(stream.read()).hexdigest()
        except RemoteError as error:
            lost = error
        except OSError:
            return None
    if lost is not None and lost.errno not in ONE_OBJECT:
        ask(file.path.parent, lost)
    return None


def _of_nifti(plan: Plan) -> Iterator[_Group]:
    query = (
        "SELECT DISTINCT scope, folder FROM files AS one WHERE kind = 'nifti' AND NOT EXISTS (SELECT 1 FROM files "
        "WHERE kind = 'dicom' AND folder = one.folder AND scope = one.scope)"
    )
    for scope, folder in plan.snapshot(query):
        where = "scope = ? AND folder = ? AND kind = 'nifti'"
        rows = plan.rows(f"SELECT name, instance FROM files WHERE {where} ORDER BY name", (scope, folder))
        home = Path(os.fsdecode(folder))
        phases = {home / os.fsdecode(name): number for name, number in rows}
        images = [image for image in phases if not names.is_labels(image.name)]
        whole = [image for image in images if int(phases[image] or 0) >= _FEWEST_PHASES]
        unreadable = [image for image in images if not phases[image]]
        alone = len(whole) > 1 or len(images) == 1 or len(whole) + len(unreadable) == len(images)
        if images and (not alone or not whole) and len(images) > 1:
            base = _by_path(plan, scope, home)
            yield _Group(scope, Kind.NIFTI, home, base, "", where=where, values=(scope, folder))
            continue
        for image in [*whole, *unreadable] or images:
            name = os.fsencode(image.name)
            base = _by_path(plan, scope, image)
            yield _Group(
                scope, Kind.NIFTI, image, base, "", where=f"{where} AND name = ?", values=(scope, folder, name)
            )


def _attach_directories(plan: Plan) -> Iterator[_Group]:
    """A DICOMDIR belongs to the exam below its folder, if there is only one: it lists the files that should exist."""
    query = "SELECT scope, folder, name, member FROM files WHERE kind = 'directory'"
    for scope, folder, name, member in plan.snapshot(query):
        # 0x30 follows "/": all folders below.
        below = (scope, folder, folder + b"/", folder + b"0")
        query = (
            "SELECT DISTINCT exam FROM files WHERE scope = ? AND (folder = ? OR (folder > ? AND folder < ?)) "
            "AND exam IS NOT NULL LIMIT 2"
        )
        exams = list(plan.rows(query, below))
        if len(exams) == 1:
            plan.change(
                "UPDATE files SET exam = ? WHERE scope = ? AND folder = ? AND name = ? AND member = ?",
                (exams[0][0], scope, folder, name, member),
            )
    yield from ()


def _of_others(plan: Plan) -> Iterator[_Group]:
    """Unreadable files belong to the exam of their folder; without one, their folder is an exam that will fail."""
    query = "SELECT DISTINCT scope, folder FROM files WHERE kind = 'other'"
    for scope, folder in plan.snapshot(query):
        where, values = "scope = ? AND folder = ? AND kind = 'other'", (scope, folder)
        home = Path(os.fsdecode(folder))
        owners = _exams_in(plan, scope, folder) or _owners(plan, scope, home)
        if len(owners) == 1:  # whose reader reports them; it does not look for zips among files
            plan.change(f"UPDATE files SET exam = ? WHERE {where} AND NOT {_ZIP}", (owners[0], *values))
        if owners:
            # Nobody knows whose they are: a file named like an image gets its own row.
            where += f" AND ({_ZIP if len(owners) == 1 else _NAMED_IMAGES})"
            if next(plan.rows(f"SELECT 1 FROM files WHERE {where} LIMIT 1", values), None) is None:
                continue
        names_here = list(plan.rows(f"SELECT DISTINCT name, member != '' FROM files WHERE {where} LIMIT 2", values))
        ((root,),) = plan.rows("SELECT root FROM scopes WHERE scope = ?", (scope,))
        # One zip, or one file that was given itself or lies beside exams, is the exam; else the folder is.
        beside = bool(owners) or home == _path(root)
        single = len(names_here) == 1 and (
            names_here[0][1] or beside or home / os.fsdecode(names_here[0][0]) == _path(root)
        )
        place = home / os.fsdecode(names_here[0][0]) if single else home
        yield _Group(scope, Kind.DICOM, place, _by_path(plan, scope, place), "", where=where, values=values)


def _path(stored: bytes) -> Path:
    return Path(os.fsdecode(stored))


def _owners(plan: Plan, scope: int, folder: Path) -> list[str]:
    """The exams around a folder: the folder is one of those over which their files are spread."""
    ((stored,),) = plan.rows("SELECT root FROM scopes WHERE scope = ?", (scope,))
    root = _path(stored)
    for parent in folder.parents:
        if parent == root or not parent.is_relative_to(root):
            return []
        query = "SELECT id FROM exams WHERE scope = ? AND root = ? AND kind = 'dicom' LIMIT 2"
        owners = [row[0] for row in plan.rows(query, (scope, os.fsencode(parent)))]
        if owners:
            return owners
    return []


def _give_fingerprints(plan: Plan) -> None:
    query = (
        "SELECT exam, root, absent, folder, files.name, member, size, mtime FROM files JOIN scopes USING (scope) "
        "WHERE exam IS NOT NULL ORDER BY 1, 4, 5, 6"
    )
    for key, rows in itertools.groupby(plan.snapshot(query), key=lambda row: row[0]):
        absent = 0
        stamps = []
        for _, top, away, folder, name, *facts in rows:
            absent |= away
            stamps.append((below(os.path.join(os.fsdecode(folder), os.fsdecode(name)), os.fsdecode(top)), *facts))
        total = sum({name: size for name, _, size, _ in stamps}.values())
        plan.change(
            "UPDATE exams SET fingerprint = ?, files = ?, bytes = ?, absent = ? WHERE id = ?",
            (fingerprint(stamps), len(stamps), total, absent, key),
        )


def below(path: str, top: str) -> str:
    """The name of a path in a fingerprint: relative to the root, so that the root can be mounted elsewhere.

    Both are absolute, without links back. A cohort has millions of files: objects of `pathlib` would take as long as
    reading the files.
    """
    if path == top:
        return "."
    start = top if top.endswith(os.sep) else top + os.sep
    return path[len(start) :].replace(os.sep, "/") if path.startswith(start) else path


def fingerprint(stamps: Iterable[tuple[str, str, int, int]]) -> str:
    """A hash of (path of the file or zip, name in the zip, size, time of change) of each file of an exam."""
    hashed = hashlib.sha256()
    for stamp in stamps:
        hashed.update(repr(stamp).encode("utf-8", "surrogateescape"))
    return hashed.hexdigest()
