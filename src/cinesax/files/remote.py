"""Objects in stores such as S3, through fsspec: the extra `remote`.

A place in a store is a Path that begins with the protocol: `s3:/bucket/name` for s3://bucket/name. So places are
compared, cut and sorted as files are; paths of files are absolute, so they cannot be mistaken for places.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cinesax.core.errors import (
    CinesaxError,
    MissingExtraError,
    OutputError,
    UsageError,
    install_hint,
    printable,
)
from cinesax.files.temporary import check_room, temporary_folder

# fsspec chains protocols with "::".
_PROTOCOLS = r"[A-Za-z][A-Za-z0-9+.-]+(?:::[A-Za-z][A-Za-z0-9+.-]*)*"
_URL = re.compile(rf"({_PROTOCOLS})://(.*)", re.DOTALL)
_PROTOCOL = re.compile(rf"{_PROTOCOLS}:([/\\]|$)")
_PASSWORD = re.compile(r":.*@", re.DOTALL)
_SIGNED = re.compile(
    r"[?&;#](x-(amz|goog|ms)-|[^=&;]*(sig|signature|token|secret|password|credential|key|keyid|accessid)=)",
    re.IGNORECASE,
)
# What stores call the version of an object, and its time. A version is the same for the same content.
_VERSIONS = ("ETag", "etag", "e_tag", "md5Hash", "Content-MD5", "content_md5", "checksum")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created")
_OF_THIS_MACHINE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EMFILE, errno.EFBIG))
_ASKED_ONE_BY_ONE = 8
_LONGEST_SUFFIX = 12
_DENIED = "access is denied: check the credentials"


class RemoteError(OSError):
    """A store cannot be reached, denies access (EACCES), or does not have an object (ENOENT); `strerror` says what."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An object or a folder.

    Attributes:
        name: its name in its folder.
        size: bytes of an object.
        version: a number that is another one when the object has changed.
        is_folder: whether it is a folder.
    """

    name: str
    size: int = 0
    version: int = 0
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a folder.

    Attributes:
        entries: objects and folders, sorted by name.
        has_odd_names: whether it has names that no file can have (empty parts, "." or ".."), or "::", which fsspec does
            not read.
    """

    entries: tuple[Entry, ...] = field(default=())
    has_odd_names: bool = False


def is_url(text: str) -> bool:
    """Whether a text is a URL, not a path."""
    return _URL.match(text) is not None


def is_remote(path: Path) -> bool:
    """Whether a path is a place in a store."""
    text = str(path)
    # A table asks for a million paths.
    return text[:1] not in ("/", "\\") and _PROTOCOL.match(text) is not None


def place_of(url: str) -> Path:
    """The place that a URL names.

    Raises:
        UsageError: a URL with a password or a signature, of a web server, or one that names no place.
        MissingExtraError: a package is missing that reads such URLs.
    """
    found = _URL.match(url)
    if found is None:
        raise UsageError(f"not a URL: {printable(url)}")
    protocol, rest = found[1].lower(), found[2].rstrip("/")
    # Nothing that may be a secret is printed. Passwords may hold slashes, or be encoded.
    for text in (rest, unquote(rest)):
        if _PASSWORD.search(text):
            raise UsageError(f"leave the password out of the URL ({protocol}://...): give it in fsspec's settings")
        if _SIGNED.search(text):
            raise UsageError(
                f"leave the signature out of the URL ({protocol}://...): give credentials in fsspec's settings"
            )
    if "::" in url:
        raise UsageError(f'a URL with "::" cannot be read ({printable(url)}): give one such as s3://bucket/folder')
    if protocol in ("http", "https"):
        raise UsageError(f"{protocol}://... cannot be read: web servers cannot be listed: copy the exams to a disk")
    if protocol in ("file", "local"):
        raise UsageError(f"{printable(url)} is not a store: give the path of a file or folder")
    if not rest or any(_is_odd(part) for part in rest.split("/")):
        raise UsageError(f"{printable(url)} is not a folder or object: give one such as s3://bucket/folder")
    _check(protocol)
    return Path(f"{protocol}:", *rest.split("/"))


def shown(path: Path) -> str:
    """A path as people write it: places in stores as URLs."""
    return path.as_posix().replace(":/", "://", 1) if is_remote(path) else str(path)


def refuse_url(path: Path) -> None:
    """Raise UsageError if a path was given as a URL; argparse has made a path of it, which has lost a slash."""
    if is_remote(path):
        raise UsageError(
            "only `cinesax cohort` reads exams in a store (s3://...): give a file or folder on this machine"
        )


def _check(protocol: str) -> None:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(f"{protocol}:// needs fsspec: {install_hint('remote')}") from error
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        hint = install_hint("remote") if protocol in ("s3", "s3a") else printable(str(error))
        raise MissingExtraError(f"{protocol}:// needs another package: {hint}") from error
    except ValueError as error:
        raise UsageError(f"{protocol}:// is not a kind of store that fsspec knows") from error


def _is_odd(name: str) -> bool:
    return name in ("", ".", "..") or "\0" in name or "::" in name or (os.sep != "/" and os.sep in name)


def is_concurrent(place: Path) -> bool:
    """Whether the store answers several threads at once."""
    return bool(getattr(_system(place)[0], "async_impl", False))


def list_folder(place: Path) -> Listing:
    """What is in a folder now.

    Raises:
        RemoteError: it cannot be listed.
    """
    with _errors():
        system, path = _system(place)
        system.invalidate_cache()
        infos = system.ls(path, detail=True)
    above, entries, odd = path.rstrip("/"), [], False
    for info in infos:
        name = str(info["name"])
        inside = name.removeprefix(f"{above}/")
        if name.startswith(f"{above}/") and not inside:
            odd |= info.get("type") == "directory"  # an object of this name only marks the folder
        elif name.startswith(f"{above}/"):
            if _is_odd(inside.rstrip("/")) or "/" in inside.rstrip("/"):
                odd = True
            else:
                entries.append(_entry(system, info, inside.rstrip("/")))
    return Listing(tuple(sorted(entries)), odd)


def look(place: Path) -> Entry:
    """What is at a place now.

    Raises:
        RemoteError: nothing, or it cannot be seen.
    """
    with _errors():
        system, path = _system(place)
        system.invalidate_cache()
        info = system.info(path)
    return _entry(system, info, place.name)


def stamps(places: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Size and version of objects now; of files, size and time of change in ns.

    Raises:
        OSError: a file does not exist, or cannot be seen; RemoteError, if it is an object.
    """
    folders: dict[Path, list[Path]] = {}
    found: dict[Path, tuple[int, int]] = {}
    for place in places:
        if is_remote(place):
            folders.setdefault(place.parent, []).append(place)
        else:
            info = os.stat(place)
            found[place] = info.st_size, info.st_mtime_ns
    for folder, inside in folders.items():
        if len(inside) <= _ASKED_ONE_BY_ONE:  # their folder may hold many others
            entries = {place.name: look(place) for place in inside}
        else:
            entries = {entry.name: entry for entry in list_folder(folder).entries}
        for place in inside:
            entry = entries.get(place.name)
            if entry is None or entry.is_folder:
                raise RemoteError(errno.ENOENT, os.strerror(errno.ENOENT))
            found[place] = entry.size, entry.version
    return found


def beginnings(places: Sequence[Path], count: int) -> list[bytes | RemoteError]:
    """The first bytes of objects of one store, at most `count` of each; or why there are none."""
    if not places:
        return []
    try:
        with _errors():
            system, _ = _system(places[0])
            paths = [_system(place)[1] for place in places]
            answers = system.cat_ranges(paths, [0] * len(paths), [count] * len(paths), on_error="return")
    except RemoteError as error:
        return [error] * len(places)
    return [_remote(answer) if isinstance(answer, Exception) else bytes(answer)[:count] for answer in answers]


def fetch(files: Mapping[Path, Path]) -> None:
    """Copy objects of one store to files.

    Args:
        files: place -> path of the file; missing folders are made.

    Raises:
        RemoteError: an object cannot be read.
        OSError: a file cannot be written.
    """
    if not files:
        return
    for folder in {path.parent for path in files.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    with _errors():
        systems = [_system(place) for place in files]
        systems[0][0].get([path for _, path in systems], [str(path) for path in files.values()])


@contextmanager
def as_file(path: Path, size: int = 0, *, content: bytes | None = None) -> Iterator[Path]:
    """A path that can be opened: an object is copied to a temporary file with its suffix.

    Args:
        path: a file, or a place in a store.
        size: bytes of the object, if known.
        content: what to write to the temporary file instead of the whole object.

    Raises:
        RemoteError: the object cannot be read.
        OutputError: the temporary file cannot be written.
    """
    if not is_remote(path):
        yield path
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder())
            copy = folder / short_name(path)
            if content is None:
                check_room(folder, size)
                fetch({path: copy})
            else:
                copy.write_bytes(content)
        except RemoteError:
            raise
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"the folder for temporary files (TMPDIR) cannot be written: {reason}") from error
        yield copy


def short_name(place: Path, number: int = 0) -> str:
    """A name for a copy that every disk can have, with the suffix of the object."""
    suffix = ".nii.gz" if place.name.lower().endswith(".nii.gz") else place.suffix
    return f"object{number:06d}{suffix if len(os.fsencode(suffix)) <= _LONGEST_SUFFIX else ''}"


def _system(place: Path) -> tuple[Any, str]:
    """The file system of a place, and its name there."""
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(shown(place))
    except ImportError:
        _check(place.parts[0].rstrip(":"))
        raise
    return system, str(path)


def _entry(system: Any, info: Mapping[str, Any], name: str) -> Entry:
    if info.get("type") == "directory":
        return Entry(name, is_folder=True)
    if info.get("size") is None or _version(info) is None:
        with _errors():
            info = system.info(info["name"])
    version = _version(info)
    if version is None or info.get("size") is None:
        raise RemoteError(errno.ENOTSUP, "the store gives neither a version nor a time of its objects")
    return Entry(name, int(info["size"]), version)


def _version(info: Mapping[str, Any]) -> int | None:
    for names in (_VERSIONS, _TIMES):
        for name in names:
            if info.get(name) is not None:
                text = str(info[name]).strip('"')
                return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return None


@contextmanager
def _errors() -> Iterator[None]:
    """Raise RemoteError where a store cannot be used."""
    try:
        yield
    except (MemoryError, CinesaxError, RemoteError):
        raise
    except OSError as error:
        if error.errno in _OF_THIS_MACHINE:
            raise
        raise _remote(error) from error
    except Exception as error:  # stores have errors of their own, which have no common class
        raise _remote(error) from error


def _remote(error: Exception) -> RemoteError:
    if isinstance(error, RemoteError):
        return error
    if isinstance(error, FileNotFoundError):
        return RemoteError(errno.ENOENT, os.strerror(errno.ENOENT))
    denied = ("credential", "denied", "forbidden", "unauthorized")
    if isinstance(error, PermissionError) or any(word in f"{type(error).__name__} {error}".lower() for word in denied):
        return RemoteError(errno.EACCES, _DENIED)
    return RemoteError(errno.EHOSTDOWN, f"the store cannot be reached ({type(error).__name__})")
