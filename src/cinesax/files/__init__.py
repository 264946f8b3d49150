"""Reading files in folders and zips, and writing files that appear complete or not at all."""
