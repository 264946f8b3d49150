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
from typing import Any

import keras

from cinesax.core.errors import InputError, OutputError, UsageError
from cinesax.files.stored_files import replacing
from cinesax.train.data.manifest import CAVITY_ONLY, names_of
from cinesax.train.fit.config import TrainConfig
from cinesax.train.fit.schedule import Stage

SCHEMA = "cinesax/run/1"
CONFIG, STATE, COMMANDS = "config.json", "state.json", "commands.txt"
NETWORK, NAN_BATCH = "network.keras", "nan-batch.npz"
# Settings that must not change when a training continues.
_SAME = ("config", "fold", "split", "dataset", "train_cases", "deterministic", "started_from_sha256")

# Settings that came later, with the values that older trainings used.
_BEFORE: Mapping[str, Any] = {"keep_start": 0.0, "false_positives": [0.5, 0.5]}


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
        stopped: whether `patience` has ended it.
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
    config: dict[str, Any]
    state: State

    @property
    def finished_epochs(self) -> int:
        """The number of finished epochs."""
        return self.state.epochs

    @property
    def stages(self) -> list[Stage]:
        """The stages: the first as requested, then those added later."""
        return [Stage(int(stage["epochs"]), stage["learning_rate"]) for stage in self.config["stages"]]

    @property
    def epochs(self) -> int:
        """The number of all requested epochs."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def train_names(self) -> list[str] | None:
        """The training examples if a named split lists them; None: all examples of the training patients."""
        return self._side("train")

    @property
    def held_out_names(self) -> list[str] | None:
        """The held-out examples, likewise."""
        return self._side("held_out")

    def has_learned_from(self, case: str, name: str) -> bool:
        """Whether the weights have learned from an example of a patient, in this training or before it."""
        if self.train_names is None:
            return case in self.cases_seen
        return name in self.train_names or (case in self.cases_seen and case not in self.config["train_cases"])

    def _side(self, side: str) -> list[str] | None:
        split = self.config.get("split")
        return None if split is None else list(split[side])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the channels, background first; old sets have the LV cavity alone."""
        return tuple(self.config["dataset"].get("classes", names_of(CAVITY_ONLY)))

    @property
    def cases_seen(self) -> list[str]:
        """All cases that the weights have learned from, in this training or before it."""
        return list(self.config.get("cases_seen", self.config["train_cases"]))


def open_run(folder: Path) -> Run:
    """Open the run folder of a training.

    Raises:
        InputError: the folder is not a run folder, or is damaged.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} is not a run folder: it has no readable {CONFIG}") from None
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise InputError(f"{folder / CONFIG} does not have the schema {SCHEMA}: name the run folder of a training")
    settings = config["config"] = {**_BEFORE, **config["config"]}
    config.setdefault("stages", [{"epochs": settings["epochs"], "learning_rate": settings["learning_rate"]}])
    return Run(folder, config, _read_state(folder))


def _read_state(folder: Path) -> State:
    try:
        values = json.loads((folder / STATE).read_text(encoding="utf-8"))
        best = values.get("best")
        return State(
            epochs=int(values["epochs"]),
            last=values.get("last", "last.keras"),
            best=None if best is None else Best(**best),
            waited=int(values.get("waited", 0)),
            stopped=bool(values.get("stopped", False)),
        )
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / STATE} is damaged: start the training again in a new folder") from None


def begin(folder: Path, description: Mapping[str, Any]) -> Run:
    """Create the run folder of a new training.

    Raises:
        OutputError: the folder is not empty, a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder; name a new folder")
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; add --resume to continue it, or name a new folder")
    return _write(folder, dict(description))


def go_on(folder: Path, description: Mapping[str, Any], config: TrainConfig, extension_rate: float | None) -> Run:
    """Open the folder of a training to continue, and add a stage if it gets more epochs.

    Raises:
        UsageError: the training began with other data or settings, or would get fewer epochs than planned.
        OutputError, InputError: the folder is not a run folder, or cannot be read or written.
    """
    run = open_run(folder)
    wanted = json.loads(json.dumps(description))
    asked = wanted["config"]
    # These two describe how it is extended.
    asked["epochs"], asked["learning_rate"] = (run.config["config"][key] for key in ("epochs", "learning_rate"))
    for key in _SAME:
        if run.config.get(key) != wanted.get(key):
            raise UsageError(
                f"{folder} was started with another {key}{_difference(key, run.config.get(key), wanted.get(key))}"
            )
    more = config.epochs - run.epochs
    if more < 0:
        raise UsageError(f"{folder} is to have {run.epochs} epochs: give --epochs {run.epochs}, or more to extend it")
    rates = [stage.learning_rate for stage in run.stages]
    if more == 0:
        if config.learning_rate not in rates and extension_rate not in rates:
            raise UsageError(
                f"{folder} was started with another learning_rate ({rates[0]}); resume with the same options"
            )
        return run
    write_state(folder, replace(run.state, waited=0, stopped=False))
    stages = [*run.config["stages"], {"epochs": more, "learning_rate": extension_rate}]
    return _write(folder, run.config | {"stages": stages})


def _difference(key: str, before: Any, now: Any) -> str:
    if key == "split":
        words = ["none" if one is None else f"{one['name']} of seed {one['seed']}" for one in (before, now)]
        unlike = f": it was {words[0]}, and is {words[1]} now" if words[0] != words[1] else ": other slices were drawn"
        return f"{unlike}; resume with the same data and options"
    if isinstance(before, dict) and isinstance(now, dict):
        for part in [*before, *now]:
            if before.get(part) != now.get(part):
                return f": {part} was {json.dumps(before.get(part))[:60]}, and is {json.dumps(now.get(part))[:60]} now"
    return "; resume with the same data and options"


def _write(folder: Path, description: dict[str, Any]) -> Run:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CONFIG) as work:
            work.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
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
