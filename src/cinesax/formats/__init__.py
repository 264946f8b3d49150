"""Each file owns one format, both ways."""
