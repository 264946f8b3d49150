"""Cohorts on a Ray cluster of two nodes: whatever is killed, the table is that of a quiet run on one machine."""

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crowd
from cinesax.core.errors import BundleError, EngineError
from cinesax.engines.cluster import RayEngine
from cinesax.engines.work import Limits, Loss

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")

_NODE = {"num_cpus": 1, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
# By default a cluster takes half a minute to notice that a node is lost.
_HASTY = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
LIMITS = Limits(memory_bytes=1024**3, seconds=90.0)


def setup() -> Callable[[str], str]:
    return work


def refuse() -> Callable[[str], str]:
    raise BundleError("no network here")


def work(task: str) -> str:
    if task == "memory":
        np.ones(3 * 1024**3 // 8)
    if task == "crash":
        os.abort()
    if task == "bug":
        raise ZeroDivisionError("no such number")
    return task[:20].upper()


class Nodes:
    """A head and one more node, each with one core, as processes of this machine."""

    def __init__(self) -> None:
        self._port: dict[str, int] = {}
        self.start()
        self.add_second()
        self.address = str(self._cluster.address)
        self._port = {"gcs_server_port": int(self.address.rpartition(":")[2])}

    def start(self) -> None:
        from ray.cluster_utils import Cluster

        head = {**_NODE, **self._port, "_system_config": _HASTY}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=True)

    def add_second(self) -> None:
        self.second = self._cluster.add_node(**_NODE)

    def kill(self, node: Any, kind: str) -> None:
        """SIGKILL one process of a node."""
        os.kill(node.all_processes[kind][0].process.pid, signal.SIGKILL)

    def lose_second(self) -> None:
        self.kill(self.second, "raylet")

    def lose_head(self) -> None:
        self.kill(self._cluster.head_node, "gcs_server")

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")  # of busy machines
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        nodes = Nodes()
        yield nodes
        nodes.stop()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good exams, one without a cine, and two that wait until somebody says go."""
    root = tmp_path_factory.mktemp("ray") / "root"
    crowd.fill_simply(root, good=4)
    for number in range(2):
        crowd.exam(root / f"block{number}", 6000 + number, description="BLOCK")
    (root / ".go").touch()
    crowd.go(root, root.parent / "quiet")
    return root


def run_during(
    root: Path, results: Path, engine: RayEngine, what: Callable[[], object], *, busy: int
) -> crowd.Progress:
    """Run over the cohort, and do something when so many exams wait in the middle of their work; then let them go."""
    for path in root.glob(".[gw]*"):
        path.unlink()
    with ThreadPoolExecutor() as pool:
        run = pool.submit(crowd.go, root, results, engine=engine, limits=LIMITS)
        try:
            deadline = time.monotonic() + 120
            while len(list(root.glob(".working*"))) < busy and time.monotonic() < deadline:
                time.sleep(0.05)
            what()
        finally:
            (root / ".go").touch()
        return run.result()


def test_exams_have_the_outcomes_of_one_machine(nodes: Nodes) -> None:
    tasks = ["a", "crash", "bug", "memory", "x" * 500_000]
    outcomes = {one.task[:20]: one for one in RayEngine(nodes.address).run(setup, tasks, LIMITS)}
    assert {name: one.result or one.loss for name, one in outcomes.items()} == {
        "a": "A",
        "crash": Loss.CRASH,
        "bug": Loss.BUG,
        "memory": Loss.MEMORY,
        "x" * 20: "X" * 20,
    }
    assert outcomes["bug"].detail == "ZeroDivisionError: no such number"
    assert "Aborted" in outcomes["crash"].detail


def test_what_the_setup_says_reaches_the_caller(nodes: Nodes) -> None:
    with pytest.raises(BundleError, match="no network here"):
        list(RayEngine(nodes.address).run(refuse, ["a"], LIMITS))


def test_a_cluster_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(EngineError, match=r"cannot be used: nothing answers at 127.0.0.1:9 \(.*\)$"):
        list(RayEngine("127.0.0.1:9").run(setup, ["a"], LIMITS))


def test_a_node_killed_in_the_middle_loses_no_row(root: Path, nodes: Nodes, tmp_path: Path) -> None:
    progress = run_during(root, tmp_path / "out", RayEngine(nodes.address), nodes.lose_second, busy=2)
    assert (progress.done, progress.failed) == (6, 1)
    assert (tmp_path / "out" / "cohort.csv").read_bytes() == (root.parent / "quiet" / "cohort.csv").read_bytes()


def test_a_restarted_head_loses_no_row(
    root: Path, nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole cluster is killed with its head, which is started again at the same address."""
    reconnect = "RAY_gcs_rpc_server_reconnect_timeout_s"
    monkeypatch.setenv(reconnect, "5")  # instead of a minute

    def restart() -> None:
        monkeypatch.delenv(reconnect)
        nodes.lose_head()
        nodes.stop()
        nodes.start()

    progress = run_during(root, tmp_path / "out", RayEngine(nodes.address, patience_seconds=120), restart, busy=1)
    assert (progress.done, progress.failed) == (6, 1)
    assert (tmp_path / "out" / "cohort.csv").read_bytes() == (root.parent / "quiet" / "cohort.csv").read_bytes()
