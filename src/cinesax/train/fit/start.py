"""Fine-tuning: the weights to begin with, from a run folder or from a bundle, also for other classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import BundleError, InputError, UsageError
from cinesax.files.typed_json import Json, JsonObject
from cinesax.network import bundle as bundles
from cinesax.train.data.manifest import names_of
from cinesax.train.fit.config import TrainConfig
from cinesax.train.fit.runs import NETWORK, load_network, open_run
from cinesax.train.nets import NetworkConfig, build, from_dict, to_dict
from cinesax.train.nets.onnx_weights import layers_with_weights, read_weights

# Of these settings a network's weights do not depend: or only those of its last layers do.
_FREE = ("classes", "dropout")


@dataclass(frozen=True)
class Start:
    """A network to begin with.

    Attributes:
        source: the run or the bundle, in words.
        model: the network with its weights.
        config: of the network.
        classes: what its channels are, the background first, as a set names them.
        framing: as `Framing.to_dict` tells.
        cases_seen: what it has learned from.
        record: what the new run says of it.
        folded: whether its normalisation must be measured anew (see `onnx_weights`).
    """

    source: str
    model: keras.Model
    config: NetworkConfig
    classes: tuple[str, ...]
    framing: Mapping[str, Any]
    cases_seen: list[str]
    record: dict[str, Any]
    folded: bool


def open_start(which: Path, wanted: NetworkConfig | None = None) -> Start:
    """A finished run, or a bundle ("default": the one that ships).

    Args:
        which: its folder.
        wanted: the network that is to begin with it: of a bundle with two passes, the one like it is taken.

    Raises:
        InputError: neither, a run that has not finished, or a network that cannot be read.
        BundleError: a damaged bundle, or one whose graph does not hold the network that it tells.
    """
    if str(which) == "default" or (which / bundles.MANIFEST).is_file():
        return _from_bundle(bundles.open_bundle(which), wanted)
    run = open_run(which)
    path = run.folder / NETWORK
    if not path.is_file():
        raise InputError(f"{run.folder} has no {NETWORK}: that training has not finished; continue it with --resume")
    record = {"started_from": run.config, "started_from_sha256": bundles.file_sha256(path)}
    settings = from_dict(run.config["config"]["model"])
    framing = run.config["dataset"]["framing"]
    model = load_network(path)
    return Start(str(run.folder), model, settings, run.classes, framing, run.cases_seen, record, folded=False)


@dataclass(frozen=True)
class _Pass:
    """A network of a bundle.

    Attributes:
        graph: its file.
        config: the settings of its training, as they were recorded.
        network: how it is built.
        size: rows and columns of its image.
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
    like = [one for one in passes if wanted is not None and _fixed(one.network) == _fixed(wanted)]
    chosen = [*like, *passes][0]
    config = chosen.network
    model = build(config, size=chosen.size)
    read_weights(chosen.graph, model)
    cases = list(bundle.training.cases or ())
    record = {
        "started_from": {
            "bundle": bundle.name,
            "version": bundle.version,
            "config": chosen.config,
            "train_cases": cases,
        },
        "started_from_sha256": bundles.file_sha256(chosen.graph),
    }
    classes = _classes(bundle)
    return Start(str(bundle.folder), model, config, classes, bundle.framing.to_dict(), cases, record, folded=True)


def _classes(bundle: bundles.Bundle) -> tuple[str, ...]:
    """What the channels are, the background first, as a set names them: a bundle says "CAVITY" of the LV cavity."""
    return names_of(tuple(bundle.classes[channel] for channel in sorted(bundle.classes)))


def _fixed(config: NetworkConfig) -> dict[str, Json]:
    return {key: value for key, value in to_dict(config).items() if key not in _FREE}


def check_start(
    start: Start,
    config: TrainConfig,
    framing: Mapping[str, Any],
    held: list[str],
    *,
    classes: Sequence[str],
) -> None:
    """Whether a training may begin with these weights.

    Args:
        start: the weights.
        config: of the training.
        framing: of its set.
        held: patients whom it holds out.
        classes: of its set, the background first.

    Raises:
        UsageError: another network (other classes and dropout are welcome), images framed otherwise, or weights that
            have learned from patients whom this training holds out.
    """
    before, now = _fixed(start.config), _fixed(config.model)
    if before != now:
        changed = next(key for key in [*before, *now] if before.get(key) != now.get(key))
        raise UsageError(
            f"{start.source} holds another network: its {changed} is {before.get(changed)}, and {now.get(changed)} is "
            "asked for; start from one with the same settings of the model"
        )
    if config.keep_start and (start.folded or start.classes != tuple(classes)):
        raise UsageError(
            f"keep_start={config.keep_start:g} mixes weights layer by layer: begin with a run (not a bundle) of the "
            f"same classes; {start.source} has {', '.join(start.classes)}, the set {', '.join(classes)}"
        )
    if dict(start.framing) != dict(framing):
        raise UsageError(
            f"{start.source} was trained on differently framed images; prepare the set with the same framing"
        )
    seen = sorted(set(start.cases_seen) & set(held))
    if seen:
        raise UsageError(f"{start.source} was trained on {', '.join(seen)}, which this training holds out")


def take_over(start: Start, model: keras.Model, images: NDArray[np.float32], *, classes: Sequence[str]) -> list[str]:
    """Give a network the weights to begin with.

    Args:
        start: where from.
        model: where to; of the same settings, perhaps for other classes.
        images: some training images (batch, row, column, 1), to measure the normalisation on.
        classes: what its channels shall be, the background first.

    Returns:
        The layers that begin anew: those of another size, and with other classes the last one.
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
    """Let the weights of the network that a training began with have a part in those that it ended with.

    Args:
        start: where the training began.
        model: its finished network, which is changed.
        part: 0 to 1.
    """
    for before, now in zip(layers_with_weights(start.model), layers_with_weights(model), strict=True):
        pairs = zip(before.get_weights(), now.get_weights(), strict=True)
        now.set_weights([part * old + (1 - part) * new for old, new in pairs])


def _normalisations(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    return (layer for layer in layers_with_weights(model) if isinstance(layer, keras.layers.BatchNormalization))


def _measure_normalisation(model: keras.Model, images: NDArray[np.float32]) -> None:
    """Split what a folded normalisation does into statistics of its input, and scale and shift.

    In a graph for use, normalisation has become part of the convolution before it: mean 0, variance 1, scale 1 give
    the same network, but not one that can go on training, which normalises by what it sees in a batch. Here mean and
    variance become those of the images, and scale and shift what leaves the network as it is.
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
