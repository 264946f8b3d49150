"""analysis.json and measurements.csv: what they say, and what they keep to themselves."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import cinesax
import hearts
from cinesax.core.cine import Patient, Source
from cinesax.core.errors import InputError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.results import tables
from cinesax.results.privacy import pseudonymise


def analysis(**changes: object) -> cinesax.Analysis:
    return cinesax.analyze(hearts.cine(**changes), segmentation=hearts.labels(), height_cm=180, weight_kg=80)


def valid(document: dict[str, object]) -> bool:
    jsonschema.Draft202012Validator(tables.json_schema()).validate(document)
    return True


def test_the_schema_is_a_schema_and_closed() -> None:
    schema = tables.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    more = {"base_rule", "by_base_rule", "lv_mass_es_g", "wall_thickness_mm", "chambers"}
    assert set(schema["properties"]["measurements"]["properties"]) == {*tables.SCALARS, *tables.ARRAYS, *more}
    with pytest.raises(jsonschema.ValidationError):
        valid({**tables.document(analysis()), "more": 1})


@pytest.mark.parametrize(
    "changes", [{}, {"grid": None}, {"trigger_times_ms": None, "rr_intervals_ms": None}, {"base_first": None}]
)
@pytest.mark.parametrize("named", [False, True])
def test_every_document_follows_the_schema(changes: dict[str, object], named: bool) -> None:
    made = analysis(**changes)
    assert valid(json.loads(tables.to_json(made if named else pseudonymise(made))))


def test_an_analysis_without_a_ventricle_follows_the_schema_too() -> None:
    empty = cinesax.analyze(hearts.cine(), segmentation=hearts.labels(inside=range(0)))
    document = json.loads(tables.to_json(empty))
    assert valid(document)
    assert document["measurements"]["edv_ml"] is None and document["measurements"]["volumes_ml"] == [0.0] * 10


def test_numbers_are_those_measured_and_what_is_not_known_is_null() -> None:
    made = analysis(rr_intervals_ms=None)
    numbers = json.loads(tables.to_json(made))["measurements"]
    assert numbers["ef_percent"] == pytest.approx(75.0) and numbers["edv_ml"] == pytest.approx(16.0)
    assert numbers["cardiac_output_l_per_min"] is None and numbers["lv_mass_g"] is None
    assert numbers["volumes_ml"] == pytest.approx(made.measurements.volumes_ml)
    assert np.shape(numbers["cavity_areas_mm2"]) == (10, 6)


def test_findings_carry_their_numbers() -> None:
    findings = tables.document(analysis())["findings"]
    assert [(one["code"], one["numbers"]) for one in findings] == [
        ("implausible-value", {"edv_ml": 16.0, "low": 30.0, "high": 600.0})
    ]
    assert findings[0]["message"] == "the end-diastolic volume of 16 ml lies outside 30 to 600 ml"


def test_phases_that_were_not_segmented_are_null_in_lists() -> None:
    known = {cinesax.Structure.CAVITY: np.isin(np.arange(10), (0, 3))}
    given = cinesax.Segmentation(hearts.labels().labels, known)
    text = tables.to_json(cinesax.analyze(hearts.cine(), segmentation=given))
    assert json.loads(text)["measurements"]["volumes_ml"] == [16.0, None, None, 4.0, *[None] * 6]
    assert "NaN" not in text


def test_json_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "analysis.json"
    path.write_text(tables.to_json(analysis()), encoding="utf-8")
    assert tables.read_json(path) == tables.document(analysis()) | {"software": tables.read_json(path)["software"]}


def test_texts_that_look_like_lists_of_numbers_stay_as_they_are_and_cost_no_time() -> None:
    described = "[ 1.5  2 ] and [ " + "1" * 60 + " x"
    made = analysis(source=Source("dicom", study_uid="1.2.3", description=described))
    document = json.loads(tables.to_json(made))
    assert document["series"]["description"] == described


def test_rows_of_numbers_are_on_one_line() -> None:
    assert '"volumes_ml": [16.0, 12.96, 7.84, 4.0, 4.0, 5.76, 9.0, 12.96, 14.44, 16.0]' in tables.to_json(analysis())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "cinesax/analysis/9"}', "\x00"])
def test_other_files_are_no_analysis(tmp_path: Path, text: str) -> None:
    path = tmp_path / "analysis.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"analysis\.json"):
        tables.read_json(path)


def test_the_columns_of_the_table_are_stable() -> None:
    assert tables.to_csv([]).strip() == (
        "case,ed_phase,es_phase,edv_ml,esv_ml,sv_ml,ef_percent,ef_basis,heart_rate_bpm,cardiac_output_l_per_min,"
        "peak_ejection_rate_ml_per_s,peak_filling_rate_ml_per_s,lv_mass_g,height_cm,weight_kg,bsa_m2,"
        "edv_index_ml_per_m2,esv_index_ml_per_m2,sv_index_ml_per_m2,cardiac_index_l_per_min_per_m2,"
        "lv_mass_index_g_per_m2,area_method,errors,warnings,notes,segmentation_source,model,software,research_use,"
        "rv_ed_phase,rv_es_phase,rv_edv_ml,rv_esv_ml,rv_sv_ml,rv_ef_percent,rv_ef_basis,rv_cardiac_output_l_per_min,"
        "rv_peak_ejection_rate_ml_per_s,rv_peak_filling_rate_ml_per_s,rv_edv_index_ml_per_m2,rv_esv_index_ml_per_m2,"
        "rv_sv_index_ml_per_m2,rv_cardiac_index_l_per_min_per_m2,"
        "predicted_dice,ef_error_points,ef_low_percent,ef_high_percent,trust_reasons"
    )


def test_csv_holds_what_json_says() -> None:
    first, second = csv.DictReader(io.StringIO(tables.to_csv([analysis(), analysis(rr_intervals_ms=None)])))
    numbers = tables.document(analysis())["measurements"]
    assert tuple(first) == tables.CSV_COLUMNS
    assert {name: first[name] for name in tables.SCALARS} == {
        name: "" if numbers[name] is None else str(numbers[name]) for name in tables.SCALARS
    }
    assert second["cardiac_output_l_per_min"] == first["model"] == ""
    assert first["warnings"] == "1"  # 16 ml at ED


class TestTheRightVentricle:
    def made(self) -> cinesax.Analysis:
        labels = hearts.labels().labels.copy()
        for phase, side in enumerate((20, 18, 16, 12, 10, 12, 14, 16, 18, 19)):
            labels[phase, 1:4, 2:6, 2 : 2 + side] = cinesax.Structure.RV_CAVITY
        known = {one: np.ones(10, dtype=bool) for one in (cinesax.Structure.CAVITY, cinesax.Structure.RV_CAVITY)}
        return cinesax.analyze(hearts.cine(), segmentation=cinesax.Segmentation(labels, known))

    def test_json_has_its_numbers_beside_those_of_the_left_which_stay_as_they_are(self) -> None:
        document = json.loads(tables.to_json(self.made()))
        assert valid(document)
        right = document["measurements"].pop("chambers").pop("rv")
        assert right["edv_ml"] == pytest.approx(2.4) and right["ef_percent"] == pytest.approx(50.0)
        assert (right["ed_phase"], right["es_phase"], len(right["volumes_ml"])) == (0, 4, 10)
        alone = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
        assert document["measurements"] | {"chambers": {}} == json.loads(tables.to_json(alone))["measurements"]
        assert document["segmentation"]["known_phases"]["rv_cavity"] == list(range(10))

    def test_csv_has_them_in_columns_of_their_own(self) -> None:
        both, alone = csv.DictReader(io.StringIO(tables.to_csv([self.made(), analysis()])))
        assert (both["rv_edv_ml"], both["edv_ml"], alone["rv_edv_ml"]) == ("2.4", "16.0", "")


def leaky() -> cinesax.Analysis:
    """An exam that says who the patient is wherever a scanner's user can type."""
    source = Source(
        "dicom",
        study_uid="1.2.840.99.1.2.3.4711",
        series_uids=("1.2.840.99.1.2.3.4712",),
        description="SAX cine Doe, Jane PID-4711",
        protocol="doe^JANE heart",
        study_date="20120304",
        picked_because="series 3 of study 1.2.840.99.1.2.3.4711",
        not_picked=(("7 'JANE'", "one phase"),),
    )
    findings = (
        Finding(Code.UNREADABLE_FILE, Severity.WARNING, "1 file(s) were left out", files=("x/secret.dcm",)),
        Finding(Code.INVALID_DATE, Severity.NOTE, "born 1961-02-03 or 19610203, says pid-4711"),
    )
    return cinesax.analyze(hearts.cine(source=source, findings=findings), segmentation=hearts.labels())


SECRETS = ("doe", "jane", "4711", "4712", "19610203", "1961-02-03", "20120304", "secret", "1.2.840")


def test_nothing_names_the_patient_unless_asked_for() -> None:
    made = pseudonymise(leaky())
    text = (tables.to_json(made) + tables.to_csv([leaky()])).lower()
    assert [secret for secret in SECRETS if secret in text] == []
    assert "sax cine" in text and "heart" in text


def test_the_patient_is_named_when_asked_for() -> None:
    document = tables.document(leaky())
    assert document["findings"][0]["files"] == ["x/secret.dcm"]
    assert document["patient"]["name"] == "Doe^Jane" and document["patient"]["patient_id"] == "PID-4711"
    assert document["series"]["study_uid"] == "1.2.840.99.1.2.3.4711" and document["series"]["study_date"] == "20120304"


def test_a_file_name_is_no_description() -> None:
    made = replace(analysis(), cine=hearts.cine(source=Source("nifti", description="jane_doe.nii.gz")))
    assert tables.document(pseudonymise(made))["series"]["description"] is None


def test_what_the_vendor_says_stays_even_where_the_patient_has_the_same_name() -> None:
    patient = Patient(name="Phantom^Siemens", patient_id="case")
    source = Source("dicom", study_uid="1", manufacturer="Siemens", scanner="Phantom 3", description="case of Phantom")
    document = tables.document(pseudonymise(analysis(source=source, patient=patient)))
    assert (document["series"]["manufacturer"], document["series"]["scanner"]) == ("Siemens", "Phantom 3")
    assert document["series"]["description"] == "[removed] of [removed]" and document["case"].startswith("case-")


def test_the_oldest_are_not_told_apart() -> None:
    old = analysis(patient=Patient(age_years=97.0))
    assert tables.document(pseudonymise(old))["patient"] == {"sex": None, "age_years": 90.0}
    assert tables.document(old)["patient"]["age_years"] == 97.0


def test_the_case_is_the_same_for_the_same_study_only() -> None:
    other = analysis(source=Source("dicom", study_uid="1.2.4"))
    assert analysis().case == analysis().case != other.case
