"""The tables of a cohort after several runs with lists of exams: what stays, what has which name, and what it means."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from cinesax.cohort.planning.listed import read_list
from cinesax.cohort.receipt import Receipt, Recipe, Status, write_receipt
from cinesax.cohort.run import Cohort, check_results, make_plan, opened_plan
from cinesax.cohort.table import write_tables
from cinesax.results import tables

RECIPE = Recipe(options="", software="cinesax 1")
Lines = list[dict[str, str]]


class Study:
    """A list of exams, and runs over it that find nothing to do."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self._list = folder / "list.csv"

    def run(self, rows: Sequence[Sequence[str]], *, label: str | None = None) -> None:
        """One run over a list of which each exam is measured; the first row has the names of the columns."""
        with self._list.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(rows)
        for path, *_ in rows[1:]:
            (self._list.parent / f"{path}").write_bytes(path.encode())
        check_results(self.results)
        make_plan(Cohort(self.results, listed=read_list(self._list)), lambda count: None)
        with opened_plan(self.results) as plan:
            for planned in plan.exams():
                folder = self.results / "exams" / planned.key
                folder.mkdir(exist_ok=True)
                receipt = Receipt(
                    key=planned.key, status=Status.DONE, inputs=planned.fingerprint, recipe=RECIPE, values={}
                )
                write_receipt(receipt, folder)
            write_tables(self.results, plan, RECIPE, label=label)

    def read(self, name: str) -> Lines:
        with (self.results / name).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def labels(self) -> dict[str, str]:
        """Name of the file -> label, by names.csv."""
        return {Path(row["path"]).name: row["label"] for row in self.read("names.csv")}

    def cells(self, column: str) -> dict[str, str | None]:
        """Name of the file -> its cell in cohort.csv."""
        names = {row["exam"]: Path(row["path"]).name for row in self.read("names.csv")}
        return {names[row["exam"]]: row.get(column) for row in self.read("cohort.csv")}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


HEAD = ("path", "mrn", "site")
ONE, TWO = ("a.dcm", "M-1", "north"), ("b.dcm", "M-2", "south")


def test_exams_that_are_gone_keep_their_names_and_their_cells_of_the_list(study: Study) -> None:
    study.run([HEAD, ONE, TWO], label="mrn")
    for _ in range(2):
        study.run([HEAD, ONE], label="mrn")
        assert study.labels() == {"a.dcm": "M-1", "b.dcm": "M-2"}
        assert study.cells("input_missing") == {"a.dcm": "0", "b.dcm": "1"}
        assert study.cells("site") == {"a.dcm": "north", "b.dcm": "south"}
    if os.name == "posix":
        assert (study.results / "names.csv").stat().st_mode & 0o077 == 0


def test_a_rerun_without_a_label_keeps_labels_and_does_not_bring_their_column_into_the_table(study: Study) -> None:
    study.run([HEAD, ONE, TWO], label="mrn")
    study.run([HEAD, ONE, TWO])
    assert study.labels() == {"a.dcm": "M-1", "b.dcm": "M-2"}
    assert "M-1" not in (study.results / "cohort.csv").read_text()
    assert "mrn" not in study.read("cohort.csv")[0]
    # Nor where names.csv was moved to another place.
    (study.results / "names.csv").unlink()
    study.run([HEAD, ONE, TWO])
    assert "mrn" not in study.read("cohort.csv")[0]
    assert study.labels() == {"a.dcm": "M-1", "b.dcm": "M-2"}


def test_a_list_without_the_column_of_labels_keeps_them(study: Study) -> None:
    study.run([HEAD, ONE, TWO], label="mrn")
    study.run([("path",), ("a.dcm",), ("b.dcm",)])
    assert study.labels() == {"a.dcm": "M-1", "b.dcm": "M-2"}


def test_another_label_is_used_when_it_is_chosen(study: Study) -> None:
    study.run([HEAD, ONE, TWO], label="mrn")
    study.run([HEAD, ONE], label="site")
    assert study.labels() == {"a.dcm": "north", "b.dcm": "M-2"}
    assert study.cells("site") == {"a.dcm": None, "b.dcm": None}


def test_results_of_a_version_that_remembered_no_label_show_which_it_was(study: Study) -> None:
    study.run([HEAD, ONE, TWO], label="mrn")
    (study.results / ".cohort" / "label.txt").unlink()
    study.run([HEAD, ONE])
    assert study.labels() == {"a.dcm": "M-1", "b.dcm": "M-2"}
    assert "mrn" not in study.read("cohort.csv")[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'\xff\xfe\0\0\r\n"',
        b"exam,label\n",
        b'exam,label,path\ncase-1\n"',
        b'exam,label,path\n"' + b"x" * 200_000,
    ],
)
def test_damaged_tables_of_an_earlier_run_are_replaced(study: Study, content: bytes) -> None:
    study.run([HEAD, ONE, TWO], label="mrn")
    for name in ("names.csv", "cohort.csv"):
        (study.results / name).write_bytes(content)
    study.run([HEAD, ONE])
    assert study.labels() == {"a.dcm": "M-1"}
    assert [row["input_missing"] for row in study.read("cohort.csv")] == ["0", "1"]


def test_columns_of_the_list_have_names_of_their_own(study: Study) -> None:
    study.run([("path", "status", "list_status", "site"), ("a.dcm", "1", "2", "3")])
    (row,) = study.read("cohort.csv")
    assert [row[name] for name in ("status", "list_status", "list_list_status", "site")] == ["done", "1", "2", "3"]


def test_every_field_of_redcap_has_a_name_of_its_own(study: Study) -> None:
    long = "x" * 100
    others = ("record_id", "id#1", "id_1", "ID 1", "名前", "年齢", "column_2", long, f"{long}1", "9", "EF percent")
    study.run([("path", *others), ("a.dcm", *map(str, range(len(others))))])
    with (study.results / "redcap_import.csv").open(newline="", encoding="utf-8") as stream:
        names, cells = csv.reader(stream)
    fields = [row["Variable / Field Name"] for row in study.read("redcap_dictionary.csv")]
    assert names == fields
    assert len(set(names)) == len(names) and max(map(len, names)) <= 100
    assert all(name.isascii() and name[0].isalpha() and name[-1] != "_" for name in names)
    assert names[0] == "record_id" and cells[0].startswith("case-")
    assert names[-len(others) :] == [
        "record_id_2", "id_1", "id_1_2", "id_1_3", "column", "column_2", "column_2_2", long, f"{'x' * 98}_2", "c_9",
        "ef_percent_2",
    ]  # fmt: skip
    assert cells[-len(others) :] == [str(number) for number in range(len(others))]


def test_every_column_says_what_it_means_and_what_an_empty_cell_means(study: Study) -> None:
    study.run([HEAD, ONE])
    described = {row["column"]: row for row in study.read("data_dictionary.csv")}
    assert list(described) == list(study.read("cohort.csv")[0])
    for name, row in described.items():
        made_from_name = "_" in name and row["meaning"].lower().endswith(name.replace("_", " "))
        assert row["meaning"] and not made_from_name, row
    for name in tables.CHAMBER_SCALARS:
        assert "LV" in described[name]["meaning"], name
        other = described[f"rv_{name}"]
        assert "RV" in other["meaning"] and "LV" not in other["meaning"], other
        assert other["unit"] == described[name]["unit"]
    assert described["doubt"]["unit"] == described["ef_error_points"]["unit"] == "points"
    unknown = {name for name, row in described.items() if row["empty_means"] == "not known, or not measured"}
    assert {"edv_ml", "age_years", "bsa_m2"} <= unknown
    assert not unknown & {"exam", "status", "reason", "message", "doubts", "reader", "predicted_dice", "files", "site"}
    assert described["exam"]["empty_means"] == "never empty"
    assert "version of cinesax" in described["outdated"]["meaning"]
