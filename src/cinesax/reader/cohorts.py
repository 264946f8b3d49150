"""Where the exams of a cohort are, for its results, which are pseudonymous: the plan beside them says it.

The plan is opened read-only, without the code of the cohort, as the cohort opens the stores of the reader.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

_PLAN = Path(".cohort", "plan.sqlite")
_STUDIES = "SELECT DISTINCT study FROM files WHERE exam = ? AND study != '' LIMIT 2"


def exam_of(results: Path) -> tuple[str, str | None] | None:
    """The exam of a folder RESULTS/exams/CASE of `cinesax cohort`.

    Returns:
        The path that holds the exam, and its study, as the path may hold others too; None if the folder is not part of
        a cohort, or its plan does not know the exam.
    """
    plan = results.parent.parent / _PLAN
    if results.parent.name != "exams" or not plan.is_file():
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{plan.as_uri()}?mode=ro", uri=True)) as base:
        row = base.execute("SELECT root FROM exams WHERE id = ?", (results.name,)).fetchone()
        if row is not None:
            studies = [study for (study,) in base.execute(_STUDIES, (results.name,))]
            return os.fsdecode(row[0]), studies[0] if len(studies) == 1 else None
    return None
