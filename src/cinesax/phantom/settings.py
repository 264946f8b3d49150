"""Every drawn value of a phantom, and its distribution."""

import difflib
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np

from cinesax.core.errors import GeometryError, UsageError
from cinesax.phantom import physics

Pair = tuple[float, float]


class FieldOfView(StrEnum):
    """Which part of the matrix a scanner fills after its gradient correction."""

    FULL = "full"
    CIRCLE = "circle"
    WARPED = "warped"


@dataclass(frozen=True, kw_only=True)
class PhantomSettings:
    """Everything that distinguishes phantoms, as plain numbers. `draw_settings` says how each is drawn.

    The left ventricle is described at end-diastole (ED), phase 0. Angles in the short-axis plane run from
    the direction of the right ventricle (0) towards anterior (90 degrees).

    Attributes:
        seed: also seeds the fine texture and the noise, which are not listed here.
        edv_ml: end-diastolic volume of the cavity, papillary muscles included.
        ef_percent: ejection fraction.
        aspect: length of the cavity from its apex to the base plane, divided by its largest diameter.
        truncation: the base plane lies this share of the long semi-axis above the centre of the ellipsoid.
        wall_mm: difference of the largest radii of the outer and inner ellipsoids.
        apical_wall_mm: thickness of the wall at the apex.
        base_excursion_mm: displacement of the base plane towards the apex from ED to ES.
        twist_degrees: rotation of the apex relative to the base from ED to ES.
        es_fraction: time of ES as a share of the beat.
        early_filling: share of the filling that comes before the atrial contraction.
        shape: (amplitude, angle in degrees) of the 2nd, 3rd harmonic of both outlines.
        inner_shape: the same for the 4th, 5th harmonic of the inner outline only.
        offset_ed: distance of the cavity from the middle of the wall, as a share of the wall's thickness.
        offset_es: the additional distance by contraction (a wall that moves less).
        offset_degrees: the direction of both.
        axis_shear: in-plane drift of the LV's middle per mm along the axis, towards the RV and anterior.
        papillary_mm: largest radii of the two papillary muscles at ED.
        papillary_degrees: where on the wall they stand.
        trabecula_mm: depth of the trabeculae at ED (part of the cavity by convention).
        rv_reach_mm: how far the right ventricle (RV) reaches beyond the LV's outline.
        rv_height_mm: half of its extent from posterior to anterior.
        rv_contraction: share by which the RV narrows from ED to ES.
        epicardial_fat_mm: thickness of the fat that moves with the heart.
        pericardial_fat_mm: thickness of the fat that does not.
        atrium_mm: radius of the left atrium.
        apex_direction_degrees: direction from base to apex: from straight left towards anterior, and down.
        heart_centre_mm: LPS, mm: the middle of the LV's long axis at ED.
        roll_degrees: rotation of heart and stack together about the long axis.
        in_plane_degrees: rotation of the image relative to the usual view (RV to the left, anterior on top).
        base_first: whether slice 0 is the basal end; the image is then seen from the base.
        image_centre_mm: offset of the image centre from the heart's axis, along rows and columns.
        spacing_mm: between rows and between columns.
        matrix: rows, columns.
        slice_distance_mm: centre to centre.
        slice_thickness_mm: the length over which one slice averages.
        n_slices: number of slices.
        slices_below: slices wholly below the apex at ED.
        stack_offset: position of the first slice centre above the apex, as a share of one slice distance.
        breath_shifts_mm: for each slice, the shift of the body along rows and columns.
        n_phases: number of phases of the beat.
        rr_intervals_ms: for each slice, the length of its beat.
        trigger_delay_ms: time of phase 0 after the R wave.
        t1_ms: by Tissue.
        t2_ms: by Tissue.
        proton_density: by Tissue.
        tr_ms: repetition time; the echo time is half of it.
        flip_degrees: flip angle.
        inflow: factor by which unsaturated blood raises the signal.
        fat_gain: signal of fat relative to that on resonance.
        texture: spread of the signal within a tissue.
        snr: signal of blood divided by the standard deviation of the noise, at the heart.
        coil_reach_mm: radius of the loops of the coil array: small ones shade more.
        acquired: acquired share of k-space, along rows and columns.
        field_of_view: which part of the matrix holds an image.
        blood_value: stored value of blood at the heart's centre.
        sex: "M" or "F".
        age_years: age.
        height_cm: body height.
        weight_kg: body weight.

    Raises:
        GeometryError: a length, angle or count is impossible for a heart or scanner, or the cavity would break through
            its wall.
        UsageError: any other value is out of range.
    """

    seed: int
    edv_ml: float
    ef_percent: float
    aspect: float
    truncation: float
    wall_mm: float
    apical_wall_mm: float
    base_excursion_mm: float
    twist_degrees: float
    es_fraction: float
    early_filling: float
    shape: tuple[Pair, Pair]
    inner_shape: tuple[Pair, Pair]
    offset_ed: float
    offset_es: float
    offset_degrees: float
    axis_shear: Pair
    papillary_mm: Pair
    papillary_degrees: Pair
    trabecula_mm: float
    rv_reach_mm: float
    rv_height_mm: float
    rv_contraction: float
    epicardial_fat_mm: float
    pericardial_fat_mm: float
    atrium_mm: float
    apex_direction_degrees: Pair
    heart_centre_mm: tuple[float, float, float]
    roll_degrees: float
    in_plane_degrees: float
    base_first: bool
    image_centre_mm: Pair
    spacing_mm: Pair
    matrix: tuple[int, int]
    slice_distance_mm: float
    slice_thickness_mm: float
    n_slices: int
    slices_below: int
    stack_offset: float
    breath_shifts_mm: tuple[Pair, ...]
    n_phases: int
    rr_intervals_ms: tuple[float, ...]
    trigger_delay_ms: float
    t1_ms: tuple[float, ...]
    t2_ms: tuple[float, ...]
    proton_density: tuple[float, ...]
    tr_ms: float
    flip_degrees: float
    inflow: float
    fat_gain: float
    texture: float
    snr: float
    coil_reach_mm: float
    acquired: Pair
    field_of_view: FieldOfView
    blood_value: float
    sex: str
    age_years: float
    height_cm: float
    weight_kg: float

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_range(field.name, getattr(self, field.name))
        for name in ("breath_shifts_mm", "rr_intervals_ms"):
            if len(getattr(self, name)) != self.n_slices:
                seen = len(getattr(self, name))
                raise GeometryError(
                    f"phantom setting {name} must have one value for each slice ({self.n_slices}), seen {seen}"
                )
        self._check_other()

    def _check_other(self) -> None:
        for name in ("t1_ms", "t2_ms", "proton_density"):
            if len(getattr(self, name)) != len(physics.Tissue):
                raise UsageError(f"phantom setting {name} must have one value for each tissue ({len(physics.Tissue)})")
        if self.sex not in ("M", "F"):
            raise UsageError(f"phantom setting sex must be M or F, seen {self.sex!r}")


def _check_range(name: str, value: Any) -> None:
    if name in _LIMITS:
        low, high = _LIMITS[name]
        if name in _WHOLE and not isinstance(value, int):
            raise UsageError(f"phantom setting {name} must be a whole number, seen {value!r}")
        for number in _flat(name, value):
            if not (math.isfinite(number) and low <= number <= high):
                error = GeometryError if name in _GEOMETRY else UsageError
                raise error(f"phantom setting {name} must lie within {low:g} and {high:g}, seen {number}")


def _flat(name: str, value: Any) -> list[float]:
    if isinstance(value, tuple):
        return [number for item in value for number in _flat(name, item)]
    if not isinstance(value, int | float):
        raise UsageError(f"phantom setting {name} must be a number, or a tuple of numbers, seen {value!r}")
    return [float(value)]


# Wider than the drawn range: callers may request an extreme heart, but not an impossible one.
_LIMITS: Mapping[str, Pair] = {
    "edv_ml": (20, 600),
    "ef_percent": (1, 90),
    "aspect": (1, 3),
    "truncation": (0.05, 0.8),
    "wall_mm": (3, 30),
    "apical_wall_mm": (1, 20),
    "base_excursion_mm": (0, 30),
    "twist_degrees": (-40, 40),
    "es_fraction": (0.15, 0.7),
    "early_filling": (0.2, 0.95),
    "offset_ed": (0, 0.45),
    "offset_es": (0, 0.45),
    "axis_shear": (-0.4, 0.4),
    "papillary_mm": (0, 12),
    "trabecula_mm": (0, 8),
    "rv_reach_mm": (5, 80),
    "rv_height_mm": (10, 80),
    "rv_contraction": (0, 0.6),
    "epicardial_fat_mm": (0, 20),
    "pericardial_fat_mm": (0, 40),
    "atrium_mm": (8, 60),
    "spacing_mm": (0.3, 4),
    "matrix": (64, 1024),
    "slice_distance_mm": (1, 30),
    "slice_thickness_mm": (0.5, 30),
    "n_slices": (1, 64),
    "slices_below": (0, 32),
    "stack_offset": (0, 1),
    "breath_shifts_mm": (-20, 20),
    "n_phases": (4, 100),
    "seed": (0, 2**63),
    "rr_intervals_ms": (300, 2500),
    "trigger_delay_ms": (0, 200),
    "t1_ms": (0.1, 10_000),
    "t2_ms": (0.1, 5_000),
    "proton_density": (0, 2),
    "tr_ms": (1, 20),
    "flip_degrees": (1, 120),
    "inflow": (0.5, 3),
    "fat_gain": (0, 3),
    "texture": (0, 0.5),
    "snr": (1, 10_000),
    "coil_reach_mm": (20, 2000),
    "acquired": (0.2, 1),
    "blood_value": (10, 8000),
    "age_years": (0, 120),
    "height_cm": (50, 230),
    "weight_kg": (5, 250),
}
_WHOLE = frozenset({"seed", "n_phases", "n_slices", "slices_below"})
_GEOMETRY = frozenset(
    name
    for name in _LIMITS
    if name.endswith(("_mm", "matrix", "aspect", "truncation", "n_slices", "n_phases", "edv_ml"))
)


def _uniform(low: float, high: float) -> Callable[[np.random.Generator], float]:
    return lambda rng: float(rng.uniform(low, high))


def _normal(mean: float, spread: float) -> Callable[[np.random.Generator], float]:
    """A normal value, cut off at two and a half standard deviations."""
    return lambda rng: float(mean + spread * min(max(rng.standard_normal(), -2.5), 2.5))


class _Draws:
    """Values by name. Each has its own random stream, so that fixing one does not change the others."""

    def __init__(self, seed: int, overrides: Mapping[str, Any]) -> None:
        self.seed = seed
        self.overrides = overrides
        self.values: dict[str, Any] = {"seed": seed}

    def draw(self, name: str, source: Callable[[np.random.Generator], Any]) -> Any:
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        if name in self.overrides:
            _check_range(name, self.overrides[name])
            self.values[name] = self.overrides[name]
        else:
            self.values[name] = source(rng)
        return self.values[name]

    def pair(self, name: str, source: Callable[[np.random.Generator], float]) -> Pair:
        drawn: Pair = self.draw(name, lambda rng: (source(rng), source(rng)))
        return drawn


def draw_settings(seed: int, **overrides: Any) -> PhantomSettings:
    """Draw a phantom.

    U is uniform, N normal (mean, standard deviation; cut at 2.5 of them). Volumes: EDV log-uniform on 60 to 350 ml; EF
    uniform on 10 to 80 %, limited to stroke volumes of 12 to 180 ml. The stack covers the whole LV with at least one
    slice beyond either end: its distance is U(6, 12) mm, or starts at the smallest that needs at most 16 slices; its
    offset is uniform over one distance; the number of slices follows. Comments in the code below describe all other
    values.

    Args:
        seed: a whole number, not negative. The same seed and overrides give the same phantom.
        overrides: fields of PhantomSettings to fix; all others are drawn as before, or follow if they depend on these.

    Raises:
        UsageError: a field does not exist, or a value is out of range.
        GeometryError: the geometry is out of range.
    """
    names = {field.name for field in fields(PhantomSettings)}
    for name in sorted(set(overrides) - names):
        close = difflib.get_close_matches(name, sorted(names), n=1)
        raise UsageError(f"there is no phantom setting {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    if not isinstance(seed, int) or seed < 0:
        raise UsageError(f"the seed of a phantom must be a whole number of at least 0, seen {seed!r}")
    draws = _Draws(seed, overrides)
    _draw_patient(draws)
    _draw_left_ventricle(draws)
    _draw_other_heart(draws)
    _draw_pose(draws)
    _draw_matrix(draws)
    _draw_stack(draws)
    _draw_time(draws)
    _draw_contrast(draws)
    return PhantomSettings(**draws.values)


def _draw_patient(draws: _Draws) -> None:
    sex = draws.draw("sex", lambda rng: "F" if rng.random() < 0.5 else "M")
    draws.draw("age_years", lambda rng: float(rng.integers(20, 86)))
    height = draws.draw("height_cm", lambda rng: round(_normal(176 if sex == "M" else 163, 7)(rng)))
    draws.draw("weight_kg", lambda rng: round(_uniform(19, 35)(rng) * (height / 100) ** 2))


def _draw_left_ventricle(draws: _Draws) -> None:
    edv = draws.draw("edv_ml", lambda rng: float(np.exp(rng.uniform(np.log(60), np.log(350)))))
    low, high = max(10.0, 1200 / edv), min(80.0, 18000 / edv)
    ef = draws.draw("ef_percent", _uniform(low, max(low, high)))
    # Large hearts are rounder.
    draws.draw("aspect", _normal(float(np.interp(edv, [60, 350], [1.78, 1.38])), 0.08))
    draws.draw("truncation", _uniform(0.3, 0.5))
    # One in five hearts that are not dilated has a thick wall (hypertrophy).
    thick = 0.2 if edv < 200 else 0.0
    wall = draws.draw(
        "wall_mm", lambda rng: float(rng.uniform(12, 18) if rng.random() < thick else rng.uniform(6, 11.5))
    )
    draws.draw("apical_wall_mm", lambda rng: wall * float(rng.uniform(0.45, 0.8)))
    draws.draw("base_excursion_mm", lambda rng: 14 * (ef / 60) ** 0.8 * float(rng.uniform(0.75, 1.25)))
    draws.draw("twist_degrees", lambda rng: 13 * ef / 60 * float(rng.uniform(0.6, 1.4)))
    draws.draw("shape", lambda rng: ((_uniform(0, 0.06)(rng), _uniform(0, 360)(rng)), (_uniform(0, 0.025)(rng), 60.0)))
    limit = 0.1 * wall / edv ** (1 / 3) / 5
    draws.draw("inner_shape", lambda rng: tuple((limit * float(rng.random()), _uniform(0, 360)(rng)) for _ in range(2)))
    draws.draw("offset_ed", _uniform(0, 0.25))
    draws.draw("offset_es", _uniform(0, 0.15))
    draws.draw("offset_degrees", _uniform(0, 360))
    draws.pair("axis_shear", _normal(0, 0.05))
    draws.draw("papillary_mm", lambda rng: tuple(edv ** (1 / 3) * float(rng.uniform(0.7, 1.2)) for _ in range(2)))
    draws.draw("papillary_degrees", lambda rng: (_normal(125, 12)(rng), _normal(240, 12)(rng)))
    draws.draw("trabecula_mm", _uniform(0.3, 3.5))


def _draw_other_heart(draws: _Draws) -> None:
    size = (draws.values["edv_ml"] / 140) ** (1 / 3)
    draws.draw("rv_reach_mm", _uniform(26, 44))
    draws.draw("rv_height_mm", lambda rng: (18 + 18 * size) * float(rng.uniform(0.9, 1.12)))
    draws.draw("rv_contraction", _uniform(0.08, 0.24))
    draws.draw("epicardial_fat_mm", _uniform(0.6, 3.5))
    draws.draw("pericardial_fat_mm", lambda rng: float(10 * rng.random() ** 1.5))
    draws.draw("atrium_mm", lambda rng: size * float(rng.uniform(23, 32)))


def _draw_pose(draws: _Draws) -> None:
    draws.draw("apex_direction_degrees", lambda rng: (_normal(42, 7)(rng), _normal(30, 7)(rng)))
    back = 18 * ((draws.values["edv_ml"] / 140) ** (1 / 3) - 1)
    draws.draw("heart_centre_mm", lambda rng: tuple(_normal(m, 6)(rng) for m in (26.0, -33.0 + back, 0.0)))
    draws.draw("roll_degrees", _normal(0, 8))
    # Most stacks are near the usual view; one in eight has a quarter turn.
    draws.draw(
        "in_plane_degrees",
        lambda rng: _normal(0, 15)(rng) + (float(rng.choice([-90, 90])) if rng.random() < 0.125 else 0.0),
    )
    # Most views are from the apex; a few are not.
    draws.draw("base_first", lambda rng: bool(rng.random() < 0.1))
    draws.pair("image_centre_mm", _normal(0, 10))


def _draw_matrix(draws: _Draws) -> None:
    spacing = draws.draw("spacing_mm", lambda rng: (_uniform(1.0, 2.0)(rng),) * 2)[1]

    def matrix(rng: np.random.Generator) -> tuple[int, int]:
        columns = [n for n in (192, 208, 224, 240, 256) if 230 <= n * spacing <= 420]
        width = int(rng.choice(columns or [256]))
        # One in four has fewer rows than columns.
        height = int(8 * round(width * rng.uniform(0.75, 0.95) / 8)) if rng.random() < 0.25 else width
        return (height if height * spacing >= 210 else width, width)

    draws.draw("matrix", matrix)
    draws.draw(
        "field_of_view",
        lambda rng: (FieldOfView.FULL, FieldOfView.CIRCLE, FieldOfView.WARPED)[int(rng.choice(3, p=[0.5, 0.3, 0.2]))],
    )


def length_mm(edv_ml: float, aspect: float, truncation: float) -> float:
    """Length of the cavity from apex to base plane at ED in mm: see `heart.Ventricle` for the formula."""
    share = 2 / 3 + truncation - truncation**3 / 3
    radius = (1000 * edv_ml * (1 + truncation) / (2 * math.pi * aspect * share)) ** (1 / 3)
    return float(2 * radius * aspect)


def _draw_stack(draws: _Draws) -> None:
    values, given = draws.values, draws.overrides
    extent = length_mm(values["edv_ml"], values["aspect"], values["truncation"]) + values["apical_wall_mm"]
    most = int(given.get("n_slices", 16))
    # n slices cover the extent, with one beyond either end at any offset, if the distance is at least extent / (n - 2).
    low = float(np.clip(extent / max(1, most - 2) * (1 + 1e-9), 6, 12))
    distance = draws.draw("slice_distance_mm", _uniform(low, 12))
    offset = draws.draw("stack_offset", lambda rng: float(rng.random()))
    # Slice centres inside the extent are at (offset + i) * distance from the apex.
    inside = max(0, math.ceil(extent / distance - offset))
    spare = most - inside - 2
    below = draws.draw("slices_below", lambda rng: 1 + int(rng.integers(0, 2) if spare > 0 else 0))
    above = int(np.random.default_rng([draws.seed, 1]).integers(1, 4))
    draws.draw("n_slices", lambda rng: int(np.clip(inside + below + above, 8, 16)))
    # Contiguous slices, or a gap of up to 3 mm.
    draws.draw(
        "slice_thickness_mm", lambda rng: distance - float(rng.choice([0.0, rng.uniform(0, min(3, distance / 3))]))
    )
    # Each breath is held a little differently: N(0, sd) with sd U(0, 2) mm.
    draws.draw(
        "breath_shifts_mm",
        lambda rng: tuple(map(tuple, (rng.uniform(0, 2) * rng.standard_normal((64, 2))).clip(-6, 6).tolist()))[
            : values["n_slices"]
        ],
    )


def _draw_time(draws: _Draws) -> None:
    draws.draw("n_phases", lambda rng: int(rng.integers(12, 41)))
    draws.draw("es_fraction", _uniform(0.3, 0.44))
    draws.draw("early_filling", _uniform(0.5, 0.8))
    draws.draw("trigger_delay_ms", _uniform(0, 25))
    # 48 to 110 beats per minute, each slice within about 4 %.
    draws.draw(
        "rr_intervals_ms",
        lambda rng: tuple(
            (np.round(60_000 / rng.uniform(48, 110) * (1 + 0.02 * rng.standard_normal(64).clip(-2, 2)))).tolist()
        )[: draws.values["n_slices"]],
    )


def _draw_contrast(draws: _Draws) -> None:
    # Relaxation times spread by 7 % about the published means, as their standard deviations do.
    draws.draw("t1_ms", lambda rng: tuple((np.array(physics.T1_MS) * _spread(rng)).tolist()))
    draws.draw("t2_ms", lambda rng: tuple((np.array(physics.T2_MS) * _spread(rng)).tolist()))
    draws.draw("proton_density", lambda rng: tuple((np.array(physics.PROTON_DENSITY) * _spread(rng)).tolist()))
    draws.draw("tr_ms", _uniform(2.8, 3.8))
    draws.draw("flip_degrees", _uniform(38, 70))
    draws.draw("inflow", _uniform(0.9, 1.25))
    draws.draw("fat_gain", _uniform(0.9, 1.7))
    draws.draw("texture", _uniform(0.03, 0.12))
    draws.draw("snr", lambda rng: float(np.exp(rng.uniform(np.log(18), np.log(90)))))
    draws.draw("coil_reach_mm", lambda rng: float(np.exp(rng.uniform(np.log(40), np.log(160)))))
    draws.draw("acquired", lambda rng: (_uniform(0.6, 0.95)(rng), _uniform(0.75, 0.95)(rng)))
    draws.draw("blood_value", lambda rng: float(np.exp(rng.uniform(np.log(120), np.log(1200)))))


def _spread(rng: np.random.Generator) -> Any:
    return np.exp(0.07 * rng.standard_normal(len(physics.Tissue)).clip(-2.5, 2.5))
