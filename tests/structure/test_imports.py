"""Imports go down the list of rooms only."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    # Without its cache, which takes a module that came since for one that is still missing.
    return subprocess.run([*command, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_contracts_of_the_house_are_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_are_able_to_fail(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src" / "cinesax", tmp_path / "cinesax", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "cinesax" / "measure" / "volumes.py").open("a") as module:
        module.write("\nimport cinesax.results.html\n")
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0 and "cinesax.measure.volumes -> cinesax.results.html" in done.stdout, done.stdout


def test_modules_do_not_import_one_another_in_circles() -> None:
    assert circles(ROOT / "src" / "cinesax") == []


def test_a_circle_through_an_import_inside_of_a_function_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "made_up"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "first.py").write_text("def run():\n    from made_up.inner import second\n    return second\n")
    (package / "inner" / "second.py").write_text("import made_up.third\n")
    (package / "third.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from made_up.first import run\n"
    )
    assert circles(package) == []
    (package / "third.py").write_text("try:\n    from made_up.first import run\nexcept ImportError:\n    pass\n")
    assert circles(package) == [{"made_up.first", "made_up.inner.second", "made_up.third"}]


def circles(package: Path) -> list[set[str]]:
    """Modules that import one another, however deep in functions; what only type checkers import does not count."""
    files = {name(file, package.parent): file for file in package.rglob("*.py")}
    graph = {module: set(imported(ast.parse(file.read_text()), files)) - {module} for module, file in files.items()}
    reached = {module: reach(module, graph) for module in graph}
    circular = {
        frozenset(other for other in reached[one] if one in reached[other]) for one in graph if one in reached[one]
    }
    return [set(circle) for circle in circular]


def name(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST, modules: Collection[str]) -> Iterator[str]:
    """The modules that a tree of source imports, anywhere in it."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield from (target for target in (whole if whole in modules else node.module,) if target in modules)
    below = node.orelse if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else None
    for child in ast.iter_child_nodes(node) if below is None else below:
        yield from imported(child, modules)


def reach(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """What a module imports, directly or through others; itself, where it lies in a circle."""
    reached: set[str] = set()
    left = list(graph[start])
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left.extend(graph[module])
    return reached
