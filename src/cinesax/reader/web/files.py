"""The files of the page: scripts, styles, icons. Read once, and kept by the browser until they change."""

import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

router = APIRouter()

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
# The address names the content, and the content is the same for everybody: no patient is in it.
_KEEP = {"Cache-Control": "private, max-age=31536000, immutable"}


@cache
def _files() -> dict[str, bytes]:
    """Path below `static` -> content. All of it is smaller than one frame of a study."""
    root = resources.files("cinesax.reader").joinpath("static")
    return dict(_below(root, ""))


def _below(folder: Traversable, name: str) -> list[tuple[str, bytes]]:
    files = []
    for entry in folder.iterdir():
        path = f"{name}{entry.name}"
        if entry.is_dir():
            files += _below(entry, f"{path}/")
        elif PurePosixPath(path).suffix in _KINDS:
            files.append((path, entry.read_bytes()))
    return files


@cache
def version() -> str:
    """A checksum of all files: part of their addresses, so that the browser asks again only after an update."""
    whole = hashlib.sha256()
    for path, content in sorted(_files().items()):
        whole.update(f"{path}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()[:16]


@cache
def _page() -> bytes:
    return _files()["index.html"].replace(b'"/static/', f'"/static/{version()}/'.encode())


@router.get("/")
async def _index() -> Response:
    return Response(_page(), media_type=_KINDS[".html"])


# Not in a thread like the other routes: the page begins with forty of these requests, and each takes microseconds.
@router.get("/static/{path:path}")
async def _file(path: str) -> Response:
    start, _, rest = path.partition("/")
    kept = start == version()
    content = _files().get(rest if kept else path)
    if content is None:
        raise HTTPException(404, "there is no such file")
    return Response(content, media_type=_KINDS[PurePosixPath(path).suffix], headers=_KEEP if kept else None)
