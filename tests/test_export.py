"""Exported networks: the same values at any size, in runtimes that know nothing of us."""

import math
import subprocess
import sys

import pytest
import torch

from lightning_ras2s import export
from lightning_ras2s.export import export_network, main
from lightning_ras2s.methods import METHODS
from lightning_ras2s.weights import load_network

ONNX = """
import sys, numpy as np, onnxruntime
noisy, expected = np.load(sys.argv[2]), np.load(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(named,) = session.get_inputs()
assert (named.name, named.shape[:2], named.type) == ("noisy", [1, 2], "tensor(float)"), named
assert [type(size) for size in named.shape[2:]] == [str, str]
(found,) = session.run(["denoised"], {"noisy": noisy})
"""
TORCH = """
import sys, numpy as np, torch
noisy, expected = np.load(sys.argv[2]), np.load(sys.argv[3])
with torch.no_grad():
    found = torch.export.load(sys.argv[1]).module()(torch.from_numpy(noisy)).numpy()
"""
COMPARE = """
assert found.shape == expected.shape
assert not [name for name in sys.modules if name.startswith("lightning_ras2s")]
print(abs(found - expected).max())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "ending", "runs"),
    [
        pytest.param("onnx", ".onnx", ONNX, id="onnx"),
        pytest.param("torch", ".pt2", TORCH, id="torch"),
    ],
)
def test_an_exported_network_runs_without_us(tmp_path, monkeypatch, capsys, to, ending, runs):
    np = pytest.importorskip("numpy")
    if to == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    assert main(["--bands=2", f"--to={to}"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"ras2s_2{ending}: [1, 2, height, width], ")
    assert told.err == ""
    noisy = torch.rand(1, 2, 29, 50, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = load_network(METHODS["ras2s"].pretrained)(noisy)
    np.save("noisy.npy", noisy.numpy())
    np.save("expected.npy", expected.numpy())
    words = [sys.executable, "-c", runs + COMPARE, f"ras2s_2{ending}", "noisy.npy", "expected.npy"]
    made = subprocess.run(words, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert float(made.stdout) < 1e-5
    monkeypatch.setattr(export, "AGREES", -1.0)
    with pytest.raises(ValueError, match=r"differs from the network by .* so it was not written"):
        export_network(load_network(METHODS["ras2s"].pretrained), 2, f"other{ending}", to)
    assert not list(tmp_path.glob("*other*"))


def test_a_result_of_nan_does_not_pass_for_agreement():
    def broken(noisy):
        return noisy.clone().masked_fill_(noisy == noisy.max(), torch.nan)

    assert math.isnan(export._largest_difference(torch.nn.Identity(), broken, 2))
    assert export._largest_difference(torch.nn.Identity(), lambda noisy: noisy + 1, 2) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bands=0"], "bands is 0; give the number of bands of your cubes"),
        (["--bands=3", "--weights=gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["--bands=3", "--method=median"], "Median is no network"),
        (["--bands=3", "--method=ras2s+s"], "RAS2S+S is no network"),
        (["--bands=3", "-o", "file/a.onnx"], "file"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert message in told
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_package_is_told_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["--bands=3"]) == 2
    told = capsys.readouterr().err
    assert "onnx" in told
    assert "pip install onnx onnxruntime onnxscript" in told
