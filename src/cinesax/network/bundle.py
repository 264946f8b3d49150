"""Bundle: a trained network and everything needed to run it, as a folder.

bundle.json   framing, classes, names of input and output, training data, scores, checksums
graph.onnx    framed images -> probabilities; includes normalisation and softmax
heart.onnx    (not in every bundle) the refiner: crops around the heart -> probabilities; graph.onnx is then the finder
CARD.md       the model card: data, intended use, limits, scores
parity.json   (not in every bundle) how far the graphs differ from the Keras network, on real slices
trust.json    (not in every bundle) which errors to expect on an exam: see `cinesax.trust.calibration`
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
TRUST = "trust.json"
_SHIPPED = Path(__file__).parent / "bundles"


@dataclass(frozen=True, slots=True)
class HeartPass:
    """The refiner: a network that sees only the heart, in crops at full resolution.

    Attributes:
        crop: rows and columns of its image, framed pixels.
        input_name: of the graph: (batch, crop, crop, context), float32, 0 to 1.
        output_name: of the graph: (batch, crop, crop, classes), float32, probabilities; the classes are the finder's.
        context: channels of its image: 1; or 3: the frame between its neighbours towards base and apex, at the same
            phase; 0 for a missing neighbour.
    """

    crop: int
    input_name: str
    output_name: str
    context: int = 1


class HeartTraining(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the refiner was trained: digest of the set, and settings (a `TrainConfig`, which only training parses)."""

    dataset: str | None = None
    config: JsonObject | None = None


class Training(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a network was trained, as its bundle says; None: the bundle does not say.

    Attributes:
        dataset: digest of the prepared set.
        cases: the patients, without phantoms.
        images: fingerprints of their images.
        phantoms: the number of synthetic hearts.
        config: the settings (a `TrainConfig`, which only training parses).
        started_from: the settings of the training whose weights it started from.
        finder: name and version of the bundle from which the finder was taken over.
        heart: how the refiner was trained.
        software: versions by name.
    """

    dataset: str | None = None
    cases: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    phantoms: int | None = None
    config: JsonObject | None = None
    started_from: JsonObject | None = None
    finder: str | None = None
    heart: HeartTraining | None = None
    software: dict[str, str] | None = None


@dataclass(frozen=True)
class Bundle:
    """A trained network, checked.

    Attributes:
        folder: its folder.
        name: of the network.
        version: of the network.
        framing: how frames become its input.
        classes: channel of its output -> structure (channel 0 is background). The channel with the highest probability
            decides what a pixel is.
        input_name: of the graph: (batch, size, size, 1), float32, 0 to 1.
        output_name: of the graph: (batch, size, size, classes), float32, probabilities.
        graph_sha256: checksum of the graph.
        heart: the refiner; None: graph.onnx draws on whole frames.
        heart_sha256: checksum of the refiner's graph; empty without a refiner.
        training: how it was trained.
        scores: its recorded scores.
        unvalidated: structures that it does not draw well enough on scanners that it has not seen: they are drawn only
            on request, with a finding.
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
        """Channel -> name of its class, as in bundle.json: {"1": "CAVITY", "3": "RV"}."""
        return {str(channel): structure.facts.bundle_name for channel, structure in sorted(self.classes.items())}

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
        """SHA-256 of everything that decides its results: graphs, framing and classes."""
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
    # A factory, because msgspec does not write values that equal a plain default.
    training: Training = msgspec.field(default_factory=Training)
    scores: JsonObject = msgspec.field(default_factory=dict)
    unvalidated: tuple[str, ...] = ()
    checksums: dict[str, str]


def shipped() -> tuple[str, ...]:
    """The names of the bundles that are part of this package: "default", and networks for special needs."""
    return tuple(sorted(folder.parent.name for folder in _SHIPPED.glob(f"*/{MANIFEST}")))


def is_bundle(which: str | Path) -> bool:
    """Whether this is a bundle folder, or the name of a shipped one (see `shipped`); it may be damaged."""
    return str(which) in shipped() or (Path(which) / MANIFEST).is_file()


def open_bundle(which: str | Path | None = None) -> Bundle:
    """Open a bundle and check its checksums.

    Args:
        which: a bundle folder, or the name of a shipped one (see `shipped`); None: "default".

    Raises:
        BundleError: the folder is not a bundle, or it is damaged or of another schema.
    """
    chosen = "default" if which is None else str(which)
    folder = _SHIPPED / chosen if chosen in shipped() else Path(chosen)
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
            raise BundleError(f"{path} has no checksum for {name}")
    try:
        framing = Framing.from_dict(manifest.framing)
        classes = _classes(manifest.classes)
        unvalidated = tuple(of_bundle_name(name) for name in manifest.unvalidated)
    except (GeometryError, LookupError, ValueError) as error:
        raise BundleError(f"{path} cannot be used: {error}") from None
    if manifest.framing_digest != framing.digest:
        raise BundleError(f"{path} is damaged: its framing_digest does not match its framing")
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
    # The schema first: a file with another schema may have any other fields.
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
        bundle: the contents of bundle.json, and the `folder` to write; `graph_sha256` is computed.
        graph: the ONNX file.
        card: the model card, Markdown.
        heart: the ONNX file of the refiner, if there is one.
        parity: the contents of parity.json, if the graphs were compared with the Keras network.

    Returns:
        The bundle, opened again from its folder.

    Raises:
        OutputError: the folder exists and is not a bundle, it has the name of a shipped one, which would be opened
            instead, or it cannot be written.
    """
    if str(bundle.folder) in shipped():
        raise OutputError(f"{bundle.folder} is the name of a network that is in the package; name another folder")
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


def add_trust(bundle: Bundle, text: str) -> Bundle:
    """Put a calibration into a bundle, in place of an earlier one, atomically.

    Args:
        bundle: the bundle; its graphs stay as they are, and so does its checksum.
        text: the contents of trust.json.

    Returns:
        The bundle, opened again from its folder.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = bundle.folder.absolute()
    manifest = _read(folder / MANIFEST)
    names = [name for name in manifest.checksums if name != TRUST]
    try:
        with new_folder(folder) as work:
            # Also files that the manifest does not name: a person may keep notes or scores there.
            shutil.copytree(folder, work, dirs_exist_ok=True)
            (work / TRUST).write_text(text, encoding="utf-8")
            checksums = {name: file_sha256(work / name) for name in (*names, TRUST)}
            made = msgspec.structs.replace(manifest, checksums=checksums)
            (work / MANIFEST).write_text(text_of(made), encoding="utf-8")
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
