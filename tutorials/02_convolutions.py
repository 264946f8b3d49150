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
# # 2. Convolutions
#
# The dense layer of [lesson 1](01_one_dense_layer.py) had a weight from every pixel to every pixel, and learned where
# hearts lie instead of what they look like. A convolution looks at a small neighbourhood with **the same weights at
# every place**.
#
# This lesson shows what that brings, what a small neighbourhood cannot know, and what it costs to see more.

# %% tags=["parameters"]
DATA = None

# %%
import course
import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

lesson = course.begin(DATA)
dataset = course.open_set(lesson)
SIZE = 64
images, labels = course.load(dataset, course.training(dataset), SIZE)
test_images, test_labels = course.load(dataset, course.held_out(dataset), SIZE)
truth = test_labels[..., 1]


def fit(network, targets):
    network.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy")
    network.fit(images, targets, epochs=lesson.pick(12, 1), batch_size=8, verbose=0)
    return network


# %% [markdown]
# ## Three layers of 3 x 3
#
# The weights no longer depend on the size of the image: the same network takes 64 x 64 pixels and 256 x 256.

# %%
near = keras.Sequential(
    [
        keras.Input((None, None, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(2, 1),
        layers.Softmax(),
    ]
)
fit(near, labels)
found = course.probabilities(near, test_images)
print(f"weights: {near.count_params():,}; a dense layer would have {2 * SIZE**4 + 2 * SIZE**2:,} at this size")
course.table(
    course.COLUMNS,
    [
        course.judge(found, truth).row("three convolutions"),
        course.judge(np.zeros_like(truth), truth).row("says background everywhere"),
    ],
)

# %% [markdown]
# ## The answer moves along
#
# Move the image, and the answer moves by just as much: nothing has to be learned for that. (At the border the network
# sees zeros, so a margin is left out.)

# %%
shift, margin = 8, 12
moved = course.probabilities(near, np.roll(test_images, shift, axis=2))
inside = (slice(None), slice(margin, -margin), slice(margin, -margin))
difference = np.abs(moved - np.roll(found, shift, axis=2))[inside].max()
print(f"largest difference in probability between 'move, then ask' and 'ask, then move': {difference:.1e}")

# %% [markdown]
# ## How far a pixel sees
#
# The **receptive field** of an output pixel is what of the image can change it. It can be measured: take the
# derivative of one output by every input pixel, and count where it is not zero.

# %%


def field(network, size=SIZE):
    """Rows of the image that can change one output pixel near the middle, and the derivatives."""
    import tensorflow as tf

    image = tf.Variable(np.random.default_rng(0).random((1, size, size, 1), dtype=np.float32))
    scores = keras.Model(network.inputs, network.layers[-2].output)
    with tf.GradientTape() as tape:
        result = scores(image)
        middle = result[0, result.shape[1] // 2, result.shape[2] // 2, 1]
    change = np.abs(tape.gradient(middle, image).numpy()[0, ..., 0])
    seen = np.argwhere(change > 0)
    return (seen[:, 0].max() - seen[:, 0].min() + 1 if len(seen) else 0), change


print(f"one output pixel sees {field(near)[0]} of {SIZE} rows")

# %% [markdown]
# That is less than the cavity is wide. Through such a keyhole the LV is "something bright with bright beside it", and
# so are the right ventricle, the stomach and the fat of the chest. Look at what it takes for cavity:

# %%
order = np.argsort(-truth.sum(axis=(1, 2)))[:: max(1, len(truth) // 3)][:3]
rows = [("three convolutions", test_images[n, ..., 0], truth[n], found[n]) for n in order]
course.show(course.pictures(rows), lesson, "02-near")

# %% [markdown]
# ## Pooling: see more, know less exactly where
#
# Pooling keeps the largest of 2 x 2 pixels, so that each layer after it sees twice as far at a quarter of the work.
# The answer is then as coarse as the last layer: after two poolings, one for a block of 4 x 4 pixels.

# %%
far = keras.Sequential(
    [
        keras.Input((None, None, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(48, 3, padding="same", activation="relu"),
        layers.Conv2D(48, 3, padding="same", activation="relu"),
        layers.Conv2D(48, 3, padding="same", activation="relu"),
        layers.Conv2D(2, 1),
        layers.Softmax(),
    ]
)
COARSE = SIZE // 4


def coarser(one_hot):
    cavity = course.blocks(one_hot[..., 1], COARSE)
    return np.stack([1 - cavity, cavity], axis=-1)


fit(far, coarser(labels))
coarse = course.probabilities(far, test_images)
found_far = course.enlarge(coarse, SIZE)
best = course.enlarge(coarser(test_labels)[..., 1], SIZE)
print(f"one output pixel sees {field(far)[0]} of {SIZE} rows")
course.table(
    course.COLUMNS,
    [
        course.judge(found, truth).row("three convolutions"),
        course.judge(found_far, truth).row("with pooling, in blocks"),
        course.judge(best, truth).row("the truth itself, in the same blocks"),
    ],
)

# %% [markdown]
# The last line is a ceiling: what a network would get that makes no mistake at all, and answers in blocks. No
# training lifts an answer above it. It is lowest where it hurts, in the small slices near the apex:

# %%
ceiling, areas = course.judge(best, truth).dice, truth.sum(axis=(1, 2))
figure = Figure(figsize=(7, 3.4), layout="constrained")
axes = figure.subplots()
axes.scatter(areas[areas > 0], ceiling[areas > 0], s=12, label="the truth in blocks")
axes.scatter(areas[areas > 0], course.judge(found_far, truth).dice[areas > 0], s=12, label="the network with pooling")
axes.set(xlabel=f"cavity in pixels (of {SIZE} x {SIZE})", ylabel="Dice of the slice")
axes.grid(alpha=0.3)
axes.legend()
course.show(figure, lesson, "02-ceiling")
rows = [("with pooling", test_images[n, ..., 0], truth[n], found_far[n]) for n in order]
course.show(course.pictures(rows), lesson, "02-far")

# %% [markdown]
# **What is missing:** a way back up. The network knows *what* is there, from afar, and has lost *where exactly* its
# border lies. The next lesson learns to draw the fine picture from the coarse one: [transposed
# convolutions](03_transposed_convolutions.py).
#
# **Try:** more layers of 3 x 3 without pooling, until the field is as wide as that of the second network. What does
# an epoch cost?
