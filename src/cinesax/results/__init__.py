"""The folder of results: what stands in it, and writing it."""
