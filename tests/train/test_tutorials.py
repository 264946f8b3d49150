"""The lessons of tutorials/, here on a few small phantoms, one after the other in this process, and one on patients."""

import runpy
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[2] / "tutorials"
LESSONS = sorted(TUTORIALS.glob("0*.py"))
FIGURES = {"01": 4, "02": 4, "03": 3, "04": 3, "05": 2, "06": 2, "07": 7}
"""Of each lesson."""


def environment(work: Path) -> dict[str, str]:
    return {
        "CINESAX_TUTORIAL_SMALL": "1",
        "CINESAX_TUTORIAL_WORK": str(work),
        "CINESAX_TUTORIAL_DATA": "",
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the lessons make, one for the next: the set and two trained networks."""
    return tmp_path_factory.mktemp("tutorials")


def test_there_are_seven_lessons() -> None:
    assert [lesson.name[:2] for lesson in LESSONS] == list(FIGURES)


def run(lesson: Path, variables: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script that is started in a folder."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(TUTORIALS))  # where Python looks first when it runs the script
    runpy.run_path(str(lesson), run_name="__main__")


@pytest.mark.train
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_runs_and_draws_its_figures(lesson: Path, work: Path, monkeypatch, capsys) -> None:
    run(lesson, environment(work), work, monkeypatch)
    figures = list((work / "phantom-small" / "figures").glob(f"{lesson.name[:2]}-*.png"))
    assert len(figures) == FIGURES[lesson.name[:2]]
    assert all(figure.stat().st_size > 1000 for figure in figures)
    assert "nan" not in capsys.readouterr().out.lower().split()


@pytest.mark.train
@pytest.mark.data
def test_a_lesson_takes_patients_by_a_path(sunnybrook: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """Links to two patients' pictures, so that the lesson does not read all of them."""
    for split, patients in (("train", ("SC-HF-I-01", "SC-HF-I-02", "SC-N-02")), ("validation", ("SC-HF-I-07",))):
        for kind in ("images", "labels"):
            (tmp_path / "pairs" / split / kind).mkdir(parents=True)
            for path in (sunnybrook / split / kind).iterdir():
                if path.name.startswith(patients):
                    (tmp_path / "pairs" / split / kind / path.name).symlink_to(path)
    given = {**environment(tmp_path), "CINESAX_TUTORIAL_DATA": str(tmp_path / "pairs")}
    run(LESSONS[0], given, tmp_path, monkeypatch)
    assert "2 patients to learn from, 1 held out" in capsys.readouterr().out


def test_a_lesson_is_a_notebook() -> None:
    """Each lesson is a valid notebook. `make tutorials` runs them cell by cell; the tests above run them whole."""
    jupytext = pytest.importorskip("jupytext", reason="needs the group tutorials: pip install --group tutorials")
    nbformat = pytest.importorskip("nbformat")
    for lesson in LESSONS:
        notebook = jupytext.read(lesson)
        nbformat.validate(notebook)
        assert notebook.cells[0].source.startswith(f"# {int(lesson.name[:2])}. ")
        assert any("parameters" in cell.metadata.get("tags", ()) for cell in notebook.cells)
