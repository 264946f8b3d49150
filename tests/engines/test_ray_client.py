"""The process that is connected to Ray, played by a script: what happens where it breaks. It needs no Ray."""

import struct
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue

import pytest

from cinesax.engines import cluster, ray_client
from cinesax.engines.cluster import RayEngine
from cinesax.engines.work import Limits
from cinesax.engines.worker import receive

LIMITS = Limits()
CUT = struct.pack("!Q", 1000) + b"half a mess"

# The first client breaks after it has taken a task, the second one does it.
CLIENT = """
import pickle, sys, time
from pathlib import Path
from cinesax.engines.ray_client import Connected, Done, Wants
from cinesax.engines.worker import receive, send
how, seen = sys.argv[1], Path(sys.argv[2])
orders, answers = sys.stdin.buffer, sys.stdout.buffer
receive(orders)
send(answers, Connected())
send(answers, Wants(1))
order = receive(orders)
if not seen.exists():
    seen.touch()
    if how == "silent":
        time.sleep(60)
    answers.write(bytes.fromhex(sys.argv[3]))
    answers.flush()
    sys.exit(1)
send(answers, Done(order.number, (pickle.loads(order.task).upper(), None, "")))
receive(orders)
"""


def setup() -> Callable[[str], str]:
    raise AssertionError("the script never calls it")


@pytest.fixture
def no_ray_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "check_ray", lambda: None)
    monkeypatch.setattr(cluster, "_PAUSE_SECONDS", 0.05)


@pytest.mark.usefixtures("no_ray_needed")
@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_client_that_breaks_is_replaced_and_its_task_given_again(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(cluster, "_CLIENT", (sys.executable, "-c", CLIENT, how, str(tmp_path / "seen"), CUT.hex()))
    (outcome,) = RayEngine().run(setup, ["a"], LIMITS)
    assert (outcome.task, outcome.result, outcome.loss) == ("a", "A", None)


@pytest.mark.usefixtures("no_ray_needed")
def test_a_run_with_nothing_left_to_do_needs_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CLIENT", ("there is no such program",))

    def elsewhere() -> Iterator[str | None]:
        """Another run has the last exam, and finishes it."""
        yield None
        yield None

    assert list(RayEngine().run(setup, [], LIMITS)) == []
    assert list(RayEngine().run(setup, elsewhere(), LIMITS)) == []


@pytest.mark.parametrize("cut", [CUT, CUT[:3], b""])
def test_a_message_that_breaks_off_is_the_end(cut: bytes) -> None:
    with pytest.raises(EOFError):
        receive(BytesIO(cut))


def test_a_listener_always_says_when_it_ends() -> None:
    """Even if it ends by a message that nobody can read."""
    orders: SimpleQueue[ray_client.Order | None] = SimpleQueue()
    broken = BytesIO(struct.pack("!Q", 4) + b"????")
    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        thread = threading.Thread(target=ray_client._listen, args=(broken, orders))
        thread.start()
        thread.join()
    finally:
        threading.excepthook = hook
    assert orders.get_nowait() is None
