"""Run damaged exams, and kill writers: `python -m fuzz` from the folder tests/, or `make fuzz`."""

import argparse
import sys
from pathlib import Path

from fuzz import cohorts, heavy, kills, reader_kills, shapes, table, trial
from fuzz.crew import run_all

_RESULTS = Path(__file__).resolve().parents[2] / "build" / "fuzz.jsonl"


def main() -> int:
    """Run what is asked for and print the table; 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many inputs (default 10000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of their seeds (default 0)")
    parser.add_argument("--kills", type=int, default=50, help="how many writers to kill (default 50)")
    parser.add_argument("--cohort-kills", type=int, default=20, help="how many runs over a cohort to kill (default 20)")
    parser.add_argument("--reader-kills", type=int, default=20, help="how many reader servers to kill (default 20)")
    parser.add_argument("--shapes", type=int, default=500, help="how many exams in other forms (default 500)")
    parser.add_argument("--shape", metavar="NAME:SEED", help="only this form of an exam")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--results", type=Path, default=_RESULTS, help="where outcomes are kept: these are not run again"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the outcomes that are kept")
    parser.add_argument(
        "--light", action="store_true", help="leave the largest inputs out (100,000 files and the like)"
    )
    parser.add_argument("--seed", type=int, help="only this input, with all there is to know of it")
    args = parser.parse_args()
    if args.seed is not None:
        outcome = trial.run(args.seed)
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in vars(outcome).items()))
        return int(bool(outcome.violations))
    if args.shape is not None:
        name, _, seed = args.shape.partition(":")
        end = shapes.run(name, int(seed or 0))
        sys.stdout.write(shapes.table([end]))
        return int(bool(end.violation))
    if args.fresh:
        args.results.unlink(missing_ok=True)
    seeds = range(args.first, args.first + args.inputs)
    names = [] if args.light else list(heavy.CASES)
    outcomes = run_all([*map(str, seeds), *names], jobs=args.jobs, results=args.results)
    sys.stdout.write(table.of(outcomes))
    forms = shapes.run_all(args.shapes)
    sys.stdout.write(shapes.table(forms))
    ended = kills.run_all(args.kills)
    sys.stdout.write(table.of_kills(ended))
    cohort = cohorts.run_all(args.cohort_kills)
    sys.stdout.write(f"killed runs over a cohort: {args.cohort_kills}; {cohort or 'the same table'}\n")
    lost = reader_kills.run_all(args.reader_kills)
    sys.stdout.write("\n".join([f"{args.reader_kills} reader servers killed, {len(lost)} lost an edit", *lost, ""]))
    wrong = bool(cohort) or any(outcome.violations for outcome in outcomes) or any(end.violation for end in forms)
    return int(wrong or bool(lost) or kills.NEITHER in ended)


if __name__ == "__main__":
    sys.exit(main())
