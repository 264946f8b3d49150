"""From labelled exams to training batches."""
