"""Decisions of a network: on which side of a kink each value lies, and which region is taken.

Where a value is zero but for rounding, or two regions are tied, float32 may decide otherwise than
float64, and otherwise on each processor; a gradient, or a pixel, then leaves its value by far more
than rounding. So what float32 decided is recorded, counted, held to be a matter of rounding, and
replayed in float64. What is left to compare is rounding alone.
"""

import copy

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
KINKS = {aten.relu, aten.relu_, aten.leaky_relu, aten.leaky_relu_}
EPS = torch.finfo(torch.float32).eps
ROUNDING = 256 * EPS
"""What counts as rounding, relative to the largest value of a map: a few times what is seen."""


class Decisions(TorchDispatchMode):
    """Records, in the order of the forward pass, what lies above zero and which region is taken.

    Without gradients no kink matters, and the regions alone are recorded.
    """

    def __init__(self):
        super().__init__()
        self.above = [] if torch.is_grad_enabled() else None
        self.regions = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        packet = operation.overloadpacket
        name = packet._qualified_op_name
        if packet is aten.argmax:
            self.regions.append(result.clone())
        elif name in ("ras2s::filter_regions", "ras2s::filter_regions_kept"):
            self.regions += [guide.argmax(1) for guide in args[2]]
        elif self.above is None:
            pass
        elif packet in KINKS:
            self.above.append(result > 0)
        elif name == "ras2s::conv3x3" and args[4] in ("relu", "leaky_relu"):
            assert args[5] == [], "a residual hides the sign"
            self.above.append(result > 0)
        return result


class Replayed(TorchDispatchMode):
    """Has another run decide the same; its backward pass too must be within.

    Attributes:
        near: The number of decisions that rounding could change.
        changed: The number of those that this run would have made otherwise.
        widest: How far from its kink the farthest of the changed ones lies, relative to the largest
            value of its map.
    """

    def __init__(self, decisions):
        super().__init__()
        self.above = None if decisions.above is None else iter(decisions.above)
        self.regions = iter(decisions.regions)
        self.chosen = {}
        self.near = self.changed = 0
        self.widest = 0.0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        packet = operation.overloadpacket
        if packet in KINKS and self.above is not None:
            self.move(args[0], next(self.above))
        result = operation(*args, **(kwargs or {}))
        return self.choose(args[0], result) if packet is aten.argmax else result

    def move(self, x, above):
        """Has values change sides, as far from the kink as they are."""
        wrong = (x > 0) != above
        self.count(x.abs(), wrong, x.abs().max())
        side = torch.where(above, 1, -1).to(x.dtype)
        x[wrong] = (side * x.abs().clamp_min(torch.finfo(x.dtype).tiny))[wrong]

    def choose(self, guide, region):
        """The recorded region; the backward pass asks again, with the same guide."""
        key = guide.contiguous().numpy().tobytes()
        if key not in self.chosen:
            self.chosen[key] = next(self.regions)
            if guide.shape[-1] > 1:
                highest, second = guide.topk(2, dim=-1).values.unbind(-1)
                self.count(highest - second, self.chosen[key] != region, guide.abs().max())
        return self.chosen[key]

    def count(self, distance, changed, scale):
        self.near += int((distance <= ROUNDING * scale).sum())
        self.changed += int(changed.sum())
        if changed.any():
            self.widest = max(self.widest, (distance[changed].max() / scale).item())

    def assert_rounding(self):
        """That all was decided again, and nothing changed but by rounding."""
        assert next(self.above or iter(()), None) is None
        assert next(self.regions, None) is None
        assert self.widest <= ROUNDING
        assert self.changed <= self.near


def decisions_near_a_kink(network, noisy):
    """How many decisions of a network rounding could change: of a training step, in float64."""
    network, noisy = copy.deepcopy(network).double(), noisy.double()
    with Decisions() as decisions:
        network(noisy)
    with Replayed(decisions) as replayed:
        network(noisy)
    assert replayed.changed == 0
    return replayed.near
