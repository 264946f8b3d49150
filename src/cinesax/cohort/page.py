"""index.html of a cohort: overview, distributions, failures by reason, and the list with the doubtful exams first.

One file, which loads nothing from the network; pictures of exams are beside it and are loaded when a row is opened.
The list draws only the visible rows, so 5,000 rows scroll as fast as ten.
"""

import heapq
import json
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, Template, select_autoescape

from cinesax.cohort.picture import PICTURE_NAME
from cinesax.cohort.receipt import Cell
from cinesax.cohort.rows import Row
from cinesax.core.analysis import Reason
from cinesax.core.errors import OutputError
from cinesax.files.stored_files import replacing
from cinesax.results.tables import RESEARCH_USE, TRUST_COLUMNS

PAGE_NAME = "index.html"
MOST_ROWS = 20_000
"""The page lists the most doubtful exams up to this number, and counts the others; the table has all."""

_REPORT = "report.html"
_ABBREVIATIONS = frozenset(("lv", "rv", "ed", "es", "ef", "rr", "uid"))
_NUMBERS = ("ef_percent", "edv_ml", "esv_ml", "sv_ml", "lv_mass_g", "heart_rate_bpm")
_TEXTS = (
    "exam",
    "status",
    "reason",
    "message",
    "doubts",
    "reader",
    "network_version",
    "kind",
    "manufacturer",
    "scanner",
    "trust_reasons",
)
_OTHERS = (
    "doubt",
    "ef_network_percent",
    "ef_reader_percent",
    *(name for name in TRUST_COLUMNS if name not in _TEXTS),
    "outdated",
    "input_missing",
    "exit_code",
    "phases",
    "slices",
)
_SHOWN = (*_TEXTS, *_NUMBERS, *_OTHERS)
_ORDER = {"done": 0, "edited": 0, "approved": 0, "excluded": -1, "failed": -1, "waiting": -2}


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram with bins of equal width; values outside go into the first or last bin."""

    column: str
    title: str
    unit: str
    low: float
    width: float
    bins: int


HISTOGRAMS = (
    Histogram("ef_percent", "Ejection fraction", "%", 0, 5, 20),
    Histogram("edv_ml", "End-diastolic volume", "ml", 0, 20, 20),
    Histogram("esv_ml", "End-systolic volume", "ml", 0, 20, 20),
    Histogram("lv_mass_g", "LV mass", "g", 0, 20, 20),
    Histogram("heart_rate_bpm", "Heart rate", "/min", 30, 6, 20),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram; its height is in per cent of the highest bar."""

    title: str
    count: int
    percent: float


class Page:
    """Collects rows, one at a time, and writes the page."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._doubts: Counter[str] = Counter()
        self._bins = {histogram.column: [0] * histogram.bins for histogram in HISTOGRAMS}
        self._places = [(h.column, self._bins[h.column], h.low, h.width, h.bins - 1) for h in HISTOGRAMS]
        # A heap with the least doubtful row on top, which goes when another row comes in.
        self._kept: list[tuple[tuple[float, float, float], int, list[Cell]]] = []
        self._count = 0

    def take(self, row: Row) -> None:
        """Add a row."""
        cells = row.cells
        status = str(cells["status"])
        self._count += 1
        self._statuses[status] += 1
        if cells.get("reason"):
            self._reasons[str(cells["reason"])] += 1
        if cells.get("doubts"):
            self._doubts.update(str(cells["doubts"]).split())
        for column, counts, low, width, last in self._places:
            value = cells.get(column)
            if isinstance(value, (int, float)):  # noqa: UP038 - called half a million times for 100,000 rows
                place = int((value - low) // width)
                counts[0 if place < 0 else last if place > last else place] += 1
        dice = cells.get("predicted_dice")
        rank = (float(_ORDER.get(status, 0)), float(cells.get("doubt") or 0), -1.0 if dice is None else -float(dice))
        if len(self._kept) < MOST_ROWS:
            heapq.heappush(self._kept, (rank, -self._count, _shown(row)))
        elif (rank, -self._count) > self._kept[0][:2]:
            heapq.heapreplace(self._kept, (rank, -self._count, _shown(row)))

    def write(self, path: Path) -> None:
        """Write the page, complete or not at all.

        Raises:
            OutputError: the page cannot be written.
        """
        try:
            with replacing(path) as temporary:
                temporary.write_text(self._rendered(), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error

    def _rendered(self) -> str:
        listed = [entry[2] for entry in sorted(self._kept, key=lambda entry: entry[:2], reverse=True)]
        data = {"columns": [*_SHOWN, "report", "picture"], "rows": listed}
        data["words"] = {code: _in_words(code) for code in self._doubts}
        data["reasons"] = {reason.value: reason.words for reason in Reason}
        # With "<" escaped, no text can end the script element.
        content = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return _template().render(
            count=self._count,
            listed=len(listed),
            statuses=[
                (name, self._statuses[name]) for name in ("done", "edited", "approved", "excluded", "failed", "waiting")
            ],
            reasons=self._reasons.most_common(),
            doubts=[(code, _in_words(code), number) for code, number in self._doubts.most_common(12)],
            histograms=[(h, self._bars(h), n) for h in HISTOGRAMS if (n := sum(self._bins[h.column]))],
            data=content,
            css=_text("index.css"),
            js=_text("index.js"),
            research_use=RESEARCH_USE,
        )

    def _bars(self, histogram: Histogram) -> list[Bar]:
        counts = self._bins[histogram.column]
        highest = max(*counts, 1)
        edges = [histogram.low + histogram.width * index for index in range(histogram.bins + 1)]
        return [
            Bar(f"{low:g} to {high:g} {histogram.unit}", count, round(100 * count / highest, 1))
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]


def _in_words(code: str) -> str:
    """The code of a finding as it is read: lv-at-stack-end -> LV at stack end."""
    return " ".join(word.upper() if word in _ABBREVIATIONS else word for word in code.split("-"))


def _shown(row: Row) -> list[Cell]:
    cells = list(map(row.cells.get, _SHOWN))
    if row.folder is None or row.cells.get("status") == "failed":
        return [*cells, None, None]
    base = f"exams/{quote(row.key)}"
    return [*cells, _report(row, base), f"{base}/{PICTURE_NAME}" if PICTURE_NAME in row.entries else None]


def _report(row: Row, base: str) -> str | None:
    """The link to the report of the version that counts; None if it has none, as with `--outputs none`."""
    if row.human is None or row.human == row.folder:
        return f"{base}/{_REPORT}" if _REPORT in row.entries else None
    # People work on few exams; receipts name the files of all others.
    if row.folder is None or not (row.human / _REPORT).is_file():
        return None
    if row.human.is_relative_to(row.folder):
        return f"{base}/{quote(row.human.relative_to(row.folder).as_posix())}/{_REPORT}"
    return f"{row.human.resolve().as_uri()}/{_REPORT}"  # a version in the reader's store


def _text(name: str) -> str:
    return resources.files("cinesax.cohort").joinpath("templates", name).read_text(encoding="utf-8")


def _template() -> Template:
    return Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True).from_string(
        _text("index.html.j2")
    )
