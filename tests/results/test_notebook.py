"""What an Analysis looks like at a prompt, in a notebook and as a dictionary."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

import cinesax
import hearts
from cinesax.core.cine import Patient
from cinesax.evaluate.evaluation import evaluate
from cinesax.evaluate.study import LabelledStudy


def analysis() -> cinesax.Analysis:
    return cinesax.analyze(hearts.cine(), segmentation=hearts.labels())


def test_each_value_is_one_line() -> None:
    made = analysis()
    numbers = "EDV 16.0 ml, ESV 4.0 ml, EF 75.0 %, ED phase 0, ES phase 3"
    assert repr(made) == f"Analysis(case-c47f5b18b8 by 'truth': {numbers}, findings: 1)"
    assert repr(made.measurements) == f"Measurements({numbers})"
    assert repr(made.cine) == "Cine(dicom: 10 phases, 6 slices of 48 x 48 int16, 1 x 1 mm)"
    assert repr(made.cine.grid) == "Grid(6 slices of 48 x 48 pixels of 1 x 1 mm, 10 mm apart)"
    assert repr(made.segmentation) == "Segmentation(cavity by 'truth': 10 phases, 6 slices, labels only)"
    nothing = cinesax.analyze(hearts.cine(grid=None), segmentation=hearts.labels([0] * 10))
    assert "EDV unknown" in repr(nothing) and "ED phase unknown" in repr(nothing)
    study = LabelledStudy("p1", {(0, 2): "a"}, hearts.cine(), hearts.labels())
    evaluated = evaluate([study], lambda cine: hearts.labels(), pictures=1)
    assert repr(evaluated) == "Evaluation(1 frames of 1 patients, mean Dice 1.000, findings: 0)"
    assert repr(evaluated.pictures[0]) == "Picture(a, Dice 1.000, 48 x 48 pixels)"


def test_the_dictionary_is_the_file(tmp_path: Path) -> None:
    made = analysis()
    for show_patient in (False, True):
        out = cinesax.write_results(made, tmp_path / "out", show_patient=show_patient)
        assert json.loads((out / "analysis.json").read_text()) == made.to_dict(show_patient=show_patient)
    assert "Doe" not in str(made.to_dict()) and "Doe^Jane" in str(made.to_dict(show_patient=True))


def test_a_notebook_shows_numbers_curve_and_findings() -> None:
    html = analysis()._repr_html_()
    tree = ElementTree.fromstring(html)
    cells = {row[0].text: "".join(row[1].itertext()) for row in tree.iter("tr")}
    assert cells["Ejection fraction"] == "75.0 %" and cells["End-diastolic volume"] == "16 ml"
    assert len([shape for shape in tree.iter("circle") if shape.get("class") == "dot"]) == 10
    assert "16 ml lies outside" in "".join(tree.find("ul").itertext())  # type: ignore[union-attr]


def test_the_piece_for_a_notebook_stands_alone_and_names_nobody() -> None:
    html = analysis()._repr_html_()
    assert not re.search(r"https?:|url\(|src=|href=|<script|\bid=", html)
    assert "Doe" not in html and "4711" not in html
    # Its style holds for nothing else in the notebook.
    style = html.split("<style>")[1].split("</style>")[0]
    assert all(
        part.strip().startswith(".cinesax-analysis")
        for rule in style.split("}")[:-1]
        for part in rule.split("{")[0].split(",")
    )


def test_a_notebook_shows_also_what_has_no_curve_and_odd_texts() -> None:
    cine = hearts.cine(grid=None, patient=Patient())
    labels = hearts.labels([0] * 10)
    html = cinesax.analyze(
        cine, segmentation=cinesax.Segmentation(labels.labels, labels.known_phases, author="<b>&")
    )._repr_html_()
    assert "&lt;b&gt;&amp;" in html and "<svg" not in html
    assert not np.any(labels.labels)
