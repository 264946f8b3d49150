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
# The dense layer of [lesson 1](01_one_dense_layer.py) had a weight from every pixel to every pixel, and it learned
# where hearts lie instead of what they look like. A convolution looks at a small neighbourhood with **the same weights
# at every place**.
#
# This lesson computes a convolution by hand, compares three networks on the images of lesson 1, and shows what a small
# neighbourhood cannot know and what it costs to see more.

# %% tags=["parameters"]
DATA = None

# %%
import course
import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from cinesax.train.nets.losses import CrossEntropyDice

lesson = course.begin(DATA)
dataset = course.open_set(lesson)

# %% [markdown]
# ## By hand
#
# Take a row of pixels with a bright object, and a kernel of three weights. At every place, multiply each of three
# pixels by its weight, and add the products. This kernel asks one question: is it brighter on the right than on the
# left? It answers at every place, with the same three numbers.

# %%
pixels, kernel = np.array([0.0, 0, 0, 1, 1, 1, 0, 0, 0]), np.array([-1.0, 0, 1])
answers = [float((pixels[place : place + 3] * kernel).sum()) for place in range(len(pixels) - 2)]
layer = layers.Conv1D(1, 3, use_bias=False)
layer.build((None, None, 1))
layer.set_weights([kernel.reshape(3, 1, 1)])
print("by hand: ", np.array(answers))
print("by Keras:", np.asarray(layer(pixels.reshape(1, -1, 1).astype("float32"))).ravel())

# %% [markdown]
# Nobody writes such kernels for a network: training learns their weights. Kernels for images are 3 x 3, a layer has
# several of them (its channels), and the kernels of the next layer read all these channels.
#
# ## Three networks, the same images
#
# We compare the dense layer, three layers of convolutions, and six. All see the images of lesson 1 equally often, with
# the same loss: the default of this package, which gives good results sooner (lesson 5 explains it). Each is trained
# twice from different random weights, so that you see how much of a difference is chance.
#
# Between the layers is a ReLU, which replaces negative values by zero. Without it, any number of layers of weighted
# sums would be a single weighted sum.

# %%
SIZE = 32
images, labels = course.load(dataset, course.training(dataset), SIZE)
test_images, test_labels = course.load(dataset, course.held_out(dataset), SIZE)
truth = test_labels[..., 1]


def dense():
    outputs = [layers.Dense(2 * SIZE**2), layers.Reshape((SIZE, SIZE, 2)), layers.Softmax()]
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), layers.Flatten(), *outputs])


def convolution(channels):
    return layers.Conv2D(channels, 3, padding="same", activation="relu")


def convolutions(count):
    body = [convolution(16) for _ in range(count)]
    return keras.Sequential([keras.Input((None, None, 1)), *body, layers.Conv2D(2, 1), layers.Softmax()])


def fit(network, inputs, targets, learning_rate=3e-3):
    network.compile(keras.optimizers.Adam(learning_rate), CrossEntropyDice())
    network.fit(inputs, targets, epochs=lesson.pick(40, 1), batch_size=16, verbose=0)
    return network


def twice(make, learning_rate=3e-3):
    return [fit(make(), images, labels, learning_rate) for _ in range(lesson.pick(2, 1))]


networks = {
    "one dense layer": twice(dense, 1e-3),
    "3 convolutions": twice(lambda: convolutions(3)),
    "6 convolutions": twice(lambda: convolutions(6)),
}


def dice_of(pair, shift=0):
    """The Dice of each training, with image and truth moved by some columns."""
    moved, moved_truth = np.roll(test_images, shift, axis=2), np.roll(truth, shift, axis=2)
    each = [course.judge(course.probabilities(network, moved), moved_truth).dice.mean() for network in pair]
    return " and ".join(f"{dice:.3f}" for dice in each)


rows = [[name, f"{pair[0].count_params():,}", dice_of(pair)] for name, pair in networks.items()]
course.table(["", "weights", "Dice of each training"], rows)

# %% [markdown]
# Look at the weights first, then at the Dice of the held-out patients. With a few thousand weights instead of two
# million, convolutions do about as well as the dense layer, or better. A few patients and two trainings cannot settle
# how much better: two trainings of the same network differ too. The number of weights does not even depend on the image
# size: the same network takes 32 x 32 and 256 x 256 pixels.
#
# ## The prediction moves with the heart
#
# The test that the dense layer failed does have a clear answer. Move the heart by some columns:

# %%
SHIFTS = (0, 2, 4, 8)
rows = [[name, *(dice_of(pair, shift) for shift in SHIFTS)] for name, pair in networks.items()]
course.table(["Dice, moved by", *(f"{shift} columns" for shift in SHIFTS)], rows)

# %% [markdown]
# Here the convolutions leave the dense layer far behind. They hardly depend on where the heart lies, and this did not
# have to be learned: the same weights give the same answer everywhere. (Small differences come from the border, where a
# network sees zeros, and from the pixels that `np.roll` brings in on the other side.)
#
# ## How far a pixel sees
#
# The **receptive field** of an output pixel is the part of the image that can change it. To measure it, take the
# derivative of one output with respect to every input pixel, and count the pixels where it is not zero.

# %%


def field(network, size=64):
    """Rows of the image that can change one output pixel near the middle."""
    import tensorflow as tf

    image = tf.Variable(np.random.default_rng(0).random((1, size, size, 1), dtype=np.float32))
    scores = keras.Model(network.inputs, network.layers[-2].output)
    with tf.GradientTape() as tape:
        result = scores(image)
        middle = result[0, result.shape[1] // 2, result.shape[2] // 2, 1]
    seen = np.argwhere(np.abs(tape.gradient(middle, image).numpy()[0, ..., 0]) > 0)
    return seen[:, 0].max() - seen[:, 0].min() + 1 if len(seen) else 0


for name in ("3 convolutions", "6 convolutions"):
    print(f"{name}: one output pixel sees {field(networks[name][0])} rows")

# %% [markdown]
# Each 3 x 3 layer adds one pixel on every side. Three layers look through a keyhole: through it, the LV is "something
# bright with a dark surround", but so are the right ventricle, vessels and the stomach. Compare what the two networks
# take for cavity, especially far away from it:

# %%
order = course.examples(truth)
for name in ("3 convolutions", "6 convolutions"):
    predicted = course.probabilities(networks[name][0], test_images)
    parts = [(name, test_images[n, ..., 0], truth[n], predicted[n]) for n in order]
    course.show(course.pictures(parts), lesson, f"02-{name[0]}-convolutions")

# %% [markdown]
# ## Pooling: see more, know less exactly where
#
# Six layers see a good part of a 32 x 32 image, but next to nothing of a 256 x 256 image. To see as much there, a
# network would need eight times as many layers, each on 64 times as many pixels. **Pooling** is cheaper: it keeps the
# largest of 2 x 2 pixels, so that each later layer sees twice as far for a quarter of the work. The price is that the
# output is as coarse as the last layer: after two poolings, one value for a block of 4 x 4 pixels.
#
# Now take 64 x 64 images, and predict for each block its share of cavity:

# %%
SIZE, COARSE = 64, 16
images, labels = course.load(dataset, course.training(dataset), SIZE)
test_images, test_labels = course.load(dataset, course.held_out(dataset), SIZE)
truth = test_labels[..., 1]


def coarser(one_hot):
    cavity = course.blocks(one_hot[..., 1], COARSE)
    return np.stack([1 - cavity, cavity], axis=-1)


far = keras.Sequential(
    [
        keras.Input((None, None, 1)),
        convolution(16),
        layers.MaxPooling2D(),
        convolution(32),
        layers.MaxPooling2D(),
        convolution(48),
        convolution(48),
        convolution(48),
        layers.Conv2D(2, 1),
        layers.Softmax(),
    ]
)
fit(far, images, coarser(labels))
coarse = course.probabilities(far, test_images)
found_far = course.enlarge(coarse, SIZE)
best = course.enlarge(coarser(test_labels)[..., 1], SIZE)
print(f"one output pixel sees {field(far)} of {SIZE} rows")
course.table(
    course.COLUMNS,
    [
        course.judge(found_far, truth).row("with pooling, in blocks"),
        course.judge(best, truth).row("the truth itself, in the same blocks"),
        course.judge(np.zeros_like(truth), truth).row("says background everywhere"),
    ],
)

# %% [markdown]
# The second line is a ceiling: the score of a perfect network that answers in blocks. No training can lift this network
# above it. The ceiling is lowest where it hurts most, in the small slices near the apex:

# %%
ceiling, areas = course.judge(best, truth).dice, truth.sum(axis=(1, 2))
figure = Figure(figsize=(8, 3.8), layout="constrained")
axes = figure.subplots()
axes.scatter(areas[areas > 0], ceiling[areas > 0], s=12, label="the truth in blocks")
axes.scatter(areas[areas > 0], course.judge(found_far, truth).dice[areas > 0], s=12, label="the network with pooling")
axes.set(xlabel=f"cavity in pixels (of {SIZE} x {SIZE})", ylabel="Dice of the slice")
axes.grid(alpha=0.3)
axes.legend()
course.show(figure, lesson, "02-ceiling")
parts = [("with pooling", test_images[n, ..., 0], truth[n], found_far[n]) for n in course.examples(truth)]
course.show(course.pictures(parts), lesson, "02-pooling")

# %% [markdown]
# **What is missing:** a way back up. The network sees *what* is there, but has lost *where exactly* its border lies.
# The next lesson draws the fine picture from the coarse one: [transposed convolutions](03_transposed_convolutions.py).
#
# **Try:** six convolutions without pooling on the 64 x 64 images, then twelve. What Dice do they reach, and what does
# an epoch cost?
