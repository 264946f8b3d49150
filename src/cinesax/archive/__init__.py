"""Sending DICOM objects to an archive (PACS): C-STORE and STOW-RS, with retries and a result for each object.

    objects = find_objects(Path("OUT"))
    deliveries = send(objects, parse_destination("ARCHIVE@pacs.example.org:104"))

Needs the extra `send`. Nothing else in cinesax uses a network.
"""

from cinesax.archive.answers import Answer, Fate
from cinesax.archive.deliver import Delivery, send
from cinesax.archive.destinations import Destination, DicomNode, DicomWeb, parse_destination
from cinesax.archive.objects import DicomObject, find_objects

__all__ = [
    "Answer",
    "Delivery",
    "Destination",
    "DicomNode",
    "DicomObject",
    "DicomWeb",
    "Fate",
    "find_objects",
    "parse_destination",
    "send",
]
