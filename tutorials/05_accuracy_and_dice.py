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
# Nearly all pixels of a short-axis frame are background. A score that counts pixels therefore mostly measures the
# background. This lesson shows what accuracy hides, what Dice shows, when Dice is unfair, and how to make the loss ask
# for what you want.

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
# There are two kinds of correct pixels: cavity predicted as cavity, and background predicted as background. Count them
# for four programs, made from the truth: one predicts nothing; two draw the cavity of every frame two pixels too wide
# or too narrow all around; and one draws the right shape in the wrong place.

# %%
wide = np.stack([ndimage.binary_dilation(mask, iterations=2) for mask in truth])
narrow = np.stack([ndimage.binary_erosion(mask, iterations=2) for mask in truth])
shifted = np.roll(truth, 40, axis=2)
answers = {
    "predicts nothing": np.zeros_like(truth),
    "two pixels too wide": wide,
    "two pixels too narrow": narrow,
    "right size, 40 pixels off": shifted,
}
rows = []
for name, answer in answers.items():
    of_cavity = (answer & truth).sum() / truth.sum()
    rows.append([*course.judge(answer, truth).row(name), f"{100 * of_cavity:.1f} %"])
course.table([*course.COLUMNS, "part of the cavity"], rows)
print(f"background: {100 * (1 - truth.mean()):.2f} % of all pixels")

# %% [markdown]
# Read the accuracy alone: predicting nothing scores only just below the small mistakes, and even a program that marks
# the wrong organ is right nearly everywhere. Dice separates them, because it ignores the background on which both
# agree.
#
# For a frame without LV, Dice needs a convention: 1 if nothing is predicted, 0 otherwise. A mean over all frames
# therefore depends on the number of empty frames (the Sunnybrook pairs have none, the phantoms some). When you report a
# mean, say how they count:

# %%
empty = areas == 0
print(f"{empty.sum()} of {len(truth)} frames have no LV")
nothing = course.judge(answers["predicts nothing"], truth).dice
if empty.any():
    print(
        f"'predicts nothing': mean Dice {nothing.mean():.3f} of all frames, "
        f"{nothing[~empty].mean():.3f} of those with LV"
    )

# %% [markdown]
# ## Where Dice is hard
#
# The same mistake, a border one pixel off, costs a small slice much more than a large one. For accuracy it is the
# opposite:

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
# So small slices dominate a mean Dice over slices, and large slices dominate a volume. Neither is wrong; they answer
# different questions. `cinesax evaluate` reports both, and distances in mm, which do not depend on the size.
#
# ## One mean, two ways
#
# "Mean Dice" is sometimes computed over all pixels of a patient, or of a whole set, at once. This hides mistakes in
# small slices:

# %%
one_pixel_off, missed_small = off.copy(), truth.copy()
missed_small[(areas > 0) & (areas <= np.quantile(areas[~empty], 0.25))] = False
rows = []
for name, answer in {"all borders a pixel off": one_pixel_off, "smallest quarter missed": missed_small}.items():
    pooled = 2 * (answer & truth).sum() / (answer.sum() + truth.sum())
    rows.append([name, f"{course.judge(answer, truth).dice.mean():.3f}", f"{pooled:.3f}"])
course.table(["", "mean over slices", "all pixels at once"], rows)

# %% [markdown]
# ## Ask for what you want
#
# The loss decides what a network becomes. Cross-entropy is a mean over pixels, so the background dominates it, as it
# dominates accuracy. The soft Dice is the Dice with probabilities instead of decisions, so it has a derivative. This
# package trains on the sum of both. Here is a small network from the parts of lessons 2 and 3, at a quarter of the
# resolution, trained twice for a short time from the same initial weights:

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
# On the left, the two trainings are lines at the top that hardly differ: from accuracy alone you could not say which
# one to stop. The right panel shows it. A plateau at the Dice of "predicts nothing" means that the network has so far
# only learned how much background there is. With cross-entropy alone it lasts long, because saying "background"
# everywhere is already nearly right. The plateau does end, after many more epochs, but this time is lost. So lesson 2
# trained on the sum.
#
# **Next:** how to watch all this while it happens: [TensorBoard](06_tensorboard.py).
#
# **Try:** `DiceOver.SLICE` computes the soft Dice slice by slice. What happens to the smallest quarter, and to frames
# without LV?
