"""Find the exams of a cohort: the files below a root, and their grouping into exams."""
