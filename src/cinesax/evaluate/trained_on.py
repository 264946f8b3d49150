"""The training data of a network or another program, as listed by a bundle or by the user."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cinesax.core.errors import InputError
from cinesax.files.typed_json import typed
from cinesax.network.fingerprint import Learned

if TYPE_CHECKING:
    from cinesax.network.bundle import Bundle

_FINGERPRINT = re.compile("[0-9a-f]{64}")


def learned_by(bundle: "Bundle") -> Learned | None:
    """The training patients and images in a bundle; invalid fingerprints are left out.

    For a network trained on phantoms alone both lists are empty; for a bundle without this information the result is
    None.
    """
    cases, images = bundle.training.cases, bundle.training.images
    return None if cases is None and images is None else _learned(cases or (), images or ())


def read_trained_on(path: Path) -> Learned:
    """A list of patients and images.

    Args:
        path: text with a patient, or the fingerprint of an image (64 hexadecimal digits), on each line, and comments
            after #; or JSON: a list of both, an object with `cases` and `images`, or a bundle.json.

    Raises:
        InputError: the file cannot be read, or lists nothing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    learned = _learned(*_listed(text, path))
    if not (learned.cases or learned.images):
        raise InputError(f"{path} lists no patient and no image: expected one per line, or JSON with cases and images")
    return learned


def together(*lists: Learned | None) -> Learned | None:
    """The union of the known lists; None if none is known."""
    known = [learned for learned in lists if learned is not None]
    if not known:
        return None
    return Learned(
        frozenset(case for learned in known for case in learned.cases),
        tuple(image for learned in known for image in learned.images),
    )


class _Lists(msgspec.Struct, frozen=True):
    """An object with both lists, or a bundle.json, which has them under `training`."""

    cases: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    training: "_Lists | None" = None


def _listed(text: str, path: Path) -> tuple[Sequence[str], Sequence[str]]:
    """The patients and fingerprints in a text."""
    if text.lstrip()[:1] not in ("{", "["):
        return _sorted_out(line.partition("#")[0].strip() for line in text.splitlines())
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    try:
        if isinstance(values, list):
            return _sorted_out(typed(values, tuple[str, ...]))
        lists = typed(values, _Lists)
    except ValueError:
        raise InputError(
            f"{path}: expected a list of texts, or an object with such lists as cases and images"
        ) from None
    lists = lists.training or lists
    return lists.cases, lists.images


def _sorted_out(listed: Iterable[str]) -> tuple[list[str], list[str]]:
    names = [name for name in listed if name]
    images = [name for name in names if _FINGERPRINT.fullmatch(name)]
    return [name for name in names if name not in images], images


def _learned(cases: Sequence[str], images: Sequence[str]) -> Learned:
    return Learned(frozenset(cases), tuple(image for image in images if _FINGERPRINT.fullmatch(image)))
