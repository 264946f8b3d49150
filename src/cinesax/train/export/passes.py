"""The networks of an export: where each comes from, and what is known of its training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras

from cinesax._version import __version__
from cinesax.core.errors import BundleError, InputError
from cinesax.core.structures import Structure
from cinesax.files.typed_json import Json
from cinesax.network.bundle import GRAPH, HEART, MANIFEST, Bundle, HeartTraining, Training, open_bundle, shipped
from cinesax.network.framing import Framing
from cinesax.train.data.manifest import parse_classes
from cinesax.train.fit.runs import Run, finished_network, load_network, open_run
from cinesax.train.fit.start import open_trained
from cinesax.train.nets import NetworkConfig, build, from_dict
from cinesax.train.nets.losses import CrossEntropyDice  # noqa: F401 - registers the class for loading
from cinesax.train.nets.metrics import SliceDice  # noqa: F401 - likewise
from cinesax.train.nets.onnx_weights import read_weights


@dataclass(frozen=True)
class Facts:
    """What a run or a bundle says of a network.

    Attributes:
        folder: of the run or the bundle, for messages.
        config: the network's config.
        classes: channel -> class, without the background (channel 0).
        framing: of the network's images.
        crop: rows and columns of the crop around the heart on which it learned; None: whole frames.
        training: how it was trained; of a run without images and without the number of synthetic hearts.
        hearts: names of the synthetic hearts that it was trained on; a bundle says only their number.
    """

    folder: Path
    config: NetworkConfig
    classes: Mapping[int, Structure]
    framing: Framing
    crop: int | None
    training: Training
    hearts: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Rows and columns of the network's input."""
        return self.crop or self.framing.size


@dataclass(frozen=True)
class Pass:
    """One network of an export.

    Attributes:
        stem: stem of its file: "graph" sees whole frames, "heart" a crop around the heart.
        source: the run that trained it, or the bundle that it comes from.
        facts: what this says of it.
    """

    stem: str
    source: Run | Bundle
    facts: Facts

    @property
    def crop(self) -> int | None:
        """Rows and columns of its crop; None: whole frames."""
        return self.facts.crop

    @property
    def parameters(self) -> int:
        """The number of its parameters."""
        return int(build(self.facts.config, size=self.facts.size).count_params())

    @cached_property
    def model(self) -> keras.Model:
        """The network in Keras, for one input size; from a bundle, with the weights of its graph.

        Raises:
            BundleError: they cannot be read back.
        """
        if isinstance(self.source, Run):
            return fixed_size(self.source)
        model = build(self.facts.config, size=self.facts.size)
        read_weights(self.source.graph_path, model)
        return model


def open_passes(run_folder: Path, finder: Path | None = None) -> list[Pass]:
    """The network of a run; if it learned on crops, its finder's network and its own.

    Args:
        run_folder: a finished run.
        finder: what finds the heart for a network that learned on crops around it: a finished run on whole frames, or a
            bundle (also the name of a shipped one), of which the network for whole frames is taken.

    Raises:
        InputError: a run is not finished, the two do not fit, or a finder is missing.
        BundleError: a damaged bundle, or one that does not say how it was trained.
    """
    run = open_run(run_folder)
    finished_network(run)
    last = _of_run(run)
    if finder is None:
        if last.crop is not None:
            raise InputError(f"{run.folder} was trained on crops around the heart: {_ways_out(run)}")
        return [Pass(Path(GRAPH).stem, run, last)]
    source = open_trained(finder)
    first = _of_run(source) if isinstance(source, Run) else _of_bundle(source)
    _check_fit(first, last)
    return [Pass(Path(GRAPH).stem, source, first), Pass(Path(HEART).stem, run, last)]


def fixed_size(run: Run) -> keras.Model:
    """The finished network of a run, for one size only, so that ONNX Runtime plans its memory once.

    The size is that of the framed images, or of the crop if the network learned on crops around the heart.

    Raises:
        InputError: the run has no finished network.
    """
    trained = load_network(finished_network(run))
    model = build(run.record.config.model, size=_crop(run) or run.record.dataset.framing.size)
    model.set_weights(trained.get_weights())
    return model


def _crop(run: Run) -> int | None:
    """Rows and columns of the crop around the heart on which a run's network learned; None: whole frames."""
    settings = run.record.config.pipeline
    return None if settings.jitter_px is None else settings.crop


def _of_run(run: Run) -> Facts:
    """The facts of a run; InputError if the LV cavity is not among its classes."""
    record = run.record
    classes = {channel: parse_classes([name])[-1] for channel, name in enumerate(run.classes) if channel}
    if Structure.CAVITY not in classes.values():
        raise InputError(
            f"{run.folder} was trained on {', '.join(run.classes)}, but not on the LV cavity, without which "
            "nothing is measured; train on a set with lv_cavity among its --classes"
        )
    before = (record.started_from or {}).get("config")
    hearts = frozenset(case for case in run.cases_seen if case.startswith("PHANTOM"))
    training = Training(
        dataset=record.dataset.digest,
        cases=tuple(case for case in run.cases_seen if case not in hearts),
        config=record.config.to_dict(),
        started_from=before if isinstance(before, dict) else None,
        software=dict(record.software),
    )
    return Facts(run.folder, record.config.model, classes, record.dataset.framing, _crop(run), training, hearts)


def _of_bundle(bundle: Bundle) -> Facts:
    """The facts of a bundle's network for whole frames. Its patients and images are those of both its networks."""
    config = (bundle.training.config or {}).get("model")
    if not isinstance(config, dict) or bundle.training.cases is None:
        raise BundleError(
            f"{bundle.folder} does not say what its network is and whom it has learned from (config and cases in its "
            f"{MANIFEST}): give another finder"
        )
    return Facts(bundle.folder, from_dict(config), bundle.classes, bundle.framing, None, bundle.training)


def _ways_out(run: Run) -> str:
    """What to give as the finder: best that of the bundle that the run was started from."""
    origin = _origin(run.record.started_from)
    named = {open_bundle(one).name: one for one in shipped()}
    if origin is None:
        bundle = "default for that of the shipped network"
    elif origin in named:
        bundle = f"{named[origin]} for that of {origin}, from which it was started"
    else:
        bundle = f"BUNDLE, the folder of {origin}, from which it was started"
    return f"give --finder RUN, a run trained on whole frames, or --finder {bundle}"


def _origin(started_from: Json) -> str | None:
    """The name of the bundle that a training was started from, also by way of other runs."""
    while isinstance(started_from, Mapping):
        name, started_from = started_from.get("bundle"), started_from.get("started_from")
        if isinstance(name, str):
            return name
    return None


def _check_fit(whole: Facts, close: Facts) -> None:
    if close.crop is None:
        raise InputError(f"{close.folder} was trained on whole frames: it needs no finder")
    if whole.crop is not None:
        raise InputError(
            f"{whole.folder} was trained on crops around the heart: a finder must be trained on whole frames"
        )
    if whole.framing != close.framing:
        raise InputError(
            f"{whole.folder} and {close.folder} were trained on differently framed images; train both on one set"
        )
    if whole.classes != close.classes:
        names = [", ".join(part.facts.class_name for part in one.classes.values()) for one in (whole, close)]
        raise InputError(
            f"{whole.folder} draws {names[0]}, but {close.folder} draws {names[1]}: the finder has to find "
            "what the refiner draws; train both on sets of the same classes"
        )


def training_of(passes: Sequence[Pass], images: Sequence[str]) -> Training:
    """How the networks of an export were trained, for its manifest.

    Args:
        passes: the networks; patients and images are those of all together. Synthetic hearts of runs are counted by
            name, those of a bundle by their number.
        images: fingerprints of further images that they learned from.
    """
    each = [one.facts.training for one in passes]
    hearts = {name for one in passes for name in one.facts.hearts}
    finder = passes[0].source
    return Training(
        dataset=each[0].dataset,
        cases=tuple(sorted({case for one in each for case in one.cases or ()})),
        images=tuple(sorted({*images, *(image for one in each for image in one.images or ())})),
        phantoms=len(hearts) + sum(one.phantoms or 0 for one in each),
        config=each[0].config,
        started_from=each[0].started_from,
        finder=f"{finder.name} {finder.version}" if isinstance(finder, Bundle) else None,
        heart=HeartTraining(each[-1].dataset, each[-1].config) if len(passes) > 1 else None,
        software={**(each[-1].software or {}), "exported_with": f"cinesax {__version__}"},
    )
