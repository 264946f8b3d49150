"""Keep exams, edits and signatures on disk."""
