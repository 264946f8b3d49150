"""Nothing breaks it: 240 damaged exams, and five writers that are killed; `make fuzz` has many more of both."""

import sys
import time

import pytest

from fuzz import kills, limits, table
from fuzz.crew import run_all

INPUTS = 240
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and time are limited and measured on Linux")


def test_damaged_exams_end_in_an_error_of_one_line_or_in_a_result_of_pixels_that_are_there() -> None:
    outcomes = run_all([str(seed) for seed in range(INPUTS)])
    printed = table.of(outcomes)
    sys.stdout.write(printed)
    assert len(outcomes) == INPUTS
    assert not any(one.violations for one in outcomes), printed
    # Damage that is never met, or never survived, tests nothing.
    assert {"read", "error 3", "error 4", "error 5"} <= {one.result for one in outcomes}, printed


def test_writers_that_are_killed_leave_the_old_or_the_new_results() -> None:
    ends = kills.run_all(5)
    sys.stdout.write(table.of_kills(ends))
    assert len(ends) == 5 and kills.NEITHER not in ends


def test_a_run_without_inputs_has_a_table_too() -> None:
    assert table.of([]) == "0 inputs\n"


def test_what_works_too_long_and_what_waits_too_long_are_both_stopped() -> None:
    with pytest.raises(limits.TooLong, match="s of work"), limits.limited_time(0.2, 60):
        while True:
            pass
    with pytest.raises(limits.TooLong, match="by the clock"), limits.limited_time(60, 0.2):
        time.sleep(60)
