"""Make a training set (TFRecord shards and dataset.json) from labelled images, studies with contours, and phantoms.

A SOURCE is one of
  a folder with images/ and labels/  PNG pairs of the same names
  a folder of DICOM studies          one subfolder a patient; --contours names the folder that holds, for each
                                     patient, a folder of Sunnybrook contour files
Where the same frame comes twice (a PNG pair and a DICOM frame), the DICOM frame is taken. Patients are never
divided between splits or folds.
"""

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cinesax.errors import InputError, UsageError
from cinesax.framing import Framing

if TYPE_CHECKING:
    from cinesax.learn.examples import Example
    from cinesax.learn.records import Dataset

HELP = "make a training set from labelled images, studies with contours, and phantoms"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("sources", nargs="*", type=Path, metavar="SOURCE", help="for training")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the set's folder, which must not exist yet")
    parser.add_argument("--validation", type=Path, nargs="*", default=[], metavar="SOURCE", help="for validation")
    parser.add_argument("--contours", type=Path, help="expert contours of the DICOM studies, one folder a patient")
    parser.add_argument("--phantoms", type=int, default=0, metavar="N", help="add N synthetic hearts to training")
    parser.add_argument("--frames-each", type=int, default=8, metavar="N", help="frames of each phantom (default 8)")
    parser.add_argument("--folds", type=int, default=3, help="folds that patients are dealt into (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of folds and phantoms (default 0)")


def run(args: argparse.Namespace) -> None:
    """Prepare the set and say what is in it."""
    from cinesax import learn

    learn.require()
    from cinesax.learn import examples, records

    if not args.sources and not args.phantoms:
        raise UsageError("nothing to prepare: name a SOURCE or --phantoms N")
    if args.folds < 2 or args.phantoms < 0 or args.frames_each < 1:
        raise UsageError("--folds must be at least 2, --phantoms at least 0, --frames-each at least 1")
    if not 0 <= args.seed < 2**31:
        raise UsageError(f"--seed must be from 0 to 2147483647, seen {args.seed}")
    framing = Framing()
    seeds = range(args.seed * 1_000_000, args.seed * 1_000_000 + args.phantoms)
    phantoms = examples.from_phantoms(seeds, framing, frames_each=args.frames_each)
    train = chain(_from_sources(args.sources, args.contours, framing), phantoms)
    splits: dict[str, Iterator[Example]] = {"train": examples.without_twins(train)}
    if args.validation:
        splits["validation"] = examples.without_twins(_from_sources(args.validation, args.contours, framing))
    dataset = records.write_dataset(splits, args.out, framing=framing, folds=args.folds, seed=args.seed)
    _summary(dataset, Console())


def _from_sources(sources: list[Path], contours: Path | None, framing: Framing) -> Iterator["Example"]:
    from cinesax.learn import examples

    missing = [str(source) for source in sources if not source.is_dir()]
    if missing:
        raise InputError(f"no such folder: {', '.join(missing)}")
    paired = [source for source in sources if (source / "images").is_dir()]
    # Studies first: of twins the first is kept, and DICOM says more than its 8-bit PNG.
    for source in sources:
        if source not in paired:
            if contours is None:
                raise UsageError(f"{source} has no images/ and labels/; for DICOM studies add --contours")
            yield from examples.from_studies(source, contours, framing)
    for source in paired:
        yield from examples.from_pairs(source, framing)


def _summary(dataset: "Dataset", console: Console) -> None:
    manifest = dataset.manifest
    for split, cases in manifest["splits"].items():
        facts = [manifest["cases"][case] for case in cases]
        phantoms = sum(fact["kind"] == "phantom" for fact in facts)
        empty = sum(fact["n_empty"] for fact in facts)
        console.print(
            f"{split}: {manifest['counts'][split]} images ({empty} without LV) of {len(cases) - phantoms} patients"
            + (f" and {phantoms} phantoms" if phantoms else ""),
            highlight=False,
        )
    console.print(f"written to {dataset.folder}", highlight=False, soft_wrap=True)
