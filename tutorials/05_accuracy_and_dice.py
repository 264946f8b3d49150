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
# # 5. Accuracy and Dice
#
# Nearly all pixels of a short-axis frame are background. A score that counts pixels is then a score of the
# background. This lesson shows what accuracy hides, what Dice shows, where Dice is unfair in its turn, and how the
# loss can be made to ask for what is wanted.

# %% tags=["parameters"]
DATA = None

# %%
import course
import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from scipy import ndimage

from cinesax.train.nets.losses import CrossEntropyDice, DiceOver
from cinesax.train.nets.metrics import metrics

lesson = course.begin(DATA)
dataset = course.open_set(lesson)
test_images, test_labels = course.load(dataset, course.held_out(dataset))
truth = test_labels[..., 1] > 0.5
areas = truth.sum(axis=(1, 2))

# %% [markdown]
# ## What accuracy is made of
#
# Right pixels are of two kinds: cavity found as cavity, background left alone. Count them for four programs, made
# from the truth: one finds nothing; two make an honest mistake in every frame, and draw the cavity two pixels too
# wide or too narrow all round; and one draws the right shape at a wrong place.

# %%
wide = np.stack([ndimage.binary_dilation(mask, iterations=2) for mask in truth])
narrow = np.stack([ndimage.binary_erosion(mask, iterations=2) for mask in truth])
beside = np.roll(truth, 40, axis=2)
answers = {
    "finds nothing": np.zeros_like(truth),
    "two pixels too wide": wide,
    "two pixels too narrow": narrow,
    "right size, 40 pixels beside": beside,
}
rows = []
for name, answer in answers.items():
    of_cavity = (answer & truth).sum() / truth.sum()
    rows.append([*course.judge(answer, truth).row(name), f"{100 * of_cavity:.1f} %"])
course.table([*course.COLUMNS, "of the cavity found"], rows)
print(f"background: {100 * (1 - truth.mean()):.2f} % of all pixels")

# %% [markdown]
# Read the accuracy alone: finding nothing lies only just below the honest mistakes, and even a program that points at
# the wrong organ is right nearly everywhere. Dice tells them apart, because the background that both agree on is not in
# it.
#
# A frame without LV is where Dice needs a convention: nothing found is 1, anything found is 0. A mean over all frames
# therefore depends on how many empty ones there are (the pairs of Sunnybrook have none, the phantoms some). Say how
# they count when you report a mean:

# %%
empty = areas == 0
print(f"{empty.sum()} of {len(truth)} frames have no LV")
nothing = course.judge(answers["finds nothing"], truth).dice
if empty.any():
    print(
        f"'finds nothing': mean Dice {nothing.mean():.3f} of all frames, {nothing[~empty].mean():.3f} of those with LV"
    )

# %% [markdown]
# ## Where Dice is hard
#
# The same mistake, a border one pixel off, costs a small slice much more than a large one. For accuracy it is the
# other way round:

# %%
off = np.stack([ndimage.binary_erosion(mask) for mask in truth])
judged = course.judge(off, truth)
figure = Figure(figsize=(9, 3.2), layout="constrained")
for axes, (title, values) in zip(
    figure.subplots(1, 2), {"accuracy": judged.accuracy, "Dice": judged.dice}.items(), strict=True
):
    axes.scatter(areas[~empty], values[~empty], s=10)
    axes.set(xlabel="cavity in pixels", ylabel=title, title="a border one pixel too narrow")
    axes.grid(alpha=0.3)
course.show(figure, lesson, "05-one-pixel")
with_lv = np.flatnonzero(~empty)
ends = {"smallest": with_lv[np.argmin(areas[with_lv])], "largest": with_lv[np.argmax(areas[with_lv])]}
columns = ["slice", "pixels", "accuracy", "Dice"]
course.table(
    columns,
    [[n, f"{areas[i]}", f"{judged.accuracy[i]:.4f}", f"{judged.dice[i]:.3f}"] for n, i in ends.items()],
)

# %% [markdown]
# So a mean Dice of slices is ruled by small slices, and a volume by large ones. Neither is wrong; they answer
# different questions. `cinesax evaluate` gives both, and distances in mm, which do not depend on the size.
#
# ## One mean, two ways
#
# "Mean Dice" is also computed over all pixels of a patient, or of a whole set, at once. That hides what went wrong in
# small slices:

# %%
one_pixel_off, missed_small = off.copy(), truth.copy()
missed_small[(areas > 0) & (areas <= np.quantile(areas[~empty], 0.25))] = False
rows = []
for name, answer in {"all borders a pixel off": one_pixel_off, "smallest quarter not found": missed_small}.items():
    pooled = 2 * (answer & truth).sum() / (answer.sum() + truth.sum())
    rows.append([name, f"{course.judge(answer, truth).dice.mean():.3f}", f"{pooled:.3f}"])
course.table(["", "mean over slices", "all pixels at once"], rows)

# %% [markdown]
# ## Ask for what you want
#
# What a network is trained on decides what it becomes. Cross-entropy is a mean over pixels, and so is ruled by the
# background as accuracy is. The soft Dice is the Dice with probabilities in place of decisions, so it has a
# derivative. This package trains on the sum of both. Here is one small network of the parts of lessons 2 and 3, at a
# quarter of the resolution, trained twice from the same first weights, for a short time:

# %%
SIZE = 64
images, labels = course.load(dataset, course.training(dataset), SIZE)
small_images, small_labels = course.load(dataset, course.held_out(dataset), SIZE)


def small_network():
    keras.utils.set_random_seed(1)
    down = [layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    down += [layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    middle = [layers.Conv2D(48, 3, padding="same", activation="relu") for _ in range(2)]
    up = [layers.Conv2DTranspose(16, 4, strides=4, activation="relu"), layers.Conv2D(2, 3, padding="same")]
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), *down, *middle, *up, layers.Softmax()])


losses = {"cross-entropy": "categorical_crossentropy", "cross-entropy + Dice": CrossEntropyDice(DiceOver.BATCH)}
histories = {}
for name, loss in losses.items():
    network = small_network()
    network.compile(keras.optimizers.Adam(2e-3), loss, metrics=metrics(["background", "lv_cavity"]))
    histories[name] = network.fit(
        images,
        labels,
        validation_data=(small_images, small_labels),
        epochs=lesson.pick(10, 1),
        batch_size=8,
        verbose=0,
    ).history

# %%
figure = Figure(figsize=(9, 3.2), layout="constrained")
for axes, measure in zip(figure.subplots(1, 2), ("val_accuracy", "val_dice"), strict=True):
    for name, history in histories.items():
        axes.plot(history[measure], label=name)
    axes.set(title=measure.removeprefix("val_") + ", held out", xlabel="epoch", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
course.show(figure, lesson, "05-losses")
rows = [[n, f"{100 * h['val_accuracy'][-1]:.2f} %", f"{h['val_dice'][-1]:.3f}"] for n, h in histories.items()]
course.table(course.COLUMNS, rows)

# %% [markdown]
# On the left, both trainings are two lines at the top that hardly differ: by accuracy alone you could not tell which
# one to stop. The right panel tells. A plateau at the Dice of "finds nothing" is the mark of a network that has so far
# only learned how much background there is. With cross-entropy alone it lasts long, because saying "background"
# everywhere is already nearly right. It does end, after many more epochs, but that is time lost. This is why lesson 2
# trained on the sum.
#
# **Next:** how to watch all this while it happens: [TensorBoard](06_tensorboard.py).
#
# **Try:** `DiceOver.SLICE` takes the soft Dice slice by slice. What becomes of the smallest quarter, and of frames
# without LV?
