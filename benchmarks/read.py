"""How long reading takes: a study with pixels beside a plain pydicom loop, and the pick from a whole exam by headers.

    python benchmarks/read.py [STUDY]

STUDY is a folder of DICOM; by default SC-HF-I-01 of the real data (240 frames) where it is found, else a phantom of the
same size. The plain loop reads every file and takes its pixels, and does nothing else with them. The whole exam has
2,000 files: one cine of 240, and still series, localizers and other things beside it, all of the size of the cine's
own. Every time is the best of five runs in this process, the files in the page cache.
"""

import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom

from cinesax.dicom.read.exam import open_exam
from cinesax.dicom.read.pick import pick_short_axis
from cinesax.inputs import open_cine
from cinesax.phantom import draw_settings, make_phantom
from cinesax.phantom.dicom import SeriesIdentity, Vendor, write_scan
from cinesax.phantom.scanning import take_apart

RUNS = 5
EXAM_FILES = 2000
ROOT = Path(__file__).resolve().parents[1]


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def plain_loop(folder: Path) -> list[object]:
    """What anybody would write."""
    with warnings.catch_warnings(action="ignore"):
        return [pydicom.dcmread(path).pixel_array for path in sorted(folder.iterdir())]


def real_study() -> Path | None:
    """The real cine of 240 frames, where it is found."""
    data = Path(os.environ.get("CINESAX_DATA", ROOT.parent / "shared" / "data" / "sunnybrook"))
    folder = data / "dicom" / "SC-HF-I-01" / "cine_sax"
    return folder if folder.is_dir() else None


def make_study(folder: Path, *, n_phases: int = 20, n_slices: int = 12, vendor: Vendor = Vendor.GE) -> Path:
    """A phantom on a matrix of 256 x 256."""
    settings = draw_settings(3, n_phases=n_phases, n_slices=n_slices, matrix=(256, 256), spacing_mm=(1.4, 1.4))
    write_scan(take_apart(make_phantom(settings).cine), folder, SeriesIdentity(number=7), vendor=vendor)
    return folder


def make_exam(study: Path, folder: Path) -> Path:
    """A whole exam around a study: copies of its frames as still series of 40 files each."""
    shutil.copytree(study, folder / "cine")
    frames = sorted(study.iterdir())
    with warnings.catch_warnings(action="ignore"):
        first = pydicom.dcmread(frames[0])
        for index in range(EXAM_FILES - len(frames)):
            number, place = divmod(index, 40)
            first.SOPInstanceUID = f"2.25.7{index:06d}"
            first.SeriesInstanceUID = f"2.25.8{number:03d}"
            first.SeriesNumber, first.InstanceNumber = 100 + number, place + 1
            first.ImagePositionPatient = [0, 0, 3 * place]
            path = folder / f"{number:03d}" / f"{place:03d}"
            path.parent.mkdir(exist_ok=True)
            first.save_as(path)
    return folder


def main() -> None:
    """Print one table."""
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(sys.argv[1]) if len(sys.argv) > 1 else real_study()
        study = given or make_study(Path(scratch, "study"))
        enhanced = make_study(Path(scratch, "enhanced"), vendor=Vendor.PHILIPS_ENHANCED)
        exam = make_exam(study, Path(scratch, "exam"))
        count = len(list(study.iterdir()))
        loop, ours = best(lambda: plain_loop(study)), best(lambda: open_cine(study))
        objects = best(lambda: plain_loop(enhanced)), best(lambda: open_cine(enhanced))
        headers = best(lambda: pick_short_axis(open_exam(exam)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'study' if given else 'phantom'} {study.parent.name if given else ''} of {count} files\n")
    print(f"{'what':<58}{'seconds':>9}{'of the loop':>13}")
    print(f"{f'plain pydicom loop, {count} files with pixels':<58}{loop:>9.3f}{1:>13.2f}")
    print(f"{'cinesax: open_cine of the same':<58}{ours:>9.3f}{ours / loop:>13.2f}")
    print(f"{'plain pydicom, one Enhanced MR file of 240 frames':<58}{objects[0]:>9.3f}{1:>13.2f}")
    print(f"{'cinesax: open_cine of the same':<58}{objects[1]:>9.3f}{objects[1] / objects[0]:>13.2f}")
    print(f"{f'cinesax: pick from a whole exam, {EXAM_FILES} files, headers only':<58}{headers:>9.3f}")
    print(f"\npeak memory of this process: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
