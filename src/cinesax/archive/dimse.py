"""C-STORE over a DICOM association, with pynetdicom."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cinesax.archive.answers import Answer, Connect, Fate, Store, Unreachable, answer_of
from cinesax.archive.destinations import DicomNode
from cinesax.archive.objects import DicomObject
from cinesax.core.errors import MissingExtraError, install_hint
from cinesax.dicom.read.header import DICOM_ERRORS

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.association import Association

# Each of these can be sent as any other: only the encoding of the header differs.
_PLAIN = frozenset(map(str, (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)))
MAX_CONTEXTS = 128
"""An association has no more presentation contexts (PS3.8: odd numbers below 256)."""

_REJECTED_FOR_NOW = 2
_NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 3, 4


def connector(node: DicomNode, *, calling_aet: str, timeout_s: float) -> Connect:
    """A function that opens an association with the node for given objects.

    Raises:
        MissingExtraError: pynetdicom is not installed.
    """
    try:
        from pynetdicom.ae import ApplicationEntity
    except ImportError as error:
        raise MissingExtraError(f"C-STORE needs pynetdicom; {install_hint('send')}") from error

    @contextmanager
    def connect(objects: Sequence[DicomObject]) -> Iterator[Store]:
        entity = ApplicationEntity(ae_title=calling_aet)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_s
        entity.connection_timeout = timeout_s
        _propose(entity, objects)
        with warnings.catch_warnings():
            # pynetdicom 3.0 leaves the socket of a failed connection to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            association = entity.associate(node.host, node.port, ae_title=node.aet)
        if not association.is_established:
            raise _why_not(association, node)
        try:
            yield lambda sent: _store(association, sent)
        finally:
            if association.is_established:
                association.release()

    return connect


def _propose(entity: "ApplicationEntity", objects: Sequence[DicomObject]) -> None:
    """Propose each object in its own encoding; uncompressed objects also in the one that every archive must accept."""
    contexts = dict.fromkeys((sent.sop_class_uid, sent.transfer_syntax_uid) for sent in objects)
    plain = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
    contexts |= dict.fromkeys((sop, plain[1]) for sop, syntax in contexts if syntax in plain)
    for sop_class, syntax in list(contexts)[:MAX_CONTEXTS]:
        entity.add_requested_context(sop_class, syntax)


def _why_not(association: "Association", node: DicomNode) -> Unreachable:
    if not association.is_rejected:
        if association.is_aborted and association.acceptor.primitive is None:
            return Unreachable(f"nobody answers at {node.host}, port {node.port}")
        if association.rejected_contexts and not association.accepted_contexts:
            for_syntax = any(context.result == _NO_TRANSFER_SYNTAX for context in association.rejected_contexts)
            what = "objects in their transfer syntax" if for_syntax else "kinds of object"
            return Unreachable(f"the archive takes none of these {what}", again=False)
        return Unreachable(f"the association with {node} was aborted")
    answer = association.acceptor.primitive
    reason = "" if answer is None else f": {answer.reason_str}"
    again = answer is not None and answer.result == _REJECTED_FOR_NOW
    return Unreachable(f"{node} rejects the association{reason}", again=again)


def _why_not_taken(association: "Association", sent: DicomObject) -> str:
    """Why no presentation context was accepted for an object (the results are those of PS3.8, table 9-18)."""
    rejected = [context for context in association.rejected_contexts if context.abstract_syntax == sent.sop_class_uid]
    kind_is_taken = any(context.abstract_syntax == sent.sop_class_uid for context in association.accepted_contexts)
    if kind_is_taken or any(context.result == _NO_TRANSFER_SYNTAX for context in rejected):
        return f"the archive does not take {sent.kind} in its transfer syntax ({UID(sent.transfer_syntax_uid).name})"
    if any(context.result == _NO_ABSTRACT_SYNTAX for context in rejected):
        return f"the archive does not take {sent.kind}"
    if rejected:
        return f"the archive rejects {sent.kind}"
    return f"{sent.kind} could not be offered: an association offers no more than {MAX_CONTEXTS} kinds of object"


def _is_taken(association: "Association", sent: DicomObject) -> bool:
    """Whether the archive has accepted an object as it is encoded, or as pynetdicom can encode it without loss."""
    accepted = {
        context.transfer_syntax[0]
        for context in association.accepted_contexts
        if context.abstract_syntax == sent.sop_class_uid and context.as_scu
    }
    plain = sent.transfer_syntax_uid in _PLAIN and not accepted.isdisjoint(_PLAIN)
    return plain or sent.transfer_syntax_uid in accepted


def _store(association: "Association", sent: DicomObject) -> Answer:
    if not _is_taken(association, sent):
        return Answer(Fate.REFUSED, _why_not_taken(association, sent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = association.send_c_store(sent.path)
    except ValueError as error:
        return Answer(Fate.NOT_SENT, f"cannot be encoded: {error}")
    except RuntimeError as error:
        raise Unreachable("the association broke") from error
    except DICOM_ERRORS as error:
        return Answer(Fate.NOT_SENT, f"the file cannot be read: {error}")
    if "Status" not in status:
        raise Unreachable("the archive gave no answer in time, or the association broke")
    return answer_of(int(status.Status), str(status.get("ErrorComment", "")))
