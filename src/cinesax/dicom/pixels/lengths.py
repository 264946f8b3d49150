"""Pixel data of a length that pydicom decodes without a warning."""

import math

from pydicom.dataset import Dataset


def fit_length(dataset: Dataset, bytes_a_frame: float, frames: int) -> None:
    """Change the length of the pixel data so that pydicom does not warn about it; the frames stay the same.

    pydicom warns about bytes after the last frame, and about compressed data that happen to be as long as the
    uncompressed pixels. Warnings can only be silenced for the whole process, which threads share.

    Args:
        dataset: the object, with its file meta information. Without pixel data nothing changes.
        bytes_a_frame: the size of one uncompressed frame; not a whole number if pixels are single bits.
        frames: the number of frames.
    """
    if "PixelData" not in dataset:
        return
    expected = math.ceil(bytes_a_frame * frames)
    padded, length = expected + expected % 2, len(dataset.PixelData)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        if length in (expected, padded):
            dataset.PixelData = bytes(dataset.PixelData) + b"\0\0"
    elif 0 < padded < length:
        dataset.PixelData = dataset.PixelData[:padded]
