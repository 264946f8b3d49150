"""The report as a PDF to encapsulate in DICOM, for archives whose viewers show only documents and pictures.

Needs the extra `pdf` (ReportLab). The PDF holds the numbers, the volume-time curve, the thickness of the wall, all
findings, and contact sheets of ED and ES. It names the patient as the exam does, because a document in an archive must
identify its patient.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from cinesax.core.analysis import Analysis
from cinesax.core.errors import MissingExtraError, install_hint
from cinesax.results import bulls_eye, figures, summary
from cinesax.results.pictures import Picture
from cinesax.results.tables import RESEARCH_USE

if TYPE_CHECKING:
    from reportlab.graphics.shapes import Drawing
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Flowable

_SHEET_QUALITY = 90
_MARGIN_MM = 15
_CURVE_MM, _BULLS_EYE_MM = 108, 42
_GAP_MM = 8
_LINE, _BESIDE = "#0b5394", "#3c64dc"
_PADDING = 12.0
"""The space that ReportLab leaves inside a frame, both sides together, in points."""
_BEFORE_PT = 9
_FONT, _BOLD = "Helvetica", "Helvetica-Bold"
"""Fonts that every PDF reader has, for the letters of Western Europe (Windows code page 1252)."""
_ENCODING = "cp1252"

_LONGEST_CELL = 1500

TITLE = "Left ventricle from short-axis cine MRI"


def pdf_problem() -> str | None:
    """Why no PDF can be made, and what to do; None if it can be made."""
    try:
        import reportlab  # noqa: F401
    except ImportError:
        return f"it needs ReportLab; {install_hint('pdf')}"
    return None


def report_pdf(analysis: Analysis, sheets: Iterable[Picture]) -> bytes:
    """The report as the bytes of a PDF file (A4). The same analysis gives the same bytes.

    Args:
        analysis: what to report, with the patient as in the exam.
        sheets: (row, column, 3), RGB: pictures that follow the numbers.

    Raises:
        MissingExtraError: ReportLab is not installed.
    """
    if problem := pdf_problem():
        raise MissingExtraError(f"the report as PDF cannot be made: {problem}")
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    stream = BytesIO()
    margin = _MARGIN_MM * mm
    document = SimpleDocTemplate(
        stream,
        pagesize=A4,
        leftMargin=margin,
        rightMargin=margin,
        topMargin=margin + 6 * mm,
        bottomMargin=margin,
        title=TITLE,
        author=_plain(analysis.provenance.software),
        subject=RESEARCH_USE,
        # Without the current time and a random file identifier, the same analysis gives the same bytes.
        invariant=1,
    )

    def header(canvas: Any, page: Any) -> None:
        canvas.saveState()
        top = A4[1] - margin + 2 * mm
        canvas.setFont(_BOLD, 8)
        canvas.drawString(margin, top, _whose(analysis))
        canvas.setFillColorRGB(0.6, 0.1, 0.1)
        canvas.drawRightString(A4[0] - margin, top, RESEARCH_USE)
        canvas.setFillColorRGB(0.35, 0.35, 0.35)
        canvas.setFont(_FONT, 8)
        canvas.drawString(margin, margin - 5 * mm, _made_by(analysis))
        canvas.drawRightString(A4[0] - margin, margin - 5 * mm, f"page {page.page}")
        canvas.restoreState()

    document.build(_story(analysis, sheets, document.width - _PADDING), onFirstPage=header, onLaterPages=header)
    return stream.getvalue()


def _story(analysis: Analysis, sheets: Iterable[Picture], width: float) -> list["Flowable"]:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import KeepTogether, Paragraph, Spacer

    text = ParagraphStyle("text", fontName=_FONT, fontSize=9, leading=12)
    title = ParagraphStyle("title", parent=text, fontName=_BOLD, fontSize=15, leading=20)
    heading = ParagraphStyle("heading", parent=text, fontName=_BOLD, fontSize=11, leading=14, spaceBefore=_BEFORE_PT)
    legend = ParagraphStyle("legend", parent=text, fontSize=8, leading=10)
    m = analysis.measurements

    def line(said: str) -> Paragraph:
        return Paragraph(escape(_plain(said)), text)

    def table(rows: Sequence[tuple[str, str]]) -> "Flowable":
        return _table([[line(name), line(_shortened(value))] for name, value in rows], width)

    story: list[Flowable] = [Paragraph(TITLE, title)]
    checked = "" if analysis.approval is not None else "No person has approved it. "
    story += [Paragraph(f"<b>{RESEARCH_USE}</b> {checked}Phases and slices are counted from 0.", text)]
    if signature := summary.signature(analysis):
        by = "Corrected, not approved" if analysis.approval is None else "Approved"
        story += [Paragraph(by, heading), table(signature)]
    story += [Paragraph("Findings", heading)]
    story += [line(str(finding)) for finding in analysis.findings] or [line("The checks found nothing to doubt.")]
    story += [
        Paragraph("Numbers", heading),
        table(_numbers([*summary.main_numbers(m), *summary.more_numbers(analysis)])),
    ]
    if analysis.trust is not None:
        story += [line(summary.trust_line(analysis.trust))]
    if rules := summary.base_rules(m):
        story += [KeepTogether([Paragraph("EF depends on the rule for the base", heading), table(rules)])]
    for name, values in summary.other_chambers(analysis):
        story += [KeepTogether([Paragraph(escape(_plain(name.capitalize())), heading), table(_numbers(values))])]
    if drawn := _figures(analysis, width, heading=heading, legend=legend):
        story += [drawn]
    story += [Paragraph("What was read", heading), table(summary.what_was_read(analysis))]
    pictures = [part for sheet in sheets for part in (_picture(sheet, width), Spacer(1, 10))]
    return [*story, Spacer(1, 10), *pictures]


def _numbers(numbers: Iterable[summary.Number]) -> list[tuple[str, str]]:
    return [
        (number.name, f"{number.value} {number.unit}" if number.value is not None else f"not known: {number.why_not}")
        for number in numbers
    ]


def _table(rows: list[list[Any]], width: float) -> "Flowable":
    from reportlab.lib import colors
    from reportlab.platypus import Table

    style = [
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.lightgrey),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ]
    return Table(rows, colWidths=[0.37 * width, 0.63 * width], style=style)


def _figures(
    analysis: Analysis, width: float, *, heading: "ParagraphStyle", legend: "ParagraphStyle"
) -> "Flowable | None":
    """The volume-time curve and the bull's eye side by side, as far as they are known; None if neither is."""
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, Table

    curve, sectors = figures.curve_of(analysis.measurements), bulls_eye.sectors_of(analysis.measurements)
    cells: list[list[Flowable]] = []
    if curve is not None:
        below = summary.curves_line(analysis)
        cells += [
            [
                Paragraph("Volume over the heart beat", heading),
                _drawing(curve, {"ED": analysis.measurements.ed_phase, "ES": analysis.measurements.es_phase}),
                *([Paragraph(escape(_plain(below)), legend)] if below else []),
            ]
        ]
    if sectors:
        below = f"{escape(bulls_eye.LEGEND)} <b>Not validated.</b>"
        cells += [[Paragraph("Wall thickness", heading), _bulls_eye(sectors), Paragraph(below, legend)]]
    if not cells:
        return None
    left = (_CURVE_MM + _GAP_MM) * mm
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), *_NO_PADDING]
    return Table([cells], [left, width - left] if len(cells) > 1 else [width], style=style, spaceBefore=_BEFORE_PT)


_NO_PADDING = [(f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")]


def _drawing(curve: figures.Curve, marked: Mapping[str, int | None]) -> "Flowable":
    """The volume-time curve, with names at some phases; ReportLab's y axis points up, the curve's points down."""
    from reportlab.graphics.shapes import Circle, Drawing, Line, PolyLine, String
    from reportlab.lib import colors
    from reportlab.lib.units import mm

    left, _, right, bottom = figures.CURVE_BOX
    height = 300.0
    drawing = Drawing(640, height)
    for y, label in curve.y_ticks:
        drawing.add(Line(left, height - y, right, height - y, strokeColor=colors.lightgrey, strokeWidth=0.8))
        drawing.add(String(left - 8, height - y - 4, label, fontName=_FONT, fontSize=14, textAnchor="end"))
    for x, label in curve.x_ticks:
        drawing.add(String(x, height - bottom - 20, label, fontName=_FONT, fontSize=14, textAnchor="middle"))
    middle = (left + right) / 2
    drawing.add(String(middle, 6, f"{curve.x_title}; volume in ml", fontName=_FONT, fontSize=14, textAnchor="middle"))
    for dots, color, dashes in (*((dots, _BESIDE, [6, 3]) for dots in curve.others), (curve.dots, _LINE, None)):
        for line in _unbroken(dots, height):
            style = {"strokeColor": colors.HexColor(color), "strokeDashArray": dashes}
            drawing.add(PolyLine(line, strokeWidth=2, strokeLineJoin=1, **style))
    for dot in curve.dots:
        if dot is not None:
            drawing.add(Circle(dot[0], height - dot[1], 3, fillColor=colors.HexColor(_LINE), strokeColor=None))
    for name, phase in marked.items():
        dot = None if phase is None else curve.dots[phase]
        if dot is not None:
            # Above the largest volume, below the smallest: elsewhere the line would run through the name.
            beside = 9 if name == "ED" else -20
            drawing.add(
                String(dot[0], height - dot[1] + beside, name, fontName=_BOLD, fontSize=14, textAnchor="middle")
            )
    return _scaled(drawing, _CURVE_MM * mm)


def _unbroken(dots: figures.Dots, height: float) -> list[list[float]]:
    """The lines through neighbouring known phases, each as x, y, x, y, ..., with y up."""
    lines: list[list[float]] = [[]]
    for dot in dots:
        if dot is None:
            lines.append([])
        else:
            lines[-1] += [dot[0], height - dot[1]]
    return [line for line in lines if len(line) > 2]


def _bulls_eye(sectors: Iterable[bulls_eye.Sector]) -> "Flowable":
    """The 16 segments with their numbers."""
    from reportlab.graphics.shapes import Drawing, Polygon, String
    from reportlab.lib import colors
    from reportlab.lib.units import mm

    size = float(bulls_eye.SIZE)
    drawing = Drawing(size, size)
    for sector in sectors:
        outline = [size / 2 + part for point in sector.outline() for part in point]
        fill = colors.Color(*(part / 255 for part in sector.rgb))
        drawing.add(Polygon(outline, fillColor=fill, strokeColor=colors.white, strokeWidth=1))
        ink = colors.white if sector.is_dark else colors.HexColor("#102a43")
        at = sector.x, size - sector.y - 4
        drawing.add(String(*at, sector.text, fontName=_FONT, fontSize=11, fillColor=ink, textAnchor="middle"))
    return _scaled(drawing, _BULLS_EYE_MM * mm)


def _scaled(drawing: "Drawing", width: float) -> "Flowable":
    """A drawing made as wide as this, in points."""
    factor = width / drawing.width
    drawing.scale(factor, factor)
    drawing.width, drawing.height = width, drawing.height * factor
    return drawing


def _picture(sheet: Picture, width: float) -> "Flowable":
    from PIL import Image as Pillow
    from reportlab.platypus import Image

    stream = BytesIO()
    Pillow.fromarray(np.ascontiguousarray(sheet)).save(stream, "JPEG", quality=_SHEET_QUALITY)
    stream.seek(0)
    return Image(stream, width, width * sheet.shape[0] / sheet.shape[1])


def _shortened(text: str) -> str:
    """A text that fits into a cell: ReportLab cannot break one over pages."""
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]} ... (the rest is in report.html)"


def _whose(analysis: Analysis) -> str:
    patient, source = analysis.cine.patient, analysis.cine.source
    known = [patient.name, patient.patient_id, patient.birth_date, source.study_date]
    # A name in letters that the fonts lack would become question marks, which identify nobody.
    shown = dict.fromkeys(text for text in known if text and _plain(text) == text)
    return " | ".join([*shown, analysis.case])


def _made_by(analysis: Analysis) -> str:
    made = analysis.provenance
    by = f"network {made.model}" if made.model is not None else analysis.segmentation.author
    return _plain(f"{made.software}, segmentation by {by}")


def _plain(text: str) -> str:
    """A text in the letters that the fonts have; others become question marks."""
    return text.encode(_ENCODING, "replace").decode(_ENCODING)
