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
# # 3. Transposed convolutions
#
# Pooling bought a wide view with a coarse answer ([lesson 2](02_convolutions.py)). A transposed convolution goes the
# other way: each coarse score paints its kernel onto the fine picture, and overlapping paintings are added.
#
# This lesson computes one by hand, shows which kernels leave artefacts, and trains a whole network that ends with one,
# using the package's own training.

# %% tags=["parameters"]
DATA = None

# %%
import course
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from cinesax.train.nets.cost import cost

lesson = course.begin(DATA)

# %% [markdown]
# ## By hand
#
# Take two scores, a kernel of three weights, and a **stride** of two: the second painting begins two places after the
# first.

# %%
scores, kernel, stride = np.array([1.0, 10.0]), np.array([1.0, 2.0, 1.0]), 2
painted = np.zeros(stride * (len(scores) - 1) + len(kernel))
for place, score in enumerate(scores):
    painted[stride * place : stride * place + len(kernel)] += score * kernel
layer = layers.Conv1DTranspose(1, 3, strides=2, use_bias=False)
layer.build((None, None, 1))
layer.set_weights([kernel.reshape(3, 1, 1)])
print("by hand:", painted, " by Keras:", np.asarray(layer(scores.reshape(1, -1, 1).astype("float32"))).ravel())

# %% [markdown]
# ## Kernels that leave artefacts
#
# Paint an even surface: all scores are 1, with a stride of four. A kernel of four equal weights overlaps nowhere and
# gives blocks again. With five weights, some pixels are painted more often than others. The result is a chessboard,
# which a network would have to unlearn; it appears whenever the kernel's width is not a multiple of the stride. A
# tent-shaped kernel of two strides is smooth: it is bilinear interpolation, and a network may learn a better kernel.


# %%
def upsample(coarse, weights, stride):
    """One transposed convolution of a picture (row, column) with one kernel."""
    width = weights.shape[0]
    layer = layers.Conv2DTranspose(1, width, strides=stride, padding="same", use_bias=False)
    layer.build((None, None, None, 1))
    layer.set_weights([weights[..., None, None]])
    return np.asarray(layer(coarse[None, ..., None].astype("float32")))[0, ..., 0]


def tent(stride):
    side = 1 - np.abs(np.arange(2 * stride) - (stride - 0.5)) / stride
    return np.outer(side, side)


STRIDE = 4
kinds = {"kernel 4: blocks": np.ones((4, 4)), "kernel 5: chessboard": np.ones((5, 5)), "kernel 8, a tent": tent(STRIDE)}
one = np.zeros((5, 5))
one[2, 2] = 1
figure = Figure(figsize=(9, 5.6), layout="constrained")
panels = figure.subplots(2, 3)
for (title, weights), above, below in zip(kinds.items(), *panels, strict=True):
    even = upsample(np.ones((5, 5)), weights, STRIDE)[STRIDE:-STRIDE, STRIDE:-STRIDE]
    above.imshow(upsample(one, weights, STRIDE), cmap="gray")
    above.set_title(f"one score, {title}", fontsize=9)
    below.imshow(even, cmap="gray", vmin=0, vmax=4)
    below.set_title(f"an even surface: from {even.min():.2f} to {even.max():.2f}", fontsize=9)
for axes in panels.flat:
    axes.set_axis_off()
course.show(figure, lesson, "03-kernels")

# %% [markdown]
# ## What a kernel can recover
#
# Take the truth, make it coarse (means of blocks), and draw it again, as a perfect network would:

# %%
dataset = course.open_set(lesson)
test_images, test_labels = course.load(dataset, course.held_out(dataset))
truth = test_labels[..., 1]
rows = []
for stride in (4, 8, 16):
    coarse = course.blocks(truth, 256 // stride)
    smooth = np.stack([upsample(frame, tent(stride), stride) for frame in coarse])
    blocks = course.judge(course.enlarge(coarse, 256), truth).dice.mean()
    rows.append([f"{stride}", f"{blocks:.3f}", f"{course.judge(smooth, truth).dice.mean():.3f}"])
course.table(["pixels in a step", "Dice of blocks", "Dice of the tent"], rows)

# %% [markdown]
# A transposed convolution recovers a part of what the blocks lose; between two coarse scores it can only guess. The
# coarser the scores, the more is lost for good.
#
# ## A fully convolutional network
#
# `cinesax.train.nets.fcn` is the sequential network of many first courses: strided convolutions (they step over pixels
# as pooling does) and pooling down to a sixteenth of the resolution, and one transposed convolution back to all 256 x
# 256 pixels. It is trained like every network of this package: by `cinesax.train.fit.train`, from the prepared set,
# with a loss that lesson 5 explains.
#
# The settings are those of `course.recipe`. One thing is new, **augmentation**: each training image is a crop that is
# randomly rotated, stretched and changed in contrast; its label moves with it. A few patients then look like more, and
# memorising them (lesson 1) is harder. Each epoch prints one line; names that begin with `val_` are scores on the
# held-out patients.

# %%
print(course.networks(lesson)["fcn"])
run, network = course.trained(lesson, "fcn")
network.summary(line_length=90)

# %%
price = cost(network, 256)
print(f"{price.parameters:,} parameters; {price.multiply_adds / 1e6:,.0f} million multiplications for a frame")
predicted = course.probabilities(network, test_images)
judged = course.judge(predicted, truth)
course.table(
    course.COLUMNS,
    [judged.row("FCN"), course.judge(np.zeros_like(truth), truth).row("says background everywhere")],
)

# %% [markdown]
# ## Look at its borders
#
# Below are enlarged masks of a large, a medium and a small cavity. Look at the outlines: they hardly follow the edges
# in the image. They have the shape of the painted kernels, on a grid of 16 pixels.

# %%
order = course.examples(truth)
parts = [(f"FCN: Dice {judged.dice[n]:.2f}", test_images[n, ..., 0], truth[n], predicted[n]) for n in order]
course.show(course.pictures(parts, crop=96), lesson, "03-predicted")

# %% [markdown]
# The probability along one row of the first frame shows the same in numbers. In the truth, each step between background
# and cavity is one pixel wide. Over how many is it spread here?

# %%
number = order[0]
row = int(np.argmax(truth[number].sum(axis=1)))
figure = Figure(figsize=(8, 3), layout="constrained")
axes = figure.subplots()
axes.plot(truth[number, row], label="truth", drawstyle="steps-mid")
axes.plot(predicted[number, row], label="FCN")
axes.set(xlabel="column", ylabel="probability of cavity")
axes.grid(alpha=0.3)
axes.legend()
course.show(figure, lesson, "03-row")
between = ((predicted[number, row] > 0.1) & (predicted[number, row] < 0.9)).sum()
print(f"{between} pixels of this row have a probability between 0.1 and 0.9")

# %% [markdown]
# **What is missing:** the fine picture exists at the input of the network, but is thrown away there. Pass it to the
# decoder: [the U-Net](04_unet.py).
#
# **Try:** add `"fcn-fine": FCNConfig(channels=(32,), bottom=(64, 64))` to `course.networks`, and train it here instead
# of `"fcn"`. It stops at a quarter of the resolution. What happens to the borders, and to false LV far away from the
# heart?
