"""Make a training set (TFRecord shards, dataset.json, examples.csv) from labelled images, studies and phantoms.

A SOURCE is one of
  pairs    a folder with images/ and labels/: PNGs of the same names
  ACDC     a folder with patientNNN/patientNNN_frameFF.nii.gz, ..._gt.nii.gz and Info.cfg, at any depth
  studies  a folder of DICOM, at any depth, such as Sunnybrook as distributed. The labels of each patient are contour
           files, NIfTI or DICOM SEG files in the folder given with --contours, contour files in SOURCE itself, or a
           DICOM SEG beside the images
  results  folders of results that a person approved (cinesax view); --exams names the folder of
           their exams, if the results do not. Only approved frames and structures count as labelled

Every file that gives no example is listed in unused.csv with the reason. If a frame comes twice (as a PNG pair and as
DICOM), the DICOM frame is used. Patients are never divided between splits or folds. If near-identical images would end
up on both sides, no set is made (unless --allow-leaks is given).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from cinesax.core.errors import DatasetError, UsageError, counted
from cinesax.core.selection import AS_IT_SAYS, LabelReading
from cinesax.network.framing import Framing

if TYPE_CHECKING:
    from cinesax.train.data.manifest import Classes, Unused
    from cinesax.train.data.prepare import Prepared
    from cinesax.train.data.sources import Listing, Source
    from cinesax.train.data.studies import Leftover

_FRAMES_EACH = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("sources", nargs="*", type=Path, metavar="SOURCE", help="sources of the training images")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the set's folder, which must not exist yet")
    parser.add_argument(
        "--validation", type=Path, nargs="+", default=[], metavar="SOURCE", help="sources of the validation images"
    )
    parser.add_argument("--contours", type=Path, metavar="FOLDER", help="labels for the DICOM studies, by patient")
    parser.add_argument("--exams", type=Path, metavar="FOLDER", help="the exams of approved results, at any depth")
    parser.add_argument(
        "--labels",
        metavar="MAP",
        help="what the numbers of label files of studies mean: acdc, mnms, totalsegmentator, or lv=3,myo=2,rv=1",
    )
    parser.add_argument(
        "--classes",
        default="lv_cavity",
        metavar="NAMES",
        help="the classes of the labels, separated by commas: lv_cavity (default), myocardium, rv",
    )
    parser.add_argument("--phantoms", type=int, default=0, metavar="N", help="add N synthetic hearts to training")
    parser.add_argument("--frames-each", type=int, metavar="N", help="frames for each phantom (default 8)")
    parser.add_argument(
        "--folds", type=int, help="number of folds of training patients (default 3, or fewer with fewer patients)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of folds and phantoms (default 0)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="at most this many processes (default: one for each core)"
    )
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="CASE", help="patients to leave out (listed in unused.csv)"
    )
    parser.add_argument("--allow-leaks", action="store_true", help="make the set even if the leak check finds leaks")


def _reading(labels: str | None) -> LabelReading:
    if labels is None:
        return AS_IT_SAYS
    from cinesax.formats.label_numbers import parse_labels

    parse_labels(labels)  # an invalid map is an error before any work is done
    return LabelReading(labels)


def run(args: argparse.Namespace) -> None:
    """Prepare the set and print its contents."""
    from cinesax.train import require

    _check(args)
    require()
    from cinesax.train.data import sources
    from cinesax.train.data.prepare import default_workers, prepare

    classes = _classes(args.classes)
    reading = _reading(args.labels)
    train = sources.find_sources(args.sources, args.contours, reading, exams=args.exams)
    validation = sources.find_sources(args.validation, args.contours, reading, exams=args.exams)
    seeds = range(args.seed * 1_000_000, args.seed * 1_000_000 + args.phantoms)
    frames_each = _FRAMES_EACH if args.frames_each is None else args.frames_each
    splits = {"train": [*train.sources, *sources.phantom_sources(seeds, frames_each)]}
    _check_needed(args, [*train.sources, *validation.sources])
    if args.validation:
        splits["validation"] = validation.sources
    with _progress() as progress:
        done = prepare(
            splits,
            args.out,
            framing=Framing(),
            classes=classes,
            folds=args.folds,
            seed=args.seed,
            workers=args.jobs or default_workers(),
            unused=_all_unused([train, validation], args),
            without=args.without,
            allow_leaks=args.allow_leaks,
            progress=progress,
        )
    _summary(done, Console())


def _check(args: argparse.Namespace) -> None:
    if not args.sources and not args.phantoms:
        raise UsageError("nothing to prepare: name a SOURCE or --phantoms N")
    lowest = {"--folds": (args.folds, 2), "--phantoms": (args.phantoms, 0), "--frames-each": (args.frames_each, 1)}
    for option, (value, low) in lowest.items():
        if value is not None and value < low:
            raise UsageError(f"{option} must be at least {low}, seen {value}")
    if args.frames_each is not None and not args.phantoms:
        raise UsageError("--frames-each is for phantoms: add --phantoms N")
    if not 0 <= args.seed < 2**31:
        raise UsageError(f"--seed must be from 0 to 2147483647, seen {args.seed}")
    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, seen {args.jobs}")
    _check_folders(args)


def _check_folders(args: argparse.Namespace) -> None:
    """Refuse a source that is named twice, which would be found after hours, and a set inside a source."""
    named = [(source, source.resolve()) for source in (*args.sources, *args.validation)]
    for number, (source, place) in enumerate(named):
        if place in [earlier for _, earlier in named[:number]]:
            raise UsageError(f"{source} is named twice: name each SOURCE once, for training or for validation")
    out = args.out.resolve()
    for source in (*args.sources, *args.validation, args.contours, args.exams):
        if source is not None and source.resolve() in out.parents:
            raise UsageError(f"{args.out} is inside {source}: name a folder outside of the sources with -o")


def _classes(text: str) -> "Classes":
    from cinesax.train.data.manifest import parse_classes

    try:
        classes = parse_classes(text.replace(",", " ").split())
    except DatasetError as error:
        raise UsageError(f"--classes: {error}") from None
    if not classes:
        raise UsageError(f"--classes names no class, seen {text!r}; give some of lv_cavity, myocardium, rv")
    return classes


def _check_needed(args: argparse.Namespace, found: "list[Source]") -> None:
    """An option for a kind of source that is not there would do nothing."""
    from cinesax.train.data.sources import ApprovedSource, StudySource

    if args.contours is not None and not any(isinstance(source, StudySource) for source in found):
        raise UsageError("--contours is for the labels of DICOM studies, and no SOURCE is a folder of studies")
    if args.labels is not None and not any(isinstance(source, StudySource) for source in found):
        raise UsageError("--labels is for label files of DICOM studies, and no SOURCE is a folder of studies")
    if args.exams is not None and not any(isinstance(source, ApprovedSource) for source in found):
        raise UsageError("--exams is for results that a person approved, and no SOURCE has such results")


def _all_unused(
    listings: "list[Listing]", args: argparse.Namespace
) -> "Callable[[Iterable[Leftover]], Iterator[Unused]]":
    """All files to list as unused: files that readers skipped, files that were not read, and labels without images."""
    from cinesax.files.stored_files import list_files
    from cinesax.train.data.manifest import Unused
    from cinesax.train.data.sources import StudySource, unmatched_labels

    roots = [*args.sources, *args.validation, *([args.contours] if args.contours else [])]

    def shown(file: Path) -> str:
        root = next((root for root in roots if root in file.parents), file.parent)
        return (Path(root.absolute().name) / file.relative_to(root)).as_posix()

    def listed(leftover: "Iterable[Leftover]") -> "Iterator[Unused]":
        everything = [*leftover, *(pair for result in listings for pair in result.unused)]
        if args.contours:
            files = [file.path for file in list_files(args.contours)]
            studies = [source for result in listings for source in result.sources if isinstance(source, StudySource)]
            everything += unmatched_labels(files, [study.labels for study in studies if study.labels])
        return (Unused(shown(file), reason) for file, reason in everything)

    return listed


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("shards", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summary(done: "Prepared", console: Console) -> None:
    from cinesax.train.data.manifest import by_reason
    from cinesax.train.data.prepare import FOLDS
    from cinesax.train.data.records import rows

    manifest = done.dataset.manifest

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    for split, cases in manifest.splits.items():
        facts = [manifest.cases[case] for case in cases]
        phantoms = sum(fact.kind == "phantom" for fact in facts)
        empty, partial = sum(fact.n_empty for fact in facts), sum(fact.n_partial for fact in facts)
        numbers = {"patient": len(cases) - phantoms, "phantom": phantoms}
        whom = " and ".join(counted(number, name) for name, number in numbers.items() if number)
        in_part = f"; {partial} labelled in part" if partial else ""
        say(f"{split}: {manifest.counts[split]} images ({empty} without LV) of {whom}{in_part}")
    patients = sum(fact.split == "train" and fact.kind != "phantom" for fact in manifest.cases.values())
    if patients and manifest.folds == patients < FOLDS:
        say(
            f"{counted(patients, 'fold')} instead of {FOLDS}: there {'is' if patients == 1 else 'are'} only "
            f"{counted(patients, 'patient')} to train on"
        )
    labelled = frozenset().union(*(row.known for row in rows(done.dataset)))
    for structure in done.dataset.classes:
        if structure not in labelled:
            say(f"warning: no image has labels of {structure.facts.class_name}, so a network cannot learn it")
    if done.unused:
        say(f"{len(done.unused)} files were not used (unused.csv lists them):")
        for reason, count in by_reason(done.unused).items():
            say(f"  {count:>5}  {reason}")
    for leak in done.leaks:
        say(f"warning: leak: {leak}")
    say(f"written to {done.dataset.folder}")
