"""cinesax: from a short-axis cine cardiac MRI exam to LV contours, volumes, ejection fraction and a report.

    analysis = cinesax.analyze("EXAM")
    cinesax.write_results(analysis, "OUT")

For research; not a medical device.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cinesax._version import __version__
from cinesax._views import Views, show_by

if TYPE_CHECKING:
    from cinesax.analyze import analyze, remeasure
    from cinesax.core.analysis import Analysis, Provenance
    from cinesax.core.cine import Cine, Patient, Source
    from cinesax.core.errors import CinesaxError
    from cinesax.core.findings import Code, Finding, Severity
    from cinesax.core.grid import Grid
    from cinesax.core.measurements import Measurements
    from cinesax.core.origins import Drawn, Origin
    from cinesax.core.segmentation import Outline, Segmentation
    from cinesax.core.selection import Overrides, Selection
    from cinesax.core.structures import Structure
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

# Nothing is loaded before it is asked for: `cinesax --help` must not wait for NumPy, `import cinesax` not for pydicom.
_HOMES = {
    "Analysis": "core.analysis",
    "Cine": "core.cine",
    "CinesaxError": "core.errors",
    "Code": "core.findings",
    "DicomOptions": "dicom.write.options",
    "Drawn": "core.origins",
    "Evaluation": "evaluate.evaluation",
    "Finding": "core.findings",
    "Grid": "core.grid",
    "Measurements": "core.measurements",
    "Origin": "core.origins",
    "Outline": "core.segmentation",
    "Overrides": "core.selection",
    "Patient": "core.cine",
    "Provenance": "core.analysis",
    "Segmentation": "core.segmentation",
    "Selection": "core.selection",
    "Severity": "core.findings",
    "Source": "core.cine",
    "Structure": "core.structures",
    "load_segmenter": "network.segmenter",
    "open_cine": "inputs",
    "pseudonymise": "results.privacy",
    "read_results": "results.read",
    "remeasure": "analyze",
    "write_results": "results.write",
}


def _load(name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(f"cinesax.{_HOMES[name]}"), name)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cinesax' has no attribute {name!r}")
    value = globals()[name] = _load(name)
    return value


class _Front(ModuleType):
    """The package itself, of which `analyze` is always the function.

    The module `cinesax.analyze` has the same name, and Python makes a submodule an attribute of its package whenever it
    is first loaded: without the setter here, that would put the module in the place of the function.
    """

    @property
    def analyze(self) -> Any:
        from cinesax.analyze import analyze

        return analyze

    @analyze.setter
    def analyze(self, module: object) -> None:
        """Do nothing: it is Python that sets it."""


sys.modules[__name__].__class__ = _Front


def _to_dict(analysis: "Analysis", *, show_patient: bool) -> dict[str, Any]:
    from cinesax.results.privacy import pseudonymise
    from cinesax.results.tables import document

    return document(analysis if show_patient else pseudonymise(analysis))


def _to_html(analysis: "Analysis") -> str:
    from cinesax.results.html import render_short
    from cinesax.results.privacy import pseudonymise

    return render_short(pseudonymise(analysis))


# An Analysis can show itself, and yet the rooms in which values lie know nothing of those that write and draw.
show_by(Views(_to_dict, _to_html))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
