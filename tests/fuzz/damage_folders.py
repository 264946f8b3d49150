"""Damage to an exam as a whole: what lies in its folder or zip, under which names, and of whom."""

import io
import os
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom

from fuzz.damage_bytes import DAMAGE as BYTE_DAMAGE
from fuzz.damage_elements import damaged

FolderDamage = Callable[[Path, random.Random], None]

_NAMES = (
    *(b"\xff\xfe.dcm", b"\xc3(", b"caf\xe9", "山田 ❤️.dcm".encode(), b"a\nb", b"\x1b[31mred", b"-o", b"--force"),
    *(b"~", b"$HOME"),
    *(b"x" * 255, b" ", b".hidden", b"a;1", b"con", b"nul.txt", b"a:b", b"back\\slash", b"\xe2\x80\xae.dcm"),
    *(b"%s%n", b"..."),
)  # fmt: skip


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def mixed_patients(folder: Path, rng: random.Random) -> None:
    """Some files are of another patient, study or both, or of the same one under other UIDs."""
    changes = rng.choice(
        [
            {"PatientID": b"SOMEBODY ELSE "},
            {"StudyInstanceUID": b"1.2.3.4.99"},
            {"PatientID": b"SOMEBODY ELSE ", "StudyInstanceUID": b"1.2.3.4.99"},
            {"PatientID": b"SOMEBODY ELSE ", "PatientName": b"ROE^RICHARD "},
        ]
    )
    files = [path for path in _files(folder) if path.name != "DICOMDIR"]
    if len(files) < 2:
        files.append(files[0].with_name("another"))
        files[1].write_bytes(files[0].read_bytes())
    chosen = files[: len(files) // 2] if rng.random() < 0.5 else [rng.choice(files)]

    def change(dataset: pydicom.Dataset, _: random.Random) -> None:
        for keyword, value in changes.items():
            setattr(dataset, keyword, value.decode().strip())

    for path in chosen:
        path.write_bytes(damaged(path.read_bytes(), change, rng))


def _copies(folder: Path, rng: random.Random) -> None:
    """Files that are there twice, some with other instance UIDs."""

    def rename(dataset: pydicom.Dataset, _: random.Random) -> None:
        dataset.SOPInstanceUID = f"1.2.3.{rng.randrange(10**9)}"

    files = _files(folder)
    for path in rng.sample(files, rng.randint(1, len(files))):
        content = path.read_bytes()
        (folder / f"copy of {path.name}").write_bytes(damaged(content, rename, rng) if rng.random() < 0.5 else content)


def empty_files(folder: Path, rng: random.Random, *, count: int | None = None) -> None:
    """Very many files of no byte."""
    beside = folder / "empty"
    beside.mkdir(exist_ok=True)
    for number in range(count or rng.choice([1, 50, 400])):
        os.close(os.open(beside / f"{number:06d}.dcm", os.O_CREAT | os.O_WRONLY))


def links(folder: Path, rng: random.Random) -> None:
    """Links that lead in a circle, to nowhere, to the folder itself, out of it, and to things that never end."""
    for number in range(rng.choice([1, 3])):
        target = rng.choice([".", "..", f"loop{number}", "nowhere", "/dev/zero", "/dev/urandom", "/proc/self/mem", "/"])
        (folder / f"loop{number}").symlink_to(target)
    if rng.random() < 0.3:
        (folder / "a").symlink_to("b")
        (folder / "b").symlink_to("a")


def special_files(folder: Path, rng: random.Random) -> None:
    """Pipes that nobody writes to, folders that are called like files, files that may not be read."""
    for number in range(rng.choice([1, 4])):
        os.mkfifo(folder / f"pipe{number}.dcm")
    (folder / "IM0001.dcm").mkdir(exist_ok=True)
    (folder / "DICOMDIR").mkdir(exist_ok=True) if not (folder / "DICOMDIR").exists() else None
    os.chmod(rng.choice(_files(folder)), 0)


def odd_names(folder: Path, rng: random.Random) -> None:
    """Names in any encoding, of any length, that look like options or escape sequences."""
    files = _files(folder)
    for path in rng.sample(files, rng.choice([1, len(files)])):
        name = rng.choice(_NAMES)
        if rng.random() < 0.7:
            name = name[:200] + str(rng.randrange(10**6)).encode()
        os.rename(path, os.path.join(os.fsencode(path.parent), name))


def deep_folders(folder: Path, rng: random.Random) -> None:
    """A file so deep that its path is near the longest there is."""
    path = rng.choice(_files(folder))
    deep = folder
    for _ in range(rng.choice([3, 40, 300])):
        deep = deep / "sub"
    deep.mkdir(parents=True, exist_ok=True)
    path.rename(deep / path.name)


def missing_files(folder: Path, rng: random.Random) -> None:
    """Some files are gone, or all of them."""
    files = _files(folder)
    for path in rng.sample(files, rng.choice([1, 1, len(files) // 2 or 1, len(files)])):
        path.unlink()


def strangers(folder: Path, rng: random.Random) -> None:
    """Files of other kinds, and noise, beside the exam."""
    for number in range(rng.choice([1, 20])):
        content = bytearray(b"x" * 300)
        rng.choice(BYTE_DAMAGE)(content, rng)
        (folder / f"other{number}{rng.choice(['', '.dcm', '.jpg', '.zip', '.nii.gz', '.txt'])}").write_bytes(content)


FOLDER_DAMAGE: tuple[FolderDamage, ...] = (
    *(mixed_patients, mixed_patients, _copies, empty_files, links, special_files, odd_names, odd_names, deep_folders),
    *(missing_files, strangers),
)


def zipped(folder: Path, rng: random.Random) -> Path:
    """The folder as a zip beside it, which may be odd itself."""
    stream = io.BytesIO()
    method = rng.choice(
        [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    )
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream, "w", method) as archive:
        for path in _files(folder):
            name = path.relative_to(folder).as_posix().encode("utf-8", "replace").decode("utf-8", "replace")
            for _ in range(2 if rng.random() < 0.02 else 1):
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), compress_type=method)
        if rng.random() < 0.1:
            archive.writestr(*rng.choice(_ODD_MEMBERS))
    data = bytearray(stream.getvalue())
    if rng.random() < 0.6:
        rng.choice((*BYTE_DAMAGE[:9], _odd_directory))(data, rng)
    path = folder.with_name("exam.zip")
    path.write_bytes(data)
    return path


def _linked() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.dcm")
    info.external_attr = 0o120777 << 16
    return info


_ODD_MEMBERS = (
    *(("../../outside.dcm", b"x"), ("/etc/outside.dcm", b"x"), ("C:\\outside.dcm", b"x"), (_linked(), b"/etc/passwd")),
    *(
        ("a\nb", b"x"),
        ("x" * 5000, b""),
        ("empty/", b""),
        ("nested.zip", b"PK\x03\x04"),
        ("zeros.dcm", bytes(2_000_000)),
    ),
)


def _odd_directory(data: bytearray, rng: random.Random) -> None:
    """A central directory that declares other sizes, methods, flags or places than are true."""
    spots = [at for at in range(len(data) - 46) if data[at : at + 4] == b"PK\x01\x02"]
    for at in rng.sample(spots, min(len(spots), rng.choice([1, 5]))):
        offset = rng.choice([8, 10, 16, 20, 24, 42])
        size = 2 if offset in (8, 10) else 4
        data[at + offset : at + offset + size] = struct.pack(
            "<I", rng.choice([0, 1, 99, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
        )[:size]
