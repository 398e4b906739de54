# %% [markdown]
# # Denoise a scene
#
# A real scene gets the paper's mixture of noise, is denoised and compared with what it was: Indian Pines, 200 bands,
# which comes with the installation. With a file of your own, go to the last section.

# %%
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from datamodules import IndianPines, add_noise, write_scene
from lightning_ras2s import denoise
from lightning_ras2s.metrics import band_psnr, mpsnr, sam

clean = IndianPines().scenes("test")[0]  # columns that no training of ours has seen
batch = torch.from_numpy(clean.cube)[None]  # [1, B, H, W] in [0, 1]
noisy = replace(clean, cube=add_noise(batch, "mixture", seed=0)[0].numpy())
print(clean.name, clean.shape, f"{clean.wavelengths[0]:.0f} to {clean.wavelengths[-1]:.0f} nm")

# %% [markdown]
# ## Three methods
#
# `ras2s` is the network, with the weights of the package. `+s` refines what any method gives, by what the spectra of the
# scene have in common. A `Scene` goes in and a `Scene` comes out, in the same units; arrays and tensors work as well.

# %%
scenes = {"noisy": noisy}
for method in ("median", "ras2s", "ras2s+s"):
    scenes[method] = denoise(noisy, method)
for name, scene in scenes.items():
    pair = torch.from_numpy(scene.cube)[None], batch
    print(f"{name:8} PSNR {mpsnr(*pair).item():5.2f} dB   SAM {sam(*pair).item():.3f} rad")

# %% [markdown]
# ## One band
#
# The same grey values in all pictures. Stripes, dead lines and impulses are part of the mixture.

# %%
band = 100
figure, axes = plt.subplots(1, 5, figsize=(9, 7.6), dpi=80, layout="constrained")
for axis, (name, scene) in zip(axes, (*scenes.items(), ("clean", clean)), strict=True):
    axis.imshow(scene.cube[band], vmin=0, vmax=clean.cube[band].max(), cmap="gray")
    axis.set(title=name, xticks=[], yticks=[])

# %% [markdown]
# ## One spectrum, and all bands

# %%
row, column = 90, 12
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), dpi=80, layout="constrained")
for name, scene in (*scenes.items(), ("clean", clean)):
    style = {"noisy": {"alpha": 0.3}, "clean": {"color": "black", "lw": 2}}.get(name, {})
    if name != "median":
        left.plot(clean.wavelengths, scene.cube[:, row, column], label=name, **style)
    if name != "clean":
        quality = band_psnr(torch.from_numpy(scene.cube)[None], batch)[0]
        right.plot(clean.wavelengths, quality, label=name, alpha=style.get("alpha", 1))
left.set(
    xlabel="wavelength (nm)", ylabel="value", title=f"pixel ({row}, {column})", ylim=(-0.2, 1.2)
)
right.set(xlabel="wavelength (nm)", ylabel="PSNR (dB)", title="each band")
left.legend()
right.legend()
plt.show()

# %% [markdown]
# ## A file of your own
#
# The command does the same to a file of any format and size: `ras2s denoise scene.hdr -o clean.hdr`. It writes a page
# beside it, `clean.quality.html`, that answers *may I trust it?*; these are its first lines, which are in
# `clean.quality.json` too.

# %%
write_scene(noisy, "scene.hdr")
command = [sys.executable, "-m", "lightning_ras2s", "denoise", "scene.hdr", "-o", "clean.hdr"]
print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
for finding in json.loads(Path("clean.quality.json").read_text())["findings"]:
    print("*", finding)
