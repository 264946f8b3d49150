"""Look into a prepared set (made by cinesax prepare).

cinesax dataset verify SET              check checksums, every record, and leaks between splits and folds
cinesax dataset list SET [--examples]   list its patients, or each of its examples as CSV
cinesax dataset walls SET -o NEW        have a network draw the wall where experts drew only the cavity
cinesax dataset show SET -o SHEET.png   draw a contact sheet of its images with their labels
"""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cinesax.core.errors import DatasetError, UsageError, counted

if TYPE_CHECKING:
    from cinesax.train.data.examples import Example
    from cinesax.train.data.manifest import Row
    from cinesax.train.data.records import Dataset


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    verify = actions.add_parser("verify", help="check checksums, every record, and leaks between splits and folds")
    listing = actions.add_parser("list", help="list its patients, or each of its examples")
    show = actions.add_parser("show", help="draw a contact sheet of its images with their labels")
    walls = actions.add_parser(
        "walls",
        help="let a network draw the wall where experts drew only the cavity",
        description="Write a copy of a set in which a network has drawn the wall (myocardium) where experts drew only "
        "the cavity. The expert's cavity stays. Patients whose volume of wall differs at ED and ES are left as they "
        "are.",
    )
    for action in (verify, listing, walls, show):
        action.add_argument("data", type=Path, metavar="SET", help="the set's folder")
    listing.add_argument("--examples", action="store_true", help="each example, as CSV")
    walls.add_argument("-o", "--out", type=Path, required=True, metavar="NEW", help="the folder of the new set")
    walls.add_argument(
        "--model",
        default="default",
        metavar="BUNDLE",
        help="a bundle folder, without-chla or sunnybrook (default: the shipped network)",
    )
    for action in (listing, show):
        action.add_argument("--split", help="only this split")
        action.add_argument("--case", action="append", metavar="NAME", help="only this patient; may be repeated")
    show.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help="the picture to write (.png or .jpg)"
    )
    show.add_argument("--count", type=int, default=48, metavar="N", help="examples, evenly over the set (default 48)")
    show.add_argument("--columns", type=int, default=8, metavar="N", help="images in a row (default 8)")
    show.add_argument("--empty", action="store_true", help="only frames without LV")
    show.add_argument("--smallest", action="store_true", help="only images with the smallest LV cavity")
    show.add_argument("--zoom", action="store_true", help="zoom in on the label")


def run(args: argparse.Namespace) -> None:
    """Run one of the three actions."""
    from cinesax.train import require

    if args.action == "show" and min(args.count, args.columns) < 1:
        raise UsageError("--count and --columns must be at least 1")
    require()
    from cinesax.train.data.records import open_dataset
    from cinesax.train.data.sheet import picture_format

    if args.action == "show":
        picture_format(args.out)  # a wrong suffix is an error before any work is done
    dataset = open_dataset(args.data)
    {"verify": _verify, "list": _list, "walls": _walls, "show": _show}[args.action](dataset, args)


def _verify(dataset: "Dataset", args: argparse.Namespace) -> None:
    from cinesax.train.data import records
    from cinesax.train.data.prepare import leaks_of

    records.verify(dataset)
    listed = records.rows(dataset)
    names: dict[str, list[str]] = {split: [] for split in dataset.manifest.splits}

    def examples() -> "Iterator[Example]":
        # One example at a time, because a large set does not fit into memory.
        for split, seen in names.items():
            for example in records.read_examples(dataset, split):
                seen.append(example.name)
                yield example

    leaks = leaks_of(dataset, examples())
    for split, seen in names.items():
        if seen != [row.name for row in listed if row.split == split] or len(seen) != dataset.manifest.counts[split]:
            raise DatasetError(f"the shards of {split} differ from examples.csv; prepare the set again")
    for leak in leaks:
        sys.stdout.write(f"leak: {leak}\n")
    if leaks:
        raise DatasetError(f"{args.data} has {counted(len(leaks), 'leak')}: scores on it will be too good")
    cases = sum(map(len, dataset.manifest.splits.values()))
    sys.stdout.write(
        f"{len(listed)} examples of {cases} cases in {len(dataset.manifest.shards)} shards: "
        "checksums match, every record can be read, no leak between splits or folds\n"
    )


def _chosen(dataset: "Dataset", args: argparse.Namespace) -> "list[Row]":
    from cinesax.train.data.records import rows

    if args.split is not None:
        dataset.cases(args.split)  # its error lists the splits
    wanted = [row for row in rows(dataset) if args.split in (None, row.split)]
    absent = sorted(set(args.case or ()) - {row.case for row in wanted})
    if absent:
        raise UsageError(f"{dataset.folder} has no case {', '.join(absent)}; `cinesax dataset list` names them")
    return [row for row in wanted if not args.case or row.case in args.case]


def _list(dataset: "Dataset", args: argparse.Namespace) -> None:
    chosen = _chosen(dataset, args)
    if args.examples:
        _as_csv(chosen, dataset)
        return
    facts = dataset.manifest.cases
    table = Table("case", "split", "kind", "fold", "images", "without LV", "labelled in part", "spacing (mm)")
    for case, some in _by_case(chosen).items():
        spacings = {f"{row.spacing_mm[0]:.2f} x {row.spacing_mm[1]:.2f}" if row.spacing_mm else "-" for row in some}
        fold = facts[case].fold
        counts = len(some), sum(not row.has_lv for row in some), sum(row.is_partial for row in some)
        kinds = " ".join(sorted({str(row.kind) for row in some}))
        place = (case, some[0].split, kinds, "-" if fold is None else str(fold))
        table.add_row(*place, *map(str, counts), ", ".join(sorted(spacings)))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    classes = ", ".join(dataset.manifest.classes)
    splits = Counter(row.split for row in chosen)
    numbers = ", ".join(f"{count} in {split}" for split, count in splits.items())
    console.print(f"{len(chosen)} examples ({numbers}); classes {classes}", highlight=False)


def _by_case(chosen: "Iterable[Row]") -> "dict[str, list[Row]]":
    cases: dict[str, list[Row]] = {}
    for row in chosen:
        cases.setdefault(row.case, []).append(row)
    return dict(sorted(cases.items()))


def _as_csv(chosen: "list[Row]", dataset: "Dataset") -> None:
    classes = [*dataset.manifest.classes, "unknown"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["name", "case", "kind", "split", "slice", "phase", "known", *(f"{name}_px" for name in classes)])
    for row in chosen:
        known = " ".join(structure.name.lower() for structure in sorted(row.known))
        place = (row.name, row.case, row.kind, row.split, row.slice, row.phase)
        writer.writerow([*place, known, *row.pixels.values()])


def _walls(dataset: "Dataset", args: argparse.Namespace) -> None:
    from cinesax.network.segmenter import load_segmenter
    from cinesax.train.fit.self_training import label_walls

    new, report = label_walls(dataset, args.out, load_segmenter(args.model))
    sys.stdout.write(f"{report.labelled} frames got a wall, drawn by {new.manifest.walls_drawn_by}\n")
    if report.rims:
        sys.stdout.write(f"{report.rims} frames of the patients below got only a thin rim of wall\n")
    for case, ratio in sorted(report.refused.items()):
        sys.stdout.write(f"{case}: no wall, its volume at ES would be {ratio:.2f} times that at ED\n")


def _show(dataset: "Dataset", args: argparse.Namespace) -> None:
    from cinesax.train.data.records import read_examples
    from cinesax.train.data.sheet import write_sheet

    chosen = [row for row in _chosen(dataset, args) if not (args.empty and row.has_lv)]
    if args.smallest:
        with_cavity = [row for row in chosen if row.pixels.get("lv_cavity")]
        chosen = sorted(with_cavity, key=lambda row: row.pixels["lv_cavity"])[: args.count]
    if not chosen:
        raise UsageError(f"no example of {dataset.folder} matches these options")
    count = min(args.count, len(chosen))
    names = [chosen[number * len(chosen) // count].name for number in range(count)]
    wanted = {split: {row.case for row in chosen if row.split == split} for split in {row.split for row in chosen}}
    examples = {
        example.name: example
        for split, cases in wanted.items()
        for example in read_examples(dataset, split, cases)
        if example.name in set(names)
    }
    write_sheet([examples[name] for name in names], args.out, columns=args.columns, zoom=args.zoom)
    sys.stdout.write(f"{count} of {len(chosen)} examples in {args.out}\n")
