"""Evaluation: any segment function against expert labels, on the native grid, without leaving anything out.

`study` defines what is compared; `evaluation` compares; `distances`, `function`, `agreement` and `miccai2009` are the
measures; `document` writes them.
"""

from cinesax.evaluate.evaluation import Evaluation, Picture, evaluate, score
from cinesax.evaluate.slices import SliceScore, dice
from cinesax.evaluate.study import LabelledStudy, Level, Moment

__all__ = ["Evaluation", "LabelledStudy", "Level", "Moment", "Picture", "SliceScore", "dice", "evaluate", "score"]
