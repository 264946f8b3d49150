"""Run tasks in processes with limits, on this machine or on a cluster. An engine knows nothing about exams."""
