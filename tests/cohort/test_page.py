"""The page of a cohort: its links, and what people see in a real browser."""

import json
import re
from pathlib import Path
from typing import Any

import crowd


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
