"""What every rival is: a network of [N, B, H, W] of any size, that says how it was built."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from lightning_ras2s.networks.blocks.mirror import mirrored
from lightning_ras2s.networks.checked import check_batch


class Denoiser(nn.Module):
    """A network that is written down in ``denoise``; ``forward`` fits its cubes to it.

    Attributes:
        arguments: It was built with, for checkpoints to say.
        bands: It takes so many; None for any number.
        multiple_of: Of height and width; others are mirrored up to it at the lower and right
            border, and what comes of them is cropped.
        least: Of height and width, likewise.
        authors: What its authors call the parts: patterns, each with what stands for it here; all
            are applied in turn.
    """

    arguments: dict[str, Any]
    bands: int | None = None
    multiple_of: int = 1
    least: int = 1
    authors: ClassVar[Sequence[tuple[str, str]]] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Notes the arguments; a copy brings its own."""
        network = super().__new__(cls)
        bound = inspect.signature(cls).bind_partial(*args, **kwargs)
        bound.apply_defaults()
        network.__dict__["arguments"] = dict(bound.arguments)
        return network

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoises a batch.

        Args:
            noisy: [N, B, H, W] floating, nominally in [0, 1] but not clipped.

        Returns:
            The denoised cubes [N, B, H, W], not clipped.

        Raises:
            TypeError: If ``noisy`` is no tensor, or its type is not that of the weights.
            ValueError: If ``noisy`` is not a non-empty [N, B, H, W] of finite values, or B is not
                the number of bands that the network was built for.
        """
        check_batch(self, noisy)
        if self.bands not in (None, noisy.shape[1]):
            remedy = (
                "its last axis holds as many: noisy.permute(0, 3, 1, 2)"
                if self.bands == noisy.shape[-1]
                else f"build it with bands={noisy.shape[1]}, or denoise by windows of bands, as "
                "lightning_ras2s.denoise does"
            )
            raise ValueError(
                f"{type(self).__name__} was built for {self.bands} bands and got "
                f"{noisy.shape[1]}; {remedy}"
            )
        height, width = noisy.shape[-2:]
        return self.denoise(self._framed(self._framed(noisy, -2), -1))[..., :height, :width]

    def _framed(self, noisy: Tensor, axis: int) -> Tensor:
        """An axis mirrored at its end to what the network takes; the border itself comes once."""
        if self.multiple_of == self.least == 1:
            return noisy
        length = max(noisy.shape[axis], self.least)
        length += -length % self.multiple_of
        return mirrored(noisy, axis, 0, length - noisy.shape[axis])

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W], of sizes that the network takes."""
        raise NotImplementedError

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The arguments of the network that has these tensors, under our names.

        Raises:
            KeyError: If a tensor is missing.
        """
        raise NotImplementedError(
            f"{cls.__name__} has no sizes() to read its arguments off tensors"
        )

    @classmethod
    def of_state(
        cls, state: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None
    ) -> Self:
        """The network that has these tensors.

        Args:
            state: By our names or the authors'.
            arguments: Of the class; None to read them off the tensors.

        Raises:
            KeyError: If a tensor is missing; or RuntimeError or ValueError.
        """
        state = {cls.present_name(name): tensor for name, tensor in state.items()}
        network = cls(**(cls.sizes(state) if arguments is None else arguments))
        network.load_state_dict(state)
        return network

    @classmethod
    def present_name(cls, name: str) -> str:
        """Our name for a tensor of the authors'; our own stay."""
        for pattern, ours in cls.authors:
            name = re.sub(pattern, ours, name)
        return name
