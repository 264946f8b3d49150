"""Shapes of NIfTI: what converters, viewers and scripts make of one exam."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.cine import Cine
from cinesax.core.findings import Code
from cinesax.core.structures import Structure
from formats_nifti import ORDERS, image_of, reordered, saved
from fuzz.shapes import BRIGHT, Come, Made, Shape, heart


def _image(exam: Cine, *, timed: bool = True) -> nib.Nifti1Image:
    return image_of(exam, step_s=exam.rr_interval_ms / exam.n_phases / 1000 if timed else 0)


def _beside(path: Path, exam: Cine) -> None:
    """The JSON file that says when the phases are."""
    times = exam.trigger_times_ms[:, 0].tolist()
    path.with_name(path.name.split(".")[0] + ".json").write_text(
        json.dumps({"TriggerTime": times, "NominalInterval": exam.rr_interval_ms})
    )


def _edited(path: Path, edits: Mapping[int, bytes]) -> Path:
    data = bytearray(path.read_bytes())
    for offset, value in edits.items():
        data[offset : offset + len(value)] = value
    path.write_bytes(bytes(data))
    return path


def any_order(folder: Path, rng: random.Random) -> Made:
    """Axes exchanged and mirrored, as nibabel, FSL and viewers do."""
    exam = heart(rng)
    path = saved(reordered(_image(exam), *rng.choice(ORDERS)), folder / rng.choice(["c.nii", "c.nii.gz"]))
    _beside(path, exam)
    return Made([path], exam)


def canonical(folder: Path, rng: random.Random) -> Made:
    """The order of axes nearest to RAS."""
    exam = heart(rng)
    path = saved(nib.as_closest_canonical(_image(exam)), folder / "c.nii.gz")
    _beside(path, exam)
    return Made([path], exam)


def repetition_time(folder: Path, rng: random.Random) -> Made:
    """pixdim[4] alone: the heart rate is a guess, and is said to be."""
    exam = heart(rng)
    return Made([saved(_image(exam), folder / "c.nii.gz")], exam, Code.TIMES_UNCERTAIN)


def no_times(folder: Path, rng: random.Random) -> Made:
    """No time anywhere: volumes are right, and there is no heart rate."""
    exam = heart(rng)
    return Made([saved(_image(exam, timed=False), folder / "c.nii")], exam, heart_rate=False)


def old_sform(folder: Path, rng: random.Random) -> Made:
    """Resampled, with pixdim and qform renewed and the old sform left."""
    exam = heart(rng)
    path = saved(_image(exam), folder / "c.nii")
    factor = np.array(rng.choice([(0.5, 0.5, 1), (1, 1, 0.5), (2, 2, 1), (0.9, 0.9, 1)]))
    zooms = np.array(nib.load(path).header.get_zooms()[:3]) * factor
    return Made([_edited(path, {80: zooms.astype("<f4").tobytes()})], exam, Come.REFUSED)


def only_pixdim(folder: Path, rng: random.Random) -> Made:
    """No affine at all, or a unit matrix, and a spacing."""
    exam = heart(rng)
    path = saved(_image(exam), folder / "c.nii")
    unit = np.eye(4, dtype="<f4")[:3].tobytes()
    codes = rng.choice([(0, 0), (0, 1), (0, 2)])
    _edited(path, {252: np.array(codes, "<i2").tobytes(), 280: unit})
    _beside(path, exam)
    return Made([path], exam)


def unknown_units(folder: Path, rng: random.Random) -> Made:
    """Codes of units that the standard does not have."""
    exam = heart(rng)
    path = _edited(saved(_image(exam), folder / "c.nii"), {123: bytes([rng.choice([0, 4, 74, 255, 7, 192])])})
    return Made([path], exam, Code.TIMES_UNCERTAIN)


def wrong_unit(folder: Path, rng: random.Random) -> Made:
    """Millimetres that are called metres or micrometres."""
    exam = heart(rng)
    path = _edited(saved(_image(exam), folder / "c.nii"), {123: bytes([rng.choice([9, 11])])})
    return Made([path], exam, Come.REFUSED)


def a_file_a_phase(folder: Path, rng: random.Random) -> Made:
    """Named one by one in any order, or as a folder; counted from anything, with or without zeros."""
    exam = heart(rng, phases=rng.choice([3, 12]))
    first, zeros = rng.choice([0, 1, 8]), rng.choice([0, 2])
    form = rng.choice(["frame{}", "p1_ph{}", "x{}"])
    paths = [
        saved(_image(exam).slicer[..., phase], folder / f"{form.format(f'{first + phase:0{zeros}d}')}.nii.gz")
        for phase in range(exam.n_phases)
    ]
    rng.shuffle(paths)
    return Made(rng.choice([paths, [folder]]), exam, heart_rate=False)


def ed_and_es(folder: Path, rng: random.Random) -> Made:
    """Two files: the ejection fraction says of what it is."""
    exam = heart(rng)
    names = rng.choice([("ED", "ES"), ("p_ed", "p_es"), ("x_frame01", "x_frame07")])
    moments = {names[0]: 0, names[1]: exam.n_phases // 2}
    paths = [saved(_image(exam).slicer[..., at], folder / f"{name}.nii.gz") for name, at in moments.items()]
    rng.shuffle(paths)
    return Made(paths, exam, Code.TWO_PHASES)


def a_file_a_slice(folder: Path, rng: random.Random) -> Made:
    """Single slices of all phases, in names that say nothing of their order."""
    exam = heart(rng)
    letters = list("abcdefghij")
    rng.shuffle(letters)
    order = rng.choice(ORDERS)
    for place in range(exam.n_slices):
        path = saved(
            reordered(_image(exam).slicer[:, :, place : place + 1], *order), folder / f"{letters[place]}.nii.gz"
        )
        _beside(path, exam)
    return Made([folder], exam)


def a_slice_missing(folder: Path, rng: random.Random) -> Made:
    """One file a slice, one of them gone from the middle."""
    exam = heart(rng)
    gone = rng.randrange(1, exam.n_slices - 1)
    for place in range(exam.n_slices):
        if place != gone:
            saved(_image(exam).slicer[:, :, place : place + 1], folder / f"s{place}.nii.gz")
    return Made([folder], exam, Code.UNEVEN_SLICE_DISTANCE, numbers=False)


def moved_es(folder: Path, rng: random.Random) -> Made:
    """ED and ES that do not lie on one grid."""
    exam = heart(rng)
    ed, es = (_image(exam).slicer[..., phase] for phase in (0, 6))
    affine = es.affine.copy()
    affine[:3, 3] += rng.choice([3.0, 8.0])
    paths = [saved(ed, folder / "ED.nii"), saved(nib.Nifti1Image(np.asarray(es.dataobj), affine), folder / "ES.nii")]
    return Made(paths, exam, Come.REFUSED)


def _wall(blood: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Round the blood, of as many pixels in every phase as at the fullest one: muscle does not vanish."""
    fullest = blood[int(np.argmax(blood.sum(axis=(1, 2, 3))))]
    counts = (ndimage.binary_dilation(fullest, np.ones((1, 5, 5))) & ~fullest).sum(axis=(1, 2))
    wall = np.zeros_like(blood)
    for phase, place in np.ndindex(blood.shape[:2]):
        inside = blood[phase, place]
        # A slice that has emptied keeps its muscle where the blood was.
        away = ndimage.distance_transform_edt(~(inside if inside.any() else fullest[place]))
        away[inside] = np.inf
        nearest = np.argsort(away, axis=None, kind="stable")[: counts[place]]
        wall[phase, place].flat[nearest] = True
    return wall


def _labels(exam: Cine, numbers: Mapping[Structure, int]) -> nib.Nifti1Image:
    """The blood of an exam, its wall and an RV beside it, in the numbers of some program."""
    blood = exam.pixels >= BRIGHT
    wall = _wall(blood)
    right = np.zeros(blood.shape, bool)
    right[:, :, :4, :6] = True
    stored = np.zeros(blood.shape, np.int16)
    for structure, where in ((Structure.RV_CAVITY, right), (Structure.MYOCARDIUM, wall), (Structure.CAVITY, blood)):
        stored[where] = numbers[structure]
    return nib.Nifti1Image(np.ascontiguousarray(stored.transpose(3, 2, 1, 0)), _image(exam).affine)


def _with_labels(
    folder: Path, rng: random.Random, exam: Cine, drawn: nib.Nifti1Image, **options: object
) -> tuple[Path, dict[str, object]]:
    path = saved(reordered(_image(exam), *rng.choice(ORDERS)), folder / "c.nii")
    _beside(path, exam)
    labels = saved(reordered(drawn, *rng.choice(ORDERS)), folder / "labels.nii.gz")
    return path, {"segmenter": None, "segmentation": labels, **options}


_ACDC = {Structure.RV_CAVITY: 1, Structure.MYOCARDIUM: 2, Structure.CAVITY: 3}
_OURS = {Structure.CAVITY: 1, Structure.MYOCARDIUM: 2, Structure.RV_CAVITY: 3}


def labels_in_any_order(folder: Path, rng: random.Random) -> Made:
    """Labels in another order of axes than their image."""
    exam = heart(rng)
    path, options = _with_labels(folder, rng, exam, _labels(exam, _OURS))
    return Made([path], exam, options=options)


def labels_of_others(folder: Path, rng: random.Random) -> Made:
    """Numbers of another program, with the map that says so."""
    exam = heart(rng)
    numbers, name = rng.choice([(_ACDC, "acdc"), (_OURS, "mnms"), (_ACDC, "lv=3,myo=2,rv=1"), (_ACDC, "lv=3")])
    path, options = _with_labels(folder, rng, exam, _labels(exam, numbers), labels=name)
    return Made([path], exam, options=options)


def labels_not_said(folder: Path, rng: random.Random) -> Made:
    """ACDC's numbers without a word: the RV would be given out for the LV."""
    exam = heart(rng)
    path, options = _with_labels(folder, rng, exam, _labels(exam, _ACDC))
    return Made([path], exam, Come.REFUSED, options=options)


def labels_of_one_phase(folder: Path, rng: random.Random) -> Made:
    """Of which phase they are is not in them."""
    exam = heart(rng)
    path, options = _with_labels(folder, rng, exam, _labels(exam, _OURS).slicer[..., 0])
    return Made([path], exam, Come.REFUSED, options=options)


def two_parts(folder: Path, rng: random.Random) -> Made:
    """A header and an image, either of them named."""
    exam = heart(rng)
    image = _image(exam)
    nib.save(nib.Nifti1Pair(np.asarray(image.dataobj), image.affine, image.header), folder / "c.img")
    _beside(folder / "c.img", exam)
    return Made([folder / rng.choice(["c.img", "c.hdr"])], exam)


def time_elsewhere(folder: Path, rng: random.Random) -> Made:
    """Time on another axis than the fourth. As in a chest, no slice looks like the next, and each moves little."""
    exam = heart(rng, phases=rng.randint(8, 20))
    noise = np.random.default_rng(rng.randrange(10**6)).normal(size=exam.pixels.shape[1:])
    smooth = ndimage.gaussian_filter(noise, (0, 4, 4))
    chest = 600 + 500 * np.clip(smooth / smooth.std() / 2, -1, 1)
    exam = replace(exam, pixels=(exam.pixels + np.where(exam.pixels < BRIGHT, chest, 0)).astype(np.int16))
    order = rng.choice([(3, 0, 1, 2), (0, 3, 1, 2), (0, 1, 3, 2)])
    data = np.ascontiguousarray(np.asarray(_image(exam).dataobj).transpose(order))
    return Made([saved(nib.Nifti1Image(data, _image(exam).affine), folder / "c.nii")], exam, Come.REFUSED)


def times_in_another_unit(folder: Path, rng: random.Random) -> Made:
    """TriggerTime in seconds in the JSON file, or FrameTimesStart in ms."""
    exam = heart(rng)
    path = saved(_image(exam, timed=False), folder / "c.nii.gz")
    key, factor = rng.choice([("TriggerTime", 0.001), ("FrameTimesStart", 1.0), ("TriggerTimes", 1000.0)])
    (folder / "c.json").write_text(json.dumps({key: (exam.trigger_times_ms[:, 0] * factor).tolist()}))
    return Made([path], exam, Code.TIME_UNITS)


def labels_and_copies_beside(folder: Path, rng: random.Random) -> Made:
    """A folder with labels whose names do not say so, and with a copy."""
    exam = heart(rng)
    path = saved(_image(exam), folder / rng.choice(["p1_0000.nii.gz", "image.nii.gz"]))
    _beside(path, exam)
    saved(_labels(exam, {Structure.CAVITY: 1, Structure.MYOCARDIUM: 2, Structure.RV_CAVITY: 3}), folder / "p1.nii.gz")
    copy = saved(_image(exam), folder / f"{path.name.split('.')[0]} copy.nii.gz")
    _beside(copy, exam)
    return Made([folder], exam)


SHAPES: Mapping[str, Shape] = {
    f"nifti-{shape.__name__.replace('_', '-')}": shape
    for shape in (
        *(any_order, canonical, repetition_time, no_times, old_sform, only_pixdim, unknown_units, wrong_unit),
        *(a_file_a_phase, ed_and_es, a_file_a_slice, a_slice_missing, moved_es),
        *(labels_in_any_order, labels_of_others, labels_not_said, labels_of_one_phase),
        *(two_parts, time_elsewhere, times_in_another_unit, labels_and_copies_beside),
    )
}
