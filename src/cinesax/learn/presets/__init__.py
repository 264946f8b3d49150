"""Typed training presets: each file says its purpose, command, time and score."""
