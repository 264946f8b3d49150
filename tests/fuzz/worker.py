"""A process that runs the inputs that standard input names, one after the other: `python -m fuzz.worker`.

It writes a line of JSON before and after each.
"""

import json
import sys
from dataclasses import asdict

from fuzz import limits, trial


def work(inputs: list[str]) -> None:
    """Run the inputs; whoever reads standard output knows which one was begun and not ended."""
    limits.limit_memory()
    for name in inputs:
        _tell({"begin": name})
        _tell(asdict(trial.run(int(name)) if name.isdigit() else trial.run_heavy(name)))


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    work(sys.stdin.read().split())
