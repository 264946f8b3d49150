"""Where to send objects: a DICOM application entity or a DICOMweb server."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from cinesax.core.errors import UsageError

_SPELLINGS = "give --to AET@HOST:PORT or --to https://HOST/dicom-web"


@dataclass(frozen=True, slots=True)
class DicomNode:
    """An application entity that accepts objects by C-STORE.

    Attributes:
        aet: its AE title, 1 to 16 characters.
        host: name or IP address.
        port: TCP port.
    """

    aet: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.aet}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DicomWeb:
    """A DICOMweb server that accepts objects by STOW-RS.

    Attributes:
        url: the root of its services, to which "/studies" is added.
        token: sent as a bearer token with every request; never shown.
    """

    url: str
    token: str | None = None

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"DicomWeb({self.url!r}, token={'...' if self.token else None})"


Destination = DicomNode | DicomWeb


def parse_destination(text: str, *, token: str | None = None) -> Destination:
    """Parse the value of `--to`.

    Args:
        text: "AET@HOST:PORT" (an IPv6 address in brackets) or "https://HOST/dicom-web".
        token: a bearer token, for DICOMweb only.

    Raises:
        UsageError: the text is neither of the two, the URL holds a password, or the token would cross a network
            unencrypted.
    """
    if text.lower().startswith(("http://", "https://")):
        return _web(text, token)
    if token is not None:
        raise UsageError(f"a token is for DICOMweb only, and {text!r} is not a URL: {_SPELLINGS}")
    match = re.fullmatch(r"([^@\\]+)@(?:\[([0-9A-Fa-f:.]+)\]|([^@:\[\]/\s]+)):(\d+)", text)
    if match is None:
        raise UsageError(f"{text!r} is not a destination: {_SPELLINGS}")
    aet, host, port = match[1].strip(), match[2] or match[3], int(match[4])
    if not 1 <= len(aet) <= 16 or not (aet.isascii() and aet.isprintable()):
        raise UsageError(f"an AE title has 1 to 16 ASCII characters, seen {match[1]!r}")
    if not 1 <= port <= 65535:
        raise UsageError(f"a port must be from 1 to 65535, seen {port}")
    return DicomNode(aet, host, port)


def _web(text: str, token: str | None) -> DicomWeb:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise UsageError(f"{text!r} is not a URL ({error}): {_SPELLINGS}") from error
    if not host:
        raise UsageError(f"{text!r} has no host: {_SPELLINGS}")
    if url.username is not None or url.password is not None:
        raise UsageError("a URL with a name or password in it ends up in logs: put them into ~/.netrc instead")
    if url.query or url.fragment:
        raise UsageError(f"give the root of the DICOMweb services without {_extra(url)!r}")
    if token is not None and url.scheme.lower() == "http" and not _is_this_machine(host):
        raise UsageError(f"a token is not sent over plain http to another machine ({host}): give an https URL")
    return DicomWeb(text.rstrip("/"), token)


def _extra(url: SplitResult) -> str:
    return (f"?{url.query}" if url.query else "") + (f"#{url.fragment}" if url.fragment else "")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
