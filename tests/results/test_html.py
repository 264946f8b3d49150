"""report.html: one file, complete, quiet about the patient, and true to the pixels and contours."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cinesax
import hearts
from cinesax.core.cine import Source
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.measurements import BaseVolumes, WallThickness
from cinesax.core.presence import BaseRule
from cinesax.core.segmentation import polygon_area, trace
from cinesax.core.structures import Structure
from cinesax.results import figures
from cinesax.results.html import render
from cinesax.results.privacy import pseudonymise

BIG = tuple(2 * side for side in hearts.BEAT)
VOID = {"meta", "input", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text, of a page; fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += f" {data.strip()}" if data.strip() else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(**changes: object) -> str:
    exam = hearts.cine(**changes)
    return render(cinesax.analyze(exam, segmentation=hearts.labels(BIG), height_cm=180, weight_kg=80))


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("L"), dtype=float)


def test_it_asks_nothing_of_the_network() -> None:
    html = report()
    page = Page(html)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert re.findall(r"https?://|@import|//[a-z]+\.", html) == []
    assert [value for value in re.findall(r"url\((.{5})", html) if value != "data:"] == []
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_it_says_the_numbers_with_their_units() -> None:
    text = Page(report()).text
    for said in ("75.0 %", "64 ml", "16 ml", "48 ml", "2.9 l/min", "32 ml/m²", "60 /min", "2.00 m²", "ml/s"):
        assert said in text, said
    assert "For research use; not a medical device." in text
    assert "counted from 0" in text


def test_findings_come_first() -> None:
    warned = report(findings=(Finding(Code.TILTED_SLICES, Severity.WARNING, "slices are tilted", slice=3),))
    text = Page(warned).text
    assert "Slices are tilted" in text and "slice 3" in text
    assert text.index("Slices are tilted") < text.index("Ejection fraction")
    assert "nothing to doubt" in Page(report()).text


def test_it_tells_what_was_read_and_why() -> None:
    source = Source(
        "dicom",
        study_uid="1",
        description="SAX",
        slice_thickness_mm=8.0,
        picked_because="6 parallel slices",
        not_picked=(("9 'LAX'", "a long axis"),),
    )
    text = Page(report(source=source)).text
    for said in (
        "DICOM",
        "10, 100 ms apart; all segmented",
        "SAX",
        "6 slices of 48 × 48 pixels",
        "10.0 mm, centre to centre (slice thickness 8 mm)",
        "1.00 mm",
    ):
        assert said in text
    assert "6 parallel slices" in text and "9 'LAX': a long axis" in text and "RR 1000 ms" in text


def test_every_slice_is_shown_at_ed_and_es_from_base_to_apex() -> None:
    for base_first, order in ((True, [0, 1, 2, 3, 4, 5]), (False, [5, 4, 3, 2, 1, 0])):
        alts = [image["alt"] or "" for image in Page(report(base_first=base_first)).all("img")]
        assert [alt.split(",")[0] for alt in alts] == [
            f"Slice {index} at {name}" for index in order for name in ("ED", "ES")
        ]
    assert "16.0 cm²" in alts[2] and "no cavity" in alts[0]


def test_stills_are_the_pixels_of_their_frames() -> None:
    smooth = np.add.outer(np.arange(48), np.arange(48))
    pixels = np.stack([np.stack([np.roll(smooth, 5 * s + p, axis=1) for s in range(6)]) for p in range(10)])
    exam = cinesax.Cine(pixels.astype(np.int16), hearts.cine().grid, base_first=True)
    made = cinesax.analyze(exam, segmentation=hearts.labels(BIG))
    crop = figures.heart_crop(exam, made.segmentation)
    stills = Page(render(made)).all("img")
    for place, (index, phase) in enumerate((s, p) for s in range(6) for p in (0, 3)):
        shown = picture(stills[place]["src"] or "")
        frame = pixels[phase, index, crop.top : crop.bottom, crop.left : crop.right]
        assert shown.shape == frame.shape
        assert np.corrcoef(shown.ravel(), frame.ravel())[0, 1] > 0.99


def test_a_sprite_holds_each_phase_in_its_place() -> None:
    levels = np.arange(7, dtype=np.uint8) * 30
    made = figures.sprite(np.broadcast_to(levels[:, None, None], (7, 16, 16)).copy(), 90)
    sheet = picture(made.uri)
    assert (made.columns, made.rows) == (3, 3) and sheet.shape == (48, 48)
    for phase, level in enumerate(levels):
        row, column = divmod(phase, 3)
        assert sheet[row * 16 + 8, column * 16 + 8] == pytest.approx(level, abs=4)


def test_a_sprite_of_many_large_frames_stays_within_what_webp_can_hold() -> None:
    made = figures.sprite(np.zeros((12, 20, 9000), dtype=np.uint8), 50)
    assert made.columns == 1 and made.rows == 12


def test_contours_lie_where_the_labels_lie() -> None:
    segmentation = hearts.labels(BIG)
    crop = figures.Crop(4, 44, 2, 46)
    polygons = trace(segmentation.labels[3, 2])
    numbers = re.findall(r"-?\d+", figures.svg_path(polygons, crop))
    points = np.cumsum(np.array(numbers, dtype=float).reshape(-1, 2), axis=0) / figures.PATH_UNITS_A_PIXEL
    assert polygon_area(points) == pytest.approx(polygon_area(polygons[0]), rel=0.01)
    rows, columns = np.nonzero(segmentation.labels[3, 2])
    middle = np.array([columns.mean() + 0.5 - crop.left, rows.mean() + 0.5 - crop.top])
    assert (points.min(axis=0) + points.max(axis=0)) / 2 == pytest.approx(middle, abs=0.1)


def test_the_crop_holds_the_heart_and_stays_inside_of_the_frame() -> None:
    exam, segmentation = hearts.cine(side=96), hearts.labels(side=96)
    crop = figures.heart_crop(exam, segmentation)
    assert crop.height == crop.width == 20 + 2 * figures.MARGIN_MM
    empty = hearts.labels(side=96, inside=range(0))
    assert figures.heart_crop(exam, empty) == figures.Crop(0, 96, 0, 96)
    assert figures.heart_crop(hearts.cine(), hearts.labels(BIG)) == figures.Crop(0, 48, 0, 48)


def test_texts_from_files_cannot_become_markup() -> None:
    evil = Source("dicom", study_uid="1", description="<script>alert(1)</script><img src=http://x/>", scanner="a & b")
    html = report(source=evil)
    assert "<script>alert" not in html and "<img src=http" not in html
    assert "<script>alert(1)</script>" in Page(html).text and "a & b" in Page(html).text


def test_the_patient_is_named_only_when_asked_for() -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels(BIG))
    hidden, shown = render(pseudonymise(made)), render(made)
    for secret in ("Doe", "Jane", "4711", "19610203"):
        assert secret not in Page(hidden).text and secret in Page(shown).text


@pytest.mark.parametrize(
    "changes", [{"grid": None}, {"trigger_times_ms": None, "rr_intervals_ms": None}, {"base_first": None}]
)
def test_it_is_made_from_exams_that_say_less(changes: dict[str, object]) -> None:
    text = Page(report(**changes)).text
    assert "None" not in text and "nan" not in text


def test_it_is_made_without_any_ventricle() -> None:
    text = Page(render(cinesax.analyze(hearts.cine(), segmentation=hearts.labels(inside=range(0))))).text
    assert "no left ventricle was found" in text.lower() and "not known: no cavity found" in text


def test_a_large_exam_keeps_the_report_below_six_megabytes() -> None:
    exam = hearts.cine(phases=40, slices=16, side=256)  # noise: the worst there is for compression
    segmentation = hearts.labels([150] * 40, slices=16, inside=range(2, 14), side=256)
    assert len(render(cinesax.analyze(exam, segmentation=segmentation))) < 6_000_000


def test_letters_name_the_directions_of_the_edges() -> None:
    assert figures.edge_letters(hearts.cine().grid) == ("R", "A")
    tilted = np.array([0.6, 0.0, -0.8])
    grid = cinesax.Grid(np.zeros((1, 3)), tilted, np.array([0.0, 1.0, 0.0]), (1.0, 1.0), (1, 4, 4))
    assert figures.edge_letters(grid) == ("HR", "A")


def test_the_curve_has_gaps_where_volumes_are_not_known() -> None:
    drawn = figures.curve(np.array([100.0, np.nan, 50.0, 60.0]), np.array([0.0, 100, 200, 300]))
    assert drawn is not None
    assert drawn.dots[1] is None and drawn.line.count("M") == 2 and drawn.line.count("L") == 1
    assert [label for _, label in drawn.y_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert figures.curve(np.array([np.nan]), None) is None


def test_the_right_ventricle_is_drawn_and_its_numbers_and_curve_stand_beside_those_of_the_left() -> None:
    labels = hearts.labels(BIG).labels.copy()
    labels[:, 2:4, 0:4, 0:6] = Structure.RV_CAVITY
    known = {one: np.ones(len(labels), dtype=bool) for one in (Structure.CAVITY, Structure.RV_CAVITY)}
    html = render(cinesax.analyze(hearts.cine(), segmentation=cinesax.Segmentation(labels, known)))
    page = Page(html)
    paths = [a["d"] for a in page.all("path") if a.get("class") == "rv_cavity"]
    assert [bool(path) for path in paths[-6:]] == [False, False, True, True, False, False]
    assert "path.rv_cavity { stroke: rgb(220 240 120); }" in html
    assert "<h3>Right ventricle</h3>" in html and "RV endocardium" in html
    assert len([a for a in page.all("path") if a.get("class") == "line beside"]) == 1
    assert "rv_cavity" not in report() and "Right ventricle" not in report()


def test_without_scripts_the_cine_stands_at_ed_with_its_contours() -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels(BIG), ed_phase=5)
    html = render(made)
    cine = html[html.index('<section class="montage"') :]
    # 10 phases in 4 columns and 3 rows: phase 5 is the second of the second row
    assert cine.count("background-position: 33.3333% 50.0%") == 6
    paths = [a["d"] for a in Page(html).all("path") if a.get("class") == "cavity"]
    assert [bool(path) for path in paths[-6:]] == [False, *[True] * 4, False]


def test_a_browser_plays_it(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium to open the report in")
    page = tmp_path / "report.html"
    probe = "<script>document.getElementById('play').click();</script></body>"
    page.write_text(report().replace("</body>", probe), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
    command = [browser, *options, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=1050", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    readout = re.search(r'<output id="readout"[^>]*>([^<]*)<', done.stdout)
    assert readout is not None and ">Pause<" in done.stdout
    # half speed: 200 ms a phase, five of them in the time given, less what starting took, or one more at its end
    assert readout[1].startswith(("phase 3 (ES)", "phase 4", "phase 5", "phase 6")), readout[1]
    shown = int(readout[1].split()[1])
    files = re.findall(r'class="file">file (\d+)<', done.stdout)
    assert [int(one) for one in files[:2]] == [shown + 1, shown + 11], "the number of the file moves along"


def test_the_rules_of_the_base_are_shown_where_they_matter() -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    rules = [
        BaseVolumes(rule, 0, 4, 100.0, 100.0 - ef, ef) for rule, ef in zip(BaseRule, (50.0, 46.0, 51.0), strict=True)
    ]

    def shown(volumes: list[BaseVolumes]) -> str:
        measured = replace(made.measurements, base_rule=BaseRule.HALF, by_base_rule=tuple(volumes))
        return render(replace(made, measurements=measured))

    page = shown(rules)
    assert "EF depends on the rule for the base" in page and "EF 46.0 %, EDV 100 ml, ESV 54 ml" in page
    assert "wall around at least half of the blood (used)" in page
    assert "rule for the base" not in shown([replace(one, ef_percent=50.0) for one in rules])


def test_the_bull_s_eye_shows_sixteen_segments_and_says_that_they_were_not_validated() -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    assert "bullseye" not in render(made).split("</style>")[1]
    wall = WallThickness(np.array([*range(5, 20), np.nan]), (1, 2, 3))
    page = render(replace(made, measurements=replace(made.measurements, wall_thickness=wall)))
    figure = page.split('<svg class="bullseye"')[1].split("</svg>")[0]
    assert figure.count("<path") == 16 and ">19</text>" in figure and "Not validated" in page


def test_frames_are_named_by_the_numbers_of_their_files() -> None:
    """Files count against the order of slices here, as of real exams: slice 0, the apex, has the last numbers."""
    numbers = tuple(tuple(1 + (5 - place) * 10 + phase for place in range(6)) for phase in range(10))
    cine = hearts.cine(source=Source("dicom", study_uid="1.2.3", instance_numbers=numbers), base_first=False)
    doubts = (
        Finding(Code.UNSURE_SLICE, Severity.WARNING, "unsure", slice=1),
        Finding(Code.UNSURE_SLICE, Severity.WARNING, "unsure", slice=1, phase=3),
        Finding(Code.UNSURE_SLICE, Severity.WARNING, "unsure", phase=3),
    )
    made = cinesax.analyze(cine, segmentation=hearts.labels())
    page = render(replace(made, findings=doubts))
    places = re.findall(r'<span class="place">(.*?)</span>', page)
    assert places == ["files 41–50 (slice 1)", "file 0044 (slice 1, phase 3)", "phase 3"]
    captions = re.findall(r'<figcaption><b>(.*?)</b><span class="index">(.*?)</span>', page)
    assert captions[:2] == [("files 1–10", "slice 5, base"), ("files 11–20", "slice 4")]
    movie = json.loads(re.search(r'id="movie">(.*?)</script>', page)[1])
    assert movie["files"][0] == [f"{number:04d}" for number in range(1, 11)]
    for place in range(6):
        for phase in (0, 3):
            assert f'title="IM-0001-{numbers[phase][place]:04d} in contours/, slice {place}"' in page


def test_the_two_ends_of_a_caption_never_touch():
    (rule,) = re.findall(r"^figcaption \{([^}]*)\}", report(), flags=re.MULTILINE)
    assert "column-gap: 8px" in rule and "flex-wrap: wrap" in rule
