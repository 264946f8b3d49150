"""The left ventricle in closed form.

Heart coordinates, in mm: x from the LV's axis towards the right ventricle, y towards anterior, w along the axis from
the outer surface of the apex (0) towards the base. Outer and inner surface are prolate ellipsoids cut by the same base
plane, at height `base` above the outer apex:

- outer: semi-axes (B, B, A), from w = 0 on, A = base / (1 + h);
- inner: semi-axes (b, b, a), from w = apex on, a = (base - apex) / (1 + h);

h is `truncation`. The volume of such a cut ellipsoid is pi b² a (2/3 + h - h³/3). In each phase, the volume curve gives
the cavity, the volume of the myocardium is that of ED, and both give b and B: the base descends (shortening) and the
wall thickens by conservation alone. Each cross-section is then moved off the axis, its circle becomes a rounded shape
of the same area, and is rotated by the twist; none of the three changes a volume. The papillary muscles and trabeculae
lie inside the inner surface: they count as cavity, as in most expert data sets, both in the truth and in the closed
form.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import GeometryError
from cinesax.core.grid import Floats
from cinesax.phantom.settings import Pair, PhantomSettings, length_mm

_LEAST_WALL_MM = 0.5


def contraction_curve(n_phases: int, *, es_fraction: float, early_filling: float) -> tuple[Floats, int]:
    """The degree of contraction of the heart at each phase.

    A cosine to end-systole (ES), early filling, a rest, and the atrial contraction, up to the next beat.

    Returns:
        (phase,): 0 only at phase 0 (ED), 1 only at ES; and the phase of ES.
    """
    es_phase = int(np.clip(round(es_fraction * n_phases), 1, n_phases - 1))
    time = np.arange(n_phases) / n_phases
    systole = es_phase / n_phases
    filling = (time - systole) / (1 - systole)
    early, late = _ease(filling / 0.5), _ease((filling - 0.65) / 0.35)
    relaxed = early_filling * early + (1 - early_filling) * late
    curve = np.where(time <= systole, _ease(time / systole), 1 - relaxed)
    curve[es_phase] = 1.0
    return curve, es_phase


def _ease(x: Floats) -> Floats:
    return (1 - np.cos(np.pi * np.clip(x, 0, 1))) / 2


@dataclass(frozen=True, eq=False)
class Shape:
    """A rounded outline with the area of the unit circle: r(angle) = scale (1 + sum of c cos(n angle - p)).

    Attributes:
        terms: (n, c, p): order, amplitude, phase in radians.
    """

    terms: tuple[tuple[int, float, float], ...]

    @property
    def scale(self) -> float:
        """The area of the outline is pi scale² (1 + sum of c² / 2)."""
        return float(1 / np.sqrt(1 + sum(c * c for _, c, _ in self.terms) / 2))

    def __call__(self, angle: NDArray[np.floating]) -> NDArray[np.floating]:
        """Radius at angles in radians, in the precision of the angles."""
        radius = np.full_like(angle, self.scale)
        for order, amplitude, phase in self.terms:
            radius += np.cos(angle * order - angle.dtype.type(phase)) * angle.dtype.type(self.scale * amplitude)
        return radius


def _terms(first_order: int, pairs: tuple[Pair, ...]) -> tuple[tuple[int, float, float], ...]:
    return tuple((first_order + i, c, float(np.deg2rad(p)) * (first_order + i)) for i, (c, p) in enumerate(pairs))


@dataclass(frozen=True, eq=False)
class Section:
    """The LV's cross-section in one plane across the axis, in heart coordinates in mm.

    Attributes:
        outer_mm: radius of the circle with the area of the outer outline; 0 if there is no LV.
        inner_mm: the same for the cavity; 0 if there is none.
        outer_centre_mm: x, y.
        inner_centre_mm: x, y.
        twist: radians, anticlockwise.
        outer_shape: of the outer outline.
        inner_shape: of the inner outline.
    """

    outer_mm: float
    inner_mm: float
    outer_centre_mm: Pair
    inner_centre_mm: Pair
    twist: float
    outer_shape: Shape
    inner_shape: Shape

    def depth_mm(self, x: NDArray[np.floating], y: NDArray[np.floating], *, inner: bool) -> Floats:
        """The depth of points inside an outline, along the ray from its centre; negative outside."""
        radius, centre = (self.inner_mm, self.inner_centre_mm) if inner else (self.outer_mm, self.outer_centre_mm)
        shape = self.inner_shape if inner else self.outer_shape
        x, y = x - centre[0], y - centre[1]
        return np.asarray(radius * shape(np.arctan2(y, x) - self.twist) - np.hypot(x, y), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Ventricle:
    """The left ventricle over the beat; all arrays are (phase,).

    Attributes:
        settings: the settings of the phantom.
        contraction: 0 at ED to 1 at ES.
        es_phase: the phase of ES; ED is phase 0.
        volumes_ml: volume of the cavity, in closed form.
        myocardial_volume_ml: the same in every phase.
        base_mm: height of the base plane above the outer apex.
        apex_mm: height of the cavity's apex, which equals the thickness of the wall there.
        inner_axis_mm: a.
        inner_radius_mm: b.
        outer_axis_mm: A.
        outer_radius_mm: B.
        outer_shape: of the outer outline.
        inner_shape: of the inner outline.
    """

    settings: PhantomSettings
    contraction: Floats
    es_phase: int
    volumes_ml: Floats
    myocardial_volume_ml: float
    base_mm: Floats
    apex_mm: Floats
    inner_axis_mm: Floats
    inner_radius_mm: Floats
    outer_axis_mm: Floats
    outer_radius_mm: Floats
    outer_shape: Shape
    inner_shape: Shape

    def outer_at(self, w: NDArray[np.floating], phase: int) -> NDArray[np.floating]:
        """Radius of the outer circle at heights w; 0 below the apex and from the base plane on."""
        return _profile(
            w,
            start=0.0,
            axis=self.outer_axis_mm[phase],
            radius=self.outer_radius_mm[phase],
            base=self.base_mm[phase],
        )

    def inner_at(self, w: NDArray[np.floating], phase: int) -> NDArray[np.floating]:
        """Radius of the inner circle at heights w; 0 below the cavity and from the base plane on."""
        apex, base = self.apex_mm[phase], self.base_mm[phase]
        return _profile(w, start=apex, axis=self.inner_axis_mm[phase], radius=self.inner_radius_mm[phase], base=base)

    def middle_at(self, w: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Position, x and y, of the outer outline's centre at heights w: it drifts along the axis."""
        along = w - w.dtype.type(self.base_mm[0] / 2)
        shear = self.settings.axis_shear
        return along * w.dtype.type(shear[0]), along * w.dtype.type(shear[1])

    def offset_share(self, phase: int) -> Pair:
        """The offset of the cavity from the middle: x and y as shares of the wall's mean thickness."""
        s = self.settings
        share = s.offset_ed + s.offset_es * float(self.contraction[phase])
        angle = np.deg2rad(s.offset_degrees)
        return share * float(np.cos(angle)), share * float(np.sin(angle))

    def twist_at(self, w: NDArray[np.floating], phase: int) -> NDArray[np.floating]:
        """Rotation against ED in radians at heights w: seen from the apex, the apex turns anticlockwise."""
        full = np.deg2rad(self.settings.twist_degrees) * self.contraction[phase]
        level = np.clip(w / w.dtype.type(self.base_mm[phase]), 0, 1)
        # Two thirds of it at the apex, one third the other way at the base. Seen from the apex, x grows to the
        # left and y upwards, so anticlockwise is towards negative angles.
        return np.asarray((level - w.dtype.type(2 / 3)) * w.dtype.type(full))

    def section(self, w_mm: float, phase: int) -> Section:
        """The cross-section at height `w_mm`."""
        w = np.array([w_mm], dtype=np.float64)
        outer, inner = float(self.outer_at(w, phase)[0]), float(self.inner_at(w, phase)[0])
        x, y = (float(v[0]) for v in self.middle_at(w))
        dx, dy = self.offset_share(phase)
        wall = outer - inner
        return Section(
            outer_mm=outer,
            inner_mm=inner,
            outer_centre_mm=(x, y),
            inner_centre_mm=(x + dx * wall, y + dy * wall),
            twist=float(self.twist_at(w, phase)[0]),
            outer_shape=self.outer_shape,
            inner_shape=self.inner_shape,
        )


def _profile(w: NDArray[np.floating], *, start: float, axis: float, radius: float, base: float) -> NDArray[np.floating]:
    kind = w.dtype.type
    u = (w - kind(start)) / kind(axis) - 1
    inside = (w > start) & (w < base)
    return np.asarray(np.where(inside, kind(radius) * np.sqrt(np.clip(1 - u * u, 0, None)), 0), dtype=w.dtype)


@lru_cache(maxsize=8)
def ventricle(settings: PhantomSettings) -> Ventricle:
    """The left ventricle of a phantom.

    Raises:
        GeometryError: the cavity would break through the wall.
    """
    s = settings
    curve, es_phase = contraction_curve(s.n_phases, es_fraction=s.es_fraction, early_filling=s.early_filling)
    volumes_ml = s.edv_ml * (1 - s.ef_percent / 100 * curve)
    apex = s.apical_wall_mm * (1 + 0.25 * s.ef_percent / 60 * curve)
    base = length_mm(s.edv_ml, s.aspect, s.truncation) + s.apical_wall_mm - s.base_excursion_mm * curve
    share = np.pi * (2 / 3 + s.truncation - s.truncation**3 / 3)
    inner_axis, outer_axis = (base - apex) / (1 + s.truncation), base / (1 + s.truncation)
    if float(inner_axis.min()) <= 1:
        raise GeometryError("the phantom's base plane would come down on its apex: reduce base_excursion_mm")
    inner_radius = np.sqrt(1000 * volumes_ml / (share * inner_axis))
    outer_ml_at_ed = share * (inner_radius[0] + s.wall_mm) ** 2 * outer_axis[0] / 1000
    myocardium_ml = float(outer_ml_at_ed - volumes_ml[0])
    outer_radius = np.sqrt(1000 * (volumes_ml + myocardium_ml) / (share * outer_axis))
    made = Ventricle(
        settings=s,
        contraction=curve,
        es_phase=es_phase,
        volumes_ml=volumes_ml,
        myocardial_volume_ml=myocardium_ml,
        base_mm=base,
        apex_mm=apex,
        inner_axis_mm=inner_axis,
        inner_radius_mm=inner_radius,
        outer_axis_mm=outer_axis,
        outer_radius_mm=outer_radius,
        outer_shape=Shape(_terms(2, s.shape)),
        inner_shape=Shape(_terms(2, s.shape) + _terms(4, s.inner_shape)),
    )
    _check_wall(made)
    for array in (curve, volumes_ml, base, apex, inner_axis, inner_radius, outer_axis, outer_radius):
        array.setflags(write=False)
    return made


def _check_wall(made: Ventricle) -> None:
    """Raise if the cavity leaves the outer surface: only inside it is the conserved volume that of the wall."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    for phase in (0, made.es_phase):
        for level in np.linspace(0.02, 0.98, 13):
            apex, base = made.apex_mm[phase], made.base_mm[phase]
            cut = made.section(float(apex + level * (base - apex)), phase)
            radius = cut.inner_mm * made.inner_shape(angle - cut.twist)
            x = cut.inner_centre_mm[0] + radius * np.cos(angle)
            y = cut.inner_centre_mm[1] + radius * np.sin(angle)
            least = float(cut.depth_mm(x, y, inner=False).min())
            if least < _LEAST_WALL_MM:
                raise GeometryError(
                    f"the phantom's wall would be {least:.1f} mm thick at phase {phase}, expected at least "
                    f"{_LEAST_WALL_MM} mm: raise wall_mm or reduce offset_ed, offset_es or inner_shape"
                )
