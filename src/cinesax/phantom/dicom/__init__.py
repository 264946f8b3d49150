"""A phantom as DICOM, in the style of one make of scanner, with oddities of real files on request.

`series` turns a scan into instances and files, `classic` and `enhanced` write the two kinds of MR image, `parts` is
what they share, `vendors` the table of makes, `headers` the oddities of headers and file names, `storage` the transfer
syntaxes.
"""

from cinesax.phantom.dicom.headers import HeaderOddity
from cinesax.phantom.dicom.parts import SeriesIdentity
from cinesax.phantom.dicom.series import instances, write_scan, write_series
from cinesax.phantom.dicom.storage import TransferSyntax
from cinesax.phantom.dicom.vendors import Vendor

__all__ = ["HeaderOddity", "SeriesIdentity", "TransferSyntax", "Vendor", "instances", "write_scan", "write_series"]
