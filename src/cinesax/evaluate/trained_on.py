"""What a network, or another program, has learned from: as a bundle lists it, or as the user does."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cinesax.core.errors import InputError
from cinesax.network.fingerprint import Learned

if TYPE_CHECKING:
    from cinesax.network.bundle import Bundle

_FINGERPRINT = re.compile("[0-9a-f]{64}")


def learned_by(bundle: "Bundle") -> Learned | None:
    """The patients and images that a bundle says it was trained on; what is no fingerprint there is left out.

    A network of phantoms alone says that there are none; of a bundle that says nothing it is None.
    """
    return _learned(bundle.training) if "cases" in bundle.training or "images" in bundle.training else None


def read_trained_on(path: Path) -> Learned:
    """A list of patients and images.

    Args:
        path: text with a patient, or the fingerprint of an image (64 hexadecimal digits), on each line, and comments
            behind #; or JSON: a list of both, an object with `cases` and `images`, or a bundle.json.

    Raises:
        InputError: the file cannot be read, or lists nothing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = _learned(_listed(text, path))
    if not (found.cases or found.images):
        raise InputError(f"{path} lists no patient and no image: expected one per line, or JSON with cases and images")
    return found


def together(*lists: Learned | None) -> Learned | None:
    """All of what several lists name; None where there is none."""
    known = [one for one in lists if one is not None]
    if not known:
        return None
    return Learned(
        frozenset(case for one in known for case in one.cases), tuple(image for one in known for image in one.images)
    )


def _listed(text: str, path: Path) -> dict[str, Any]:
    if text.lstrip()[:1] not in ("{", "["):
        return _sorted_out(line.partition("#")[0].strip() for line in text.splitlines())
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if isinstance(values, dict):
        values = values.get("training", values)
        lists = [values.get("cases", []), values.get("images", [])] if isinstance(values, dict) else [None]
    else:
        lists = [values]
    if not all(isinstance(one, list) and all(isinstance(item, str) for item in one) for one in lists):
        raise InputError(f"{path}: expected a list of texts, or an object with such lists as cases and images")
    return _sorted_out(values) if isinstance(values, list) else dict(values)


def _sorted_out(listed: Iterable[str]) -> dict[str, list[str]]:
    names = [name for name in listed if name]
    images = [name for name in names if _FINGERPRINT.fullmatch(name)]
    return {"cases": [name for name in names if name not in images], "images": images}


def _learned(training: Any) -> Learned:
    images = [image for image in training.get("images", ()) if _FINGERPRINT.fullmatch(str(image))]
    return Learned(frozenset(training.get("cases", ())), tuple(images))
