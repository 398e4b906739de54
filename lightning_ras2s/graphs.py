"""CUDA graphs: a whole pass of a network by one launch, where it would be thousands of kernels."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn

Pass = Callable[[Tensor], Tensor]

KEPT = 2  # captured passes, such as those of training and of validation; each holds its memory


class GraphedNetwork:
    """Calls a network, by CUDA graphs where the same is computed again and again.

    A pass is captured when it comes for the second time in a row of its kind: the same shape and
    precision, with or without gradients. All else, and all on other devices, is called as it is.
    The weights may change their values between calls, not their places.

    Args:
        network: Maps [N, B, H, W] to the same shape, by the same operations for the same shape.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._captured: OrderedDict[Hashable, Pass] = OrderedDict()
        self._last: Hashable = None

    def __call__(self, noisy: Tensor) -> Tensor:
        """Denoises [N, B, H, W]."""
        if not noisy.is_cuda or noisy.requires_grad:
            return self.network(noisy)
        kind = _kind(noisy, self.network.training)
        if kind not in self._captured:
            if kind != self._last:
                self._last = kind
                return self.network(noisy)
            self._captured[kind] = self._capture(noisy)
            if len(self._captured) > KEPT:
                self._captured.popitem(last=False)
        self._captured.move_to_end(kind)
        return self._captured[kind](noisy)

    def _capture(self, noisy: Tensor) -> Pass:
        # Autocast would hand out weights that it cast before, and whose memory may be gone by then.
        kind = noisy.device.type
        with torch.autocast(
            kind,
            dtype=torch.get_autocast_dtype(kind),
            enabled=torch.is_autocast_enabled(kind),
            cache_enabled=False,
        ):
            return (
                capture_both(self.network, noisy)
                if torch.is_grad_enabled()
                else capture_forward(self.network, noisy)
            )


def _kind(noisy: Tensor, training: bool) -> Hashable:
    device = noisy.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    modes = (training, torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    return (noisy.shape, noisy.dtype, noisy.device, precision, *modes)


def capture_forward(network: nn.Module, noisy: Tensor) -> Pass:
    """Captures a forward pass without gradients."""
    given = noisy.clone()
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):  # libraries choose their algorithms outside of the capture
        network(given)
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = network(given)

    def replay(noisy: Tensor) -> Tensor:
        given.copy_(noisy)
        graph.replay()
        return made.clone()

    return replay


class _Shell(nn.Module):
    """Is changed by the capture in place of the network, whose other calls stay as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor) -> Tensor:
        return self.network(noisy)


def capture_both(network: nn.Module, noisy: Tensor) -> Pass:
    """Captures a forward and a backward pass."""
    shell = _Shell(network).train(network.training)
    sample = (noisy.clone(),)
    return torch.cuda.make_graphed_callables(shell, sample, allow_unused_input=True)  # type: ignore[return-value]
