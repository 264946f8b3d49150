"""Fine-tuning: the weights to begin with, from a run folder or from a bundle, also for other classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import BundleError, InputError, UsageError
from cinesax.files.typed_json import Json, JsonObject
from cinesax.network import bundle as bundles
from cinesax.network.framing import Framing
from cinesax.train.data.manifest import names_of
from cinesax.train.fit.config import TrainConfig
from cinesax.train.fit.runs import Run, finished_network, load_network, open_run
from cinesax.train.nets import NetworkConfig, build, from_dict, to_dict
from cinesax.train.nets.onnx_weights import layers_with_weights, read_weights

# Settings that affect no weights, or only those of the last layers.
_FREE = ("classes", "dropout")


@dataclass(frozen=True)
class Start:
    """A network to begin with.

    Attributes:
        source: the run or the bundle, for messages.
        model: the network with its weights.
        config: the network's config.
        classes: names of its channels, background first, as in a set.
        framing: the framing of its images.
        cases_seen: the cases that it was trained on.
        record: what the new run records about it.
        sha256: checksum of its file.
        folded: whether its normalisation must be measured again (see `onnx_weights`).
    """

    source: str
    model: keras.Model
    config: NetworkConfig
    classes: tuple[str, ...]
    framing: Framing
    cases_seen: list[str]
    record: JsonObject
    sha256: str
    folded: bool


def open_start(which: Path, wanted: NetworkConfig | None = None) -> Start:
    """Open a finished run or a bundle (also the name of a shipped one) to start from.

    Args:
        which: the folder of the run or the bundle.
        wanted: config of the network to train; from a bundle with two passes, the matching one is taken.

    Raises:
        InputError: not a run or bundle, an unfinished run, or a network that cannot be read.
        BundleError: a damaged bundle, or a graph that does not hold the network of its manifest.
    """
    run = open_trained(which)
    if isinstance(run, bundles.Bundle):
        return _from_bundle(run, wanted)
    path = finished_network(run)
    record, digest = run.record.to_dict(), bundles.file_sha256(path)
    settings, framing = run.record.config.model, run.record.dataset.framing
    model = load_network(path)
    return Start(str(run.folder), model, settings, run.classes, framing, run.cases_seen, record, digest, folded=False)


def open_trained(which: Path) -> Run | bundles.Bundle:
    """Open a finished run, or a bundle (also the name of a shipped one).

    Raises:
        InputError: not a run or bundle, or an unfinished run.
        BundleError: a damaged bundle.
    """
    if bundles.is_bundle(which):
        return bundles.open_bundle(which)
    if not which.is_dir():
        problem = "is a file" if which.exists() else "does not exist"
        raise InputError(
            f"{which} {problem}: name the folder of a finished run or of a bundle, or one of "
            f"{', '.join(bundles.shipped())}"
        )
    run = open_run(which)
    finished_network(run)
    return run


@dataclass(frozen=True)
class _Pass:
    """One network of a bundle.

    Attributes:
        graph: its ONNX file.
        config: the recorded settings of its training.
        network: its network config.
        size: rows and columns of its input.
    """

    graph: Path
    config: JsonObject
    network: NetworkConfig
    size: int


def _passes(bundle: bundles.Bundle) -> list[_Pass]:
    recorded = [(bundle.graph_path, bundle.training.config, bundle.framing.size)]
    if bundle.heart is not None and bundle.training.heart is not None:
        recorded.append((bundle.heart_path, bundle.training.heart.config, bundle.heart.crop))
    passes = []
    for graph, config, size in recorded:
        model = (config or {}).get("model")
        if config is not None and isinstance(model, dict):
            passes.append(_Pass(graph, config, from_dict(model), size))
    return passes


def _from_bundle(bundle: bundles.Bundle, wanted: NetworkConfig | None) -> Start:
    passes = _passes(bundle)
    if not passes:
        raise BundleError(f"{bundle.folder} does not describe its network: start from its run folder")
    like = [part for part in passes if wanted is not None and _fixed(part.network) == _fixed(wanted)]
    chosen = [*like, *passes][0]
    config = chosen.network
    model = build(config, size=chosen.size)
    read_weights(chosen.graph, model)
    cases = list(bundle.training.cases or ())
    record: JsonObject = {
        "bundle": bundle.name,
        "version": bundle.version,
        "config": chosen.config,
        "train_cases": cases,
    }
    digest = bundles.file_sha256(chosen.graph)
    classes = _classes(bundle)
    return Start(str(bundle.folder), model, config, classes, bundle.framing, cases, record, digest, folded=True)


def _classes(bundle: bundles.Bundle) -> tuple[str, ...]:
    """Names of the channels, background first, as in a set; bundles call the LV cavity "CAVITY"."""
    return names_of(tuple(bundle.classes[channel] for channel in sorted(bundle.classes)))


def _fixed(config: NetworkConfig) -> dict[str, Json]:
    return {key: value for key, value in to_dict(config).items() if key not in _FREE}


def check_start(
    start: Start,
    config: TrainConfig,
    framing: Framing,
    held: list[str],
    *,
    classes: Sequence[str],
) -> None:
    """Check that a training may start from these weights.

    Args:
        start: the weights.
        config: settings of the training.
        framing: framing of its set.
        held: patients that it holds out.
        classes: classes of its set, background first.

    Raises:
        UsageError: a different network (classes and dropout may differ), a different framing, or weights that have
            learned from patients that this training holds out.
    """
    before, now = _fixed(start.config), _fixed(config.model)
    if before != now:
        changed = next(key for key in [*before, *now] if before.get(key) != now.get(key))
        raise UsageError(
            f"{start.source} holds another network: its {changed} is {before.get(changed)}, but {now.get(changed)} is "
            "requested; start from a network with the same model settings"
        )
    if config.keep_start and (start.folded or start.classes != tuple(classes)):
        raise UsageError(
            f"keep_start={config.keep_start:g} mixes weights layer by layer: begin with a run (not a bundle) of the "
            f"same classes; {start.source} has {', '.join(start.classes)}, the set {', '.join(classes)}"
        )
    if start.framing != framing:
        raise UsageError(
            f"{start.source} was trained on differently framed images; prepare the set with the same framing"
        )
    seen = sorted(set(start.cases_seen) & set(held))
    if seen:
        raise UsageError(f"{start.source} was trained on {', '.join(seen)}, which this training holds out")


def take_over(start: Start, model: keras.Model, images: NDArray[np.float32], *, classes: Sequence[str]) -> list[str]:
    """Copy the start weights into a network.

    Args:
        start: the weights.
        model: the network to change; same settings, possibly other classes.
        images: some training images (batch, row, column, 1), on which to measure the normalisation.
        classes: names of the model's channels, background first.

    Returns:
        The layers that keep their initial weights: those of a different size, and the last one if the classes differ.
    """
    anew = []
    pairs = list(zip(layers_with_weights(start.model), layers_with_weights(model), strict=True))
    last = pairs[-1][1] if start.classes != tuple(classes) else None
    for before, now in pairs:
        if now is not last and [w.shape for w in before.weights] == [w.shape for w in now.weights]:
            now.set_weights(before.get_weights())
        else:
            anew.append(now.name)
    if start.folded:
        _measure_normalisation(model, images)
    return anew


def keep_part(start: Start, model: keras.Model, part: float) -> None:
    """Mix the weights that a training started from into its finished network.

    Args:
        start: the weights that the training started from.
        model: the finished network; it is changed.
        part: share of the start weights, 0 to 1.
    """
    for before, now in zip(layers_with_weights(start.model), layers_with_weights(model), strict=True):
        pairs = zip(before.get_weights(), now.get_weights(), strict=True)
        now.set_weights([part * old + (1 - part) * new for old, new in pairs])


def _normalisations(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    return (layer for layer in layers_with_weights(model) if isinstance(layer, keras.layers.BatchNormalization))


def _measure_normalisation(model: keras.Model, images: NDArray[np.float32]) -> None:
    """Split a folded normalisation into statistics of its input, scale and shift.

    In an exported graph, normalisation is part of the convolution before it. Mean 0, variance 1 and scale 1 give the
    same output, but training normalises by the statistics of a batch and would change it. Here mean and variance are
    measured on the images, and scale and shift are chosen so that the output stays the same.
    """
    seen: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    calls = {}
    for layer in _normalisations(model):
        calls[layer] = layer.call

        def call(x: Any, *args: Any, _layer: Any = layer, **options: Any) -> Any:
            values = np.asarray(x, np.float64)
            seen[_layer.path] = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
            return calls[_layer](x, *args, **options)

        layer.call = call
    try:
        model(images, training=False)
    finally:
        for layer, original in calls.items():
            layer.call = original
    for layer in _normalisations(model):
        mean, variance = seen[layer.path]
        scale, shift, old_mean, old_variance = (np.asarray(w, np.float64) for w in layer.get_weights())
        slope = scale / np.sqrt(old_variance + layer.epsilon)
        new_scale = slope * np.sqrt(variance + layer.epsilon)
        layer.set_weights([new_scale, shift + slope * (mean - old_mean), mean, variance])
