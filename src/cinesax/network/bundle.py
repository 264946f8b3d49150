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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cinesax.core.errors import BundleError, GeometryError, OutputError
from cinesax.core.structures import Structure, of_bundle_name
from cinesax.files.folder_swap import new_folder
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
        training: what it was trained on (dataset digest, patients), as recorded.
        scores: what was measured of it, as recorded.
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
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

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


def open_bundle(which: str | Path | None = None) -> Bundle:
    """Open a bundle and compare its checksums.

    Args:
        which: a bundle folder; None or "default": the network that ships with the package.

    Raises:
        BundleError: no bundle, damaged, or of another schema.
    """
    folder = _SHIPPED if which is None or str(which) == "default" else Path(which)
    manifest = _manifest(folder)
    for name, expected in _field(manifest, "checksums", dict, folder).items():
        path = folder / Path(name).name
        if not path.is_file():
            raise BundleError(f"{folder} is incomplete: {name} is missing; export or install the bundle again")
        if file_sha256(path) != expected:
            raise BundleError(f"{path} has a wrong checksum: it was changed or damaged; export or install it again")
    if GRAPH not in manifest["checksums"]:
        raise BundleError(f"{folder / MANIFEST} names no checksum of {GRAPH}")
    try:
        framing = Framing.from_dict(_field(manifest, "framing", dict, folder))
        classes = _classes(_field(manifest, "classes", dict, folder))
    except (GeometryError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be used: {error}") from None
    if manifest.get("framing_digest") != framing.digest:
        raise BundleError(f"{folder / MANIFEST} is damaged: its framing_digest is not that of its framing")
    return Bundle(
        folder=folder,
        name=_field(manifest, "name", str, folder),
        version=_field(manifest, "version", str, folder),
        framing=framing,
        classes=classes,
        input_name=_field(manifest, "input_name", str, folder),
        output_name=_field(manifest, "output_name", str, folder),
        graph_sha256=manifest["checksums"][GRAPH],
        heart=_heart(manifest, folder, framing.size),
        heart_sha256=str(manifest["checksums"].get(HEART, "")),
        training=manifest.get("training", {}),
        scores=manifest.get("scores", {}),
    )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        raise BundleError(f"{folder} is not a bundle: it has no readable {MANIFEST}") from None
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST} is not valid JSON ({error})") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{folder / MANIFEST} has the schema {schema!r}, expected {SCHEMA!r}")
    return dict(manifest)


def _classes(told: Mapping[str, str]) -> dict[int, Structure]:
    if len(set(told.values())) < len(told):
        raise ValueError(f"its classes name the same structure twice: {told}")
    return {int(channel): of_bundle_name(name) for channel, name in told.items()}


def _heart(manifest: Mapping[str, Any], folder: Path, size: int) -> HeartPass | None:
    if manifest.get("heart") is None:
        return None
    told = _field(manifest, "heart", dict, folder)
    crop, names = told.get("crop"), [told.get("input_name"), told.get("output_name")]
    context = told.get("context", 1)
    named = all(isinstance(name, str) for name in names)
    if not isinstance(crop, int) or not 0 < crop <= size or not named or context not in (1, 3):
        raise BundleError(f"{folder / MANIFEST} has no valid 'heart': {told}")
    if HEART not in manifest["checksums"]:
        raise BundleError(f"{folder / MANIFEST} names no checksum of {HEART}")
    return HeartPass(crop, str(names[0]), str(names[1]), int(context))


def _field(manifest: Mapping[str, Any], name: str, kind: type, folder: Path) -> Any:
    value = manifest.get(name)
    if not isinstance(value, kind):
        raise BundleError(f"{folder / MANIFEST} has no valid {name!r}")
    return value


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
            manifest = _to_json(bundle, {name: file_sha256(work / name) for name in names})
            (work / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None
    return open_bundle(bundle.folder)


def _to_json(bundle: Bundle, checksums: dict[str, str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": bundle.name,
        "version": bundle.version,
        "classes": bundle.class_names,
        "framing": bundle.framing.to_dict(),
        "framing_digest": bundle.framing.digest,
        "input_name": bundle.input_name,
        "output_name": bundle.output_name,
        **({"heart": asdict(bundle.heart)} if bundle.heart is not None else {}),
        "training": dict(bundle.training),
        "scores": dict(bundle.scores),
        "checksums": checksums,
    }
