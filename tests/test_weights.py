"""Weights on disk -> network: whose files are read, and what the errors say."""

import argparse
import re
import sys
import types
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lightning_ras2s import RAS2S, HSIDenoiser, load_network
from lightning_ras2s.networks.ras2s.released import from_released
from lightning_ras2s.weights import facts_of
from tests.oracle import LiteralRAS2S

torch.set_num_threads(1)

SIZES = [
    {},
    {"channels": 4, "regions": 1, "attention_bands": 1},
    {"channels": 6, "regions": 4, "attention_bands": 5},
]
FLAGS = ("hidden_compensation", "spatial_regions", "spectral_regions", "bidirectional")
SMALL = {"channels": 4, "regions": 2}
ABLATIONS = [SMALL | dict(zip(FLAGS, on, strict=True)) for on in product([True, False], repeat=4)]

WRAPPERS = {
    "own": lambda state: {
        "state_dict": {f"network.{name}": tensor for name, tensor in state.items()},
        "hyper_parameters": {"loss": "l1", "learning_rate": 1e-3},
        "epoch": 3,
    },
    "released": lambda state: {"net": state, "optimizer": {}, "epoch": 1},
    "bare": dict,
}


def prefixed(prefix):
    return lambda state: {f"{prefix}{name}": tensor for name, tensor in state.items()}


FOREIGN = {  # how others wrap the tensors of a network
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.1},
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {
        "params": {name: 0 * tensor for name, tensor in state.items()},
        "params_ema": state,
    },
    "net": lambda state: {"net": state},
    "DDP": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled DDP": prefixed("module._orig_mod."),
    "of ours, compiled": lambda state: {"state_dict": prefixed("network._orig_mod.")(state)},
    "all at once": lambda state: {"net": {"state_dict": prefixed("module.")(state)}},
}


def alive(network):
    """Moves every parameter away from the values at which parts have no effect."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def save(content, tmp_path, **options):
    path = tmp_path / "weights.pth"
    torch.save(content, path, **options)
    return path


def assert_same(network, original):
    noisy = torch.rand(2, 4, 7, 9)
    with torch.no_grad():
        expected = original(noisy)
        torch.testing.assert_close(network(noisy), expected, rtol=0, atol=1e-5)
    assert (expected - noisy).abs().max() > 0.01
    assert not any(module.training for module in network.modules())


def assert_refused(path, *parts):
    with pytest.raises(ValueError, match=f"(?s)^{re.escape(str(path))}: .*" + ".*".join(parts)):
        load_network(path)


@pytest.mark.parametrize("wrapper", ["own", "bare"])
@pytest.mark.parametrize("config", [*SIZES, *ABLATIONS], ids=str)
def test_own_checkpoints_give_back_their_network(tmp_path, config, wrapper):
    original = alive(RAS2S(**config))
    network = load_network(save(WRAPPERS[wrapper](original.state_dict()), tmp_path))
    assert_same(network, original)
    assert network.state_dict().keys() == original.state_dict().keys()


@pytest.mark.parametrize("wrapper", ["released", "bare"])
@pytest.mark.parametrize("config", [*SIZES, *ABLATIONS], ids=str)
def test_released_checkpoints_give_the_oracles_outputs(tmp_path, config, wrapper):
    oracle = alive(LiteralRAS2S(**config))
    network = load_network(save(WRAPPERS[wrapper](oracle.state_dict()), tmp_path))
    assert_same(network, oracle)


@pytest.mark.parametrize("kind", [RAS2S, LiteralRAS2S])
@pytest.mark.parametrize("wrapping", FOREIGN)
def test_the_wrappings_of_others_are_taken_off(tmp_path, kind, wrapping):
    original = alive(kind(**SMALL))
    network = load_network(save(FOREIGN[wrapping](original.state_dict()), tmp_path))
    assert_same(network, original)


@pytest.mark.parametrize("kind", [RAS2S, LiteralRAS2S])
def test_safetensors_are_read(tmp_path, kind):
    original = alive(kind(**SMALL))
    path = tmp_path / "weights.safetensors"
    save_file({name: t.contiguous() for name, t in original.state_dict().items()}, path)
    assert_same(load_network(path), original)
    path.write_bytes(path.read_bytes()[:-9])
    assert_refused(path, "cannot be read", "truncated")


def test_the_weights_of_no_method_are_named(tmp_path):
    said = {"class": "mine.Net", "arguments": None, "method": "net"}
    content = {"network": said, "state_dict": RAS2S(**SMALL).state_dict()}
    assert_refused(save(content, tmp_path), "the weights of mine.Net, which is none of the methods")


def test_what_a_checkpoint_says_goes_before_what_its_tensors_show(tmp_path):
    network = alive(RAS2S(**SMALL, gradient_checkpointing=True))
    content = {"network": facts_of(network), "state_dict": network.state_dict()}
    again = load_network(save(content, tmp_path))
    assert again.gradient_checkpointing
    assert_same(again, network)


def test_a_path_may_be_a_string_and_the_old_file_format_is_read(tmp_path):
    original = alive(RAS2S(**SMALL))
    path = save(original.state_dict(), tmp_path, _use_new_zipfile_serialization=False)
    assert_same(load_network(str(path)), original)


@pytest.mark.parametrize("folder", [False, True])
def test_a_file_that_is_not_there_is_named(tmp_path, folder):
    path = tmp_path / "best.ckpt"
    if folder:
        path.mkdir()
    with pytest.raises(FileNotFoundError, match=rf"^{re.escape(str(path))}: no such checkpoint"):
        load_network(path)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path, new_format):
    state = RAS2S(**SMALL).state_dict()
    path = save({"net": state}, tmp_path, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    sizes = [0, 1, 2, 10, 75, 150, *range(1000, len(whole) - 1000, len(whole) // 10)]
    for size in [*sizes, len(whole) - 1000]:
        path.write_bytes(whole[:size])
        assert_refused(path, rf"\b{size:,} bytes", "may be truncated")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content",
    [
        b"hello world\n",  # a KeyError in torch
        b"not weights\n",
        b"<!DOCTYPE html><title>404</title>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        b"Uz\x22Ak=`Eomn\x9dT0,\xa9",  # a UnicodeDecodeError
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04junk",
    ],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "notes.ckpt"
    path.write_bytes(content)
    assert_refused(path, rf"\b{len(content)} bytes", "of another kind")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"model": {"conv.weight": torch.zeros(2)}, "step": 3}, "it holds conv.weight"),
        (
            {"state_dict": {"network.conv.weight": torch.zeros(2)}},
            "none of the methods .*it holds conv.weight",
        ),
        ({"net": {}}, "it holds nothing"),
        ([1, 2], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_something_else_than_ras2s_is_refused_and_named(tmp_path, content, found):
    assert_refused(save(content, tmp_path), found)


@pytest.mark.parametrize("kind", [RAS2S, LiteralRAS2S])
def test_a_missing_tensor_is_noticed_whichever_it_is(tmp_path, kind):
    state = kind(channels=2, regions=2).state_dict()
    for name in state:
        path = save({key: tensor for key, tensor in state.items() if key != name}, tmp_path)
        assert_refused(
            path, "(not a complete RAS2S network|none of the methods)", "(embedding|encoder)"
        )


@pytest.mark.parametrize(
    ("name", "tensor", "found"),
    [
        (
            "write.readout.conv1.weight",
            torch.zeros(3, 3),
            "size mismatch for write.readout.conv1.weight",
        ),
        ("attend.attention.conv.bias", torch.zeros(4), "attention_bands=4"),
        ("attend.attention.conv.bias", torch.tensor(0.0), "not a complete"),
        ("write.extra.weight", torch.zeros(3), "write.extra.weight"),
    ],
)
def test_a_tensor_that_does_not_fit_is_noticed(tmp_path, name, tensor, found):
    assert_refused(save(RAS2S(**SMALL).state_dict() | {name: tensor}, tmp_path), found)


def test_released_tensors_that_cannot_be_stacked_are_noticed(tmp_path):
    state = LiteralRAS2S(**SMALL).state_dict()
    assert_refused(save(state | {"encoder.corr.k.weight": torch.zeros(3)}, tmp_path), "complete")


class Intruder:
    """Pickled as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, new_format):
    mark = tmp_path / "was_here"
    content = {"net": LiteralRAS2S(**SMALL).state_dict(), "epoch": Intruder(mark)}
    path = save(content, tmp_path, _use_new_zipfile_serialization=new_format)
    assert_refused(path, "refused, because it holds a Python object")
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have


def test_a_refused_object_is_named(tmp_path):
    content = {"state_dict": RAS2S(**SMALL).state_dict(), "args": argparse.Namespace(epochs=3)}
    assert_refused(save(content, tmp_path), r"\(argparse.Namespace\)")


def test_from_released_stacks_the_gates_in_the_order_update_reset_candidate():
    state = LiteralRAS2S(**SMALL).state_dict()
    gates = from_released(state)["read.recurrence.gru.gates.weight"]
    parts = [state[f"encoder.encoder_layer.conv_gru.conv{gate}.weight"] for gate in "zrq"]
    assert torch.equal(gates, torch.cat(parts))


# Of the commits before the network had its steps' names, in the order of the parameters.
HFCOMP = ("query", "key_value", *(f"refine.{i}.conv{j}" for i in (0, 1) for j in (1, 2)))
EARLIER_NAMES = [
    "encoder.embedding.conv1",
    "encoder.embedding.conv2",
    *(f"encoder.backward_gru.compensation.{name}" for name in HFCOMP),
    "encoder.backward_gru.gru.gates",
    "encoder.forward_gru.gru.gates",
    "encoder.forward_gru.fusion",
    "encoder.region_aware.filters.squeeze",
    "encoder.region_aware.filters.expand",
    "encoder.region_aware.spatial_guide.base",
    "encoder.region_aware.spatial_guide.gain1",
    "encoder.region_aware.spatial_guide.gain2",
    "encoder.region_aware.spectral_guide",
    "encoder.region_aware.fusion",
    "decoder.attention.conv",
    *(f"decoder.backward_gru.compensation.{name}" for name in HFCOMP),
    "decoder.backward_gru.gru.gates",
    "decoder.autoregression.embedding.conv1",
    "decoder.autoregression.embedding.conv2",
    "decoder.autoregression.feedback_fusion",
    "decoder.autoregression.gru.gates",
    "decoder.autoregression.state_fusion",
    "decoder.readout.conv1",
    "decoder.readout.conv2",
    "decoder.readout.conv3",
]


def earlier(state):
    """A state dict as earlier commits wrote it."""
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    names = dict(zip(names, EARLIER_NAMES, strict=True))
    return {
        f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("wrapper", ["own", "bare"])
def test_checkpoints_of_earlier_commits_load(tmp_path, wrapper):
    original = alive(RAS2S(**SMALL))
    network = load_network(save(WRAPPERS[wrapper](earlier(original.state_dict())), tmp_path))
    assert_same(network, original)


def test_an_earlier_training_goes_on(tmp_path):
    torch.manual_seed(0)
    original = HSIDenoiser(RAS2S(**SMALL))
    state = {f"network.{n}": t for n, t in earlier(original.network.state_dict()).items()}
    torch.manual_seed(1)
    module = HSIDenoiser(RAS2S(**SMALL))
    module.load_state_dict(state)
    for name, tensor in original.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor), name


def test_weights_are_written_and_read_as_the_hub_lays_them_out(tmp_path):
    torch.manual_seed(0)
    network = RAS2S(channels=4, regions=2).eval()
    network.save_pretrained(tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    found = RAS2S.from_pretrained(tmp_path / "mine")
    assert found.arguments == network.arguments
    assert not found.training
    noisy = torch.rand(1, 5, 12, 13)
    with torch.no_grad():
        assert torch.equal(found(noisy), network(noisy))
    again = load_network(tmp_path / "mine" / "model.safetensors")
    assert again.arguments == network.arguments


def test_pretrained_weights_have_names():
    ours = RAS2S.from_pretrained("ras2s").state_dict()
    assert all(torch.equal(ours[k], v) for k, v in RAS2S.from_pretrained().state_dict().items())
    with pytest.raises(FileNotFoundError, match=r"no method with weights .*no owner/name of the"):
        RAS2S.from_pretrained("nothing here")


def test_a_name_of_the_hub_needs_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="pip install huggingface_hub"):
        RAS2S.from_pretrained("someone/weights")


def test_a_hub_name_is_fetched(tmp_path, monkeypatch):
    RAS2S(channels=2).save_pretrained(tmp_path)
    hub = types.SimpleNamespace(hf_hub_download=lambda name, file: str(tmp_path / file))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert RAS2S.from_pretrained("someone/weights").arguments["channels"] == 2
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: cannot be read"):
        RAS2S.from_pretrained("someone/weights")
