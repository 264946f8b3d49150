"""What outlives the process: exams, edits, signatures."""
