"""Run folders: the files and the state of a training.

config.json        settings, data and its checksum, patients, versions, device, stages
commands.txt       the command of every start and continuation of the training
state.json         finished epochs, and the files of the last and the best state
last-EPOCH.keras   the whole state after that epoch: network, optimizer, EMA
best-EPOCH.keras   the EMA weights with the best Dice of the held-out cases, if there are any
network.keras      the finished network
history.csv        one row per epoch
curves.png         the history as a picture
tensorboard/       logs
nan-batch.npz      the batch whose loss became NaN, if any
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import msgspec

from cinesax.core.errors import CinesaxError, InputError, OutputError, UsageError
from cinesax.files.stored_files import replacing
from cinesax.files.typed_json import Json, JsonObject, plain, text_of, typed
from cinesax.network.framing import Framing
from cinesax.train.data.manifest import CAVITY_ONLY, names_of
from cinesax.train.data.splits import ExampleSplit
from cinesax.train.fit.config import TrainConfig
from cinesax.train.fit.schedule import Stage
from cinesax.train.nets import NetworkConfig, from_dict

SCHEMA = "cinesax/run/1"
CONFIG, STATE, COMMANDS = "config.json", "state.json", "commands.txt"
NETWORK, NAN_BATCH = "network.keras", "nan-batch.npz"
# Settings that must not change when a training continues.
_SAME = ("config", "fold", "split", "dataset", "train_cases", "deterministic", "started_from_sha256")


class DatasetFacts(msgspec.Struct, frozen=True):
    """What a run records about its set: digest, framing, and the names of its classes, background first.

    Early sets do not name their class, the LV cavity.
    """

    digest: str
    framing: Framing
    classes: tuple[str, ...] = names_of(CAVITY_ONLY)


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """config.json.

    Attributes:
        schema: schema of the file.
        config: the settings of the training.
        stages: the requested epochs, and those added later; () in early runs, which had one stage.
        dataset: the set.
        train_cases: training patients.
        held_out_cases: held-out patients.
        cases_seen: all patients that the weights were trained on, also before this training; None in early runs.
        deterministic: whether the same seed gives the same weights.
        command: the command that started it.
        device: the device it ran on.
        software: versions by name.
        fold: the held-out fold, or None.
        split: a named split instead of a fold, or None.
        started_from: the record of the run or bundle that gave the first weights.
        started_from_sha256: checksum of that network.
    """

    schema: str
    config: TrainConfig
    stages: tuple[Stage, ...] = ()
    dataset: DatasetFacts
    train_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...] = ()
    cases_seen: tuple[str, ...] | None = None
    deterministic: bool = False
    command: str = ""
    device: str = ""
    software: Mapping[str, str] = {}
    fold: int | None = None
    split: ExampleSplit | None = None
    started_from: JsonObject | None = None
    started_from_sha256: str | None = None

    def to_dict(self) -> dict[str, Json]:
        """Plain values for config.json."""
        values = plain(self) | {"config": self.config.to_dict()}
        absent = [name for name in ("started_from", "started_from_sha256", "cases_seen") if values[name] is None]
        return {name: value for name, value in values.items() if name not in absent}


@dataclass(frozen=True, slots=True)
class Best:
    """The best validation: epoch (counted from 0), Dice, and the file with the EMA weights."""

    epoch: int
    dice: float
    file: str


@dataclass(frozen=True, slots=True)
class State:
    """The state of a training.

    Attributes:
        epochs: number of finished epochs.
        last: the file with the whole state after them; None if no epoch is finished.
        best: the best validation so far.
        waited: validations since then.
        stopped: whether `patience` has ended the training.
    """

    epochs: int = 0
    last: str | None = None
    best: Best | None = None
    waited: int = 0
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A training's folder, its settings and its state."""

    folder: Path
    record: RunRecord
    state: State

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What was requested, and added later."""
        config = self.record.config
        return self.record.stages or (Stage(config.epochs, config.learning_rate),)

    @property
    def epochs(self) -> int:
        """Number of requested epochs."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def train_names(self) -> list[str] | None:
        """The examples used for training, if a named split lists them; None: all of the training patients."""
        return None if self.record.split is None else list(self.record.split.train)

    @property
    def held_out_names(self) -> list[str] | None:
        """The held-out examples, likewise."""
        return None if self.record.split is None else list(self.record.split.held_out)

    def has_learned_from(self, case: str, name: str) -> bool:
        """Whether the weights were trained on an example of a patient, also before this training."""
        if self.train_names is None:
            return case in self.cases_seen
        return name in self.train_names or (case in self.cases_seen and case not in self.record.train_cases)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the channels, the background first."""
        return self.record.dataset.classes

    @property
    def cases_seen(self) -> list[str]:
        """All cases that its weights were trained on, also before this training."""
        seen = self.record.cases_seen
        return list(self.record.train_cases if seen is None else seen)


def open_run(folder: Path) -> Run:
    """Open the run folder of a training.

    Raises:
        InputError: the folder is not a run folder, or is damaged.
    """
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} is not a run folder: it has no readable {CONFIG}") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise InputError(f"{folder / CONFIG} does not have the schema {SCHEMA}: name the run folder of a training")
    try:
        record = typed(values, RunRecord, {NetworkConfig: from_dict})
    except (ValueError, CinesaxError) as error:
        raise InputError(f"{folder / CONFIG} cannot be used: {error}") from None
    return Run(folder, record, _read_state(folder))


def _read_state(folder: Path) -> State:
    try:
        values = json.loads((folder / STATE).read_text(encoding="utf-8"))
        # Early runs kept the last state in one file, and did not record its name.
        return typed({"last": "last.keras", **values}, State)
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, TypeError):
        raise InputError(f"{folder / STATE} is damaged: start the training again in a new folder") from None


def begin(folder: Path, record: RunRecord) -> Run:
    """Create the run folder of a new training.

    Raises:
        OutputError: the folder is not empty, a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder; name a new folder")
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; add --resume to continue it, or name a new folder")
    return _write(folder, record)


def go_on(folder: Path, record: RunRecord, extension_rate: float | None) -> Run:
    """Open the folder of a training to continue, and add a stage if it gets more epochs.

    Raises:
        UsageError: the training began with other data or settings, or would get fewer epochs than planned.
        OutputError, InputError: the folder is not a run folder, or cannot be read or written.
    """
    run = open_run(folder)
    before, config = run.record, record.config
    # These two describe the extension.
    asked = replace(config, epochs=before.config.epochs, learning_rate=before.config.learning_rate)
    wanted = msgspec.structs.replace(record, config=asked)
    for key in _SAME:
        if getattr(before, key) != getattr(wanted, key):
            difference = _difference(key, before, wanted)
            raise UsageError(f"{folder} was started with another {key}{difference}")
    more = config.epochs - run.epochs
    if more < 0:
        raise UsageError(
            f"{folder} is planned for {run.epochs} epochs: give --epochs {run.epochs}, or more to extend it"
        )
    rates = [stage.learning_rate for stage in run.stages]
    if more == 0:
        if config.learning_rate not in rates and extension_rate not in rates:
            raise UsageError(
                f"{folder} was started with another learning_rate ({rates[0]}); resume with the same options"
            )
        return run
    write_state(folder, replace(run.state, waited=0, stopped=False))
    stages = (*run.stages, Stage(more, extension_rate))
    return _write(folder, msgspec.structs.replace(before, stages=stages))


def _difference(key: str, before: RunRecord, now: RunRecord) -> str:
    """What differs, as the end of a sentence, and what to do."""
    old, new = (_named(getattr(record, key)) for record in (before, now))
    if key == "split" and old == new:
        what = ": other slices were drawn"
    elif key == "dataset" and before.dataset.digest != now.dataset.digest:
        what = ": its files are not those that the training began with"
    elif isinstance(old, dict) and isinstance(new, dict):
        part = next(part for part in [*old, *new] if old.get(part) != new.get(part))
        what = f": {part} was {json.dumps(old.get(part))[:60]}, and is {json.dumps(new.get(part))[:60]} now"
    elif key in ("fold", "split", "deterministic"):
        what = f": it was {_word(old)}, and is {_word(new)} now"
    else:
        what = ""
    return f"{what}; resume with the same data and options"


def _named(value: object) -> object:
    if isinstance(value, ExampleSplit):
        return f"{value.name} with seed {value.seed}"
    return (
        value.to_dict()
        if isinstance(value, TrainConfig)
        else plain(value)
        if isinstance(value, DatasetFacts)
        else value
    )


def _word(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _write(folder: Path, record: RunRecord) -> Run:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CONFIG) as work:
            work.write_text(text_of(record.to_dict()), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from None
    return open_run(folder)


def write_state(folder: Path, state: State) -> None:
    """Save this state. The files that it names must exist already; files of earlier states are deleted.

    state.json is replaced atomically: a kill at any moment leaves either the previous state or this one, with its
    files.
    """
    work = folder / ".state.tmp"
    work.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
    os.replace(work, folder / STATE)
    kept = {state.last, state.best and state.best.file}
    for path in [*folder.glob("last-*.keras"), *folder.glob("best-*.keras")]:
        if path.name not in kept:
            path.unlink(missing_ok=True)


def finished_network(run: Run) -> Path:
    """Path of the finished network of a run; InputError if there is none yet."""
    path = run.folder / NETWORK
    if not path.is_file():
        raise InputError(f"{run.folder} has no {NETWORK}: that training has not finished; continue it with --resume")
    return path


def load_network(path: Path) -> keras.Model:
    """Load a network that a training saved; InputError if it cannot be read."""
    try:
        return keras.models.load_model(path)
    except Exception as error:  # noqa: BLE001 - Keras's exceptions have no common base of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); start the training again in a new folder") from None


def save_network(model: keras.Model, path: Path) -> None:
    """Save a network atomically."""
    # The name is fixed, so that leftovers of killed trainings are overwritten and do not pile up.
    work = path.with_name(f".{path.stem}.tmp.keras")
    try:
        model.save(work)
        os.replace(work, path)
    finally:
        with suppress(OSError):
            work.unlink()
