"""Export to other runtimes: a finished run -> a folder with SavedModels or LiteRT files and everything that they need.

network.json   format, files, framing, classes, names of input and outputs, training data, scores, checksums
graph...       the network for whole frames; with a second pass also heart..., the network for a crop around the heart
parity.json    how the files differ from Keras on real slices, if a prepared set was given
CARD.md        the model card
"""

import json
from collections.abc import Sequence
from pathlib import Path

from cinesax.core.errors import UsageError
from cinesax.files.typed_json import Json, JsonObject, plain, text_of
from cinesax.network.bundle import CARD, PARITY, Bundle, file_sha256
from cinesax.train.data.records import Dataset, new_set
from cinesax.train.export.bundle import describe, parameters
from cinesax.train.export.card import card
from cinesax.train.export.formats import (
    INPUT,
    LABELS,
    PROBABILITIES,
    Format,
    Precision,
    litert_runner,
    processors,
    savedmodel_runner,
    to_litert,
    to_savedmodel,
)
from cinesax.train.export.parity import CALIBRATION_IMAGES, SLICES, Exported, check_on_noise, real_slices, report
from cinesax.train.export.passes import Pass, open_passes

SCHEMA = "cinesax/network/1"
MANIFEST = "network.json"


def export_files(
    run_folder: Path,
    out: Path,
    kind: Format,
    *,
    name: str = "network",
    version: str = "1",
    scores: JsonObject | None = None,
    finder: Path | None = None,
    images: Sequence[str] = (),
    precisions: Sequence[Precision] = (),
    data: Dataset | None = None,
    slices: int = SLICES,
) -> Path:
    """Export a run's network as SavedModel or LiteRT files.

    Args:
        run_folder: a finished run.
        out: the folder, which must not exist yet.
        kind: SAVEDMODEL or LITERT; for a bundle use `cinesax.train.export.bundle.export`.
        name: name of the network.
        version: version of the network.
        scores: measured scores of the network.
        finder: see `export`. The network of a bundle is written like the other one, with the weights of its graph
            (those of 8 bits as they are: rounded).
        images: fingerprints of the images that the runs learned from; those of a finder's bundle are added.
        precisions: one LiteRT file is written per precision; empty: all possible ones (int8 needs `data`).
        data: the prepared set that it learned from: int8 is calibrated on it, and all files are compared on it.
        slices: largest number of slices to compare.

    Returns:
        The folder.

    Raises:
        InputError: a run is not finished, the two do not fit, a finder is missing, or a file differs from Keras.
        BundleError: a finder's bundle is damaged, or its network cannot be read back.
        UsageError: int8 without data, or precisions of a SavedModel.
        OutputError: the folder exists, or cannot be written.
    """
    wanted = _precisions(kind, precisions, data)
    threads = processors()
    with new_set(out) as work:
        passes = open_passes(run_folder, finder)
        exports = [
            exported
            for network in passes
            for exported in _write(network, work, kind, precisions=wanted, data=data, threads=threads)
        ]
        if data is None:
            for exported in exports:
                check_on_noise(exported)
        else:
            compared = report(exports, data, count=slices, threads=threads)
            (work / PARITY).write_text(text_of(compared), encoding="utf-8")
        bundle = describe(passes, out, name=name, version=version, scores=scores or {}, images=images)
        (work / CARD).write_text(card(bundle, parameters(passes)), encoding="utf-8")
        manifest = _manifest(bundle, kind, exports) | {"checksums": _checksums(work)}
        (work / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return out


def _precisions(kind: Format, asked: Sequence[Precision], data: Dataset | None) -> list[Precision]:
    if kind is Format.SAVEDMODEL:
        if asked:
            raise UsageError("a SavedModel is float32: precisions are for LiteRT")
        return [Precision.FLOAT32]
    if Precision.INT8 in asked and data is None:
        raise UsageError("int8 is calibrated on training images: give --data SET, the prepared set")
    return list(dict.fromkeys(asked)) or [
        precision for precision in Precision if data is not None or precision is not Precision.INT8
    ]


def _write(
    network: Pass, folder: Path, kind: Format, *, precisions: Sequence[Precision], data: Dataset | None, threads: int
) -> list[Exported]:
    if kind is Format.SAVEDMODEL:
        path = folder / network.stem
        to_savedmodel(network.model, path)
        return [Exported(path, savedmodel_runner(path), network.model, Precision.FLOAT32, network.crop)]
    paths = {precision: folder / f"{network.stem}-{precision}.tflite" for precision in precisions}
    calibration = None
    if Precision.INT8 in paths and data is not None:
        inputs = int(network.model.input_shape[-1])
        calibration = real_slices(data, "train", count=CALIBRATION_IMAGES, crop=network.crop, inputs=inputs).images
    to_litert(network.model, paths, calibration=calibration)
    return [
        Exported(path, litert_runner(path, threads=threads), network.model, precision, network.crop)
        for precision, path in paths.items()
    ]


def _manifest(bundle: Bundle, kind: Format, exports: Sequence[Exported]) -> dict[str, Json]:
    return {
        "schema": SCHEMA,
        "format": str(kind),
        "name": bundle.name,
        "version": bundle.version,
        "classes": bundle.class_names,
        "framing": bundle.framing.to_dict(),
        "framing_digest": bundle.framing.digest,
        "input": {"name": INPUT, "axes": "batch, row, column, 1", "type": "float32", "from": 0, "to": 1},
        "outputs": {
            PROBABILITIES: {"axes": "batch, row, column, class", "type": "float32"},
            LABELS: {"axes": "batch, row, column", "type": "int32"},
        },
        "networks": [
            {
                "file": exported.path.name,
                "sees": "whole frames" if exported.crop is None else "a crop round the heart",
                "size": exported.crop or bundle.framing.size,
                "precision": str(exported.precision),
            }
            for exported in exports
        ],
        "training": plain(bundle.training),
        "scores": dict(bundle.scores),
    }


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
