# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Reading the mistakes
#
# A mean says how good a network is, but nothing about what to do next. The mistakes say it: which slices, which
# patients, too much or too little, in the wrong place or only at the border?
#
# The split `validation` has stayed closed until now. It is opened **once**, after all choices are made: choosing by it
# means fitting to it.

# %% tags=["parameters"]
DATA = None

# %%
import course
import numpy as np
from matplotlib.figure import Figure

from cinesax.core.segmentation import Segmentation, rasterise
from cinesax.core.structures import Structure
from cinesax.evaluate import evaluate
from cinesax.network.framing import Framing

lesson = course.begin(DATA)
run, network = course.trained(lesson, "unet")

# %% [markdown]
# ## From a network to a segmentation
#
# We judge what a user gets: masks on the scanner's own pixels. So each frame is framed (window, crop, spacing) as in
# training, the network predicts probabilities, and these are mapped back to the native grid. `cinesax.evaluate` takes
# any such function.


# %%
def segment(cine):
    framing, grid = Framing(), cine.grid
    shape = cine.pixels.shape[2:]
    placement = framing.place(shape, None) if grid is None else framing.place_on(grid)
    frames = np.stack([framing.apply(frame, placement) for phase in cine.pixels for frame in phase])
    cavity = course.probabilities(network, frames[..., None])
    native = np.stack([framing.undo(frame, placement) for frame in cavity]).reshape(cine.pixels.shape)
    labels = np.where(native >= 0.5, Structure.CAVITY, 0).astype(np.uint8)
    return Segmentation(labels, {Structure.CAVITY: np.ones(len(labels), dtype=bool)}, author="lesson 7")


evaluation = evaluate(course.studies(lesson), segment, pictures=60)

# %% [markdown]
# ## Not one mean, but where
#
# Base, middle and apex are thirds of the slices; ED and ES are the two extremes of the beat. HD95 is the distance
# between both borders without the worst 5 %. It is infinite if only one border exists; the median can include such
# slices.

# %%
rows = []
for name, group in evaluation.groups():
    lost = [f"{100 * group.below_half:.0f} %", f"{group.misses}", f"{group.false_positives}"]
    rows.append([name, f"{group.n}", f"{group.dice_mean:.3f}", f"{group.hd95_median:.1f}", *lost])
unit = evaluation.slices[0].unit
course.table(["frames", "n", "mean Dice", f"median HD95 ({unit})", "below 0.5", "missed", "false"], rows)

# %% [markdown]
# Read it row by row. Is the apex worse than the middle? ES worse than ED? Are slices missed, or is LV drawn where there
# is none? Each problem has its own cure: more small slices in training, other phases, examples without LV.
#
# ## Small slices
#
# Is Dice low because slices are small (lesson 5: a pixel costs more there), or because the network is wrong in them?
# The line shows the Dice of a disc of that size whose border is one pixel off all around:

# %%
with_lv = [one for one in evaluation.slices if one.truth_px]
areas = np.array([one.truth_px for one in with_lv])
scores = np.array([one.dice for one in with_lv])
radius = np.sqrt(np.linspace(areas.min(), areas.max(), 200) / np.pi)
inner = np.maximum(radius - 1, 0) ** 2
figure = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
axes.scatter(areas, scores, s=12)
axes.plot(np.pi * radius**2, 2 * inner / (inner + radius**2), "k--", label="a disc one pixel too narrow")
axes.set(xlabel="cavity in pixels", ylabel="Dice")
axes.grid(alpha=0.3)
axes.legend()
course.show(figure, lesson, "07-areas")
r = np.sqrt(areas / np.pi)
edge = np.maximum(r - 1, 0) ** 2
worse = (scores < 2 * edge / (edge + r**2)).mean()
print(
    f"{100 * worse:.0f} % of the slices with LV are worse than a border one pixel off: these are mistakes, not rounding"
)

# %% [markdown]
# ## Too much, or too little?
#
# A network that draws too wide and one that draws too narrow can have the same Dice, but very different volumes. So
# look at the sign, and at the numbers that a clinic asks for:

# %%
predicted_px, truth_px = (np.array([getattr(score, name) for score in with_lv]) for name in ("found_px", "truth_px"))
print(f"predicted area: {100 * predicted_px.sum() / truth_px.sum() - 100:+.1f} % of the truth, over all slices with LV")
rows = []
for patient in evaluation.functions:
    dice = np.mean([score.dice for score in evaluation.by_case()[patient.case]])
    true, predicted = patient.truth.ef_percent, patient.predicted.ef_percent
    ef = [f"{true:.1f}", f"{predicted:.1f}", f"{patient.ef_error_points:+.1f}"]
    rows.append([patient.case, f"{dice:.3f}", f"{patient.ed_error_percent:+.1f} %", *ef])
rows.sort(key=lambda row: float(row[1]))
course.table(["patient", "mean Dice", "error at ED", "EF true", "EF predicted", "points"], rows)

# %% [markdown]
# The patients are sorted, the worst first. A single patient far below the rest is worth more of your time than the
# mean: what is different in these images?
#
# ## The worst slices
#
# `evaluate` kept the worst frames. Look at them, and sort what you see into kinds, with their most likely reasons:
#
# 1. **another organ**: the receptive field is too small, or there were too few such pictures;
# 2. **nothing predicted**, in a small slice: too few such slices, or a loss that ignores them;
# 3. **LV where the expert has none**, above the base or below the apex: where does the heart end? Ask two experts;
# 4. **the border**, all around or on one side: papillary muscles, blurred walls, resolution;
# 5. **the label is wrong**: this happens even in public data. Look at it before you train a network to repeat it. (Is
#    there a patient above, far below the rest, whose truth and image do not fit?)
#
# A first, rough sorting can be computed from the pixel counts alone. It is printed above each picture, and the worst
# frames of different kinds come first. Do not stop there: the kinds above need eyes.


# %%
def kind(score):
    if score.false_positive:
        return "LV where there is none"
    if score.missed:
        return "nothing predicted"
    if score.dice < 0.05:
        return "another place"
    ratio = score.found_px / score.truth_px
    return "much too large" if ratio > 1.5 else "much too small" if ratio < 0.67 else "border or place"


kinds = [kind(picture.score) for picture in evaluation.pictures]
place_in_kind = [kinds[:number].count(name) for number, name in enumerate(kinds)]
for number, chosen in enumerate(np.argsort(place_in_kind, kind="stable")[:6]):
    picture = evaluation.pictures[chosen]
    score, shape = picture.score, picture.pixels.shape
    window = np.percentile(picture.pixels, (0.5, 98))
    image = np.clip((picture.pixels - window[0]) / max(window[1] - window[0], 1), 0, 1)
    masks = [rasterise(polygons, shape) for polygons in (picture.truth, picture.predicted)]
    title = (
        f"{score.name}: {kind(score)}. Dice {score.dice:.2f}, {score.truth_px} pixels in truth, "
        f"{score.found_px} predicted"
    )
    course.show(course.pictures([(title, image, *masks)]), lesson, f"07-worst-{number}")

# %% [markdown]
# ## From mistakes to work
#
# Now sort all frames with a low Dice in the same way. Which kind is the largest?

# %%
low = [one for one in evaluation.slices if one.dice < 0.8]
names = sorted({kind(one) for one in low})
print(f"{len(low)} of {len(evaluation.slices)} frames have a Dice below 0.8")
counted = [[name, f"{sum(kind(one) == name for one in low)}"] for name in names]
course.table(["what went wrong", "frames"], counted)

# %% [markdown]
# **Next steps.** On the command line the same is `cinesax export RUN -o BUNDLE` and then `cinesax evaluate --data DATA
# --model BUNDLE --html report.html`, with intervals, Bland-Altman plots and a gallery of the worst slices; `cinesax
# analyze --model BUNDLE` runs the network on an exam. Pick the largest kind in your table, change one thing, train on
# the same folds, and compare on the held-out patients, not on these.
