"""Cross-validation: the same training fold by fold, and one summary."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import msgspec
from rich.console import Console

from cinesax.core.errors import DatasetError, OutputError, UsageError, counted
from cinesax.files.stored_files import replacing
from cinesax.files.typed_json import JsonObject, text_of
from cinesax.train.data.records import Dataset
from cinesax.train.fit.config import TrainConfig
from cinesax.train.fit.curves import read_history
from cinesax.train.fit.runs import NETWORK, DatasetFacts, Run
from cinesax.train.fit.train import Execution, train

SCHEMA = "cinesax/folds/1"
SUMMARY, TABLE = "summary.json", "summary.md"


class FoldResult(msgspec.Struct, frozen=True):
    """One fold of a summary.

    Attributes:
        fold: number of the fold.
        held_out_cases: the patients of the fold.
        epoch: epoch of the kept network, counted from 0.
        network: path of its file, relative to the folder of all folds.
        measures: name -> value on the held-out patients.
    """

    fold: int | None
    held_out_cases: tuple[str, ...]
    epoch: int
    network: str
    measures: Mapping[str, float]


class Summary(msgspec.Struct, frozen=True):
    """summary.json: the measures of each fold, with mean and standard deviation."""

    schema: str
    config: JsonObject
    dataset: DatasetFacts
    folds: tuple[FoldResult, ...]
    mean: Mapping[str, float]
    standard_deviation: Mapping[str, float]


def fold_folder(folder: Path, fold: int) -> Path:
    """The run folder of a fold."""
    return folder / f"fold-{fold}"


def cross_validate(
    dataset: Dataset,
    folder: Path,
    config: TrainConfig,
    *,
    folds: int,
    start_from: Path | None = None,
    resume: bool = False,
    extension_rate: float | None = None,
    execution: Execution | None = None,
    console: Console | None = None,
) -> Summary:
    """Train once per fold of a set, each time without that fold's patients, and evaluate on them.

    Args:
        dataset: a prepared set; its split "train" is used.
        folder: gets a run folder for each fold (fold-0, fold-1, ...), summary.json and summary.md.
        config: settings of every training.
        folds: number of folds; the set must have the same number, so that `cinesax evaluate --fold` means the same.
        start_from: see `train`.
        resume: keep finished folds, continue an interrupted one, and start the others.
        extension_rate: see `train`.
        execution: see `train`.
        console: where to print progress.

    Returns:
        The content of summary.json.

    Raises:
        UsageError: the set has a different number of folds.
        DatasetError: the set has a fold without patients.
        OutputError: the folder is not empty and `resume` is not set.
    """
    _check_folds(dataset, folds)
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is not empty; add --resume to continue it, or name a new folder")
    console = console or Console(stderr=True)
    runs = []
    for fold in range(folds):
        console.print(f"fold {fold} of {folds}", highlight=False)
        runs.append(
            train(
                dataset,
                fold_folder(folder, fold),
                config,
                fold=fold,
                start_from=start_from,
                resume=resume,
                extension_rate=extension_rate,
                execution=execution,
                console=console,
            )
        )
        keras.backend.clear_session()
    summary = summarise(runs)
    with replacing(folder / SUMMARY) as work:
        work.write_text(text_of(summary), encoding="utf-8")
    with replacing(folder / TABLE) as work:
        work.write_text(table(summary), encoding="utf-8")
    return summary


def _check_folds(dataset: Dataset, folds: int) -> None:
    """Check all folds before the first training, which takes hours."""
    if folds < 2:
        raise UsageError(f"cross-validation needs at least 2 folds, seen {folds}")
    dealt = dataset.manifest.folds
    if folds != dealt:
        here = f"give --folds {dealt}, or " if dealt > 1 else ""
        raise UsageError(
            f"{dataset.folder} is divided into {counted(dealt, 'fold')}: {here}prepare it with --folds {folds}"
        )
    held_out = [dataset.cases("train", fold=fold, held_out=True) for fold in range(folds)]
    empty = [fold for fold, cases in enumerate(held_out) if not cases]
    if empty:
        raise DatasetError(
            f"{dataset.folder} has {counted(sum(map(len, held_out)), 'patient')} for {folds} folds, and nobody in fold "
            f"{empty[0]}: prepare it again with fewer folds"
        )


def summarise(runs: Sequence[Run]) -> Summary:
    """The measures of each finished fold on its held-out cases, with mean and standard deviation."""
    each = tuple(_fold(run) for run in runs)
    names = [name for name in each[0].measures if all(name in fold.measures for fold in each)]
    columns = {name: [fold.measures[name] for fold in each] for name in names}
    return Summary(
        SCHEMA,
        runs[0].record.config.to_dict(),
        runs[0].record.dataset,
        each,
        {name: statistics.fmean(values) for name, values in columns.items()},
        {name: statistics.stdev(values) for name, values in columns.items()},
    )


def _fold(run: Run) -> FoldResult:
    # With `patience` the kept network is that of the best validation, otherwise that of the last.
    history = read_history(run.folder / "history.csv")
    best, kept_best = run.state.best, run.record.config.patience is not None
    epoch = best.epoch if best is not None and kept_best else run.state.epochs - 1
    row = history["epoch"].index(epoch)
    return FoldResult(
        run.record.fold,
        run.record.held_out_cases,
        epoch,
        f"{run.folder.name}/{NETWORK}",
        {name.removeprefix("val_"): values[row] for name, values in history.items() if name.startswith("val_")},
    )


def table(summary: Summary) -> str:
    """The summary as a Markdown table: one row per fold, then mean and standard deviation."""
    names = list(summary.mean)
    lines = [f"| fold | patients | {' | '.join(names)} |", "| --- |" + " ---: |" * (len(names) + 1)]
    for fold in summary.folds:
        values = " | ".join(f"{fold.measures[name]:.4f}" for name in names)
        lines.append(f"| {fold.fold} | {len(fold.held_out_cases)} | {values} |")
    patients = sum(len(fold.held_out_cases) for fold in summary.folds)
    lines.append(f"| mean | {patients} | " + " | ".join(f"{summary.mean[name]:.4f}" for name in names) + " |")
    spread = " | ".join(f"{summary.standard_deviation[name]:.4f}" for name in names)
    lines.append(f"| standard deviation | | {spread} |")
    return "\n".join(lines) + "\n"
