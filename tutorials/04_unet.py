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
# # 4. The U-Net
#
# Pooling gives a wide view, and transposed convolutions a way back up ([lesson 3](03_transposed_convolutions.py)). A
# U-Net adds **skips**: on the way up, every level also receives the features of the way down at the same resolution.
# The levels below say what is there; the skips say where exactly.
#
# This lesson trains a U-Net with the same recipe and cost as the FCN, compares both, and then cuts the skips to see
# what they carry.

# %% tags=["parameters"]
DATA = None

# %%
import course
import keras
import numpy as np
from matplotlib.figure import Figure

from cinesax.train.nets.cost import cost

lesson = course.begin(DATA)
dataset = course.open_set(lesson)
test_images, test_labels = course.load(dataset, course.held_out(dataset))
truth = test_labels[..., 1]

# %% [markdown]
# ## Both networks, one recipe
#
# Images, steps and learning rate are the same, and so, nearly, is the number of multiplications for a frame: the U-Net
# spends them on fewer channels at finer levels. Each run has its own folder. A network from an earlier lesson is not
# trained again: `train(..., resume=True)` sees that it is finished.

# %%
networks = {name: course.trained(lesson, name)[1] for name in ("fcn", "unet")}

# %% [markdown]
# The U-Net as a function of its config is `cinesax/train/nets/unet.py`: forty lines to read. In its summary, look for
# the `join` layers: each has two inputs in the last column, one from below (`up`) and the skip (`down`). (Batch
# normalisation, after each convolution, keeps the values in a range that is good for training.)

# %%
networks["unet"].summary(line_length=100)

# %%
predicted = {name: course.probabilities(network, test_images) for name, network in networks.items()}
judged = {name: course.judge(masks, truth) for name, masks in predicted.items()}
areas = truth.sum(axis=(1, 2))
small = (areas > 0) & (areas <= np.quantile(areas[areas > 0], 0.25))
rows = []
for name, network in networks.items():
    price = cost(network, 256)
    numbers = [f"{price.parameters:,}", f"{price.multiply_adds / 1e6:,.0f}", f"{judged[name].dice[small].mean():.3f}"]
    rows.append(judged[name].row(name) + numbers)
columns = [*course.COLUMNS, "parameters", "multiplications", "Dice, smallest quarter"]
course.table(columns, rows)

# %% [markdown]
# First check that the costs are similar (multiplications for a frame, in millions). Then compare the Dice of all
# frames, and of the smallest quarter, near the apex and at end systole. The accuracy alone hardly shows the difference.
# Now look at the same frames:

# %%
order = course.examples(truth)
for name, masks in predicted.items():
    parts = [(f"{name}: Dice {judged[name].dice[n]:.2f}", test_images[n, ..., 0], truth[n], masks[n]) for n in order]
    course.show(course.pictures(parts, crop=96), lesson, f"04-{name}")

# %% [markdown]
# ## Cut the skips
#
# Each level of the way up joins two parts: first the features from below, then the skip. The weights that read the skip
# are part of the next kernel. In a copy of the network we set them to zero, from the finest level down, and predict
# again:

# %%
config = course.networks(lesson)["unet"]
cut = keras.models.clone_model(networks["unet"])
cut.set_weights(networks["unet"].get_weights())
rows, seen = [judged["unet"].row("all skips")], {"all skips": predicted["unet"]}
for level in range(len(config.channels) - 1):
    layer = cut.get_layer(f"merge{level}_conv1")
    kernel = layer.get_weights()[0]
    kernel[:, :, config.channels[level] :, :] = 0
    layer.set_weights([kernel])
    name = f"without skips {', '.join(map(str, range(level + 1)))}"
    seen[name] = course.probabilities(cut, test_images)
    rows.append(course.judge(seen[name], truth).row(name))
course.table(course.COLUMNS, rows)

# %%
number = order[0]
figure = Figure(figsize=(11, 3.2), layout="constrained")
for axes, (name, masks) in zip(figure.subplots(1, len(seen)), seen.items(), strict=True):
    axes.imshow(masks[number], cmap="magma", vmin=0, vmax=1)
    axes.contour(truth[number], [0.5], colors="cyan", linewidths=0.8)
    axes.set_title(name, fontsize=9)
    axes.set_axis_off()
course.show(figure, lesson, "04-skips")

# %% [markdown]
# The network was trained with its skips, so it fails without them. This does not show how good a network without skips
# can become (the FCN shows that). It shows where the information flows: look at what is lost first, the border or the
# place.
#
# ## How sure is it, and where?

# %%
doubt = [((p > 0.1) & (p < 0.9)).sum(axis=(1, 2))[areas > 0].mean() for p in predicted.values()]
rows = [[name, f"{pixels:.0f}"] for name, pixels in zip(predicted, doubt, strict=True)]
course.table(["", "pixels in doubt in a frame with LV"], rows)

# %% [markdown]
# **Next:** two numbers judged both networks, and one of them hardly moved. [Lesson 5](05_accuracy_and_dice.py) asks
# why.
#
# **Try:** add `"unet-full": UNetConfig(channels=(8, 16, 32, 48), stem=None, dropout=0.0)` to `course.networks`: without
# the stem, the first convolution, the network works at full resolution. What does it cost, and what does it gain in the
# smallest quarter?
