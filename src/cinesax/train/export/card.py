"""The model card of an export: what the network is, what it learned from, its scores and its limits, in Markdown."""

from cinesax.core.structures import Structure
from cinesax.files.typed_json import JsonObject
from cinesax.network.bundle import Bundle

_KINDS = {"unet": "U-Net", "fcn": "sequential network without skips"}
_SUNNYBROOK = """
Patients named SC-* are of the Sunnybrook Cardiac Data (CC0 1.0; Radau et al., The MIDAS Journal, 2009): one scanner
(GE Signa 1.5 T), expert contours at end-diastole and end-systole."""


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
{parameters:,} parameters. It sees one frame at a time, {bundle.framing.size} x {bundle.framing.size} pixels, and gives
{_given(bundle)}. Frames with pixels outside of {bundle.framing.native_range_mm[0]} to
{bundle.framing.native_range_mm[1]} mm are resampled to {bundle.framing.spacing_mm} mm.

## What it learned from
{len(cases)} patients: {", ".join(cases) or "none"}.
Synthetic hearts: {bundle.training.phantoms or 0}.{_SUNNYBROOK if _of_sunnybrook(cases) else ""}

## Scores
{scores}

## Intended use and limits
Research on short-axis balanced-SSFP cine. {_seen(cases)}
Not for long-axis views, late enhancement, or children. {_not_drawn(bundle)}
"""


def _of_sunnybrook(cases: list[str]) -> list[str]:
    return [case for case in cases if case.startswith("SC-")]


def _seen(cases: list[str]) -> str:
    if not cases:
        return "It has learned from no patient: look at the contours."
    if _of_sunnybrook(cases) == cases:
        return "It has learned from one vendor's images: look at the contours on others."
    return "Look at the contours on images of scanners that it has not learned from."


def _drawn(bundle: Bundle) -> str:
    others = [one.facts.words for one in sorted(bundle.classes.values()) if one is not Structure.CAVITY]
    drawn = ["Left ventricular cavity (papillary muscles included)", *others]
    return drawn[0] if not others else f"{', '.join(drawn[:-1])} and {drawn[-1]}"


def _given(bundle: Bundle) -> str:
    if list(bundle.classes.values()) == [Structure.CAVITY]:
        return "a probability of LV cavity for each"
    listed = ", ".join(f"{channel} {one.facts.words}" for channel, one in sorted(bundle.classes.items()))
    return f"the probability of each class for each (0 background, {listed}); the highest one counts"


def _not_drawn(bundle: Bundle) -> str:
    asked = {Structure.MYOCARDIUM: "myocardium", Structure.RV_CAVITY: "right ventricle"}
    missing = [f"no {words}" for one, words in asked.items() if one not in bundle.classes.values()]
    return f"It draws {' and '.join(missing)}." if missing else ""


def _passes(bundle: Bundle) -> str:
    if bundle.heart is None:
        model = (bundle.training.config or {}).get("model")
        kind = str(model.get("network", "unet")) if isinstance(model, dict) else "unet"
        return f"A {_KINDS.get(kind, kind)} with transposed convolutions."
    return (
        "Two U-Nets with transposed convolutions: the first sees the whole frames at half resolution and finds the "
        f"heart,\nthe second sees {bundle.heart.crop} x {bundle.heart.crop} pixels round it at full resolution and "
        "draws."
    )


def _lines(scores: JsonObject, indent: str = "") -> list[str]:
    lines = []
    for name, value in scores.items():
        if isinstance(value, dict):
            lines += [f"{indent}- {name}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}- {name}: {value}")
    return lines
