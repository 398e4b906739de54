"""The kernels' build: where it lies, whose it must be, and what is told when it cannot be."""

import logging
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_ras2s.networks import RAS2S, native
from lightning_ras2s.networks.native import library
from lightning_ras2s.networks.native.structures import CONVOLUTION

torch.set_num_threads(1)
HOUSE = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    native.kernels() is None, reason="there is no C++ compiler with OpenMP here (CXX, g++)"
)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, and a source that is quickly compiled."""
    source = tmp_path / "kernels.cpp"
    source.write_text('extern "C" int nothing() { return 0; }\n')
    monkeypatch.setattr(library, "SOURCE", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lightning_ras2s"


def built_elsewhere(cache, caplog, *causes):
    """Builds in a folder of this process alone, and says why."""
    kept = sorted(cache.glob("*")) if cache.is_dir() else []
    with caplog.at_level(logging.WARNING):
        built = library.build()
    assert built.is_file()
    assert built.parent != cache
    assert built.parent.stat().st_mode & 0o077 == 0
    (record,) = caplog.records
    message = record.getMessage()
    assert "built again by each process" in message
    assert str(built.parent) in message
    assert "XDG_CACHE_HOME" in message
    for cause in causes:
        assert cause in message
    assert kept == (sorted(cache.glob("*")) if cache.is_dir() else [])


def test_kernels_are_built_once(cache, monkeypatch):
    built = library.build()
    assert list(cache.iterdir()) == [built]
    run = subprocess.run

    def no_compilation(command, **options):
        assert "-shared" not in command
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", no_compilation)
    assert library.build() == built


def test_another_source_and_another_processor_are_built_anew(cache, monkeypatch):
    built = {library.build()}
    library.SOURCE.write_text(library.SOURCE.read_text() + "// changed\n")
    built.add(library.build())
    monkeypatch.setenv("CXX", "g++ -mtune=generic")
    built.add(library.build())
    assert set(cache.iterdir()) == built
    assert len(built) == 3


def test_the_cache_is_its_users_alone(cache):
    built = library.build()
    for path in (cache, built):
        assert path.stat().st_mode & 0o077 == 0


def test_a_user_without_a_home(cache, monkeypatch, caplog):
    def unknown(user):
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    built_elsewhere(cache, caplog, "home directory")


def test_a_cache_that_cannot_be_made(cache, monkeypatch, caplog, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    built_elsewhere(cache, caplog, str(tmp_path / "file"))


def test_a_cache_that_cannot_be_written(cache, monkeypatch, caplog):
    access = os.access  # nothing is closed to root
    monkeypatch.setattr(os, "access", lambda path, *mode: path != cache and access(path, *mode))
    built_elsewhere(cache, caplog, f"{cache} cannot be written")


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_cache_where_others_may_write_is_not_trusted(cache, caplog, mode):
    library.build()
    cache.chmod(mode)
    built_elsewhere(cache, caplog, f"others may write to {cache}", "chmod go-w")


def test_a_library_where_others_may_write_is_not_loaded(cache, caplog):
    built = library.build()
    built.chmod(0o722)
    built_elsewhere(cache, caplog, f"others may write to {built}")


def test_nor_is_a_link(cache, caplog):
    built = library.build()
    built.symlink_to(built.rename(built.with_name("other.so")))
    built_elsewhere(cache, caplog, f"{built} is a link")


def test_nor_is_anothers(cache, monkeypatch, caplog):
    library.build()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    built_elsewhere(cache, caplog, f"{cache} belongs to another user")


def test_the_compiler_may_be_a_command_of_several_words(cache, monkeypatch, tmp_path):
    launcher = tmp_path / "ccache"
    launcher.write_text(f'#!/bin/sh\ntouch {tmp_path}/launched\nexec "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CXX", "ccache g++")
    assert library.build().parent == cache
    assert (tmp_path / "launched").exists()


@pytest.mark.parametrize(
    ("compiler", "cause"),
    [
        ("no-such-compiler", "no-such-compiler"),
        ("no-such-launcher g++", "no-such-launcher"),
        ("false", "'false'"),
        ('"g++', "No closing quotation"),
        ("g++ -fno-such-option", "-fno-such-option"),
    ],
)
def test_without_a_compiler_the_network_is_plain_and_says_why(
    cache, monkeypatch, caplog, compiler, cause
):
    torch.manual_seed(0)
    network, noisy = RAS2S(channels=4), torch.rand(1, 4, 9, 12)
    monkeypatch.setattr(library, "_loaded", [])
    monkeypatch.setenv("CXX", compiler)
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        denoised = network(noisy)
        network(noisy)
    (record,) = caplog.records
    message = record.getMessage()
    assert "plain torch operations" in message
    assert "CXX" in message
    assert cause in message
    assert "\n" not in message
    assert not list(cache.rglob("*.so"))
    with torch.no_grad(), native.plain_operations():
        assert torch.equal(denoised, network(noisy))


def test_structures_of_another_size_are_refused(monkeypatch):
    monkeypatch.setattr(CONVOLUTION, "bytes", CONVOLUTION.bytes + 8)
    with pytest.raises(ValueError, match=r"Convolution takes \d+ bytes in kernels.cpp, and \d+ in"):
        library._load(library.build())


# The kernels are written for three widths of vectors; a processor takes one of them.
@pytest.mark.slow
@pytest.mark.parametrize("without", ["-mno-avx512f", "-mno-avx"])
def test_each_instruction_set_gives_the_golden_values(tmp_path, without):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "not compiled"]
    tests = ["tests/networks/test_native.py", "tests/networks/test_parity.py"]
    environment = os.environ | {"CXX": f"g++ {without}", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, *tests], cwd=HOUSE, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert len(list(tmp_path.glob("lightning_ras2s/*.so"))) == 1
