"""Transfer syntaxes: how the bytes of an instance are written."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from cinesax.core.errors import UsageError


class TransferSyntax(StrEnum):
    """How an instance is encoded; the value is the name on the command line."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    BIG_ENDIAN = "big-endian"
    DEFLATED = "deflated"
    RLE = "rle"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"


_UIDS: Mapping[TransferSyntax, UID] = {
    TransferSyntax.EXPLICIT: ExplicitVRLittleEndian,
    TransferSyntax.IMPLICIT: ImplicitVRLittleEndian,
    TransferSyntax.BIG_ENDIAN: ExplicitVRBigEndian,
    TransferSyntax.DEFLATED: DeflatedExplicitVRLittleEndian,
    TransferSyntax.RLE: RLELossless,
    TransferSyntax.JPEG_LS: JPEGLSLossless,
    TransferSyntax.JPEG_2000: JPEG2000Lossless,
}
_ENCODERS = {TransferSyntax.JPEG_LS: "pyjpegls", TransferSyntax.JPEG_2000: "pylibjpeg pylibjpeg-openjpeg"}


def encode(instance: pydicom.Dataset, syntax: TransferSyntax) -> None:
    """Convert an uncompressed instance (explicit little endian) to a transfer syntax, in place and without loss.

    Raises:
        UsageError: no installed package encodes the transfer syntax.
    """
    uid = _UIDS[syntax]
    if uid.is_encapsulated:
        try:
            instance.compress(uid, generate_instance_uid=False)
        except (RuntimeError, ImportError) as error:
            package = _ENCODERS.get(syntax, "numpy")
            raise UsageError(f"nothing installed encodes {syntax}: pip install {package}") from error
        return
    if syntax is TransferSyntax.BIG_ENDIAN:
        # pydicom swaps the bytes of elements when it writes them, but not those of pixels.
        instance.PixelData = np.frombuffer(instance.PixelData, "<u2").astype(">u2").tobytes()
    instance.file_meta.TransferSyntaxUID = uid
