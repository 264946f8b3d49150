"""cinesax: from a short-axis cine cardiac MRI exam to LV contours, volumes, ejection fraction and a report.

    analysis = cinesax.analyze("EXAM")
    cinesax.write_results(analysis, "OUT")

For research; not a medical device.
"""

from typing import TYPE_CHECKING, Any

from cinesax._version import __version__

# The module and the function share a name, and the function is meant by `cinesax.analyze`. Python sets the attribute of
# the package to a submodule once, when it is first loaded: loading it here lets the function take its place for good.
from cinesax.analyze import analyze, remeasure
from cinesax.core.analysis import Analysis, Provenance, Views
from cinesax.core.cine import Cine, Patient, Source
from cinesax.core.errors import CinesaxError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Grid
from cinesax.core.measurements import Measurements
from cinesax.core.origins import Drawn, Origin
from cinesax.core.segmentation import Outline, Segmentation
from cinesax.core.selection import Overrides, Selection
from cinesax.core.structures import Structure

if TYPE_CHECKING:
    from cinesax.dicom.write.options import DicomOptions
    from cinesax.evaluate.evaluation import Evaluation
    from cinesax.inputs import open_cine
    from cinesax.network.segmenter import load_segmenter
    from cinesax.results.privacy import pseudonymise
    from cinesax.results.read import read_results
    from cinesax.results.write import write_results

__all__ = [
    "Analysis",
    "Cine",
    "CinesaxError",
    "Code",
    "DicomOptions",
    "Drawn",
    "Evaluation",
    "Finding",
    "Grid",
    "Measurements",
    "Origin",
    "Outline",
    "Overrides",
    "Patient",
    "Provenance",
    "Segmentation",
    "Selection",
    "Severity",
    "Source",
    "Structure",
    "__version__",
    "analyze",
    "load_segmenter",
    "open_cine",
    "pseudonymise",
    "read_results",
    "remeasure",
    "write_results",
]

# These load pydicom, ONNX Runtime or Jinja when they are first asked for, not when cinesax is imported.
_LAZY = {
    "DicomOptions": "cinesax.dicom.write.options",
    "Evaluation": "cinesax.evaluate.evaluation",
    "load_segmenter": "cinesax.network.segmenter",
    "open_cine": "cinesax.inputs",
    "pseudonymise": "cinesax.results.privacy",
    "read_results": "cinesax.results.read",
    "write_results": "cinesax.results.write",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'cinesax' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def _to_dict(analysis: Analysis, *, show_patient: bool) -> dict[str, Any]:
    from cinesax.results.privacy import pseudonymise
    from cinesax.results.tables import document

    return document(analysis if show_patient else pseudonymise(analysis))


def _to_html(analysis: Analysis) -> str:
    from cinesax.results.html import render_short
    from cinesax.results.privacy import pseudonymise

    return render_short(pseudonymise(analysis))


# An Analysis can show itself, and yet the rooms in which values lie know nothing of those that write and draw.
Analysis.views = Views(_to_dict, _to_html)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
