"""Find the left ventricle in a short-axis cine exam, measure it, and write the results.

EXAM is a folder (any depth, any names), a file or a zip of DICOM, or a NIfTI file. --segmentation measures an existing
segmentation instead of running the network. --dicom also writes DICOM objects for an archive, filed under the exam's
patient and study (see cinesax send). Phases and slices are counted from 0. For research use; not a medical device.
"""

import argparse
import importlib
import sys
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cinesax.cli import add_selection, drawn_progress, selection_from
from cinesax.core.errors import NoObjectsError, UsageError, printable
from cinesax.core.selection import Overrides

if TYPE_CHECKING:
    from cinesax.analyze import Progress
    from cinesax.core.analysis import Analysis
    from cinesax.dicom.write.options import DicomOptions


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "exam",
        type=_path,
        nargs="+",
        metavar="EXAM",
        help="a folder, file or zip of DICOM; a NIfTI file, or several that form one cine (such as ED and ES)",
    )
    parser.add_argument(
        "-o", "--out", type=_path, metavar="OUT", help="the folder for the results (default: write nothing)"
    )
    add_selection(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--segmentation",
        type=_path,
        nargs="+",
        metavar="FILE",
        help="measure this segmentation: NIfTI labels (one file, or one per phase), a DICOM SEG or RTSTRUCT, a cvi42 "
        "workspace (.cvi42wsx) or a folder of contour files",
    )
    source.add_argument(
        "--model",
        type=_path,
        metavar="BUNDLE",
        help="a bundle folder, without-chla or sunnybrook (default: the shipped network)",
    )
    parser.add_argument(
        "--labels",
        metavar="MAP",
        help="what the label numbers of --segmentation mean: acdc, mnms, totalsegmentator, or lv=3,myo=2,rv=1",
    )
    parser.add_argument(
        "--segmentation-phase",
        type=int,
        metavar="N",
        help="the phase of --segmentation, if it holds one phase and does not say which; counted from 0",
    )
    parser.add_argument(
        "--base",
        choices=("half", "any", "whole"),
        help="which slices at the base count: those with wall around half of the blood (half, the default), with any "
        "LV blood (any), or with a closed wall (whole)",
    )
    parser.add_argument(
        "--unvalidated",
        action="store_true",
        help="also draw and measure structures the network was not validated for (the shipped one: the RV)",
    )
    parser.add_argument(
        "--papillary-muscles",
        choices=("included", "excluded"),
        help="whether the cavity of --segmentation includes the papillary muscles (default: what a SEG says, otherwise "
        "included)",
    )
    given = parser.add_argument_group("instead of values from the exam")
    given.add_argument("--ed-phase", type=int, metavar="N", help="the phase of end diastole, counted from 0")
    given.add_argument("--es-phase", type=int, metavar="N", help="the phase of end systole, counted from 0")
    given.add_argument("--height-cm", type=float, metavar="CM", help="body height")
    given.add_argument("--weight-kg", type=float, metavar="KG", help="body weight")
    dicom = parser.add_argument_group("DICOM objects, which carry the patient's data")
    dicom.add_argument("--dicom", action="store_true", help="write SEG, SR and the report as PDF into OUT as well")
    dicom.add_argument("--labelmap", action="store_true", help="write SEG as label maps (DICOM 2024d), not BINARY")
    dicom.add_argument(
        "--secondary-captures", action="store_true", help="write pictures of ED and ES with contours for plain viewers"
    )
    dicom.add_argument("--rtstruct", action="store_true", help="write an RT Structure Set as well")
    dicom.add_argument(
        "--content-time",
        type=_moment,
        metavar="TIME",
        help="when the objects were made, such as 2024-05-31T14:30 (default: the latest date in the exam)",
    )
    dicom.add_argument(
        "--repair-uids",
        action="store_true",
        help="if UIDs of the exam are not valid, write copies of its images with valid UIDs and refer to the copies",
    )
    parser.add_argument(
        "--xlsx", action="store_true", help="write measurements.xlsx into OUT as well (needs the extra tables)"
    )
    parser.add_argument("--show-patient", action="store_true", help="write name, ID, birth date, UIDs and study date")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into OUT even if it holds other files or the results of another exam",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what to print on standard output")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads for the network (default: all cores)")


def _path(text: str) -> Path:
    """A typed path. An empty one (an unset shell variable, say) must not mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, seen an empty text")
    return Path(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a date and time such as 2024-05-31T14:30, seen {text}") from error
    if moment.tzinfo is not None:
        raise argparse.ArgumentTypeError(f"expected a time without a time zone (the exam's applies), seen {text}")
    if moment.year < 1900:  # DICOM needs four digits, and some systems write earlier years with fewer
        raise argparse.ArgumentTypeError(f"expected a date from 1900 on, seen {text}")
    return moment


def run(args: argparse.Namespace) -> None:
    """Analyze, write, report."""
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads must be at least 1, seen {args.threads}")
    dicom = _dicom_options(args)
    _check_segmentation_options(args)
    _check_xlsx(args)
    if args.out is not None:
        from cinesax.results.write import check_output, refuse_human_work, write_results

        refuse_human_work(args.out)
        for exam in args.exam:
            _keep_exam(exam, args.out)
        if args.segmentation is not None and not args.force:
            for segmentation in args.segmentation:
                _keep_segmentation(segmentation, args.out)
        check_output(args.out, force=args.force)
    from cinesax.analyze import analyze

    with drawn_progress("frames") as progress:
        if args.out is not None:
            progress = _loading_writers(progress)
        analysis = analyze(
            _one_or_several(args.exam) or args.exam,
            segmentation=_one_or_several(args.segmentation),
            labels=args.labels,
            segmentation_phase=args.segmentation_phase,
            model=args.model,
            threads=args.threads,
            base=args.base,
            unvalidated=args.unvalidated,
            selection=selection_from(args),
            overrides=_overrides(args),
            progress=progress,
        )
    written, without_objects = None, None
    if args.out is not None:
        try:
            written = write_results(
                analysis, args.out, show_patient=args.show_patient, force=args.force, dicom=dicom, xlsx=args.xlsx
            )
        except NoObjectsError as error:
            written, without_objects = check_output(args.out, force=True), error
    _report(analysis, args, written)
    if without_objects is not None:
        raise without_objects


def _overrides(args: argparse.Namespace) -> Overrides:
    papillary = args.papillary_muscles
    return Overrides(
        ed_phase=args.ed_phase,
        es_phase=args.es_phase,
        height_cm=args.height_cm,
        weight_kg=args.weight_kg,
        papillary_muscles_included=None if papillary is None else papillary == "included",
    )


def _check_segmentation_options(args: argparse.Namespace) -> None:
    """Refuse options that describe a segmentation if there is none."""
    options = {
        "--papillary-muscles": args.papillary_muscles,
        "--labels": args.labels,
        "--segmentation-phase": args.segmentation_phase,
    }
    alone = next((name for name, value in options.items() if value is not None), None)
    if alone is not None and args.segmentation is None:
        raise UsageError(f"{alone} describes a --segmentation: give one too")
    if args.labels is not None:
        from cinesax.formats.label_numbers import parse_labels

        parse_labels(args.labels)  # an invalid map is an error before any work is done


def _check_xlsx(args: argparse.Namespace) -> None:
    """Refuse --xlsx, before any work is done, if the workbook could not be written."""
    if not args.xlsx:
        return
    if args.out is None:
        raise UsageError("--xlsx writes a workbook into the folder of results: give it with -o OUT")
    from cinesax.results.workbook import check_tables_extra

    check_tables_extra()


def _one_or_several(paths: list[Path] | None) -> Path | list[Path] | None:
    return paths[0] if paths is not None and len(paths) == 1 else paths


def _keep_exam(exam: Path, out: Path) -> None:
    """Refuse results inside the exam's folder: the source stays untouched."""
    try:
        source, target = exam.resolve(), out.expanduser().resolve()
    except (OSError, RuntimeError):  # reading and writing them will report the problem
        return
    if source.is_dir() and target.is_relative_to(source):
        raise UsageError(f"{target} is inside {exam}, and cinesax never writes into the exam: give a folder outside it")


def _keep_segmentation(segmentation: Path, out: Path) -> None:
    """Refuse a segmentation that the results would replace: one in OUT, or a folder that holds OUT's contours."""
    from cinesax.results.write import CONTOURS_NAME

    try:
        source, target = segmentation.resolve(), out.expanduser().resolve()
        contours = target / CONTOURS_NAME
        replaced = source.is_relative_to(target) or (contours.is_dir() and contours.is_relative_to(source))
    except (OSError, RuntimeError):  # reading and writing them will report the problem
        return
    if replaced:
        raise UsageError(
            f"the results in {out} would replace the segmentation {segmentation}: "
            "give another folder with -o, or --force to replace it"
        )


def _dicom_options(args: argparse.Namespace) -> "DicomOptions | None":
    """The choices of --dicom and its options; impossible ones are refused before any work is done."""
    if not args.dicom:
        chosen = {
            "--labelmap": args.labelmap,
            "--rtstruct": args.rtstruct,
            "--secondary-captures": args.secondary_captures,
            "--content-time": args.content_time,
            "--repair-uids": args.repair_uids,
        }
        given = next((name for name, value in chosen.items() if value), None)
        if given is not None:
            raise UsageError(f"{given} is an option for DICOM objects: give --dicom too")
        return None
    if args.out is None:
        raise UsageError("--dicom writes objects into the folder of results: give it with -o OUT")
    from cinesax.dicom.write.options import DicomOptions, SegmentationType
    from cinesax.formats.nifti.names import is_nifti, nifti_files

    if is_nifti(args.exam[0]) or (args.exam[0].is_dir() and nifti_files(args.exam[0])):
        raise UsageError(f"--dicom needs a DICOM exam: {args.exam[0]} has no patient and study to file objects under")
    return DicomOptions(
        SegmentationType.LABELMAP if args.labelmap else SegmentationType.BINARY,
        rtstruct=args.rtstruct,
        captures=args.secondary_captures,
        content_time=args.content_time,
        repair_uids=args.repair_uids,
    )


def _loading_writers(progress: "Progress | None") -> "Progress":
    """`progress`, which also starts to load the writers of results: the running network leaves Python's lock free."""
    loading = threading.Thread(target=_load_writers, daemon=True)

    def called(done: int, total: int) -> None:
        if loading.ident is None:
            loading.start()
        if progress is not None:
            progress(done, total)

    return called


def _load_writers() -> None:
    for name in ("formats.contours", "formats.nifti.image", "results.html", "dicom.verify"):
        importlib.import_module(f"cinesax.{name}")


def _report(analysis: "Analysis", args: argparse.Namespace, written: Path | None) -> None:
    from cinesax.results.privacy import pseudonymise

    shown = analysis if args.show_patient else pseudonymise(analysis)
    if args.format == "json":
        from cinesax.results import tables

        sys.stdout.write(tables.to_json(shown))
    else:
        _print(shown, written)
    if args.dicom:
        _tell_of_pdf()


def _tell_of_pdf() -> None:
    """Say so where the report was not written as PDF."""
    from cinesax.dicom.write.options import PDF_NAME
    from cinesax.results.pdf import pdf_problem

    problem = pdf_problem()
    if problem is not None:
        sys.stderr.write(f"cinesax: {PDF_NAME} was not written: {problem}\n")


def _print(analysis: "Analysis", written: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from cinesax.results import summary, tables

    console = Console(highlight=False)
    m = analysis.measurements
    table = Table(title=f"Left ventricle, {analysis.case}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, phase in (("ED phase", m.ed_phase), ("ES phase", m.es_phase)):
        table.add_row(name, "-" if phase is None else str(phase), "")
    others = [
        replace(number, name=f"{name.capitalize()}: {number.name.lower()}")
        for name, numbers in summary.other_chambers(analysis)
        for number in numbers
    ]
    for number in (*summary.main_numbers(m), *summary.more_numbers(analysis), *others):
        table.add_row(number.name, number.value or "-", number.unit if number.value else number.why_not)
    console.print(table)
    if analysis.trust is not None:
        console.print(summary.trust_line(analysis.trust), soft_wrap=True, markup=False, highlight=False)
    for finding in analysis.findings:
        console.print(printable(str(finding)), soft_wrap=True, markup=False)
    if written is not None:
        console.print(f"written: {written / 'report.html'}", soft_wrap=True, markup=False)
    console.print(tables.RESEARCH_USE)
