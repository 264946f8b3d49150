"""The tissue at each point of the body: the beating heart with its chambers, and chest and belly around it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cinesax.core.grid import Floats
from cinesax.phantom.heart import Ventricle, ventricle
from cinesax.phantom.physics import Singles, Tissue
from cinesax.phantom.settings import PhantomSettings

Codes = NDArray[np.uint8]

_TRABECULA_WAVES = ((7, 0.23), (12, -0.37), (19, 0.51), (27, -0.16))
_CHAMBER_WALL_MM = 1.2


@dataclass(frozen=True, eq=False)
class Frame:
    """The position of the heart in the patient.

    Attributes:
        apex_mm: (3,), LPS, mm: the origin of heart coordinates.
        axes: (3, 3): rows are the directions of x (to the RV), y (anterior) and w (to the base) in LPS.
    """

    apex_mm: Floats
    axes: Floats

    def to_heart(self, points_mm: Singles) -> tuple[Singles, Singles, Singles]:
        """x, y, w of (point, 3) LPS points."""
        # One direction at a time: a product with a (3, 3) matrix is several times slower for such thin arrays.
        start = self.axes @ self.apex_mm
        x, y, w = (points_mm @ self.axes[i].astype(np.float32) - np.float32(start[i]) for i in range(3))
        return x, y, w

    def turn(self, offsets_mm: Floats) -> Floats:
        """(offset, 3): x, y, w of LPS offsets."""
        return np.asarray(offsets_mm @ self.axes.T, dtype=np.float64)

    def to_patient(self, points_mm: Floats) -> Floats:
        """(point, 3) LPS of heart coordinates."""
        return np.asarray(self.apex_mm + points_mm @ self.axes, dtype=np.float64)


def heart_frame(settings: PhantomSettings) -> Frame:
    """The heart's pose: its axis from base to apex points left, anterior and down."""
    anterior, down = np.deg2rad(settings.apex_direction_degrees)
    to_apex = np.array([np.cos(anterior) * np.cos(down), -np.sin(anterior) * np.cos(down), -np.sin(down)])
    w = -to_apex
    # The RV lies to the right and in front of the LV, and a little below.
    x = np.array([-0.62, -0.75, -0.2])
    x -= (x @ w) * w
    x /= np.linalg.norm(x)
    y = np.cross(w, x)
    roll = np.deg2rad(settings.roll_degrees)
    x, y = np.cos(roll) * x + np.sin(roll) * y, np.cos(roll) * y - np.sin(roll) * x
    half = ventricle(settings).base_mm[0] / 2
    return Frame(np.array(settings.heart_centre_mm) - half * w, np.stack([x, y, w]))


class Waves:
    """A smooth random field: a sum of plane waves with zero mean and a variance of one."""

    def __init__(self, rng: np.random.Generator, *, n: int, wavelength_mm: tuple[float, float]) -> None:
        direction = rng.standard_normal((n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = rng.uniform(*wavelength_mm, (n, 1))
        self._k = (2 * np.pi * direction / length).astype(np.float32)
        self._phase = rng.uniform(0, 2 * np.pi, n).astype(np.float32)

    def __call__(self, points_mm: Singles) -> Singles:
        """Values at points (n, 3), of mean 0."""
        total = np.zeros(len(points_mm), dtype=np.float32)
        for k, phase in zip(self._k, self._phase, strict=True):
            total += np.sin(points_mm @ k + phase)
        total *= np.float32(np.sqrt(2 / len(self._k)))
        return total


@dataclass(frozen=True, eq=False)
class Ellipse:
    """An elliptical section that changes along the axis: centre, radii; distances are good near the border."""

    x: Singles
    y: Singles
    rx: Singles
    ry: Singles

    def distance(self, x: Singles, y: Singles) -> Singles:
        """The approximate distance of points outside the ellipse in mm; negative inside."""
        rx, ry = np.maximum(self.rx, 0.01), np.maximum(self.ry, 0.01)
        u, v = (x - self.x) / rx, (y - self.y) / ry
        level = np.sqrt(u * u + v * v)
        # The distance to first order: (level² - 1) / |gradient of level²|, limited at the centre.
        slope = np.sqrt((u / rx) ** 2 + (v / ry) ** 2) / np.maximum(level, 1e-3)
        return np.asarray((level - 1) / np.maximum(slope, 1 / np.maximum(rx, ry)), dtype=np.float32)


def _smooth_min(a: Singles, b: Singles, reach: float) -> Singles:
    """The smaller of two distances, with the groove between them filled (Quilez' polynomial)."""
    h = np.maximum(reach - np.abs(a - b), 0) / np.float32(reach)
    return np.asarray(np.minimum(a, b) - h * h * np.float32(reach / 4), dtype=np.float32)


class Heart:
    """The beating heart: a map from heart coordinates to tissue."""

    def __init__(self, settings: PhantomSettings) -> None:
        self.settings = settings
        self.lv: Ventricle = ventricle(settings)
        rng = np.random.default_rng([settings.seed, 2])
        self._trabecula_phases = rng.uniform(0, 2 * np.pi, len(_TRABECULA_WAVES)).astype(np.float32)
        self._rv_waves = Waves(rng, n=6, wavelength_mm=(7, 14))
        self._scale = float(np.clip((settings.edv_ml / 140) ** (1 / 3), 0.85, 1.2))

    def box_mm(self) -> tuple[Floats, Floats]:
        """Lowest and highest x, y, w that the moving heart can reach, in mm."""
        s, radius = self.settings, float(self.lv.outer_radius_mm.max()) * 1.12
        shear = np.abs(s.axis_shear) * self.lv.base_mm[0] / 2
        fat = s.epicardial_fat_mm + 4
        side = max(radius, 1.1 * s.rv_height_mm) + 18
        low = [-max(radius, s.atrium_mm + 18) - shear[0] - fat, -side - shear[1] - fat, -fat]
        high = [radius + s.rv_reach_mm + shear[0] + fat + 6, side + shear[1] + fat, self.lv.base_mm[0] + 75]
        return np.array(low), np.array(high)

    def tissue(self, x: Singles, y: Singles, w: Singles, *, phase: int) -> Codes:
        """(point,): the tissue at each point at a phase; 255 outside the heart."""
        codes = np.full(x.shape, 255, dtype=np.uint8)
        below = w < np.float32(self.lv.base_mm[phase])
        for mine, fill in ((below, self._fill_ventricles), (~below, self._fill_above_base)):
            where = np.flatnonzero(mine)
            if len(where):
                codes[where] = fill(x[where], y[where], w[where], phase)
        return codes

    def fat_distance(self, x: Singles, y: Singles, w: Singles) -> Singles:
        """(point,): mm outside the ventricles at ED with their grooves filled, for the fat that does not move."""
        top = np.minimum(w, np.float32(self.lv.base_mm[0] - 3))
        middle_x, middle_y = self.lv.middle_at(top)
        radius = self.lv.outer_at(np.maximum(top, 1), 0)
        outer = (np.hypot(x - middle_x, y - middle_y) - radius).astype(np.float32)
        rv = self.right_ventricle(top, 0).distance(x, y)
        beyond = np.maximum(np.maximum(-w, w - np.float32(self.lv.base_mm[0] + 40)), 0)
        return np.asarray(np.hypot(np.maximum(_smooth_min(outer, rv, 20), 0), 0.6 * beyond), dtype=np.float32)

    def in_right_cavity(self, x: Singles, y: Singles, w: Singles, *, phase: int) -> NDArray[np.bool_]:
        """(point,): whether points lie in the cavity of the right ventricle, including its trabeculae."""
        lv = self.lv
        middle_x, middle_y = lv.middle_at(w)
        px, py = x - middle_x, y - middle_y
        shape = lv.outer_shape(np.arctan2(py, px) - lv.twist_at(w, phase))
        outside = np.hypot(px, py) >= lv.outer_at(w, phase) * shape
        depth = -self.right_ventricle(w, phase).distance(x, y)
        return np.asarray(outside & (depth > self._rv_wall_mm(phase)) & (w < np.float32(lv.base_mm[phase])))

    def _rv_wall_mm(self, phase: int) -> np.float32:
        return np.float32(2.6 + 1.2 * float(self.lv.contraction[phase]))

    def right_ventricle(self, w: Singles, phase: int) -> Ellipse:
        """The section of the right ventricle, including its wall, at heights w."""
        s, lv = self.settings, self.lv
        squeeze = 1 - s.rv_contraction * float(lv.contraction[phase])
        radius, base = float(lv.outer_radius_mm[phase]), float(lv.base_mm[phase])
        start = 0.1 * base
        u = np.clip((w - start) / (1.02 * base - start), 0, None)
        size = np.sqrt(np.clip(1 - (1 - np.clip(u * 1.15, 0, 1)) ** 2.2, 0, None))
        middle_x, middle_y = lv.middle_at(w)
        reach = (radius + s.rv_reach_mm * squeeze) * size
        rx = 0.62 * reach
        ry = s.rv_height_mm * (0.45 + 0.55 * squeeze) * size
        return Ellipse(middle_x + reach - rx, middle_y - 2 + 4 * (u - 0.5), rx, ry)

    def _fill_ventricles(self, x: Singles, y: Singles, w: Singles, phase: int) -> Codes:
        lv, s = self.lv, self.settings
        middle_x, middle_y = lv.middle_at(w)
        px, py = x - middle_x, y - middle_y
        twist = lv.twist_at(w, phase)
        outer = lv.outer_at(w, phase)
        level = np.hypot(px, py) - outer * lv.outer_shape(np.arctan2(py, px) - twist)
        level = np.where(w > 0, level, np.hypot(level, w))
        rv = self.right_ventricle(w, phase).distance(x, y)
        rv_wall = np.float32(2.6 + 1.2 * float(lv.contraction[phase]))
        envelope = _smooth_min(level, rv, 18)
        codes = np.where(envelope < s.epicardial_fat_mm, np.uint8(Tissue.FAT), np.uint8(255))
        codes[rv < 0] = Tissue.MYOCARDIUM
        rough = np.float32(0.5 + 1.5 * float(lv.contraction[phase]))
        in_rv = np.flatnonzero(rv < -rv_wall)
        bumps = self._rv_waves(np.stack([x[in_rv], y[in_rv], w[in_rv] * np.float32(0.5)], axis=1))
        depth = -rv[in_rv] - rv_wall
        codes[in_rv[depth > rough * (bumps - 0.3) * 2]] = Tissue.BLOOD
        codes[level < 0] = Tissue.MYOCARDIUM
        inside = np.flatnonzero((level < 0) & (w > np.float32(lv.apex_mm[phase])))
        if len(inside):
            share = lv.offset_share(phase)
            inner = lv.inner_at(w[inside], phase)
            wall = outer[inside] - inner
            cx, cy = px[inside] - wall * np.float32(share[0]), py[inside] - wall * np.float32(share[1])
            codes[inside] = self._cavity(cx, cy, w[inside], inner=inner, twist=twist[inside], phase=phase)
        return codes

    def _cavity(self, x: Singles, y: Singles, w: Singles, *, inner: Singles, twist: Singles, phase: int) -> Codes:
        """Tissue inside the LV's outer surface, x and y from the cavity's centre."""
        lv, s = self.lv, self.settings
        angle = np.arctan2(y, x) - twist
        radius = inner * lv.inner_shape(angle)
        depth = radius - np.hypot(x, y)
        blood = depth > 0
        level = (w - np.float32(lv.apex_mm[phase])) / np.float32(lv.base_mm[phase] - lv.apex_mm[phase])
        ridge = np.zeros_like(angle)
        for (order, k), offset in zip(_TRABECULA_WAVES, self._trabecula_phases, strict=True):
            ridge += np.sin(angle * np.float32(order) + w * np.float32(k) + offset)
        # Trabeculae are thickest towards the apex and fade below the base.
        ridge = np.clip(ridge * np.float32(0.5) - np.float32(0.05), 0, 1) * np.clip(np.float32(1.25) - level, 0, 1)
        blood &= depth > ridge * np.minimum(np.float32(s.trabecula_mm), 0.35 * radius)
        for centre, size in zip(s.papillary_degrees, s.papillary_mm, strict=True):
            blood &= ~self._papillary(
                x, y, level, radius=inner, angle=np.deg2rad(centre) + twist, size=size, phase=phase
            )
        return np.where(blood, np.uint8(Tissue.BLOOD), np.uint8(Tissue.MYOCARDIUM))

    def _papillary(
        self, x: Singles, y: Singles, level: Singles, *, radius: Singles, angle: Singles, size: float, phase: int
    ) -> NDArray[np.bool_]:
        thick = 1 + 0.25 * float(self.lv.contraction[phase])
        along = (level - np.float32(0.42)) / np.float32(0.3)
        own = np.minimum(size * thick, 0.3 * radius) * np.sqrt(np.clip(1 - along * along, 0, None))
        # From the wall at its foot to two thirds of the radius at its tip.
        at = radius * np.clip(
            np.float32(0.95) - np.float32(0.45) * np.clip(level - np.float32(0.15), 0, 1), 0, 1
        ) - own * np.float32(0.4)
        # Longer across the wall than along it.
        du = (x * np.cos(angle) + y * np.sin(angle) - at) / np.float32(1.35)
        dv = y * np.cos(angle) - x * np.sin(angle)
        return np.asarray(du * du + dv * dv < own * own)

    def _fill_above_base(self, x: Singles, y: Singles, w: Singles, phase: int) -> Codes:
        distances = [ellipse.distance(x, y) for ellipse in self._chambers(w, phase)]
        nearest, second = distances[0], np.full_like(distances[0], 1e3)
        envelope = nearest
        for other in distances[1:]:
            second = np.minimum(second, np.maximum(nearest, other))
            nearest = np.minimum(nearest, other)
            envelope = _smooth_min(envelope, other, 16)
        codes = np.where(envelope < self.settings.epicardial_fat_mm, np.uint8(Tissue.FAT), np.uint8(255))
        codes[nearest < _CHAMBER_WALL_MM] = Tissue.MUSCLE
        codes[(nearest < -_CHAMBER_WALL_MM) & (second - nearest > 2 * _CHAMBER_WALL_MM)] = Tissue.BLOOD
        return codes

    def _chambers(self, w: Singles, phase: int) -> tuple[Ellipse, ...]:
        """Left atrium, aortic root, right atrium, right outflow: sections at heights above the base plane."""
        s, lv, scale = self.settings, self.lv, self._scale
        full = 1 + 0.12 * float(lv.contraction[phase])
        up = w - np.float32(lv.base_mm[phase])
        # The roof does not move; the floor moves with the base plane.
        roof = float(lv.base_mm[0] - lv.base_mm[phase]) + 2 * s.atrium_mm
        u = np.clip(up / np.float32(roof), 0, 1)
        round_ = np.sqrt(np.clip(1 - (2 * np.clip(u, 0.3, 1) - 1) ** 2, 0, None)) * np.float32(full)
        mx, my = (float(v[0]) for v in lv.middle_at(np.array([lv.base_mm[phase]], dtype=np.float32)))
        size, still = s.atrium_mm * round_, np.zeros_like(u)
        left = Ellipse(mx - 5 * scale + still, my - 9 * scale - 10 * u, 1.25 * size, size)
        aorta = Ellipse(mx + 13 * scale + 4 * u, my + 14 * scale + 2 * u, 15 * scale + still, 14 * scale + still)
        right = Ellipse(mx + 45 * scale + still, my - 14 * scale - 6 * u, 1.05 * size, 1.1 * size)
        outflow = Ellipse(
            mx + 36 * scale - 26 * u,
            my + 23 * scale + 10 * u,
            19 * scale - 5 * u,
            16 * scale / np.float32(full) + still,
        )
        return left, aorta, right, outflow


def _ellipsoid(points: Singles, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Singles:
    """(point,): level of an ellipsoid: 1 on its surface, less inside."""
    offset = (points - np.array(centre, dtype=np.float32)) / np.array(radii, dtype=np.float32)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", offset, offset)), dtype=np.float32)


class Torso:
    """Chest and belly, which do not move: a map from LPS points to tissue."""

    def __init__(self, settings: PhantomSettings) -> None:
        s = settings
        rng = np.random.default_rng([s.seed, 3])
        bmi = s.weight_kg / (s.height_cm / 100) ** 2
        size = s.height_cm / 170 * (1.0 if s.sex == "M" else 0.96)
        large = max(0.0, (s.edv_ml / 140) ** (1 / 3) - 1)
        self.settings = s
        self.inner_mm = (128 * size + 8 * large, (80 + 25 * large) * size + 0.6 * (bmi - 24))
        self.muscle_mm = 16 + 0.3 * (bmi - 20) + float(rng.uniform(-2, 2))
        self.fat_mm = float(np.clip(6 + 1.5 * (bmi - 20) + rng.uniform(-3, 3), 4, 40))
        self._jitter = rng.uniform(-8, 8, (6, 3))
        self._rib_phase = float(rng.uniform(0, 30))
        self._wall = Waves(rng, n=4, wavelength_mm=(60, 140))
        self._tree = (Waves(rng, n=5, wavelength_mm=(26, 60)), Waves(rng, n=5, wavelength_mm=(26, 60)))
        self._bowel = Waves(rng, n=6, wavelength_mm=(30, 55))
        # The diaphragm is at the level of the heart's lower side.
        self._floor = settings.heart_centre_mm[2] - 46 * (settings.edv_ml / 140) ** (1 / 6)

    @property
    def front_mm(self) -> float:
        """Position of the skin in front: y in LPS, negative."""
        return float(-(self.inner_mm[1] + self.muscle_mm + self.fat_mm))

    def tissue(self, points_mm: Singles) -> Codes:
        """(point,): the tissue at (point, 3) LPS points in mm, without the heart."""
        x, y, z = points_mm[:, 0], points_mm[:, 1], points_mm[:, 2]
        reach = np.hypot(x, y)
        u, v = np.abs(x) / np.float32(self.inner_mm[0]), np.abs(y) / np.float32(self.inner_mm[1])
        level = np.maximum((u**2.4 + v**2.4) ** np.float32(1 / 2.4), np.float32(1e-3))
        bumps = self._wall(points_mm) * np.float32(2)
        # The rib cage narrows towards the neck, the body does not: the space between is muscle.
        rise = np.clip((z - np.float32(self._floor + 75)) / 120, 0, 1)
        narrow = 1 - np.float32(0.6) * rise * rise
        outside = reach - reach * narrow / level + bumps
        skin = reach - reach * (1 - np.float32(0.15) * rise) / level + bumps - np.float32(self.muscle_mm)
        codes = np.full(len(points_mm), Tissue.AIR, dtype=np.uint8)
        codes[skin < self.fat_mm] = Tissue.FAT
        codes[(skin < 0) & (outside >= 0)] = Tissue.MUSCLE
        wall = np.flatnonzero((skin < 0) & (outside < self.muscle_mm) & (outside >= 0))
        codes[wall] = self._chest_wall(points_mm[wall], outside[wall])
        inside = np.flatnonzero(outside < 0)
        codes[inside] = self._inside(points_mm[inside])
        self._spine(codes, x, y, z)
        return codes

    def _chest_wall(self, points: Singles, outside: Singles) -> Codes:
        """Ribs of marrow between layers of muscle and streaks of fat."""
        along = points[:, 2] + np.float32(0.45) * np.abs(points[:, 0]) + np.float32(0.35) * points[:, 1]
        wave = np.sin((along + np.float32(self._rib_phase)) * np.float32(2 * np.pi / 30))
        depth = outside / np.float32(self.muscle_mm)
        codes = np.full(len(points), Tissue.MUSCLE, dtype=np.uint8)
        streak = np.abs(depth - 0.65) < 0.09 * self._bowel(points)
        codes[streak] = Tissue.FAT
        codes[(wave > 0.45) & (depth > 0.1) & (depth < 0.5)] = Tissue.MARROW
        sternum = (np.abs(points[:, 0]) < 17) & (points[:, 1] < 0) & (depth > 0.1) & (depth < 0.75)
        codes[sternum] = Tissue.MARROW
        return codes

    def _inside(self, points: Singles) -> Codes:
        j, floor = self._jitter, self._floor
        codes = np.full(len(points), Tissue.LUNG, dtype=np.uint8)
        one, two = self._tree[0](points), self._tree[1](points)
        thread = one * one + two * two
        codes[thread < 0.022] = Tissue.MUSCLE
        codes[thread < 0.008] = Tissue.BLOOD
        x, y, z = points[:, 0], points[:, 1], points[:, 2]
        right = _ellipsoid(points, (-68 + j[0, 0], 12, floor - 72), (88, 92, 92 + j[0, 2]))
        left = _ellipsoid(points, (72 + j[1, 0], 18, floor - 88), (82, 88, 90 + j[1, 2]))
        middle = z < floor - 6 - np.float32(0.1) * np.abs(y)
        belly = (right < 1) | (left < 1) | middle | self._under_heart(points)
        codes[belly] = Tissue.FAT
        where = np.flatnonzero(belly)
        codes[where] = self._belly(points[where], right=right[where], thread=thread[where])
        mediastinum = _ellipsoid(points, (2, 36, floor + 95), (30, 44, 110)) < 1
        codes[mediastinum & ~belly] = Tissue.FAT
        codes[mediastinum & ~belly & (self._bowel(points) > 0.5)] = Tissue.MUSCLE
        codes[np.hypot(x - np.float32(8 + j[2, 0]), y - np.float32(48)) < 8] = Tissue.MUSCLE
        aorta = np.hypot(x - np.float32(24 + j[3, 0] / 2), y - np.float32(54 + j[3, 1] / 2))
        codes[aorta < 15] = Tissue.FAT
        codes[aorta < 13.2] = Tissue.MUSCLE
        codes[aorta < 12] = Tissue.BLOOD
        cava = np.hypot(x + np.float32(22 + j[4, 0] / 2), y - np.float32(16 + j[4, 1] / 2))
        codes[(cava < 11) & belly] = Tissue.BLOOD
        return codes

    def _under_heart(self, points: Singles) -> NDArray[np.bool_]:
        """The heart lies on the diaphragm, which falls away to its sides and behind it."""
        x, y, w = heart_frame(self.settings).to_heart(points)
        lv = ventricle(self.settings)
        aside = (x - 12) / np.float32(60)
        behind = np.clip(w - np.float32(0.6 * lv.base_mm[0]), 0, None) * np.float32(0.45)
        ahead = np.clip(-w, 0, None) * np.float32(0.5)
        lowest = np.float32(lv.outer_radius_mm[0] * 1.03 + self.settings.epicardial_fat_mm + 1.5)
        return np.asarray(y < -lowest - 14 * aside * aside - behind + ahead)

    def _belly(self, points: Singles, *, right: Singles, thread: Singles) -> Codes:
        j, floor = self._jitter, self._floor
        bumps = self._bowel(points)
        codes = np.full(len(points), Tissue.FAT, dtype=np.uint8)
        codes[bumps > 0.55] = Tissue.BOWEL
        codes[bumps > 1.5] = Tissue.AIR
        stomach = _ellipsoid(points, (66 + j[5, 0], -18, floor - 46 + j[5, 2]), (40, 42, 36))
        codes[stomach < 1] = Tissue.MUSCLE
        codes[stomach < 0.92] = Tissue.BOWEL
        codes[(stomach < 0.92) & (points[:, 1] < -24 + j[5, 1])] = Tissue.AIR
        spleen = _ellipsoid(points, (98, 46 + j[4, 1], floor - 50 + j[4, 2]), (24, 38, 40))
        codes[spleen < 1] = Tissue.SPLEEN
        lobe = _ellipsoid(points, (14 + j[2, 1], -34, floor - 44), (66 + j[2, 2], 46, 36))
        liver = (right < 0.965) | (lobe < 1)
        codes[liver] = Tissue.LIVER
        codes[liver & (thread < 0.01)] = Tissue.BLOOD
        return codes

    def _spine(self, codes: Codes, x: Singles, y: Singles, z: Singles) -> None:
        back = np.float32(self.inner_mm[1] - 4)
        codes[(np.abs(x) < 34) & (np.abs(y - back - 14) < 17) & (codes != Tissue.AIR)] = Tissue.MUSCLE
        disc = np.sin((z + np.float32(self._rib_phase)) * np.float32(2 * np.pi / 32)) > 0.9
        body = np.hypot(x / np.float32(1.2), y - back + 16)
        codes[body < 18] = Tissue.MUSCLE
        codes[(body < 16.5) & ~disc] = Tissue.MARROW
        codes[np.hypot(x, y - back - 10) < 8] = Tissue.FLUID
        codes[np.hypot(x, y - back - 10) < 4.5] = Tissue.MUSCLE


@lru_cache(maxsize=4)
def heart(settings: PhantomSettings) -> Heart:
    """The heart of a phantom."""
    return Heart(settings)


@lru_cache(maxsize=4)
def torso(settings: PhantomSettings) -> Torso:
    """The body of a phantom."""
    return Torso(settings)
