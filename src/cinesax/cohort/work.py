"""The work of a worker process on one exam: analyze it, and write its folder with a receipt."""

import errno
import hashlib
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cinesax._version import __version__
from cinesax.cohort.picture import PICTURE_NAME, write_picture
from cinesax.cohort.place import install
from cinesax.cohort.planning.inputs import ChangedError, Here, fetched, inputs_of, refuse_change
from cinesax.cohort.planning.plan import Kind, Planned
from cinesax.cohort.receipt import (
    EXIT_CODES,
    PASSING,
    Doubt,
    Reason,
    Receipt,
    Recipe,
    Status,
    Written,
    read_receipt,
    write_receipt,
)
from cinesax.cohort.values import values_of
from cinesax.core.errors import (
    BundleError,
    CinesaxError,
    GeometryError,
    InputError,
    MissingExtraError,
    NoShortAxisError,
    OutputError,
    UsageError,
)
from cinesax.core.presence import BaseRule
from cinesax.files.remote import RemoteError, is_remote
from cinesax.files.temporary import own_place

if TYPE_CHECKING:
    from cinesax.core.analysis import Analysis
    from cinesax.core.cine import Cine
    from cinesax.network.segmenter import Segmenter

OUTPUTS = {
    "report": "report.html",
    "csv": "measurements.csv",
    "segmentation": "segmentation.nii.gz",
    "contours": "contours",
    "picture": PICTURE_NAME,
    "dicom": "",
}
"""The outputs that a user can choose, and their names in an exam's folder."""
DEFAULT_OUTPUTS = ("report", "csv", "segmentation", "contours", "picture")
_GONE = frozenset((errno.ENOENT, errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO))
_GONE_WORDS = "a file of the exam no longer exists"
# From the most specific class to the most general.
_REASONS: tuple[tuple[type[CinesaxError], Reason], ...] = (
    (NoShortAxisError, Reason.NO_SHORT_AXIS),
    (GeometryError, Reason.GEOMETRY),
    (InputError, Reason.UNREADABLE),
    (UsageError, Reason.USAGE),
    (BundleError, Reason.NETWORK),
    (OutputError, Reason.NOT_WRITTEN),
    (MissingExtraError, Reason.MISSING_EXTRA),
)


@dataclass(frozen=True, slots=True)
class Options:
    """How the exams of a cohort are analyzed, and which results are written.

    Attributes:
        model: the bundle folder of the network; None: the shipped network.
        base: the rule for slices at the base.
        unvalidated: whether to draw also structures for which the network was not validated.
        outputs: the outputs to write, from `OUTPUTS`.
        threads: CPU threads of each worker; they do not change results.
    """

    model: Path | None = None
    base: BaseRule = BaseRule.HALF
    unvalidated: bool = False
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    threads: int = field(default=1, compare=False)

    def digest(self) -> str:
        """A hash of all options that change results, except the network, which has its own."""
        chosen = (self.base.value, self.unvalidated, sorted(self.outputs))
        return hashlib.sha256(repr(chosen).encode()).hexdigest()[:16]


def shipped_or(options: Options) -> "Segmenter":
    """The network that the options name."""
    from cinesax.network.segmenter import load_segmenter

    return load_segmenter(options.model, threads=options.threads, base=options.base, unvalidated=options.unvalidated)


@dataclass(frozen=True, slots=True)
class CarriedNetwork:
    """A network that travels with the setup, so that every node of a cluster has the same, wherever its bundle lies.

    Attributes:
        files: name -> content of each file of the bundle.
    """

    files: Mapping[str, bytes]

    @classmethod
    def of(cls, options: Options) -> Self:
        """The network that the options name.

        Raises:
            BundleError: it cannot be used.
        """
        from cinesax.network.bundle import open_bundle

        folder = open_bundle(options.model).folder
        return cls({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})

    def __call__(self, options: Options) -> "Segmenter":
        """Load it."""
        return shipped_or(replace(options, model=self._unpacked()))

    def _unpacked(self) -> Path:
        """The bundle's folder on this node: one for all worker processes, and for later runs."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name} {len(content)} ".encode() + content)
        place = own_place()
        folder = place / digest.hexdigest()[:16]
        if not self._lies_in(folder):
            stage = Path(tempfile.mkdtemp(dir=place))
            for name, content in self.files.items():
                (stage / name).write_bytes(content)
            with suppress(OSError):
                stage.rename(folder)
            if stage.exists() and self._lies_in(folder):  # another worker was faster
                shutil.rmtree(stage)
            elif stage.exists():  # what lies there is not this bundle
                return stage
        return folder

    def _lies_in(self, folder: Path) -> bool:
        try:
            return all((folder / name).read_bytes() == content for name, content in self.files.items())
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class ExamWork:
    """The setup of a worker: loads the network once, and returns the function that analyzes an exam.

    Attributes:
        results: the folder of results.
        recipe: the recipe for the receipts.
        options: the options of the analysis.
        load: loads the segmenter; by default the network that the options name.
    """

    results: Path
    recipe: Recipe
    options: Options
    load: Callable[[Options], "Segmenter"] = shipped_or

    def __call__(self) -> Callable[[Planned], Receipt]:
        """Load the network."""
        segmenter = self.load(self.options)
        return _Exams(self, segmenter).do


@dataclass(frozen=True, slots=True)
class _Exams:
    work: ExamWork
    segmenter: "Segmenter"

    def do(self, planned: Planned) -> Receipt:
        """Analyze an exam and put its folder in its place."""
        start, stage = time.perf_counter(), None
        try:
            stage = stage_of(self.work.results, planned.key)
            with fetched(planned) as here:
                receipt = self._tried(here, stage, start)
        except MemoryError:
            raise  # the process may be damaged: the engine starts a new one, and the parent writes the receipt
        except (CinesaxError, OSError) as error:
            receipt = self._failed(Here(planned, planned.fingerprint, planned), error, stage, start)
        finally:
            if stage is not None:
                shutil.rmtree(stage, ignore_errors=True)
        return receipt

    def _tried(self, here: Here, stage: Path, start: float) -> Receipt:
        """Analyze what is here, or say why that failed."""
        try:
            return self._done(here, stage, start)
        except (CinesaxError, OSError) as error:
            return self._failed(here, error, stage, start)

    def _failed(self, here: Here, error: Exception, stage: Path | None, start: float) -> Receipt:
        seconds = time.perf_counter() - start
        receipt = failure(here.planned, self.work.recipe, *_why(error, here), seconds=seconds)
        # If the stage is gone, the cluster took this node for lost and gave the exam to another one.
        if stage is None or stage.is_dir():
            keep_failure(receipt, self.work.results)
        return receipt

    def _done(self, here: Here, stage: Path, start: float) -> Receipt:
        from cinesax.analyze import analyze
        from cinesax.results.privacy import pseudonymise

        planned = here.planned
        analysis = analyze(_cine(here), segmenter=self.segmenter)
        if not here.is_copy:
            refuse_change(planned, here.inputs)
        shown = pseudonymise(analysis)
        folder = self._write(stage, analysis, shown)
        receipt = Receipt(
            key=planned.key,
            status=Status.DONE,
            inputs=here.inputs,
            recipe=self.work.recipe,
            values=values_of(shown, planned),
            findings=tuple(Doubt(f.code.value, f.severity.value, f.message, f.phase, f.slice) for f in shown.findings),
            pixels_sha256=analysis.cine.pixels_sha256,
            written=written(folder / "analysis.json"),
            entries=tuple(sorted(entry.name for entry in folder.iterdir())),
            seconds=round(time.perf_counter() - start, 3),
        )
        write_receipt(receipt, folder)
        install(folder, self.work.results / "exams" / planned.key)
        return receipt

    def _write(self, stage: Path, analysis: "Analysis", shown: "Analysis") -> Path:
        from cinesax.dicom.write.options import DicomOptions
        from cinesax.results.write import write_results

        outputs = self.work.options.outputs
        only = tuple(name for key, name in OUTPUTS.items() if key in outputs and name)
        # DICOM objects name the patient, because archives need it. All other results are pseudonymised.
        objects = "dicom" in outputs and analysis.cine.source.copied
        folder = write_results(
            analysis if objects else shown, stage / "exam", dicom=DicomOptions() if objects else None, only=only
        )
        if PICTURE_NAME in only:
            write_picture(analysis, folder / PICTURE_NAME)
        return folder


def _cine(here: Here) -> "Cine":
    from cinesax.inputs import open_cine, open_stored

    local = here.local
    cine = open_stored(local.root, local.files) if local.kind is Kind.DICOM else open_cine(local.root)
    # Where the copy is says nothing.
    return replace(cine, source=replace(cine.source, paths=())) if here.is_copy else cine


def _why(error: Exception, here: Here) -> tuple[Reason, str]:
    """The reason for a failure, and the message without names."""
    message = cleaned(str(error), here.local)
    if isinstance(error, ChangedError):
        return Reason.CHANGED, message
    if isinstance(error, RemoteError):
        gone_there = error.errno == errno.ENOENT
        return (Reason.GONE, _GONE_WORDS) if gone_there else (Reason.UNREACHABLE, str(error.strerror))
    try:
        if not is_remote(here.planned.root):
            here.planned.root.stat()
            inputs_of(here.planned)
    except OSError as gone:
        return Reason.GONE, f"{_GONE_WORDS} ({gone.strerror})"
    if isinstance(error, OSError):
        reason = Reason.GONE if error.errno in _GONE else Reason.NOT_WRITTEN
        return reason, f"{error.strerror or type(error).__name__}"
    return next(reason for kind, reason in _REASONS if isinstance(error, kind)), message


def cleaned(message: str, planned: Planned) -> str:
    """A message without paths, names of files, and texts that identify the patient."""
    from cinesax.core.errors import printable
    from cinesax.core.identity import remove_texts

    names = {name for file in planned.files for name in (str(file.path), file.path.name, file.member or "")}
    words = [(str(planned.root), "the exam"), *((name, "a file") for name in names if len(name) > 3)]
    for name, word in sorted(words, key=lambda pair: len(pair[0]), reverse=True):
        for text in dict.fromkeys((printable(name), name)):
            if text in message:
                # Whole names only: "a.dcm" is not part of "extra.dcm".
                message = re.sub(rf"(?<![\w.-]){re.escape(text)}(?![\w-]|\.\w)", word, message)
    message = message.replace(str(planned.root.parent), "...")
    return remove_texts(message, _identifying(planned))


def _identifying(planned: Planned) -> tuple[str, ...]:
    from cinesax.core.cine import Patient
    from cinesax.core.identity import identifying_texts
    from cinesax.dicom.read.frames import read_headers
    from cinesax.dicom.read.header import NotDicomError
    from cinesax.dicom.read.source import patient_of
    from cinesax.files.stored_files import opener

    patient = Patient(patient_id=planned.patient_id or None)
    with opener() as open_file:
        for file in planned.files[:20]:
            with suppress(NotDicomError, OSError), open_file(file) as stream:
                patient = patient_of(read_headers(file, stream)[0])
                break
    return identifying_texts(patient)


def stage_of(results: Path, key: str) -> Path:
    """Make a hidden working folder on the file system of the results; remove what killed runs left of this exam.

    No other run works on this exam: see `cinesax.cohort.claims`.
    """
    stages = results / ".cohort" / "stage"
    stages.mkdir(parents=True, exist_ok=True)
    for left in stages.glob(f"{key}.*"):
        shutil.rmtree(left, ignore_errors=True)
    stage = stages / f"{key}.{secrets.token_hex(4)}"
    stage.mkdir()
    return stage


def written(path: Path) -> Written:
    """The receipt's entry for an analysis.json."""
    info = path.stat()
    return Written(info.st_size, info.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())


def failure(planned: Planned, recipe: Recipe, reason: Reason, message: str, *, seconds: float = 0.0) -> Receipt:
    """The receipt of an exam without values."""
    inputs = planned.fingerprint
    if not is_remote(planned.root):  # a store that failed might fail again, and slowly
        with suppress(OSError):
            inputs = inputs_of(planned)
    return Receipt(
        key=planned.key,
        status=Status.FAILED,
        inputs=inputs,
        recipe=recipe,
        reason=reason,
        message=message,
        exit_code=EXIT_CODES[reason],
        seconds=round(seconds, 3),
    )


def keep_failure(receipt: Receipt, results: Path) -> None:
    """Put the receipt of a failure in its place, if the disk can be written; an exam without a receipt is tried again.

    A passing failure, such as a disconnected share, does not replace existing results.
    """
    target = results / "exams" / receipt.key
    existing = read_receipt(target)
    if receipt.reason in PASSING and existing is not None and existing.status is Status.DONE:
        return
    with suppress(OSError):
        stage = stage_of(results, receipt.key)
        try:
            (stage / "exam").mkdir()
            write_receipt(receipt, stage / "exam")
            install(stage / "exam", target)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def recipe_of(options: Options, network: tuple[str, str, str]) -> Recipe:
    """The recipe of a run.

    Args:
        options: the options of the analysis.
        network: name and checksum of the network, and checksum of its calibration.
    """
    return Recipe(options.digest(), f"cinesax {__version__}", *network)


def network_of(options: Options) -> tuple[str, str, str]:
    """Name and checksum of the network that the options name, and checksum of its calibration, without starting it.

    The last one is empty if the network has no calibration.
    """
    from cinesax.network.bundle import TRUST, open_bundle

    bundle = open_bundle(options.model)
    calibration = bundle.folder / TRUST
    checksum = hashlib.sha256(calibration.read_bytes()).hexdigest() if calibration.is_file() else ""
    return f"{bundle.name} {bundle.version}", bundle.checksum, checksum
