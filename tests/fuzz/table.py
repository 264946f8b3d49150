"""What came of many inputs, as text."""

from collections import Counter
from collections.abc import Sequence

from fuzz.kills import End
from fuzz.trial import Outcome

_ERRORS = {
    "error 2": "usage error",
    "error 3": "input error",
    "error 4": "no short-axis cine",
    "error 5": "geometry error",
    "error 6": "bundle error",
    "error 7": "output error",
    "error 8": "a decoder is missing",
}
_SHOWN = 20


def of(outcomes: Sequence[Outcome]) -> str:
    """Counts by outcome, the longest time and the most memory, and each violation with a seed that shows it."""
    if not outcomes:
        return "0 inputs\n"
    counts = Counter(_ERRORS.get(one.result, one.result) for one in outcomes)
    slowest = max(outcomes, key=lambda one: one.busy_seconds)
    largest = max(outcomes, key=lambda one: one.mib)
    lines = [f"{len(outcomes)} inputs, {len({one.sample for one in outcomes})} kinds of exams"]
    lines += [f"{count:8d}  {name}" for name, count in counts.most_common()]
    lines += [f"{sum(one.said != '' for one in outcomes):8d}  with words of a C library on standard error"]
    spent = f"{slowest.busy_seconds:.1f} s of work in {slowest.seconds:.1f} s"
    lines += [f"longest {spent} (input {slowest.seed}: {slowest.sample}, {slowest.damage})"]
    lines += [f"most memory {largest.mib:.0f} MiB (input {largest.seed}: {largest.sample}, {largest.damage})"]
    seen: dict[str, list[Outcome]] = {}
    for one in outcomes:
        for violation in one.violations:
            seen.setdefault(violation, []).append(one)
    lines += [f"{sum(bool(one.violations) for one in outcomes)} violations"]
    for violation, ones in sorted(seen.items(), key=lambda item: -len(item[1]))[:_SHOWN]:
        first = ones[0]
        lines.append(f"{len(ones):8d}  {violation} (input {first.seed}: {first.sample}, {first.damage}, {first.way})")
    return "\n".join([*lines, ""])


def of_kills(ends: Sequence[End]) -> str:
    """How many writers left what behind."""
    counts = Counter(ends)
    return "\n".join(
        [f"{len(ends)} writers killed", *(f"{count:8d}  {end}" for end, count in counts.most_common()), ""]
    )
