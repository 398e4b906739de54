"""Overlapping square blocks of an image, and patches that look alike."""

from dataclasses import dataclass

import torch
from torch import Tensor


def offsets(size: int, block: int, step: int) -> list[int]:
    """Where blocks begin: every ``step`` pixels, and at the last place that has room."""
    last = max(0, size - block)
    return [*range(0, last, step), last]


@dataclass(frozen=True)
class Blocks:
    """The blocks of images of one size.

    Attributes:
        places: Of the pixels of each block among the image's, [P, block²].
        times: How many blocks cover each pixel, [H, W].
    """

    places: Tensor
    times: Tensor

    @classmethod
    def of(cls, like: Tensor, block: int, step: int) -> "Blocks":
        """Of cubes [B, H, W] like this one; a block is at most the image."""
        _, height, width = like.shape
        number = torch.arange(height * width, device=like.device).view(height, width)
        tall, wide = min(block, height), min(block, width)
        places = torch.stack(
            [
                number[top : top + tall, left : left + wide].flatten()
                for top in offsets(height, block, step)
                for left in offsets(width, block, step)
            ]
        )
        times = torch.bincount(places.flatten(), minlength=height * width)
        return cls(places, times.view(height, width).to(like))

    def take(self, cube: Tensor) -> Tensor:
        """The blocks [P, block², B] of a cube [B, H, W]."""
        return cube.flatten(1).T[self.places]

    def put_together(self, blocks: Tensor) -> Tensor:
        """The sum of all blocks, [B, H, W]: the adjoint of ``take``."""
        total = blocks.new_zeros(self.times.numel(), blocks.shape[-1])
        total.index_add_(0, self.places.flatten(), blocks.flatten(0, 1))
        return total.T.reshape(-1, *self.times.shape)
