"""Patches that look alike, together: their groups, and weighted nuclear norms of those."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 1 << 23  # values of groups that are worked on together


@dataclass(frozen=True)
class Patches:
    """All overlapping patches of an image, [B patch², R * C], with the image's size."""

    columns: Tensor
    patch: int
    size: tuple[int, int]

    @classmethod
    def of(cls, image: Tensor, patch: int) -> "Patches":
        """Of [B, H, W]; a patch begins at every pixel that has room for it."""
        return cls(F.unfold(image[None], patch)[0], patch, (image.shape[1], image.shape[2]))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns at which a patch begins."""
        return self.size[0] - self.patch + 1, self.size[1] - self.patch + 1

    def sums(self, columns: Tensor) -> Tensor:
        """The sum of all patches over each pixel, [B, H, W], of [B patch², R * C]."""
        return F.fold(columns[None], self.size, self.patch)[0]


def key_offsets(size: int, step: int) -> list[int]:
    """Of key patches: every ``step``, and each place behind the last of those (as the authors')."""
    regular = list(range(0, size, step))
    return regular + list(range(regular[-1] + 1, size))


def matched(
    image: Tensor,
    patch: int,
    step: int,
    reach: int,
    count: int,
    keys: Callable[[int, int], list[int]] = key_offsets,
) -> tuple[Tensor, Tensor]:
    """The patches most like each key patch.

    Args:
        image: [H, W], in which patches are compared by their squared distance.
        patch: Pixels of a side.
        step: Pixels from key to key.
        reach: How far from the key they may begin, in both directions.
        count: Of patches in a group, with the key, at most.
        keys: Where keys begin along a side.

    Returns:
        The places of the keys, [G], and of their groups' patches, [G, n], nearest first.
    """
    patches = Patches.of(image[None], patch)
    rows, columns = patches.shape
    values = patches.columns.T.view(rows, columns, -1)
    number = torch.arange(rows * columns, device=image.device).view(rows, columns)
    across = torch.tensor(keys(columns, step), device=image.device)
    window = torch.arange(columns, device=image.device)
    outside = (window - across[:, None]).abs() > reach  # [keys, columns]
    count = min(count, min(rows, reach + 1) * min(columns, reach + 1))
    places, groups = [], []
    for row in keys(rows, step):
        near = slice(max(0, row - reach), row + reach + 1)
        candidates = values[near].flatten(0, 1)
        distances = torch.cdist(values[row, across], candidates)
        distances.view(len(across), -1, columns).masked_fill_(outside[:, None], torch.inf)
        own = (row - near.start) * columns + across
        distances[torch.arange(len(across)), own] = -1.0  # the key itself, in any case
        nearest = distances.topk(count, largest=False).indices
        places.append(number[row, across])
        groups.append(number[near].flatten()[nearest])
    return torch.cat(places), torch.cat(groups)


def weighted_nuclear(groups: Tensor, weight: Tensor) -> Tensor:
    """The proximal operator of a weighted nuclear norm, in closed form.

    Singular values s become (s + sqrt(s² - 4 C)) / 2, or 0 where s² is at most 4 C.

    Args:
        groups: [G, n, m].
        weight: C of each, [G].
    """
    wide = groups.shape[1] < groups.shape[2]
    matrices = groups if wide else groups.mT
    squares, vectors = torch.linalg.eigh(matrices @ matrices.mT)
    kept = squares > 4 * weight[:, None]
    singular = squares.clamp_min(0).sqrt()
    root = (squares - 4 * weight[:, None]).clamp_min(0).sqrt()
    shares = torch.where(kept, (singular + root) / (2 * singular.clamp_min(1e-12)), 0)
    most = int(kept.sum(1).max())  # the others are zero
    first = kept.shape[1] - most
    vectors, shares = vectors[..., first:], shares[:, first:]
    if 2 * most > kept.shape[1]:  # the cheaper order of the two
        low = ((vectors * shares[:, None]) @ vectors.mT) @ matrices
    else:
        low = (vectors * shares[:, None]) @ (vectors.mT @ matrices)
    return low if wide else low.mT


def noise_left(patches: Patches, noisy: Patches, sigma: float, gamma: float) -> Tensor:
    """Of each patch after some denoising, [R * C]: what of sigma² was not taken, times gamma."""
    taken = (noisy.columns - patches.columns).square().mean(0)
    return gamma * (sigma**2 - taken).abs().sqrt()


def denoise_groups(
    patches: Patches, keys: Tensor, groups: Tensor, sigma: Tensor, c1: float
) -> tuple[Tensor, Tensor]:
    """Each group without what a weighted nuclear norm takes for noise, put together.

    Args:
        patches: Of the image.
        keys: The place of each group's key, [G].
        groups: The places of its patches, [G, n].
        sigma: Of the noise of each patch, [R * C].
        c1: Constant of the weights, C = 2 c1 sqrt(n) sigma².

    Returns:
        The sum of all patches over each pixel, [B, H, W], and their number, [H, W].
    """
    values = patches.columns.T.contiguous()
    total, times = torch.zeros_like(values), torch.zeros_like(values[:, 0])
    count = groups.shape[1]
    weights = 2 * c1 * count**0.5 * sigma[keys].square()
    for some in parts(len(keys), count * values.shape[1]):
        group = values[groups[some]]
        mean = group.mean(1, keepdim=True)
        found = weighted_nuclear(group - mean, weights[some]) + mean
        total.index_add_(0, groups[some].flatten(), found.flatten(0, 1))
        times += torch.bincount(groups[some].flatten(), minlength=len(times)).to(times)
    return patches.sums(total.T), patches.sums(times.expand(patches.patch**2, -1))[0]


def parts(count: int, values: int) -> Iterator[slice]:
    """Slices of so many groups of so many values that the memory holds what is made of them."""
    size = max(1, AT_ONCE // values)
    for start in range(0, count, size):
        yield slice(start, start + size)
