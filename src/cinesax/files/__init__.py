"""Files as they lie: in folders and zips, and written so that they appear whole or not at all."""
