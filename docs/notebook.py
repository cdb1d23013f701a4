# %% [markdown]
# # atrous in a notebook
#
# Each cell is what a notebook would hold; `python docs/notebook.py` runs them all in a minute, on the CPU and without any
# file: `scenes` are drawn by the computer. Runs go to `runs/` in the current folder, as those of the command line do.

# %%
import numpy as np
import torch

import atrous

# %% [markdown]
# A network by the name of its yaml in `conf/model`; further settings are that yaml's keys.

# %%
model = atrous.create_model("deeplabv3plus", num_classes=19, output_stride=8, encoder="resnet18")
logits = model.eval()(torch.zeros(1, 3, 128, 160)).logits
print(logits.shape, f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")

# %% [markdown]
# A training by the words of the command line, here so short that it learns next to nothing.

# %%
few = ["trainer=cpu", "trainer.max_steps=6", "data.train.length=16", "data.val.length=6", "data.size=[64,64]"]
few += ["data.context_distance=8", "data.scale_range=[4,16]", "data.batch_size=4", "data.num_workers=0"]
runs = {
    (loss, seed): atrous.train(*few, f"loss={loss}", f"seed={seed}")
    for loss in ("cross_entropy", "dice")
    for seed in (0, 1)
}
run = runs["cross_entropy", 0]
steps, values = run.history()["val/miou"]
print(run.folder.name, run.score, values[-1])

# %% [markdown]
# Its network labels images of any size: arrays, PIL images, files.

# %%
net = atrous.load(run.folder)
image = np.random.default_rng(0).integers(0, 256, (90, 121, 3), np.uint8)
labels, probabilities, picture = net.predict(image), net.probabilities(image), net.overlay(image)
assert labels.shape == picture.shape[:2] == (90, 121)
assert probabilities.shape == (len(net.classes), 90, 121)
print(net.classes[labels[0, 0]])

# %% [markdown]
# Scores on another split, with the protocol that says how they were made.

# %%
scored = atrous.evaluate(run.folder, "split=test", "data.test.length=4")
print(scored.scores["miou"], scored.protocol["inference"])

# %% [markdown]
# Whether a difference is more than chance: a bootstrap over the images, with Student's t over the seeds.

# %%
comparison = atrous.compare(*([runs[loss, seed] for seed in (0, 1)] for loss in ("dice", "cross_entropy")))
print(comparison.verdict)

# %% [markdown]
# All runs of a folder as the report's table: seeds are folded.

# %%
study = atrous.read_runs("runs")
for group in study.groups:
    print(study.label(group), group.n, group.score.text())
