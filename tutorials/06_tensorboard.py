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
# # 6. TensorBoard
#
# Every training of this package writes logs while it runs: curves, pictures of a fixed set of slices, the settings and
# the graph of the network. TensorBoard shows them in a browser, even during the training. This lesson gives the
# command, and then reads the logs of [lesson 4](04_unet.py) in Python, so that you know what is in them and what to
# look for. Missing trainings are run first.

# %% tags=["parameters"]
DATA = None

# %%
import io

import course
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

lesson = course.begin(DATA)
runs = {name: course.trained(lesson, name)[0] for name in ("fcn", "unet")}

# %% [markdown]
# This command shows both runs. Run it in a terminal, in the project folder and with its environment active, and open
# the address that it prints:

# %%
print(f"tensorboard --logdir {course.shown(lesson.work)}")

# %% [markdown]
# In a notebook, `%load_ext tensorboard` and `%tensorboard --logdir ...` show the same below a cell. `cinesax train`
# prints such a command at the start of every training.
#
# ## What the logs contain
#
# A run has a log folder for training, one for the held-out patients, and one for pictures. Training and validation
# values have the same names, so that TensorBoard draws them in one chart.


# %%
def logs(run, part):
    folder = run.folder / "tensorboard" / part
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def is_picture(log, tag):
    return log.SummaryMetadata(tag).plugin_data.plugin_name == "images"


rows = []
for part in ("train", "validation", "pictures"):
    log = logs(runs["unet"], part)
    tags = log.Tags()["tensors"]
    rows.append([part, f"{len(tags)}", ", ".join(tags[:6]) + (", ..." if len(tags) > 6 else "")])
course.table(["logs", "names", "the first of them"], rows)

# %% [markdown]
# ## Curves (SCALARS)
#
# What to look for:
#
# - **loss**: falls in training. If the held-out loss rises again meanwhile, the network memorises its patients: add
#   augmentation, use fewer weights, or stop there.
# - **accuracy**: reaches the share of the background after a few steps, and has little room above it (lesson 5).
# - **dice**: what you want to know. In training it is a mean over an epoch, with changing weights, on augmented crops.
#   For the held-out patients it is computed after some epochs, on whole frames, with the EMA of the weights. So the two
#   are not measured alike: look at how each develops, not only at the gap.
# - **iou_lv_cavity**: the intersection of truth and prediction divided by their union: Dice on another scale, lower.
#   Of two networks, the one with the lower loss need not have the higher Dice: the loss also asks how sure they are.
# - **learning_rate**: rises during the warm-up, then falls along a cosine. It often explains a kink in another curve.
# - **images_per_second**: falls when something else uses the machine, or when the images come too slowly.


# %%
def curve(log, tag):
    if tag not in log.Tags()["tensors"]:
        return [], []
    events = log.Tensors(tag)
    return [event.step for event in events], [float(tf.make_ndarray(event.tensor_proto)) for event in events]


figure = Figure(figsize=(11, 5.6), layout="constrained")
names = ("loss", "accuracy", "dice", "iou_lv_cavity", "learning_rate", "images_per_second")
for axes, tag in zip(figure.subplots(2, 3).flat, names, strict=True):
    for number, (name, run) in enumerate(runs.items()):
        for part, style in (("train", "--"), ("validation", "o-")):
            steps, values = curve(logs(run, part), tag)
            if steps:
                axes.plot(steps, values, style, color=f"C{number}", label=f"{name}, {part}", markersize=3)
    axes.set_title(tag, fontsize=9)
    axes.set_xlabel("epoch, counted from 0", fontsize=8)
    axes.grid(alpha=0.3)
figure.axes[0].legend(fontsize=7)
course.show(figure, lesson, "06-curves")

last = {
    name: (curve(logs(run, "train"), "dice")[1], curve(logs(run, "validation"), "dice")[1])
    for name, run in runs.items()
}
rows = [[name, f"{train[-1]:.3f}", f"{held[-1]:.3f}"] for name, (train, held) in last.items()]
course.table(["last Dice", "training", "held out"], rows)

# %% [markdown]
# ## Pictures (IMAGES)
#
# Every validation draws the same eight held-out slices: input, truth, prediction, difference. A curve shows *that* a
# network improves; pictures show *at what*: first it learns that there is a heart, then where it ends. Below is one
# slice, validation by validation.

# %%
log = logs(runs["unet"], "pictures")
tags = [tag for tag in log.Tags()["tensors"] if is_picture(log, tag)]
tag = tags[len(tags) // 4]
# TensorBoard counts epochs from 0, the console of `cinesax train` from 1.
looks = [(event.step, event.tensor_proto.string_val[2]) for event in log.Tensors(tag)]
figure = Figure(figsize=(9, 2.5 * len(looks)), layout="constrained")
for axes, (epoch, png) in zip(figure.subplots(len(looks), 1, squeeze=False).flat, looks, strict=True):
    axes.imshow(np.asarray(Image.open(io.BytesIO(png))))
    axes.set_title(f"{tag} after epoch {epoch + 1}: input, truth, prediction, difference", fontsize=9)
    axes.set_axis_off()
course.show(figure, lesson, "06-pictures")

# %% [markdown]
# ## Graph and settings (GRAPHS, TEXT, HPARAMS)
#
# The graph shows each layer with the shapes between them: look for the skips of the U-Net. HPARAMS shows the settings
# of all runs in a folder next to their scores, so that you can find out which of ten runs was best, and why. The same
# information is in files:

# %%
for path in sorted(runs["unet"].folder.iterdir()):
    print(path.name)

# %% [markdown]
# **Next:** curves and means hide single patients. [Lesson 7](07_reading_the_mistakes.py) reads the mistakes.
#
# **Try:** leave TensorBoard open and start a longer training of a larger network (the next cell prints the command).
# Watch its curves: do they rise above those of the small U-Net, and after how many epochs?

# %%
work = course.shown(lesson.work)
print(f"cinesax train {work}/set -o {work}/longer --preset unet --fold {course.FOLD} --epochs 5")
