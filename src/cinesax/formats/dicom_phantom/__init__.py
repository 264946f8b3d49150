"""A phantom as DICOM, in the way of one make of scanner, with what is odd of real files on request.

`series` takes a scan to instances and files, `classic` and `enhanced` write the two kinds of MR image, `parts` is what
they share, `vendors` the table of makes, `headers` what can be odd of headers and file names, `storage` the transfer
syntaxes.
"""

from cinesax.formats.dicom_phantom.headers import HeaderOddity
from cinesax.formats.dicom_phantom.parts import SeriesIdentity
from cinesax.formats.dicom_phantom.series import instances, write_scan, write_series
from cinesax.formats.dicom_phantom.storage import TransferSyntax
from cinesax.formats.dicom_phantom.vendors import Vendor

__all__ = ["HeaderOddity", "SeriesIdentity", "TransferSyntax", "Vendor", "instances", "write_scan", "write_series"]
