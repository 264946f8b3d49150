"""From labelled exams to the batches that a network learns from."""
