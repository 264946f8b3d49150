"""The page of a cohort: its links, and what people see in a real browser."""

import json
import re
from pathlib import Path
from typing import Any

import crowd
from cinesax.cohort.page import Page
from cinesax.cohort.rows import Row
from reader.browsing import browser


def content(page: Path) -> list[dict[str, Any]]:
    """The rows of the page, by column."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text)
    assert found is not None
    data = json.loads(found[1])
    return [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]


def test_only_files_that_exist_are_linked(tmp_path: Path) -> None:
    root, results = tmp_path / "root", tmp_path / "results"
    crowd.fill_simply(root, good=1)
    links = []
    for outputs in ((), ("report",), ("picture",)):
        crowd.go(root, results, outputs=outputs)
        rows = {row["status"]: (row["report"], row["picture"]) for row in content(results / "index.html")}
        assert rows["failed"] == (None, None)
        links.append(rows["done"])
        assert all((results / link).is_file() for link in rows["done"] if link)
    assert [[link is not None for link in pair] for pair in links] == [[False, False], [True, False], [False, True]]


def done(key: str, **cells: str | float) -> Row:
    values: dict[str, str | float] = {"exam": key, "status": "done", "doubt": 2.0, "ef_percent": 60.0, **cells}
    return Row(key, dict(values), entries=("analysis.json",))


def written(folder: Path, rows: list[Row]) -> Path:
    page = Page()
    for row in rows:
        page.take(row)
    page.write(folder / "index.html")
    return folder / "index.html"


def test_of_exams_with_the_same_doubt_the_one_with_the_lower_predicted_dice_comes_first(tmp_path: Path) -> None:
    others = [done("c", doubt=9.0, predicted_dice=0.99), done("d"), done("e", doubt=1.0, predicted_dice=0.2)]
    rows = [done("a", predicted_dice=0.95), done("b", predicted_dice=0.7), *others]
    page = content(written(tmp_path, rows))
    assert [row["exam"] for row in page] == ["c", "b", "a", "d", "e"]


def test_an_opened_row_says_what_is_predicted_and_why_in_words(tmp_path: Path) -> None:
    trust = {"predicted_dice": 0.8412, "ef_error_points": 6.66, "ef_low_percent": 17.04, "ef_high_percent": 33.5}
    words = {"trust_reasons": "soft-border mass-differs", "doubts": "lv-at-stack-end"}
    odd = done("case-odd", doubt=6.66, ef_percent=25.0, ef_network_percent=25.0, **trust, **words)
    failed = Row("case-bad", {"exam": "case-bad", "status": "failed", "reason": "geometry", "doubt": 0.0})
    rows = [odd, failed, *(done(f"case-{number:04}", ef_percent=55.0 + number % 11) for number in range(5000))]
    path = written(tmp_path, rows)
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        shown = page.inner_text("main")
        for text in ("Most frequent doubts", "Predicted Dice", "Network EF %", "5,002 of 5,002"):
            assert text in shown
        doubt = page.locator("#head button", has_text="Doubt")
        assert "points" in (doubt.first.get_attribute("title") or "")
        lines = page.locator("#seen .row")
        assert lines.count() < 60  # of 5,002
        assert lines.first.inner_text().split("\n")[:5] == ["case-odd", "done", "6.7", "0.84", "25.0"]
        assert lines.first.get_by_role("link").count() == 0
        page.fill("#find", "geometry")
        assert lines.first.inner_text().split("\n") == ["case-bad", "failed", "geometry:"]
        page.fill("#find", "soft-border")
        assert lines.count() == 1
        lines.first.click()
        told = page.inner_text("#detail")
    assert not errors
    for text in (
        "Predicted Dice\n0.84",
        "Typical error of EF\n6.7 points",
        "EF of the network\n25.0 %, interval 17.0 to 33.5 %",
        "the border of the cavity is not sharp; the volume of muscle differs between ED and ES",
        "Outlier\nEF, ",
        "robust standard deviations below the median",
        "LV at stack end",
        "To correct it\ncinesax view RESULTS",
    ):
        assert text in told, told
    assert "ef_percent" not in told
