"""One file per format, for reading and writing."""
