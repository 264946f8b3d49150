"""From files to headers, series, and the short-axis cine."""
