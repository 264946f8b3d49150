"""What a person approved becomes examples to learn from, and nothing else does."""

from dataclasses import replace
from pathlib import Path

import pytest

from cinesax.analyze import analyze
from cinesax.core.origins import Approval
from cinesax.core.structures import Structure
from cinesax.network.framing import Framing
from cinesax.results.write import write_results
from cinesax.train.data.sources import find_sources, produce
from reader.served import Made, drawn


@pytest.mark.parametrize("show_patient", [True, False])
def test_approved_frames_are_learned_and_the_rest_is_unknown(made: Made, tmp_path: Path, show_patient: bool) -> None:
    analysis = analyze(made.exam, segmentation=drawn())
    segmentation = analysis.segmentation.with_approval(0, 2).with_approval(4, 5)
    for number in (1, 2):
        approval = Approval("Ann", "2026-03-01T14:30:00Z", number=number)
        signed = replace(analysis, segmentation=segmentation, approval=approval)
        write_results(signed, tmp_path / "set" / f"approved-{number}", show_patient=show_patient)
    listing = find_sources([tmp_path / "set"], exams=None if show_patient else made.exam.parent)
    (source,) = listing.sources  # the latest version alone
    examples, unused = produce(source, Framing())
    assert not unused
    assert [(one.phase, one.slice) for one in examples] == [(0, 2), (4, 5)]
    assert examples[0].known == {Structure.CAVITY, Structure.MYOCARDIUM}
    # A frame that was approved as empty is learned as empty.
    assert examples[0].label.any() and not examples[1].label.any()


def test_results_that_nobody_approved_are_left_out(made: Made) -> None:
    (source,) = find_sources([made.out]).sources
    examples, ((file, why),) = produce(source, Framing())
    assert (examples, file.name) == ([], "analysis.json")
    assert "nobody has approved" in why
