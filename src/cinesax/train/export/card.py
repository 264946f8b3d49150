"""The model card of an export: what the network is, what it learned from, its scores and its limits, in Markdown."""

import re

from cinesax.core.structures import Structure
from cinesax.files.typed_json import JsonObject
from cinesax.network.bundle import Bundle

_KINDS = {"unet": "U-Net", "fcn": "sequential network without skips", "slim": "U-Net that standardises its image"}
_CHILD = re.compile(r"sbj_\d+")
# Public sets, by the names of their patients, and what users of a network trained on them must cite.
_SETS = (
    (
        re.compile(r"SC-.+"),
        'Patients named SC-* are of the Sunnybrook Cardiac Data (CC0 1.0; Radau P et al., "Evaluation Framework for\n'
        'Algorithms Segmenting Short Axis Cardiac MRI", The MIDAS Journal, 2009): one scanner\n'
        "(GE Signa 1.5 T), expert contours at end-diastole and end-systole.",
    ),
    (
        _CHILD,
        "Patients named sbj_* are children and young people with congenital heart disease (Children's Hospital Los\n"
        "Angeles; Philips 1.5 and 3 T; LV and RV cavity; may be used if source and study are cited: Karimi-Bidhendi\n"
        'S et al., "Fully-automated deep-learning segmentation of pediatric cardiovascular magnetic resonance of\n'
        'patients with complex congenital heart diseases", J Cardiovasc Magn Reson 22, 80, 2020).',
    ),
    (
        re.compile(r"[A-G]"),
        "Patients named A to G are of the UK Digital Heart Project (AutoFD, MIT; Tokarczuk P, Dawes TJW, O'Regan DP,\n"
        "Zenodo, 2018, doi 10.5281/zenodo.1228963): end-diastole, LV cavity, myocardium, RV cavity by an atlas method.",
    ),
)


def card(bundle: Bundle, parameters: int) -> str:
    """The model card, Markdown.

    Args:
        bundle: the content of its manifest.
        parameters: number of parameters of all its networks together.
    """
    cases = list(bundle.training.cases or ())
    scores = "\n".join(_lines(bundle.scores)) or "Not measured yet."
    return f"""# {bundle.name} {bundle.version}

{_drawn(bundle)} in short-axis cine cardiac MR images.

**For research. Not a medical device.**

## What it is
{_passes(bundle)}
{parameters:,} parameters. It sees one frame at a time{_beside(bundle)}, and gives
{_given(bundle)}. Frames with pixels outside of {bundle.framing.native_range_mm[0]} to
{bundle.framing.native_range_mm[1]} mm are resampled to {bundle.framing.spacing_mm} mm.

## Training data
{len(cases)} patients: {", ".join(cases) or "none"}.
Synthetic hearts: {bundle.training.phantoms or 0}.{_cited(cases)}

## Scores
{scores}

## Intended use and limits
Research on short-axis balanced-SSFP cine. {_seen(cases)}
Not for long-axis views or late enhancement. {_not_drawn(bundle)}{_doubtful(bundle)}
{_young(cases)}
"""


def _cited(cases: list[str]) -> str:
    return "".join(f"\n{words}" for names, words in _SETS if any(names.fullmatch(case) for case in cases))


def _of_sunnybrook(cases: list[str]) -> list[str]:
    return [case for case in cases if case.startswith("SC-")]


def _seen(cases: list[str]) -> str:
    if not cases:
        return "It was trained on no patients: look at the contours."
    if _of_sunnybrook(cases) == cases:
        return "It was trained on one vendor's images: look at the contours on others."
    return "Look at the contours on images of scanners that it was not trained on."


def _young(cases: list[str]) -> str:
    young = [case for case in cases if _CHILD.fullmatch(case)]
    if not young:
        return "It was trained on adults only."
    return (
        f"{len(young)} of its patients are children and young people (2 to 18 years) with congenital heart disease,\n"
        "with labels of the cavities alone. It was not tested on other children."
    )


def _doubtful(bundle: Bundle) -> str:
    names = " and ".join(part.facts.words for part in bundle.unvalidated)
    return f"Not validated, and drawn only on request: {names}." if names else ""


def _drawn(bundle: Bundle) -> str:
    others = [part.facts.words for part in sorted(bundle.classes.values()) if part is not Structure.CAVITY]
    drawn = ["Left ventricular cavity (papillary muscles included)", *others]
    return drawn[0] if not others else f"{', '.join(drawn[:-1])} and {drawn[-1]}"


def _given(bundle: Bundle) -> str:
    if list(bundle.classes.values()) == [Structure.CAVITY]:
        return "a probability of LV cavity for each"
    listed = ", ".join(f"{channel} {part.facts.words}" for channel, part in sorted(bundle.classes.items()))
    return f"the probability of each class for each (0 background, {listed}); the highest one counts"


def _not_drawn(bundle: Bundle) -> str:
    asked = {Structure.MYOCARDIUM: "myocardium", Structure.RV_CAVITY: "right ventricle"}
    missing = [f"no {words}" for part, words in asked.items() if part not in bundle.classes.values()]
    return f"It draws {' and '.join(missing)}." if missing else ""


def _passes(bundle: Bundle) -> str:
    if bundle.heart is None:
        model = (bundle.training.config or {}).get("model")
        kind = str(model.get("network", "unet")) if isinstance(model, dict) else "unet"
        return f"A {_KINDS.get(kind, kind)} with transposed convolutions."
    size = bundle.heart.crop
    return (
        "Two U-Nets: the finder sees whole frames at low resolution and locates the heart; the refiner sees\n"
        f"{size} x {size} pixels around it and draws."
        + (f" The finder is that of {bundle.training.finder}." if bundle.training.finder else "")
    )


def _beside(bundle: Bundle) -> str:
    if bundle.heart is not None and bundle.heart.context > 1:
        return ", with its neighbouring slices at the same phase, if any"
    return f", {bundle.framing.size} x {bundle.framing.size} pixels"


def _lines(scores: JsonObject, indent: str = "") -> list[str]:
    lines = []
    for name, value in scores.items():
        if isinstance(value, dict):
            lines += [f"{indent}- {name}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}- {name}: {value}")
    return lines
