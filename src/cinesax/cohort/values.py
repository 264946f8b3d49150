"""The cells of an exam in the table of a cohort, without the patient."""

from cinesax.cohort.planning.plan import Planned
from cinesax.cohort.receipt import Cell
from cinesax.core.analysis import Analysis
from cinesax.results import tables

_LEFT_OUT = ("research_use", "model", "software")


def values_of(analysis: Analysis, planned: Planned) -> dict[str, Cell]:
    """The cells of a pseudonymised analysis, by column.

    Args:
        analysis: the analysis, with a pseudonym.
        planned: the exam in the plan.
    """
    cine, source = analysis.cine, analysis.cine.source
    spacing = (None, None) if cine.grid is None else cine.grid.spacing_mm
    exam: dict[str, Cell] = {
        "sex": cine.patient.sex,
        "age_years": tables.rounded(cine.patient.age_years),
        "kind": source.kind,
        "manufacturer": source.manufacturer,
        "scanner": source.scanner,
        "field_strength_t": tables.rounded(source.field_strength_t),
        "phases": cine.n_phases,
        "slices": cine.n_slices,
        "pixel_spacing_rows_mm": tables.rounded(spacing[0]),
        "pixel_spacing_columns_mm": tables.rounded(spacing[1]),
        "slice_distance_mm": None if cine.grid is None else tables.rounded(cine.grid.slice_distance_mm),
        "slice_thickness_mm": tables.rounded(source.slice_thickness_mm),
        "copies_left_out": planned.copies,
    }
    measured = {name: value for name, value in tables.row(analysis).items() if name not in _LEFT_OUT}
    return {**measured, **exam}
