"""The same heart, stored in every way that scanners and archives have: the same volumes and EF must come out.

Each variant is written and read with the true labels in the place of pixels: whatever the reader does wrong with
places, times or values shows in the volumes. Each trait is also read with the pixels, through `analyze` and the
network that ships.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import cinesax
import exams
from cinesax.core.cine import Cine, Gating
from cinesax.core.errors import InputError, UsageError
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.inputs import open_cine
from cinesax.network.segmenter import load_segmenter
from cinesax.phantom import draw_settings, make_phantom, make_truth
from cinesax.phantom.dicom import HeaderOddity, SeriesIdentity, TransferSyntax, Vendor, write_scan
from cinesax.phantom.make import Phantom
from cinesax.phantom.scanning import Oddity, Scan, scan, take_apart

LABEL_VALUE = 400


@dataclass(frozen=True)
class Variant:
    """One way to store the phantom, and the codes of what a person must be told of it."""

    vendor: Vendor = Vendor.PLAIN
    oddities: tuple[Oddity, ...] = ()
    headers: tuple[HeaderOddity, ...] = ()
    syntax: TransferSyntax = TransferSyntax.EXPLICIT
    findings: frozenset[str] = frozenset()

    def __str__(self) -> str:
        parts = [self.vendor, *self.oddities, *self.headers]
        return "+".join(parts + [self.syntax] * (self.syntax is not TransferSyntax.EXPLICIT))

    def write(self, scanned: Scan, folder: Path) -> Path:
        identity = SeriesIdentity(number=10)
        write_scan(scanned, folder, identity, vendor=self.vendor, headers=self.headers, syntax=self.syntax)
        return folder


def _variant(*traits: Vendor | Oddity | HeaderOddity | TransferSyntax, reported: str = "") -> Variant:
    return Variant(
        next((trait for trait in traits if isinstance(trait, Vendor)), Vendor.PLAIN),
        tuple(trait for trait in traits if isinstance(trait, Oddity)),
        tuple(trait for trait in traits if isinstance(trait, HeaderOddity)),
        next((trait for trait in traits if isinstance(trait, TransferSyntax)), TransferSyntax.EXPLICIT),
        frozenset(reported.split()),
    )


PLAIN = Variant()
ANONYMISED = "frame-of-reference-per-file invalid-uid invalid-date slice-location-misleading"
VARIANTS = [
    *(_variant(vendor) for vendor in Vendor if vendor not in (Vendor.PLAIN, Vendor.CANON)),
    _variant(Vendor.CANON, reported="missing-trigger-times"),
    *(_variant(syntax) for syntax in TransferSyntax if syntax is not TransferSyntax.EXPLICIT),
    *(_variant(Vendor.PHILIPS_ENHANCED, syntax) for syntax in TransferSyntax if syntax is not TransferSyntax.EXPLICIT),
    _variant(Oddity.PROSPECTIVE),
    _variant(Vendor.PHILIPS_ENHANCED, Oddity.PROSPECTIVE),
    _variant(Oddity.UNEQUAL_PHASES, reported="unequal-phases"),
    _variant(Vendor.SIEMENS, Oddity.UNEQUAL_PHASES, reported="unequal-phases"),
    _variant(Vendor.PHILIPS_ENHANCED, Oddity.UNEQUAL_PHASES, reported="unequal-phases"),
    _variant(Vendor.CANON, Oddity.UNEQUAL_PHASES, reported="unequal-phases missing-trigger-times"),
    _variant(Oddity.MISSING_FRAMES, reported="unequal-phases"),
    _variant(Vendor.SIEMENS_ENHANCED, Oddity.MISSING_FRAMES, reported="unequal-phases"),
    _variant(Oddity.UNEVEN_BEATS, reported="rr-intervals-differ"),
    _variant(Vendor.SIEMENS, Oddity.UNEVEN_BEATS, reported="rr-intervals-differ"),
    *(
        _variant(vendor, oddity, reported="duplicate-frame" + " missing-trigger-times" * (vendor is Vendor.CANON))
        for oddity in (Oddity.SLICE_TWICE, Oddity.SLICE_ABORTED)
        for vendor in Vendor
    ),
    _variant(Oddity.OTHER_MATRIX, reported="matrix-differs"),
    _variant(Vendor.SIEMENS, Oddity.OTHER_MATRIX, reported="matrix-differs"),
    _variant(Vendor.PHILIPS_ENHANCED, Oddity.OTHER_MATRIX, reported="matrix-differs"),
    _variant(Oddity.TILTED_SLICES, reported="tilted-slices"),
    _variant(Vendor.SIEMENS, Oddity.TILTED_SLICES, reported="tilted-slices"),
    _variant(Vendor.SIEMENS_ENHANCED, Oddity.TILTED_SLICES, reported="tilted-slices"),
    _variant(Oddity.OTHER_END),
    _variant(Vendor.PHILIPS_ENHANCED, Oddity.OTHER_END),
    _variant(HeaderOddity.ANONYMISED, reported=ANONYMISED),
    _variant(Vendor.GE, HeaderOddity.ANONYMISED, HeaderOddity.COUNTED_BACKWARDS, reported=ANONYMISED),
    _variant(HeaderOddity.COUNTED_BACKWARDS),
    _variant(HeaderOddity.NO_TRIGGER_TIMES, reported="missing-trigger-times"),
    _variant(HeaderOddity.INSTANCE_NUMBERS_ONLY, reported="missing-trigger-times"),
    _variant(Vendor.SIEMENS, HeaderOddity.NO_SUFFIX),
    _variant(Vendor.SIEMENS, HeaderOddity.DICOMDIR),
    _variant(Vendor.PHILIPS_ENHANCED, HeaderOddity.DICOMDIR, TransferSyntax.RLE),
    _variant(HeaderOddity.DICOMDIR, HeaderOddity.ANONYMISED, reported=ANONYMISED),
    _variant(
        Vendor.SIEMENS, Oddity.TILTED_SLICES, Oddity.UNEVEN_BEATS, Oddity.SLICE_TWICE, HeaderOddity.NO_SUFFIX,
        reported="tilted-slices rr-intervals-differ duplicate-frame",
    ),
]  # fmt: skip


@cache
def phantom() -> Phantom:
    """Few phases on a small matrix; ES at phase 2."""
    stack = {"n_slices": 7, "slice_distance_mm": 15.0, "matrix": (144, 160), "spacing_mm": (1.6, 1.6)}
    return make_phantom(draw_settings(12, n_phases=5, es_fraction=0.4, edv_ml=140.0, ef_percent=55.0, **stack))


@cache
def scanned(oddities: tuple[Oddity, ...]) -> Scan:
    return scan(phantom(), oddities)


def as_labels(made: Scan) -> Scan:
    """The same scan with its truth in the place of its pixels."""
    frames = [replace(frame, pixels=frame.labels.astype(np.uint16) * LABEL_VALUE) for frame in made.frames]
    return replace(made, frames=tuple(frames))


def truth_as_read(cine: Cine) -> Segmentation:
    labels = np.rint(cine.pixels / LABEL_VALUE).astype(np.uint8)
    known = {structure: np.ones(cine.n_phases, dtype=bool) for structure in (Structure.CAVITY, Structure.MYOCARDIUM)}
    return Segmentation(labels, known, author="truth")


def measured_by_truth(variant: Variant, folder: Path) -> tuple[Cine, dict[str, float]]:
    cine = open_cine(variant.write(as_labels(scanned(variant.oddities)), folder))
    return cine, values(cinesax.analyze(cine, segmentation=truth_as_read(cine)))


def values(analysis) -> dict[str, float]:
    measured = analysis.measurements
    names = ("edv_ml", "esv_ml", "sv_ml", "ef_percent", "lv_mass_g")
    return {name: getattr(measured, name) for name in names if getattr(measured, name) is not None}


@pytest.fixture(scope="module")
def plain_truth(tmp_path_factory) -> dict[str, float]:
    cine, measured = measured_by_truth(PLAIN, tmp_path_factory.mktemp("plain"))
    assert cine.findings == ()
    # No reader in between: what the phantom itself is.
    directly = values(cinesax.analyze(phantom().cine, segmentation=phantom().truth))
    assert measured == pytest.approx(directly, rel=1e-4)
    assert measured["edv_ml"] == pytest.approx(140, rel=0.1), "thick slices"
    return measured


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_true_volumes_are_the_same(variant, plain_truth, tmp_path):
    cine, measured = measured_by_truth(variant, tmp_path)
    assert measured == pytest.approx(plain_truth, rel=0.01)
    assert cine.n_slices == phantom().cine.n_slices
    codes = {str(finding.code) for finding in cine.findings}
    assert codes == variant.findings
    assert len(cine.findings) <= 2 * len(codes), "a flood of findings"


class Remembering:
    """The shipped network; frames that it has seen are not run again, as they would give the same again."""

    def __init__(self) -> None:
        self.network = load_segmenter(threads=1)
        self.seen: dict[str, Segmentation] = {}

    name = property(lambda self: self.network.name)
    checksum = property(lambda self: self.network.checksum)

    def segment(self, cine: Cine, progress: Callable[[int, int], None] | None = None) -> Segmentation:
        grid = cine.grid
        parts = (cine.pixels.astype(np.float32), grid.origins_mm, grid.along_row, grid.along_column)
        key = hashlib.sha256(b"".join(np.round(part, 4).tobytes() for part in parts)).hexdigest()
        if key not in self.seen:
            self.seen[key] = self.network.segment(cine, progress)
        return self.seen[key]


@pytest.fixture(scope="module")
def network() -> Remembering:
    return Remembering()


@pytest.fixture(scope="module")
def plain_network(network, tmp_path_factory) -> dict[str, float]:
    folder = PLAIN.write(scanned(()), tmp_path_factory.mktemp("plain"))
    predicted = values(cinesax.analyze(folder, segmenter=network))
    assert predicted["ef_percent"] == pytest.approx(55, abs=3)
    return predicted


def each_trait_once() -> list[Variant]:
    """Variants that have every trait between them; the true volumes show that places and times are right in all."""
    chosen, seen = [], set()
    for variant in VARIANTS:
        traits = {variant.vendor, (variant.vendor, variant.syntax), *variant.oddities, *variant.headers}
        if not traits <= seen:
            chosen.append(variant)
            seen |= traits
    return chosen


@pytest.mark.parametrize("variant", each_trait_once(), ids=str)
def test_the_network_measures_the_same(variant, network, plain_network, tmp_path):
    folder = variant.write(scanned(variant.oddities), tmp_path)
    predicted = values(cinesax.analyze(folder, segmenter=network))
    assert predicted == pytest.approx(plain_network, rel=0.01)


@pytest.mark.parametrize("vendor", [Vendor.PLAIN, Vendor.SIEMENS, Vendor.PHILIPS_ENHANCED])
def test_prospective_gating_is_told_and_has_no_filling_rate(vendor, tmp_path):
    folder = Variant(vendor).write(as_labels(scanned((Oddity.PROSPECTIVE,))), tmp_path)
    cine = open_cine(folder)
    assert cine.gating is Gating.PROSPECTIVE
    # The same moments in every slice: what makes the phases of a volume belong together.
    assert np.ptp(cine.trigger_times_ms, axis=1) == pytest.approx(0, abs=0.1)
    measured = cinesax.analyze(cine, segmentation=truth_as_read(cine)).measurements
    assert measured.peak_filling_rate_ml_per_s is None
    assert measured.ef_percent == pytest.approx(55, abs=3)


def test_a_patient_who_moved_is_an_error_unless_told_otherwise(plain_truth, tmp_path):
    variant = _variant(HeaderOddity.PATIENT_MOVED)
    folder = variant.write(as_labels(scanned(())), tmp_path)
    with pytest.raises(InputError, match="2 .*ignore-frame-of-reference"):
        cinesax.analyze(folder)
    cine = open_cine(folder, ignore_frame_of_reference=True)
    assert values(cinesax.analyze(cine, segmentation=truth_as_read(cine))) == pytest.approx(plain_truth, rel=0.01)


@pytest.mark.parametrize(
    ("n_phases", "vendor"), [(20, Vendor.PHILIPS_ENHANCED), (33, Vendor.SIEMENS_ENHANCED), (60, Vendor.GE)]
)
def test_twenty_to_sixty_phases(n_phases, vendor, tmp_path):
    settings = replace(phantom().settings, n_phases=n_phases)
    grid, truth, volumes_ml = make_truth(settings)
    share = np.arange(n_phases)[:, None] / n_phases
    cine = replace(
        phantom().cine,
        pixels=truth.labels.astype(np.uint16) * LABEL_VALUE,
        trigger_times_ms=share * np.array(settings.rr_intervals_ms),
    )
    read = open_cine(Variant(vendor).write(take_apart(cine), tmp_path))
    assert read.grid.same_as(grid, tolerance_mm=0.01)
    np.testing.assert_array_equal(truth_as_read(read).labels, truth.labels)
    analysis = cinesax.analyze(read, segmentation=truth_as_read(read))
    assert analysis.measurements.es_phase == volumes_ml.argmin()
    assert analysis.measurements.ef_percent == pytest.approx(settings.ef_percent, rel=0.05)


# What dciodvfy holds against values that these scanners write: terms of their own, and Philips' rescaling.
OWN_TERMS = {
    Vendor.GE: ("<CARDIAC>", "<FAST_GEMS>", "<SEQ_GEMS>"),
    Vendor.SIEMENS: ("<M>",),
    Vendor.PHILIPS: ("<M_FFE>", "escale", "Standard Extended SOP Class"),
}


@pytest.mark.parametrize("vendor", Vendor)
def test_the_validator_finds_no_error(vendor, tmp_path):
    variant = Variant(vendor)
    folder = variant.write(scanned(()), tmp_path)
    said = exams.checked_by_dciodvfy(sorted(folder.iterdir())[:: 1 if vendor.endswith("enhanced") else 11])
    assert [line for line in said if not any(term in line for term in OWN_TERMS.get(vendor, ()))] == []
    assert not [line for line in said if line.startswith("Error")]


@pytest.mark.parametrize("oddity", [Oddity.PROSPECTIVE, Oddity.OTHER_MATRIX, Oddity.SLICE_TWICE])
def test_the_validator_finds_no_error_in_odd_enhanced_objects(oddity, tmp_path):
    folder = Variant(Vendor.PHILIPS_ENHANCED).write(scanned((oddity,)), tmp_path)
    assert exams.checked_by_dciodvfy(sorted(folder.iterdir())) == []


@pytest.mark.parametrize("syntax", TransferSyntax)
@pytest.mark.parametrize("vendor", [Vendor.GE, Vendor.PHILIPS_ENHANCED])
def test_another_reader_sees_the_same_pixels(vendor, syntax, tmp_path):
    made = scanned(())
    files = sorted(Variant(vendor, syntax=syntax).write(made, tmp_path).iterdir())
    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(files[0]))
    frames = made.frames[:1]
    if vendor is Vendor.PHILIPS_ENHANCED:
        frames = sorted(made.frames, key=lambda frame: (frame.phase, frame.slice_index))
    expected = np.stack([frame.pixels for frame in frames]).astype(float)
    # Rescaled values lie on 12 bits.
    step = expected.max() / 4095 if vendor is Vendor.PHILIPS_ENHANCED else 0
    assert array.shape == expected.shape
    np.testing.assert_allclose(array, expected, rtol=0, atol=0.51 * step)


def test_a_medium_is_valid_and_the_same_each_time(tmp_path):
    variant = _variant(Vendor.SIEMENS, HeaderOddity.DICOMDIR)
    one, two = (variant.write(scanned(()), tmp_path / name) for name in "ab")
    assert exams.checked_by_dciodvfy([one / "DICOMDIR"], kind="BasicDirectory") == []
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)


def test_what_does_not_go_together(tmp_path):
    with pytest.raises(UsageError, match="choose one"):
        scan(phantom(), [Oddity.SLICE_TWICE, Oddity.SLICE_ABORTED])
    with pytest.raises(UsageError, match="choose another vendor"):
        _variant(Vendor.SIEMENS_ENHANCED, HeaderOddity.NO_TRIGGER_TIMES).write(scanned(()), tmp_path)
    assert list(tmp_path.iterdir()) == []
