# %% [markdown]
# # Look into SSRA
#
# RAS2S's region-aware module (SSRA, section 3.3 of the paper) sorts the pixels of each band into three regions, and gives
# each region a 3 x 3 filter of its own, made from the features of that band. It does so twice: the *spatial* regions
# depend on a pixel's neighbourhood, the *spectral* ones on its own features alone. Which pixel goes where is learned.

# %%
import matplotlib.pyplot as plt
import torch
from matplotlib.colors import ListedColormap

from datamodules import IndianPines, add_noise
from lightning_ras2s import RAS2S
from lightning_ras2s.pictures.region_figures import palette

scene = IndianPines().scenes("test")[0]
noisy = add_noise(torch.from_numpy(scene.cube)[None], "noniid", seed=0)  # [1, B, H, W]
network = RAS2S.from_pretrained().eval()
with torch.inference_mode():
    masks = network.region_masks(noisy)
print(
    "spatial",
    list(masks.spatial.shape),
    masks.spatial.dtype,
    "spectral",
    list(masks.spectral.shape),
)

# %% [markdown]
# ## Regions of some bands
#
# Each colour is a region. Where a band is clear (the first one) the spectral regions follow the fields; in the others
# both follow the noise. The spatial regions are fine patterns: neighbouring pixels are filtered differently.

# %%
bands = (20, 60, 100, 140, 180)
colours = ListedColormap(palette(3) / 255)
show = {"cmap": colours, "vmin": -0.5, "vmax": 2.5, "interpolation": "nearest"}
figure, axes = plt.subplots(3, 5, figsize=(8, 13), dpi=70, layout="constrained")
for column, band in zip(axes.T, bands, strict=True):
    column[0].imshow(noisy[0, band], cmap="gray", vmin=0, vmax=1)
    column[1].imshow(masks.spatial[0, band], **show)
    column[2].imshow(masks.spectral[0, band], **show)
    column[0].set_title(f"{scene.wavelengths[band]:.0f} nm")
    for axis in column:
        axis.set(xticks=[], yticks=[])
for axis, name in zip(axes[:, 0], ("noisy", "spatial", "spectral"), strict=True):
    axis.set_ylabel(name)

# %% [markdown]
# ## The regions of the paper's Fig. 5
#
# Above, the masks are read from the *encoded* state of the noisy scene, as the network itself uses them. The paper shows
# them from the *embedding* of a single band in its place. Of the clean scene they follow fields and roads; of the noisy
# one they are salt and pepper by nature, as the embedding sees one band and 3 x 3 pixels, which here are noise.

# %%
clean = torch.from_numpy(scene.cube)[None]
with torch.inference_mode():
    shown = {
        "noisy": network.region_masks(noisy, source="embedding").spectral,
        "clean": network.region_masks(clean, source="embedding").spectral,
    }
figure, axes = plt.subplots(2, 5, figsize=(8, 9), dpi=70, layout="constrained")
for row, (name, mask) in zip(axes, shown.items(), strict=True):
    row[0].set_ylabel(f"spectral, of the {name} scene")
    for axis, band in zip(row, bands, strict=True):
        axis.imshow(mask[0, band], **show)
        axis.set(xticks=[], yticks=[], title=f"{scene.wavelengths[band]:.0f} nm")

# %% [markdown]
# ## How many pixels each region has
#
# Band by band. A region that is empty in every band would be dead weight, one that has all pixels no division at all;
# `make train` logs this picture to W&B, to be watched during a training.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3), dpi=80, sharey=True, layout="constrained")
for axis, (name, mask) in zip(axes, masks._asdict().items(), strict=True):
    shares = torch.stack([(mask[0] == region).float().mean((1, 2)) for region in range(3)])
    axis.stackplot(scene.wavelengths, 100 * shares, colors=colours.colors)
    axis.set(title=name, xlabel="wavelength (nm)")
axes[0].set_ylabel("pixels (%)")
plt.show()

# %% [markdown]
# ## What becomes of each region
#
# The root mean square error of its pixels (all bands), before and after. Where regions differ in what is left, the network
# treats them differently.

# %%
with torch.inference_mode():
    denoised = network(noisy)
clean = torch.from_numpy(scene.cube)
for region in range(3):
    here = masks.spatial[0] == region
    before, after = ((cube[0] - clean)[here].square().mean().sqrt() for cube in (noisy, denoised))
    share = 100 * here.float().mean()
    print(
        f"spatial region {region}: {share:4.1f} % of the pixels, RMSE {before:.4f} -> {after:.4f}"
    )
