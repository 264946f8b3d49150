"""Whether a change of the code leaves the values as they were: of the phantom of `make demo` and three real exams.

    python benchmarks/same_values.py --save FILE        # before the change
    python benchmarks/same_values.py --against FILE     # after it: exit code 1 where a value is another

The code is that of the checkout in which this file lies. Each exam is analysed with the network, and the real ones by
their expert contours too, with SEG, SR and RTSTRUCT. Kept are the numbers, as JSON or as hashes: analysis.json and
measurements.csv without version and seconds, labels and affine of the NIfTI file, every point of the contours, and
every element of the DICOM objects but for what was made up at that moment (UIDs, dates and times that the exam does not
have).

New keys of analysis.json are allowed, and new columns. `--ignore-keys findings.message TextValue` leaves values out
that are meant to change: dotted names, without the numbers of list items; the last part alone is enough.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("CINESAX_DATA", ROOT.parent / "shared" / "data" / "sunnybrook"))
CASES = ("SC-HF-I-01", "SC-HF-I-02", "SC-HF-I-04")
MOMENTS = {"DA", "TM", "DT"}
LONGEST_TEXT, LONGEST_SEQUENCE = 200, 40
_VERSION = re.compile(r"\bcinesax[ /]v?\d[\w.+-]*")

Source = set[tuple[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--save", type=Path, metavar="FILE", help="keep the values")
    what.add_argument("--against", type=Path, metavar="FILE", help="compare with values that were kept")
    parser.add_argument("--ignore-keys", nargs="+", default=[], metavar="KEY", help="values that may change")
    args = parser.parse_args()
    # The exams hold identifiers that the standard forbids, and so do the objects that refer to them.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    values = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, exam, options in runs(Path(folder)):
            values[name] = values_of(exam, options, Path(folder) / name)
            print(f"{name}: EF {values[name]['analysis.json']['measurements']['ef_percent']} %", file=sys.stderr)
    if args.save:
        args.save.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        return 0
    # Through JSON, as the earlier ones went.
    changes = list(differences(json.loads(args.against.read_text()), json.loads(json.dumps(values)), ""))
    kept = [change for change in changes if not ignored(change[0], args.ignore_keys)]
    for path, seen in kept[:100]:
        print(f"{path}: {seen}")
    print(f"{len(kept)} values differ ({len(changes) - len(kept)} more by --ignore-keys)")
    return 1 if kept else 0


def runs(folder: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """(name, exam, options of `cinesax analyze`)."""
    cinesax("phantom", folder / "phantom", "--seed", 7, "--decoys")
    yield "demo", folder / "phantom", []
    for case in CASES:
        exam = DATA / "dicom" / case
        if not exam.is_dir():
            raise SystemExit(
                "the Sunnybrook data are absent: put them in ../shared/data/sunnybrook or set CINESAX_DATA"
            )
        yield f"{case}-network", exam, []
        yield f"{case}-contours", exam, ["--segmentation", str(DATA / "contours" / case)]


def cinesax(*arguments: object) -> None:
    command = [sys.executable, "-m", "cinesax", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")


def values_of(exam: Path, options: list[str], out: Path) -> dict[str, Any]:
    """File of the result -> its values."""
    cinesax("analyze", exam, "-o", out, "--dicom", "--rtstruct", *options)
    source = of_source(exam)
    values: dict[str, Any] = {
        "analysis.json": analysis(out / "analysis.json"),
        "measurements.csv": table(out / "measurements.csv"),
        "segmentation.nii.gz": labels(out / "segmentation.nii.gz"),
        "contours": {path.name: points(path) for path in sorted((out / "contours").glob("*.txt"))},
    }
    for path in sorted(out.glob("*.dcm")):
        values[path.name] = dataset(pydicom.dcmread(path), source)
    return values


def analysis(path: Path) -> dict[str, Any]:
    values = dict(json.loads(path.read_text(encoding="utf-8")))
    for name in ("version", "seconds"):
        values["software"].pop(name)
    return values


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [{name: value for name, value in row.items() if name != "software"} for row in rows]


def labels(path: Path) -> dict[str, Any]:
    image = nibabel.load(path)
    array = np.asarray(image.dataobj)
    return {
        "shape": list(array.shape),
        "affine": image.affine.tolist(),
        "zooms": [float(zoom) for zoom in image.header.get_zooms()],
        "labels": hashed(np.ascontiguousarray(array.astype(np.int64)).tobytes()),
        "of each": {int(value): int((array == value).sum()) for value in np.unique(array)},
    }


def points(path: Path) -> str:
    return hashed(np.loadtxt(path).tobytes())[:16]


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_source(exam: Path) -> Source:
    """UIDs, dates and times in the files of an exam: (VR, value)."""
    source: Source = set()
    for path in exam.rglob("*"):
        if path.is_file():
            try:
                read = pydicom.dcmread(path, stop_before_pixels=True)
            except pydicom.errors.InvalidDicomError:
                continue
            source |= {
                (element.VR, str(element.value))
                for element in read.iterall()
                if element.VR == "UI" or element.VR in MOMENTS
            }
    return source


def dataset(read: Dataset, source: Source) -> dict[str, Any]:
    values = {}
    for element in read:
        name = element.keyword or str(element.tag)
        if name == "SoftwareVersions":
            continue
        if element.VR == "SQ":
            items = [dataset(item, source) for item in element.value]
            values[name] = items if len(items) <= LONGEST_SEQUENCE else shortened(json.dumps(items))
        elif element.VR == "UI" or element.VR in MOMENTS:
            values[name] = moment(element.VR, element.value, source)
        elif isinstance(element.value, bytes):
            values[name] = hashed(element.value)
        else:
            values[name] = shortened(_VERSION.sub("cinesax", str(element.value)))
    return values


def moment(vr: str, value: Any, source: Source) -> str:
    """A UID, date or time, where the exam or the standard has it; else that it was made up."""
    text = str(value)
    if (vr, text) in source or (vr == "UI" and text.startswith("1.2.840.10008.")):
        return text
    return "made" if text else ""


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{len(text)} characters, {hashed(text.encode())}"


def differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, what differs): keys of analysis.json and columns may be added, elsewhere nothing."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name in after:
                yield from differences(before[name], after[name], f"{path}/{name}")
            else:
                yield f"{path}/{name}", "gone"
        if not any(file in path for file in ("/analysis.json", "/measurements.csv")):
            yield from ((f"{path}/{name}", "new") for name in after if name not in before)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{path}/[{index}]")
    elif before != after:
        yield path, f"{str(before)[:80]} became {str(after)[:80]}"


def ignored(path: str, keys: Iterable[str]) -> bool:
    dotted = ".".join(part for part in path.split("/") if part and not part.startswith("["))
    return any(f".{key}." in f".{dotted}." for key in keys)


if __name__ == "__main__":
    sys.exit(main())
