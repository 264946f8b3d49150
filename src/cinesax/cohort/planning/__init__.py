"""Which exams there are: files below a root, and the exams that they make."""
