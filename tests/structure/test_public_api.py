"""The public names, and that importing them stays light: each in a fresh process."""

import subprocess
import sys
from pathlib import Path

import pytest

import cinesax

PUBLIC = [
    "Analysis",
    "Cine",
    "CinesaxError",
    "Code",
    "DicomOptions",
    "Drawn",
    "Evaluation",
    "Finding",
    "Grid",
    "Measurements",
    "Origin",
    "Outline",
    "Overrides",
    "Patient",
    "Provenance",
    "Segmentation",
    "Selection",
    "Severity",
    "Source",
    "Structure",
    "__version__",
    "analyze",
    "load_segmenter",
    "open_cine",
    "pseudonymise",
    "read_results",
    "remeasure",
    "write_results",
]

TESTS = str(Path(__file__).resolve().parents[1])
HEAVY = (
    "tensorflow",
    "keras",
    "onnxruntime",
    "matplotlib",
    "pydicom",
    "highdicom",
    "nibabel",
    "PIL",
    "jinja2",
    "rich",
    "scipy",
    "numpy",
    "contourpy",
)


def fresh(code: str) -> str:
    """What a new Python process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names_are_these() -> None:
    assert cinesax.__all__ == PUBLIC
    assert all(getattr(cinesax, name) is not None for name in PUBLIC)
    assert set(PUBLIC) <= set(dir(cinesax))


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        cinesax.analyse  # noqa: B018


def test_importing_is_light() -> None:
    loaded = fresh("import cinesax, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))").split()
    assert [name for name in HEAVY if name in loaded] == []


def test_help_is_light() -> None:
    for arguments in (["--help"], ["analyze", "--help"]):
        code = (
            "import sys, io, contextlib\nfrom cinesax.cli.main import main\n"
            "with contextlib.redirect_stdout(io.StringIO()):\n"
            f"    with contextlib.suppress(SystemExit): main({arguments!r})\n"
            "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
        )
        loaded = fresh(code).split()
        assert [name for name in HEAVY if name in loaded] == [], arguments


@pytest.mark.parametrize(
    "before",
    [
        "import cinesax",
        "import cinesax.analyze",
        "import cinesax; import cinesax.analyze",
        "from cinesax.analyze import analyze; import cinesax",
        "import cinesax.cli.main; import cinesax",
        "import importlib; importlib.import_module('cinesax.analyze'); import cinesax",
        "from cinesax import open_cine, write_results; import cinesax.results.write, cinesax.inputs; import cinesax",
    ],
)
def test_analyze_is_the_function_whatever_was_imported_before(before: str) -> None:
    assert fresh(f"{before}; print(cinesax.analyze.__qualname__, callable(cinesax.analyze))") == "analyze True"


def test_all_of_it_can_be_imported_by_star() -> None:
    assert fresh("from cinesax import *; print(analyze.__name__, open_cine.__name__)") == "analyze open_cine"


def test_measuring_what_was_drawn_loads_no_network() -> None:
    code = (
        f"import sys; sys.path.insert(0, {TESTS!r}); import hearts, cinesax, tempfile, pathlib;"
        "made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels());"
        "cinesax.write_results(made, pathlib.Path(tempfile.mkdtemp()) / 'out');"
        "print([name for name in ('onnxruntime', 'tensorflow', 'matplotlib') if name in sys.modules])"
    )
    assert fresh(code) == "[]"


def test_an_exam_that_is_not_nifti_waits_neither_for_nibabel_nor_for_scipy(tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(b"not an exam")
    code = (
        "import sys, cinesax, cinesax.analyze, cinesax.cli.analyze, cinesax.results.write\n"
        f"try: cinesax.open_cine({str(tmp_path)!r})\n"
        "except cinesax.CinesaxError: print([n for n in ('nibabel', 'scipy', 'onnxruntime') if n in sys.modules])"
    )
    assert fresh(code) == "[]"


def test_a_type_checker_sees_functions_and_their_options(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "import cinesax\n"
        "import cinesax.analyze\n"
        "made: cinesax.Analysis = cinesax.analyze('exam', ed_phase=1)\n"
        "cine: cinesax.Cine = cinesax.open_cine('exam')\n"
        "cinesax.write_results(made, 'out', nonsense=True)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "use.py")]
    done = subprocess.run(command, cwd=Path(TESTS).parent, capture_output=True, text=True, timeout=300)
    problems = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(problems) == 1 and 'Unexpected keyword argument "nonsense"' in problems[0], done.stdout
