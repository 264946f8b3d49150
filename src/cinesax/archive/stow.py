"""STOW-RS to a DICOMweb server, with dicomweb-client: one object per request, so that each has its own answer."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pydicom

from cinesax.archive.answers import Answer, Connect, Fate, Store, Unreachable, answer_of
from cinesax.archive.destinations import DicomWeb
from cinesax.archive.objects import DicomObject
from cinesax.core.errors import MissingExtraError, install_hint
from cinesax.dicom.read.header import DICOM_ERRORS

# The client sends bodies beyond this size in chunks, which some servers refuse: never chunk.
_NO_CHUNKS = 2**62
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_NOT_LET_IN = (401, 403, 407)


def connector(server: DicomWeb, *, timeout_s: float) -> Connect:
    """A function that opens a session with the server.

    Raises:
        MissingExtraError: dicomweb-client is not installed.
    """
    try:
        import requests
        from dicomweb_client.api import DICOMwebClient
    except ImportError as error:
        raise MissingExtraError(f"STOW-RS needs dicomweb-client; {install_hint('send')}") from error

    @contextmanager
    def connect(_: Sequence[DicomObject]) -> Iterator[Store]:
        with requests.Session() as session:
            # A redirected POST becomes a GET, whose success would be a false one.
            session.max_redirects = 0
            headers = {"Accept": "application/dicom+json"}
            if server.token is not None:
                headers["Authorization"] = f"Bearer {server.token}"
            client = DICOMwebClient(
                server.url,
                session=session,
                headers=headers,
                chunk_size=_NO_CHUNKS,
                permissive_uid=True,
                timeout=timeout_s,
            )
            client.set_http_retry_params(retry=False)
            yield lambda sent: _store(client, sent)

    return connect


def _store(client: Any, sent: DicomObject) -> Answer:
    import requests

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = client.store_instances([pydicom.dcmread(sent.path)])
    except requests.HTTPError as error:
        return _refusal(error.response, sent)
    except requests.TooManyRedirects as error:
        place = error.response.headers.get("Location", "elsewhere") if error.response is not None else "elsewhere"
        raise Unreachable(f"the server points to {place}: give that address", again=False) from error
    except requests.exceptions.SSLError as error:
        raise Unreachable(f"the server's certificate is not trusted: {_brief(error)}", again=False) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Unreachable(f"no connection to {client.base_url}: {_brief(error)}") from error
    except requests.RequestException as error:
        raise Unreachable(f"{client.base_url} cannot be used: {_brief(error)}", again=False) from error
    except DICOM_ERRORS as error:
        return Answer(Fate.NOT_SENT, f"the file cannot be read: {error}")
    return _listed(stored, sent) or Answer(Fate.REFUSED, "the server's answer does not say that it took the object")


def _refusal(response: Any, sent: DicomObject) -> Answer:
    status = int(response.status_code)
    if status in _NOT_LET_IN:
        raise Unreachable(f"HTTP {status}: the server does not let this program in", again=False)
    try:
        listed = _listed(pydicom.Dataset.from_json(response.json()), sent)
    except (*DICOM_ERRORS,):
        listed = None
    return listed or Answer(Fate.REFUSED, f"HTTP {status} {response.reason}".strip(), again=status in _PASSING)


def _listed(stored: pydicom.Dataset, sent: DicomObject) -> Answer | None:
    """What a store response (PS3.18, 10.5.3) says about the object; None if it does not mention the object."""
    for item in stored.get("FailedSOPSequence") or ():
        if str(item.get("ReferencedSOPInstanceUID")) == sent.sop_instance_uid:
            return answer_of(int(item.get("FailureReason") or 0x0110))
    for item in stored.get("ReferencedSOPSequence") or ():
        if str(item.get("ReferencedSOPInstanceUID")) == sent.sop_instance_uid:
            return answer_of(int(item.get("WarningReason") or 0))
    return None


def _brief(error: Exception) -> str:
    """The innermost reason: the errors around it repeat the address and names of Python objects."""
    inner: BaseException = error
    while isinstance(deeper := inner.args[0] if inner.args else None, BaseException) or isinstance(
        deeper := getattr(inner, "reason", None), BaseException
    ):
        inner = deeper
    return " ".join(str(inner).split(": ")[-1].split())
