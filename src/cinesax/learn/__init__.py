"""Training: examples, records, pipeline, networks, export. Needs the extra `train`."""
