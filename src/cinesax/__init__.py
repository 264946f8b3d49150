"""cinesax: from a short-axis cine cardiac MRI exam to LV contours, volumes, ejection fraction and a report.

    analysis = cinesax.analyze("EXAM")
    cinesax.write_results(analysis, "OUT")

For research; not a medical device.
"""

from typing import TYPE_CHECKING, Any

from cinesax._version import __version__
from cinesax.analysis import Analysis, Provenance

# The module and the function share a name, and the function is meant by `cinesax.analyze`. Python sets the attribute of
# the package to a submodule once, when it is first loaded: loading it here lets the function take its place for good.
from cinesax.analyze import analyze
from cinesax.cine import Cine, Patient, Source
from cinesax.errors import CinesaxError
from cinesax.findings import Code, Finding, Severity
from cinesax.grid import Grid
from cinesax.measure import Measurements
from cinesax.segmentation import Outline, Segmentation, Structure

if TYPE_CHECKING:
    from cinesax.exam import open_cine
    from cinesax.formats.dicom_options import DicomOptions
    from cinesax.results import write_results
    from cinesax.segmenter import load_segmenter

__all__ = [
    "Analysis",
    "Cine",
    "CinesaxError",
    "Code",
    "DicomOptions",
    "Finding",
    "Grid",
    "Measurements",
    "Outline",
    "Patient",
    "Provenance",
    "Segmentation",
    "Severity",
    "Source",
    "Structure",
    "__version__",
    "analyze",
    "load_segmenter",
    "open_cine",
    "write_results",
]

# These load pydicom, ONNX Runtime or Jinja when they are first asked for, not when cinesax is imported.
_LAZY = {
    "DicomOptions": "cinesax.formats.dicom_options",
    "load_segmenter": "cinesax.segmenter",
    "open_cine": "cinesax.exam",
    "write_results": "cinesax.results",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'cinesax' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
