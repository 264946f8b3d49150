"""How tissues look: relaxation times, steady-state signals, coil shading, k-space and noise.

T1 and T2 at 1.5 T, in ms, are the means published by

- Stanisz GJ et al., Magn Reson Med 2005;54:507-512 (blood, myocardium, skeletal muscle);
- de Bazelaire CM et al., Radiology 2004;230:652-659 (liver, spleen, marrow of L4, subcutaneous fat; its title names
  3.0 T, it measured at 1.5 T as well).

Fluid (cerebrospinal fluid, stomach) and lung are round numbers; proton densities are relative to blood; that of lung is
the usual tenth or so, because of the air.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cinesax.core.grid import Floats

Singles = NDArray[np.float32]


class Tissue(IntEnum):
    """The tissue at a point of the phantom; the value indexes the tables of settings and signals."""

    AIR = 0
    LUNG = 1
    FAT = 2
    MUSCLE = 3
    MARROW = 4
    LIVER = 5
    SPLEEN = 6
    BLOOD = 7
    MYOCARDIUM = 8
    FLUID = 9
    BOWEL = 10


T1_MS = (1.0, 1200.0, 343.0, 1008.0, 549.0, 586.0, 1057.0, 1441.0, 1030.0, 3500.0, 900.0)
T2_MS = (1.0, 40.0, 58.0, 44.0, 49.0, 46.0, 79.0, 290.0, 40.0, 1000.0, 55.0)
PROTON_DENSITY = (0.0, 0.13, 0.95, 0.85, 0.6, 0.85, 0.85, 1.0, 0.9, 1.0, 0.8)

_POST_CONTRAST_RELAXIVITY_PER_S = 3.2
# The share of the blood's contrast agent in a tissue ten minutes after injection (extracellular volume).
_UPTAKE = (0.0, 0.3, 0.1, 0.25, 0.2, 0.45, 0.5, 1.0, 0.5, 0.0, 0.4)


def bssfp_signals(
    t1_ms: Sequence[float], t2_ms: Sequence[float], density: Sequence[float], *, flip_degrees: float, tr_ms: float
) -> Floats:
    """Steady-state signal of balanced SSFP on resonance with alternating RF phase, read at TE = TR / 2.

    M0 sin(a) (1 - E1) / (1 - (E1 - E2) cos(a) - E1 E2) exp(-TE / T2): Freeman and Hill 1971, as in
    Scheffler K and Lehnhardt S, Eur Radiol 2003;13:2409-2418.

    Args:
        t1_ms: (tissue,), ms.
        t2_ms: (tissue,), ms.
        density: (tissue,), relative proton density.
        flip_degrees: flip angle in degrees.
        tr_ms: repetition time in ms.

    Returns:
        (tissue,): signal in units of the blood's M0, never negative.
    """
    t1, t2, flip = np.asarray(t1_ms, float), np.asarray(t2_ms, float), np.deg2rad(flip_degrees)
    e1, e2 = np.exp(-tr_ms / t1), np.exp(-tr_ms / t2)
    steady = np.sin(flip) * (1 - e1) / (1 - (e1 - e2) * np.cos(flip) - e1 * e2)
    return np.asarray(np.asarray(density, float) * steady * np.exp(-tr_ms / 2 / t2), dtype=np.float64)


def fat_opposed(signals: Floats) -> Floats:
    """The same signals with that of fat negative.

    At 1.5 T fat is 220 Hz away from water, past the band edge at 1 / (2 TR) (150 Hz at a TR of 3.3 ms), where the phase
    of balanced SSFP turns over (Vasanawala SS et al., Magn Reson Med 2000;43:82-90): at TE = TR / 2 it is 0 or 180
    degrees and nothing between (Scheffler K and Hennig J, Magn Reson Med 2003;49:395-397). Fat and water in one voxel
    cancel: the dark line around the heart and the liver.
    """
    signed = signals.copy()
    signed[Tissue.FAT] *= -1
    return signed


def late_enhancement_signals(t1_ms: Sequence[float], density: Sequence[float]) -> Floats:
    """Signals of an inversion recovery ten minutes after contrast, nulling healthy myocardium.

    M0 |1 - 2 exp(-TI / T1)|, with T1 shortened by the share of contrast agent in the tissue, and the inversion time TI
    = ln(2) T1 of the myocardium (Simonetti OP et al., Radiology 2001;218:215-223).

    Args:
        t1_ms: (tissue,), before contrast, ms.
        density: (tissue,), relative proton density.

    Returns:
        (tissue,): signal in units of the blood's M0.
    """
    rate_per_ms = 1 / np.asarray(t1_ms, float) + _POST_CONTRAST_RELAXIVITY_PER_S / 1000 * np.asarray(_UPTAKE)
    inversion_ms = np.log(2) / rate_per_ms[Tissue.MYOCARDIUM]
    return np.asarray(
        np.asarray(density, float) * np.abs(1 - 2 * np.exp(-inversion_ms * rate_per_ms)), dtype=np.float64
    )


def coil_shading(points_mm: Singles, *, elements_mm: Floats, reach_mm: float, centre_mm: Floats) -> Singles:
    """Root sum of squares of the sensitivities of a surface array, 1 at the heart's centre.

    Each element falls off as the field on the axis of a loop, 1 / (1 + d² / reach²)^1.5 (Biot-Savart).

    Args:
        points_mm: (point, 3), LPS, mm.
        elements_mm: (element, 3), LPS, mm: centres of the loops.
        reach_mm: radius of a loop in mm.
        centre_mm: (3,), LPS, mm: where the shading is 1.

    Returns:
        (point,), float32.
    """

    def total(points: NDArray[np.floating]) -> NDArray[np.floating]:
        power = np.zeros(points.shape[0], dtype=np.float32)
        for element in elements_mm.astype(np.float32):
            offset = points - element
            power += (1 + np.einsum("ij,ij->i", offset, offset) / np.float32(reach_mm**2)) ** -3
        return np.sqrt(power)

    return np.asarray(total(points_mm) / total(centre_mm[None].astype(np.float32))[0], dtype=np.float32)


def kspace_window(shape: tuple[int, int], acquired: tuple[float, float]) -> Singles:
    """(row, column): the acquired part of k-space, with a softened edge, in the order of an FFT."""

    def line(n: int, fraction: float) -> Floats:
        distance = np.abs(np.fft.fftfreq(n)) * 2 / fraction
        return np.where(distance < 0.6, 1.0, np.cos(np.clip((distance - 0.6) / 0.4, 0, 1) * np.pi / 2) ** 2)

    return np.outer(line(shape[0], acquired[0]), line(shape[1], acquired[1])).astype(np.float32)


def acquire(signal: Singles, window: Singles, *, noise: float, rng: np.random.Generator) -> Singles:
    """The image that the scanner makes of a signal: k-space within the window, complex noise, magnitude.

    The magnitude of a complex image with Gaussian noise is Rician (Gudbjartsson H and Patz S, Magn Reson Med
    1995;34:910-914).

    Args:
        signal: (row, column), real, with sign.
        window: (row, column), from `kspace_window`.
        noise: standard deviation of the noise in each of the two channels of the result.
        rng: source of the noise.

    Returns:
        (row, column), float32, not negative.
    """
    drawn = rng.standard_normal((2, *signal.shape), dtype=np.float32)
    drawn *= np.float32(noise / np.sqrt(np.mean(window**2)))
    image = np.empty(signal.shape, dtype=np.complex64)
    image.real, image.imag = signal + drawn[0], drawn[1]
    filtered = scipy.fft.ifft2(scipy.fft.fft2(image, overwrite_x=True) * window, overwrite_x=True)
    return np.asarray(np.abs(filtered), dtype=np.float32)
