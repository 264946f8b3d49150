"""The page on which a person views an exam, corrects contours, sees the numbers follow, and signs.

`serve` starts it. The browser draws; Python holds the truth: one Segmentation goes in, an edit makes a new one, and the
numbers come from `measure`.
"""
