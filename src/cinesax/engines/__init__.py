"""Where work runs: processes with limits, on this machine or on a cluster. An engine knows nothing of exams."""
