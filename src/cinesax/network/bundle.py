"""Bundle: a trained network and all that is needed to run it, as a folder.

bundle.json   framing, classes, names of input and output, training data, scores, checksums
graph.onnx    framed images -> probabilities; normalisation and softmax are inside
heart.onnx    (not in every bundle) the same for a crop round the heart: it draws, graph.onnx finds the heart for it
CARD.md       the model card: data, intended use, limits, figures
parity.json   (not in every bundle) how the graphs differ from the network in Keras, on real slices
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cinesax.core.errors import BundleError, GeometryError, OutputError
from cinesax.core.structures import Structure, of_bundle_name
from cinesax.files.folder_swap import new_folder
from cinesax.files.typed_json import JsonObject, text_of, typed
from cinesax.network.framing import Framing

SCHEMA = "cinesax/bundle/1"
MANIFEST, GRAPH, HEART, CARD, PARITY = "bundle.json", "graph.onnx", "heart.onnx", "CARD.md", "parity.json"
_SHIPPED = Path(__file__).parent / "bundles" / "default"


@dataclass(frozen=True, slots=True)
class HeartPass:
    """The refiner: a network that sees only the heart, at full resolution.

    Attributes:
        crop: rows and columns of its image, framed pixels.
        input_name: of the graph: (batch, crop, crop, context), float32, 0 to 1.
        output_name: of the graph: (batch, crop, crop, classes), float32, probabilities, classes as the finder's.
        context: channels of its image: 1; or 3: the frame between its neighbours towards base and apex, at the same
            phase, 0 where there is none.
    """

    crop: int
    input_name: str
    output_name: str
    context: int = 1


class HeartTraining(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the refiner was trained on: digest of the set, and the settings (a `TrainConfig`, which training parses)."""

    dataset: str | None = None
    config: JsonObject | None = None


class Training(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a network was trained on, as its bundle says it; None: it does not say.

    Attributes:
        dataset: digest of the prepared set.
        cases: patients, phantoms left out.
        images: fingerprints of their images.
        phantoms: how many synthetic hearts.
        config: the settings (a `TrainConfig`, which only training can parse).
        started_from: the settings of the training that it began with.
        heart: the same of the refiner.
        software: versions by name.
    """

    dataset: str | None = None
    cases: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    phantoms: int | None = None
    config: JsonObject | None = None
    started_from: JsonObject | None = None
    heart: HeartTraining | None = None
    software: dict[str, str] | None = None


@dataclass(frozen=True)
class Bundle:
    """A trained network, checked.

    Attributes:
        folder: where it lies.
        name: of the network.
        version: of the network.
        framing: how it sees frames.
        classes: channel of its output -> structure (channel 0 is background). A pixel is what has the highest
            probability of all channels.
        input_name: of the graph: (batch, size, size, 1), float32, 0 to 1.
        output_name: of the graph: (batch, size, size, classes), float32, probabilities.
        graph_sha256: checksum of the graph.
        heart: the refiner; None: there is none, and graph.onnx draws on whole frames.
        heart_sha256: checksum of its graph; empty where there is none.
        training: what it was trained on.
        scores: what was measured of it, as recorded.
        unvalidated: structures that it draws, but not well enough on scanners that it has not seen: they are drawn only
            on request, and a finding says so.
    """

    folder: Path
    name: str
    version: str
    framing: Framing
    classes: Mapping[int, Structure]
    input_name: str
    output_name: str
    graph_sha256: str
    heart: HeartPass | None = None
    heart_sha256: str = ""
    training: Training = Training()
    scores: JsonObject = field(default_factory=dict)
    unvalidated: tuple[Structure, ...] = ()

    @property
    def class_names(self) -> dict[str, str]:
        """Channel -> name of its class, as manifests hold it: {"1": "CAVITY", "3": "RV"}."""
        return {str(channel): one.facts.bundle_name for channel, one in sorted(self.classes.items())}

    @property
    def graph_path(self) -> Path:
        """The ONNX file."""
        return self.folder / GRAPH

    @property
    def heart_path(self) -> Path:
        """The ONNX file of the refiner."""
        return self.folder / HEART

    @property
    def checksum(self) -> str:
        """SHA-256 of what decides its results: graphs, framing and classes."""
        parts = [self.graph_sha256, self.heart_sha256, self.framing.digest, self.class_names]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """bundle.json."""

    schema: str
    name: str
    version: str
    classes: dict[int, str]
    framing: JsonObject
    framing_digest: str
    input_name: str
    output_name: str
    heart: HeartPass | None = None
    # As a factory: what is equal to a plain default would not be written.
    training: Training = msgspec.field(default_factory=Training)
    scores: JsonObject = msgspec.field(default_factory=dict)
    unvalidated: tuple[str, ...] = ()
    checksums: dict[str, str]


def open_bundle(which: str | Path | None = None) -> Bundle:
    """Open a bundle and compare its checksums.

    Args:
        which: a bundle folder; None or "default": the network that ships with the package.

    Raises:
        BundleError: no bundle, damaged, or of another schema.
    """
    folder = _SHIPPED if which is None or str(which) == "default" else Path(which)
    path = folder / MANIFEST
    manifest = _read(path)
    for name, expected in manifest.checksums.items():
        file = folder / Path(name).name
        if not file.is_file():
            raise BundleError(f"{folder} is incomplete: {name} is missing; export or install the bundle again")
        if file_sha256(file) != expected:
            raise BundleError(f"{file} has a wrong checksum: it was changed or damaged; export or install it again")
    for name in (GRAPH, *((HEART,) if manifest.heart is not None else ())):
        if name not in manifest.checksums:
            raise BundleError(f"{path} names no checksum of {name}")
    try:
        framing = Framing.from_dict(manifest.framing)
        classes = _classes(manifest.classes)
        unvalidated = tuple(of_bundle_name(name) for name in manifest.unvalidated)
    except (GeometryError, LookupError, ValueError) as error:
        raise BundleError(f"{path} cannot be used: {error}") from None
    if manifest.framing_digest != framing.digest:
        raise BundleError(f"{path} is damaged: its framing_digest is not that of its framing")
    if manifest.heart is not None:
        _check_heart(manifest.heart, framing, path)
    return Bundle(
        folder=folder,
        name=manifest.name,
        version=manifest.version,
        framing=framing,
        classes=classes,
        input_name=manifest.input_name,
        output_name=manifest.output_name,
        graph_sha256=manifest.checksums[GRAPH],
        heart=manifest.heart,
        heart_sha256=manifest.checksums.get(HEART, ""),
        training=manifest.training,
        scores=manifest.scores,
        unvalidated=unvalidated,
    )


def _read(path: Path) -> _File:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BundleError(f"{path.parent} is not a bundle: it has no readable {path.name}") from None
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON ({error})") from None
    # Its schema first: of another one, nothing else is known.
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{path} has the schema {schema!r}, expected {SCHEMA!r}")
    try:
        return typed(values, _File)
    except ValueError as error:
        raise BundleError(f"{path} cannot be used: {error}") from None


def _classes(names: Mapping[int, str]) -> dict[int, Structure]:
    if len(set(names.values())) < len(names):
        raise ValueError(f"its classes name the same structure twice: {dict(names)}")
    return {channel: of_bundle_name(name) for channel, name in names.items()}


def _check_heart(heart: HeartPass, framing: Framing, path: Path) -> None:
    if not 0 < heart.crop <= framing.size or heart.context not in (1, 3):
        raise BundleError(f"{path} has no valid 'heart': {heart}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_bundle(
    bundle: Bundle, graph: Path, card: str, *, heart: Path | None = None, parity: str | None = None
) -> Bundle:
    """Write a bundle to its folder, atomically; an earlier bundle there is replaced.

    Args:
        bundle: what bundle.json says; `folder` is where it goes, `graph_sha256` is computed.
        graph: the ONNX file.
        card: the model card, Markdown.
        heart: the ONNX file of the refiner, where the bundle has one.
        parity: what parity.json says, where the graphs were compared with the network that they were made of.

    Returns:
        The bundle, opened again from where it was written.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    folder = bundle.folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder; name a new folder")
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise OutputError(f"{folder} exists and is not a bundle; name a new folder")
    try:
        with new_folder(folder) as work:
            shutil.copyfile(graph, work / GRAPH)
            (work / CARD).write_text(card, encoding="utf-8")
            names = [GRAPH, CARD]
            if heart is not None:
                shutil.copyfile(heart, work / HEART)
                names.append(HEART)
            if parity is not None:
                (work / PARITY).write_text(parity, encoding="utf-8")
                names.append(PARITY)
            manifest = _file(bundle, {name: file_sha256(work / name) for name in names})
            (work / MANIFEST).write_text(text_of(manifest), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None
    return open_bundle(bundle.folder)


def _file(bundle: Bundle, checksums: dict[str, str]) -> _File:
    return _File(
        schema=SCHEMA,
        name=bundle.name,
        version=bundle.version,
        classes={int(channel): name for channel, name in bundle.class_names.items()},
        framing=bundle.framing.to_dict(),
        framing_digest=bundle.framing.digest,
        input_name=bundle.input_name,
        output_name=bundle.output_name,
        checksums=checksums,
        heart=bundle.heart,
        training=bundle.training,
        scores=bundle.scores,
        unvalidated=tuple(structure.facts.bundle_name for structure in bundle.unvalidated),
    )
