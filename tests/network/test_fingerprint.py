"""An image is found again whatever it was stored as; another one is not."""

import numpy as np
import pytest

from cinesax.formats import pairs
from cinesax.formats.contours import frame_numbers
from cinesax.inputs import open_cine
from cinesax.network.fingerprint import Overlap, bits_apart, fingerprint, learned, same
from cinesax.network.framing import Framing
from cinesax.phantom import draw_settings, render_frames


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [render_frames(draw_settings(seed, n_phases=12), [(0, 4)])[0][0] for seed in (1, 2, 3)]


def test_any_linear_change_and_rounding_to_8_bits_leave_the_image_what_it_is(frames):
    for frame in frames:
        known = fingerprint(frame)
        grey = np.round(255.0 * (frame - frame.min()) / np.ptp(frame)).astype(np.uint8)
        for other in (grey, frame * 3.0 + 100, frame.astype(np.float32) / 7):
            assert same(known, fingerprint(other))


def test_another_heart_is_another_image(frames):
    prints = [fingerprint(frame) for frame in frames]
    assert all(bits_apart(a, b) > 30 for i, a in enumerate(prints) for b in prints[:i])
    assert not same(prints[0], fingerprint(frames[0][:, ::-1]))


def test_the_framed_image_is_recognised_if_nothing_is_resampled():
    frame = render_frames(draw_settings(4, n_phases=12, matrix=(256, 256), spacing_mm=(1.4, 1.4)), [(0, 4)])[0][0]
    framing = Framing()
    framed = framing.apply(frame, framing.place(frame.shape, (1.4, 1.4)))
    assert same(fingerprint(frame), fingerprint(framed))


def test_a_constant_frame_has_a_fingerprint_and_matches_no_image(frames):
    blank = fingerprint(np.zeros((20, 30), np.uint8))
    assert len(blank) == 64 and not any(same(blank, fingerprint(frame)) for frame in frames)


def test_an_image_counts_more_than_its_patient(frames):
    known = learned({"A"}, [fingerprint(frames[0])])
    assert known.overlap("B", frames[0]) is Overlap.IMAGE
    assert known.overlap("A", frames[0]) is Overlap.IMAGE
    assert known.overlap("A", frames[1]) is Overlap.PATIENT
    assert known.overlap("B", frames[1]) is None
    assert learned(()).overlap("A", frames[0]) is None


@pytest.mark.data
def test_png_and_dicom_of_one_frame_are_one_image_and_other_patients_are_not(sunnybrook):
    case = "SC-HF-I-01"
    cine = open_cine(sunnybrook / "dicom" / case / "cine_sax")
    places = frame_numbers(cine)
    own, others = [], []
    for pair in pairs.read_pairs(sunnybrook / "train"):
        seen = fingerprint(pairs.load_image(pair.image))
        if pair.case == case:
            phase, index = places[int(pair.name[-4:])]
            own.append(bits_apart(seen, fingerprint(cine.pixels[phase, index])))
        else:
            others.append(seen)
    assert len(own) == 18 and max(own) <= 3
    whole = learned((), [fingerprint(cine.pixels[phase, index]) for phase, index in places.values()])
    assert not any(same(seen, image) for seen in others for image in whole.images)
