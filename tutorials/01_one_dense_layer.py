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
# # 1. One dense layer
#
# A short-axis frame of a cine MRI exam shows a slice through the beating heart. This course asks one question about
# every pixel: **does it belong to the cavity of the left ventricle (LV)?** The answers for all slices at end diastole
# (ED, the heart at its fullest) and end systole (ES, at its emptiest) give the volumes, and these give the ejection
# fraction: the share of its blood that the LV ejects with each beat.
#
# This lesson answers it with the simplest trainable network: one dense layer, in which every output pixel has a weight
# for every input pixel. It looks like a success, but it is not. The reason leads to the next lesson.
#
# The cells compute all numbers below. Without data the hearts are synthetic; to learn from patients, set `DATA` to a
# folder with `train` and `validation`, each with `images/` and `labels/`.

# %% tags=["parameters"]
DATA = None

# %%
import course
import keras
import numpy as np
from matplotlib.figure import Figure

from cinesax.train.nets.metrics import metrics

lesson = course.begin(DATA)

# %% [markdown]
# ## The data
#
# A prepared set holds framed images, 256 x 256 pixels with values from 0 to 1, and a label for each: background or LV
# cavity. It is split **by patient**. Neighbouring slices and phases of one heart are near copies of each other: a
# network that is tested on neighbours of its training images is tested on its memory. A third of the patients (one
# "fold" of three) is held out, and networks are compared on them. The split `validation` stays closed until the last
# lesson.

# %%
dataset = course.open_set(lesson)
learning, holding = course.training(dataset), course.held_out(dataset)
images, labels = course.load(dataset, holding)
print(f"{len(learning)} patients to learn from, {len(holding)} held out with {len(images)} frames")

sizes = labels[..., 1].sum(axis=(1, 2))
chosen = np.argsort(sizes)[np.linspace(0, len(sizes) - 1, 4).round().astype(int)]
figure = Figure(figsize=(10, 2.8), layout="constrained")
for axes, number in zip(figure.subplots(1, 4), chosen, strict=True):
    axes.imshow(images[number, ..., 0], cmap="gray")
    if labels[number, ..., 1].any():
        axes.contour(labels[number, ..., 1], [0.5], colors="orange")
    axes.set_title(f"cavity: {sizes[number]:.0f} pixels", fontsize=9)
    axes.set_axis_off()
course.show(figure, lesson, "01-frames")

# %% [markdown]
# The cavity is a small part of the picture. Its share decides how to read every score in this course:

# %%
share = labels[..., 1].mean()
print(f"cavity: {100 * share:.2f} % of all pixels; background: {100 * (1 - share):.2f} %")

# %% [markdown]
# ## What a dense layer costs
#
# A network is a function with adjustable numbers: its **weights**. The simplest network multiplies every input pixel by
# its own weight and adds all products; the sum is a score. A **dense layer** does this for every output. Here each
# pixel has two scores, one for background and one for cavity, and each score has its own weights. Their number grows
# with the fourth power of the side of the image, so we make the images small:

# %%
rows = []
for size in (32, 64, 128, 256):
    weights = size**2 * (2 * size**2) + 2 * size**2
    rows.append([f"{size} x {size}", f"{weights:,}", f"{weights * 4 / 1e9:,.2f} GB"])
course.table(["image", "weights", "in memory"], rows)

SIZE = 32
small_images, small_labels = course.load(dataset, learning, SIZE)
test_images, test_labels = course.load(dataset, holding, SIZE)

# %% [markdown]
# At this size the smallest cavities vanish: if less than half of every block is cavity, the label is empty.
#
# ## Train it
#
# A softmax turns the two scores of a pixel into probabilities that add up to 1. The **loss** is one number that says
# how wrong they are. Here it is the cross-entropy: minus the logarithm of the probability of the right answer, averaged
# over all pixels. Training begins with random weights and repeats one step: take a few images (a **batch**), compute
# the loss and its derivative with respect to every weight, and move every weight a little in the direction in which the
# loss falls. The **learning rate** says how far; `adam` is a common rule that adapts it to each weight. An **epoch** is
# over when all images have been used once.
#
# We watch the accuracy (the share of correct pixels) and the **Dice**: twice the pixels that truth and prediction have
# in common, divided by the sum of both areas. It is 1 if both agree, and 0 if they share nothing.

# %%
network = keras.Sequential(
    [
        keras.Input((SIZE, SIZE, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(SIZE * SIZE * 2),
        keras.layers.Reshape((SIZE, SIZE, 2)),
        keras.layers.Softmax(),
    ]
)
network.compile("adam", "categorical_crossentropy", metrics=metrics(["background", "lv_cavity"]))
history = network.fit(
    small_images,
    small_labels,
    validation_data=(test_images, test_labels),
    epochs=lesson.pick(60, 2),
    batch_size=16,
    verbose=0,
).history

# %%
figure = Figure(figsize=(10, 3.2), layout="constrained")
for axes, name in zip(figure.subplots(1, 3), ("loss", "accuracy", "dice"), strict=True):
    axes.plot(history[name], label="training")
    axes.plot(history[f"val_{name}"], label="held out")
    axes.set(title=name, xlabel="epoch")
    axes.grid(alpha=0.3)
    axes.legend()
course.show(figure, lesson, "01-curves")

predicted = course.probabilities(network, test_images)
nothing = np.zeros_like(predicted)
course.table(
    course.COLUMNS,
    [
        course.judge(predicted, test_labels[..., 1]).row("one dense layer"),
        course.judge(nothing, test_labels[..., 1]).row("says background everywhere"),
    ],
)

# %% [markdown]
# Look at both columns. The accuracy would make you proud in a classroom, but the line below it shows what it is worth:
# **a program that predicts nothing has nearly the same.** The Dice is not fooled. (Such a program scores only in frames
# with an empty label, where predicting nothing is right.) Lesson 5 comes back to this.
#
# The curves show a second problem. On the training patients the network keeps improving to the end. On the held-out
# patients it soon stops improving, and may even get worse: this is **overfitting**. The network has far more weights
# than it has seen cavity pixels, and it memorises its patients:

# %%
print(f"weights: {network.count_params():,}; pixels of cavity to learn from: {small_labels[..., 1].sum():,.0f}")

# %%
order = course.examples(test_labels[..., 1])
parts = [("one dense layer", test_images[n, ..., 0], test_labels[n, ..., 1], predicted[n]) for n in order]
course.show(course.pictures(parts), lesson, "01-predicted")

# %% [markdown]
# ## What the network has learned, and what it has not
#
# The weights of one output pixel can be drawn as an image: it shows what that pixel looks for, and where. Compare the
# weights of two neighbouring pixels. They ask the same question one pixel apart, and should look for the same thing.
# But nothing connects them: each pixel has learned separately, from its own few examples.

# %%
kernel = network.layers[1].kernel.numpy().reshape(SIZE, SIZE, SIZE, SIZE, 2)
towards_cavity = kernel[..., 1] - kernel[..., 0]
figure = Figure(figsize=(9, 3.8), layout="constrained")
limit = np.abs(towards_cavity[:, :, SIZE // 2, SIZE // 2]).max()
panels = figure.subplots(1, 2)
for axes, column in zip(panels, (SIZE // 2, SIZE // 2 + 1), strict=True):
    drawn = axes.imshow(towards_cavity[:, :, SIZE // 2, column], cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.plot(column, SIZE // 2, "k+")
    axes.set_title(f"weights to the pixel in column {column} (+)", fontsize=9)
figure.colorbar(drawn, ax=panels, label="bright here speaks for cavity (red)\nor against it (blue)")
course.show(figure, lesson, "01-weights")
pair = [towards_cavity[:, :, SIZE // 2, column].ravel() for column in (SIZE // 2, SIZE // 2 + 1)]
alike = np.corrcoef(pair[0], np.roll(pair[1].reshape(SIZE, SIZE), -1, axis=1).ravel())[0, 1]
print(f"correlation of the two, one moved onto the other: {alike:.2f}")

# %% [markdown]
# So move the heart. A patient who lies a little to the side is the same patient, and the prediction should move too:

# %%
rows = []
for shift in (0, 2, 4, 8):
    moved, truth = np.roll(test_images, shift, axis=2), np.roll(test_labels[..., 1], shift, axis=2)
    rows.append(course.judge(course.probabilities(network, moved), truth).row(f"moved by {shift} of {SIZE} columns"))
course.table(course.COLUMNS, rows)

# %% [markdown]
# Look at how fast the Dice falls, although every image shows the same heart as before. This network has mostly learned
# *where* hearts lie in these images, and little about what they look like.
#
# **What is missing:** one small set of weights that is the same at every place. It needs fewer examples, because every
# place in every image is an example. Larger images need no more weights. And when the heart moves, the prediction moves
# too. This is a convolution: [lesson 2](02_convolutions.py).
#
# **Try:** give it a hidden layer (`Dense(256, activation="relu")`). Does it help on the training patients? On the
# held-out ones?
