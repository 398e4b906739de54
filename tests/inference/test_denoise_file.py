"""Files in, files out: what is kept, what is blended, what goes on after a kill."""

import os
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import Scene, add_noise, read_scene, write_scene
from datamodules.file_facts import FileFacts, Georeference
from datamodules.scene import DataError
from datamodules.windows import open_scene
from lightning_ras2s import denoise
from lightning_ras2s.inference import denoise_file as denoise_module
from lightning_ras2s.inference.command import main
from lightning_ras2s.inference.denoise import devices_of, make_job
from lightning_ras2s.inference.denoise_file import denoise_file
from lightning_ras2s.inference.direction import lines_run_along_rows
from lightning_ras2s.inference.part_folder import PartFolder
from lightning_ras2s.inference.scaling import range_of_file
from lightning_ras2s.inference.tiles import Tiling, fit_tiles
from lightning_ras2s.methods import find
from tests.inference.test_subspace import spectra

HOUSE = Path(__file__).parents[2]
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::datamodules.scene.DataNote")
CPU = (torch.device("cpu"),)
ALL = (slice(None),) * 3


def scene_of(bands, height=40, width=44):
    return spectra(bands, height, width, 4).numpy()


def job(method="identity", **options):
    return make_job(find(method), None, CPU, **options)


def put(path, raw, nm=True, **facts):
    file = FileFacts(dtype=raw.dtype, **facts)
    wavelengths = np.linspace(400, 1000, len(raw)) if nm else None
    return write_scene(Scene.from_raw("s", raw, wavelengths, file=file), path)


def numbers(path):
    with open_scene(path) as source:
        return source.read(ALL)


# Tiles


@pytest.mark.parametrize(
    ("height", "width", "own"), [(100, 130, 40), (64, 64, 32), (33, 200, 64), (40, 40, 40)]
)
def test_tiles_that_agree_are_blended_to_the_last_bit(height, width, own):
    image = np.random.default_rng(0).random((height, width), np.float32)
    tiling = Tiling(height, width, own)
    tiles = [image[rows, columns] for rows, columns in tiling.windows()]
    assert len(tiles) == len(tiling)
    out = np.full((height, width), np.nan, np.float32)
    tiling.blend(tiles, out)
    assert np.array_equal(out, image)


def test_tiles_that_differ_go_over_into_each_other():
    tiling = Tiling(40, 120, 40)
    tiles = [
        np.full((r.stop - r.start, c.stop - c.start), n, np.float32)
        for n, (r, c) in enumerate(tiling.windows())
    ]
    out = np.empty((40, 120), np.float32)
    tiling.blend(tiles, out)
    row = out[7]
    assert np.array_equal(out, np.tile(row, (40, 1)))
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() < 0.04
    assert (row[0], row[23], row[60], row[119]) == (0, 0, 1, 2)
    assert row[39:41].mean() == pytest.approx(0.5)


@pytest.mark.parametrize("memory", [0, 2**20, 50 * 2**20, 10**10])
def test_tiles_fit_the_memory(memory):
    tiling = fit_tiles(300, 500, 60, memory, 130)
    bytes_taken = 130 * 60 * max(tiling.sizes())
    assert bytes_taken <= memory or tiling.own == 32  # no smaller ones
    if memory == 10**10:
        assert len(tiling) == 1
        assert max(tiling.sizes()) == 300 * 500


# The direction of lines


@pytest.mark.parametrize("case", ["deadline", "mixture"])
def test_lines_along_rows_are_found_and_the_result_is_that_of_the_upright_scene(tmp_path, case):
    clean = scene_of(20)
    noisy = add_noise(clean, case, seed=3).astype(np.float32)
    lying = np.ascontiguousarray(noisy.transpose(0, 2, 1))
    assert not lines_run_along_rows(noisy)
    assert lines_run_along_rows(lying)
    put(tmp_path / "up.npy", noisy)
    put(tmp_path / "lying.npy", lying)
    denoise_file(tmp_path / "up.npy", tmp_path / "a.npy", job("ras2s", scale=(0.0, 1.0)))
    outcome = denoise_file(
        tmp_path / "lying.npy", tmp_path / "b.npy", job("ras2s", scale=(0.0, 1.0))
    )
    assert any("run along rows: turned" in note for note in outcome.notes)
    np.testing.assert_array_equal(
        numbers(tmp_path / "b.npy").transpose(0, 2, 1), numbers(tmp_path / "a.npy")
    )
    as_it_is = job("ras2s", scale=(0.0, 1.0), direction="columns")
    denoise_file(tmp_path / "lying.npy", tmp_path / "c.npy", as_it_is)
    assert not np.array_equal(numbers(tmp_path / "b.npy"), numbers(tmp_path / "c.npy"))


@pytest.mark.parametrize("case", ["noniid", "gaussian30", "impulse"])
def test_without_lines_nothing_is_turned(case):
    clean = scene_of(20)
    noisy = add_noise(clean, case, seed=3)
    assert not lines_run_along_rows(noisy)
    assert not lines_run_along_rows(noisy.transpose(0, 2, 1))


# What comes out


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("ending", [".img", ".bip", ".tif", ".h5", ".npy", ".mat"])
def test_identity_gives_back_every_bit_and_what_the_file_said(tmp_path, ending, dtype):
    raw = (np.random.default_rng(0).random((6, 50, 70)) * 200).astype(dtype)
    place = Georeference("EPSG:32633", (2.0, 0.0, 3e5, 0.0, -2.0, 4e6))
    raw[:, 3, 4] = 255 if dtype == "u1" else 77
    path = put(
        tmp_path / f"a{ending}",
        raw,
        georeference=place,
        nodata=float(raw[0, 3, 4]),
        header={"sensor": "X"},
    )
    outcome = denoise_file(path, tmp_path / f"b{ending}", job(tile=32))
    assert outcome.tiles == 2
    assert numbers(outcome.path).tobytes() == numbers(path).tobytes()
    assert read_scene(outcome.path).file == read_scene(path).file
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_a_file_is_denoised_as_an_array_is(tmp_path):
    clean = scene_of(20)
    noisy = (4000 * add_noise(clean, "mixture", seed=3)).astype(np.float32)
    path = put(tmp_path / "a.img", noisy)
    assert denoise(str(path), "ras2s+s", output=tmp_path / "b.tif") == str(tmp_path / "b.tif")
    expected = denoise(numbers(path), "ras2s+s")
    np.testing.assert_allclose(numbers(tmp_path / "b.tif"), expected, atol=2e-3)
    scene = denoise(read_scene(path), "ras2s+s")
    # A scene is off by a step of float32, which may move a threshold of +S.
    assert np.sqrt(np.square(scene.in_file_units() - expected).mean()) < 2
    tiled = denoise_file(path, tmp_path / "c.img", job("ras2s+s", tile=32))
    assert tiled.tiles > 0
    difference = numbers(tmp_path / "c.img") - expected
    assert np.sqrt((difference**2).mean()) < 40  # of 4000


def test_nodata_and_idle_bands_stay_as_they_are(tmp_path):
    clean = scene_of(12)
    noisy = (4000 * add_noise(clean, "noniid", seed=3)).astype(np.float32)
    noisy[3] = 7.0  # constant
    noisy[:, :5, :6] = -9999
    noisy[2, 20, 20] = np.nan
    file = FileFacts(dtype=noisy.dtype, nodata=-9999.0)
    scene = Scene.from_raw(
        "s",
        np.where(noisy == -9999, np.nan, noisy),
        valid=np.isfinite(noisy) & (noisy != -9999),
        bad_bands=[8],
        file=file,
    )
    path = write_scene(scene, tmp_path / "a.img")
    before = numbers(path)
    outcome = denoise_file(path, tmp_path / "b.img", job("ras2s+s"))
    after = numbers(tmp_path / "b.img")
    gone = before == -9999
    assert gone.sum() == 12 * 30 + 1
    np.testing.assert_array_equal(after[gone], before[gone])
    np.testing.assert_array_equal(after[[3, 8]], before[[3, 8]])
    good = [b for b in range(12) if b not in (3, 8)]
    there = ~gone[good]
    error = [np.abs(cube[good] - 4000 * clean[good])[there].mean() for cube in (before, after)]
    assert error[1] < 0.5 * error[0]
    said = " ".join(outcome.notes)
    assert "nodata: put back as they were" in said
    assert "2 bad or constant bands pass through" in said
    found = denoise(read_scene(path), "ras2s+s")
    assert found.bad_bands == (8,)
    np.testing.assert_array_equal(found.cube[8], read_scene(path).cube[8])


def test_an_undeclared_nodata_is_found(tmp_path):
    clean = scene_of(8)
    noisy = (4000 * add_noise(clean, "gaussian10", seed=3)).astype(np.float32)
    noisy[:, :5] = -9999
    path = put(tmp_path / "a.npy", noisy)
    outcome = denoise_file(path, tmp_path / "b.npy", job("median"))
    assert any("-9999" in note and "taken as nodata" in note for note in outcome.notes)
    assert (numbers(tmp_path / "b.npy")[:, :5] == -9999).all()
    assert np.abs(numbers(tmp_path / "b.npy")[:, 6:] - 4000 * clean[:, 6:]).mean() < 150


def test_large_numbers_that_differ_little_are_denoised(tmp_path):
    clean = scene_of(8).astype(np.float64)
    noisy = 1e9 + add_noise(clean, "gaussian30", seed=3)
    path = put(tmp_path / "a.npy", noisy)
    denoise_file(path, tmp_path / "b.npy", job("median+s"))
    error = [np.abs(cube - 1e9 - clean).mean() for cube in (noisy, numbers(tmp_path / "b.npy"))]
    assert error[1] < 0.5 * error[0]


def test_half_the_strength_removes_half(tmp_path):
    noisy = add_noise(scene_of(8), "gaussian30", seed=3).astype(np.float32)
    path = put(tmp_path / "a.npy", noisy)
    denoise_file(path, tmp_path / "b.npy", job("median"))
    denoise_file(path, tmp_path / "c.npy", job("median", strength=0.5))
    whole, half = noisy - numbers(tmp_path / "b.npy"), noisy - numbers(tmp_path / "c.npy")
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


# Going on


def test_after_a_stop_only_what_is_missing_is_computed(tmp_path):
    noisy = add_noise(scene_of(8, 100, 100), "mixture", seed=3).astype(np.float32)
    path = put(tmp_path / "a.img", noisy)
    whole = denoise_file(path, tmp_path / "whole.img", job("median+s", tile=32))
    assert whole.tiles == 9
    stopping = job("median+s", tile=32)
    calls = []

    def stop(noisy):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return stopping.denoiser(noisy)

    with pytest.raises(KeyboardInterrupt):
        denoise_file(path, tmp_path / "b.img", replace(stopping, denoiser=stop))
    assert not (tmp_path / "b.img").exists()
    assert (tmp_path / ".b.img.part").is_dir()
    again = denoise_file(path, tmp_path / "b.img", stopping)
    assert again.tiles == 6
    assert (tmp_path / "b.img").read_bytes() == (tmp_path / "whole.img").read_bytes()
    assert not (tmp_path / ".b.img.part").exists()


def test_another_plan_or_another_input_begins_anew(tmp_path):
    noisy = np.random.default_rng(0).random((4, 70, 70)).astype(np.float32)
    path = put(tmp_path / "a.npy", noisy)
    stopping = job(tile=32)

    def stop(_):
        raise KeyboardInterrupt

    def stopped(options):
        with pytest.raises(KeyboardInterrupt):
            denoise_file(path, tmp_path / "b.npy", replace(options, denoiser=stop))

    stopped(stopping)
    assert denoise_file(path, tmp_path / "b.npy", replace(stopping, strength=0.5)).tiles == 4
    stopped(stopping)
    put(path, noisy + 1)
    denoise_file(path, tmp_path / "b.npy", stopping)
    np.testing.assert_array_equal(numbers(tmp_path / "b.npy"), numbers(path))


def test_a_tile_that_does_not_fit_the_memory_is_halved(tmp_path):
    noisy = np.random.default_rng(0).random((4, 200, 200)).astype(np.float32)
    path = put(tmp_path / "a.npy", noisy)
    seen = []

    def tight(image):
        seen.append(image.shape[-1])
        if image.shape[-1] > 140:
            raise torch.OutOfMemoryError("too large")
        return image

    denoise_file(path, tmp_path / "b.npy", replace(job(), denoiser=tight))
    assert seen[0] == 200
    assert max(seen[2:]) <= 140
    np.testing.assert_array_equal(numbers(tmp_path / "b.npy"), numbers(path))


# Several devices


def test_devices_share_the_tiles_and_the_result_is_that_of_one(tmp_path):
    noisy = add_noise(scene_of(8, 100, 100), "mixture", seed=3).astype(np.float32)
    path = put(tmp_path / "a.npy", noisy)
    alone = job("ras2s", tile=32)
    denoise_file(path, tmp_path / "one.npy", alone)
    both, threads = threading.Barrier(2, timeout=60), []

    def shared(noisy):
        threads.append(threading.get_ident())
        if threads.count(threads[-1]) == 1:
            both.wait()  # each has a tile at the same time as the other
        return alone.denoiser(noisy)

    two = replace(alone, denoiser=shared, devices=CPU * 2)
    assert denoise_file(path, tmp_path / "two.npy", two).tiles == 9
    assert len(threads) == 9
    assert len(set(threads)) == 2
    assert (tmp_path / "two.npy").read_bytes() == (tmp_path / "one.npy").read_bytes()


@pytest.mark.parametrize("main_fails", [True, False])
def test_what_fails_on_one_device_ends_the_others(tmp_path, main_fails):
    path = put(tmp_path / "a.npy", np.random.default_rng(0).random((3, 400, 400), np.float32))
    both, calls, here = threading.Barrier(2, timeout=60), [], threading.get_ident()

    def failing(noisy):
        calls.append(1)
        if len(calls) <= 2:
            both.wait()
        if (threading.get_ident() == here) == main_fails:
            raise RuntimeError("this device is lost")
        return noisy

    broken = replace(job(tile=32), denoiser=failing, devices=CPU * 2)
    with pytest.raises(RuntimeError, match="this device is lost"):
        denoise_file(path, tmp_path / "b.npy", broken)
    assert len(calls) < 144
    assert not (tmp_path / "b.npy").exists()
    assert denoise_file(path, tmp_path / "b.npy", job(tile=32)).tiles == 144 - len(calls) + 1


def test_devices_are_named_with_commas_and_each_counts_once():
    assert devices_of("cpu") == devices_of("cpu, cpu") == CPU
    assert devices_of("cpu,meta") == (*CPU, torch.device("meta"))
    with pytest.raises(ValueError, match="device 'moon' cannot be used"):
        devices_of("cpu,moon")


# The scale


def test_the_files_own_scale_is_what_it_declares_as_0_and_1(tmp_path):
    clean = scene_of(8)
    noisy = (10_000 * add_noise(clean, "gaussian30", seed=3) - 500).astype(np.float32)
    path = put(tmp_path / "a.img", noisy, scale_factor=1e-4)
    outcome = denoise_file(path, tmp_path / "b.img", job("median+s", scale="file"))
    assert any("taken as 0 to 1: 0 to 10000" in note for note in outcome.notes)
    denoise_file(path, tmp_path / "c.img", job("median+s", scale=(0.0, 10_000.0)))
    assert np.array_equal(numbers(tmp_path / "b.img"), numbers(tmp_path / "c.img"))
    scenes = [denoise(read_scene(path), "median", scale=s) for s in ("file", (0.0, 10_000.0))]
    assert np.array_equal(scenes[0].cube, scenes[1].cube)
    plain = put(tmp_path / "plain.img", noisy)
    with pytest.raises(
        DataError, match=r"plain.img: declares no scale factor; leave out --scale=file"
    ):
        denoise_file(plain, tmp_path / "d.img", job(scale="file"))
    with pytest.raises(ValueError, match="an array declares none"):
        denoise(noisy, "median", scale="file")
    offset = FileFacts(scale_factor=-2.0, add_offset=5.0)  # 0 is at 2.5, 1 at 2
    assert range_of_file(offset, "a") == (2.0, 2.5)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.img", "-o", "b.img"], "gone.img: there is no such file"),
        (["a.npy", "-o", "a.npy"], "a.npy: is the input; choose another name"),
        (["text.npy", "-o", "b.npy"], "text.npy: cannot be read as .npy"),
        (["flat.npy", "-o", "b.npy"], "flat.npy: no band has two different valid values"),
        (["nan.npy", "-o", "b.npy"], "nan.npy: no band has two different valid values"),
        (["complex.npy", "-o", "b.npy"], "complex.npy: holds complex64 values"),
        (["image.npy", "-o", "b.npy"], "image.npy: expected a cube of three axes"),
        (["two.npz", "-o", "b.npy"], "2 variables could be the cube"),
        (["a.npy", "-o", "b.jpg"], "b.jpg: no format has the ending '.jpg'"),
        (["a.npy", "-o", "a.npy/b.npy"], "a.npy/b.npy: cannot be written"),
        (["a.npy", "-o", "b.npy", "--method=foo"], "unknown method 'foo'"),
        (["a.npy", "-o", "b.npy", "--weights=gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (
            ["a.npy", "-o", "b.npy", "--method=median", "--weights=gone.ckpt"],
            "Median has no weights",
        ),
        (["a.npy", "-o", "b.npy", "--strength=2"], "--strength=2.0; give a share"),
        (["a.npy", "-o", "b.npy", "--scale", "1", "0"], "--scale 1 0; give the lowest and the"),
        (["a.npy", "-o", "b.npy", "--scale", "own"], "--scale own; give the lowest and the"),
        (["a.npy", "-o", "b.npy", "--scale", "file"], "a.npy: declares no scale factor"),
        (["a.npy", "-o", "b.npy", "--device=moon"], "device 'moon' cannot be used"),
        (["a.npy", "-o", "b.npy", "--nodata=x"], "nodata='x'; give a number"),
        (["*.tif", "-o", "out"], "*.tif: no file of this pattern"),
    ],
)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    raw = np.random.default_rng(0).random((3, 20, 22)).astype(np.float32)
    np.save("a.npy", raw)
    np.save("flat.npy", np.ones_like(raw))
    np.save("nan.npy", np.full_like(raw, np.nan))
    np.save("complex.npy", raw.astype("c8"))
    np.save("image.npy", raw[0])
    np.savez("two.npz", a=raw, b=raw)
    (tmp_path / "text.npy").write_text("<html>")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.count("error:") == 1
    assert message in told
    assert told.strip().splitlines()[-1].startswith("error: ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_disk_that_is_too_small_is_asked_before(tmp_path, monkeypatch, capsys):
    path = put(tmp_path / "a.npy", np.random.default_rng(0).random((3, 20, 22)).astype(np.float32))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert main([str(path), "-o", str(tmp_path / "b.npy")]) == 2
    told = capsys.readouterr().err
    assert "needs 67.3 kB and 1.0 kB are free; make room, or write it to another disk" in told
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


# Several files


def test_a_folder_is_denoised_file_by_file_and_a_damaged_one_stops_nothing(tmp_path, capsys):
    raw = np.random.default_rng(0).random((3, 20, 22)).astype(np.float32)
    (tmp_path / "in").mkdir()
    put(tmp_path / "in" / "a.img", raw)
    put(tmp_path / "in" / "b.npy", raw)
    put(tmp_path / "in" / "c.img", raw)
    data = tmp_path / "in" / "c.img"
    data.write_bytes(data.read_bytes()[:100])
    (tmp_path / "in" / "notes.txt").write_text("hello")
    assert main([str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--method=median"]) == 2
    told = capsys.readouterr()
    assert [line.split("]")[0] for line in told.out.splitlines()] == ["[1/3", "[2/3"]
    assert "c.img: 100 bytes" in told.err
    pages = [f"{name}.quality.{kind}" for name in "ab" for kind in ("html", "json")]
    there = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert there == sorted(["a.hdr", "a.img", "b.npy", *pages])
    pattern = str(tmp_path / "in" / "*.npy")
    assert main([pattern, "-o", str(tmp_path / "more"), "--method=median", "--no-page"]) == 0
    assert [p.name for p in (tmp_path / "more").iterdir()] == ["b.npy"]


# In bounded memory


GENERATED = """
import os, sys
import numpy as np
from pathlib import Path
folder, bands, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
lines = rng.random((bands, size), np.float32)
with (folder / "a.img").open("wb") as file:
    for band in range(bands):
        image = np.add.outer(lines[band], lines[band - 1])
        image += 0.02 * rng.standard_normal((size, size), np.float32)
        image.astype("<f4").tofile(file)
(folder / "a.hdr").write_text(
    f"ENVI\\nsamples = {size}\\nlines = {size}\\nbands = {bands}\\ndata type = 4\\n"
    "interleave = bsq\\nbyte order = 0\\n"
)
"""
RUN = """
import os, signal, sys, threading, time
from pathlib import Path
import torch
from dataclasses import replace
from lightning_ras2s.inference.denoise import make_job
from lightning_ras2s.inference import denoise_file as denoise_module
from lightning_ras2s.inference.denoise_file import denoise_file
from lightning_ras2s.methods import find
torch.set_num_threads(2)
folder, method, deadly, tile = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
most = 0
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024
def watch():
    global most
    while True:
        most = max(most, anonymous())
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
job = make_job(find(method), None, (torch.device("cpu"),), tile=tile or None, scale=(0.0, 2.0))
calls = 0
def counted(noisy):
    global calls
    calls += 1
    if calls == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.denoiser(noisy)
outcome = denoise_file(folder / "a.img", folder / sys.argv[5], replace(job, denoiser=counted))
print("MOST", most, "TILES", outcome.tiles)
"""


def run(folder, method, output, deadly=0, tile=0):
    arguments = [sys.executable, "-c", RUN, str(folder), method, str(deadly), str(tile), output]
    return subprocess.run(
        arguments,
        cwd=HOUSE,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )


def generate(folder, bands, size):
    subprocess.run(
        [sys.executable, "-c", GENERATED, str(folder), str(bands), str(size)], check=True
    )


def same_bytes(one, other):
    with one.open("rb") as first, other.open("rb") as second:
        while part := first.read(2**24):
            if part != second.read(2**24):
                return False
        return not second.read(1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the memory")
@pytest.mark.parametrize(("method", "size"), [("identity", 2048), ("identity+s", 700)])
def test_a_large_scene_takes_little_memory_and_goes_on_after_a_kill(tmp_path, method, size):
    generate(tmp_path, 100, size)  # 1.7 GB, and 200 MB
    killed = run(tmp_path, method, "b.img", deadly=4, tile=128)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "b.img").exists()
    again = run(tmp_path, method, "b.img", tile=128)
    assert again.returncode == 0, again.stderr
    _, most, _, tiles = again.stdout.split()
    assert float(most) < 1536  # MiB, with the interpreter and PyTorch
    assert int(tiles) == (-(-size // 128)) ** 2 - 3
    if method == "identity":
        assert same_bytes(tmp_path / "a.img", tmp_path / "b.img")


@pytest.mark.slow
def test_with_the_network_what_was_killed_ends_as_what_was_not(tmp_path):
    generate(tmp_path, 12, 120)
    whole = run(tmp_path, "ras2s+s", "b.img", tile=32)
    assert whole.returncode == 0, whole.stderr
    killed = run(tmp_path, "ras2s+s", "c.img", deadly=5, tile=32)
    assert killed.returncode == -signal.SIGKILL
    again = run(tmp_path, "ras2s+s", "c.img", tile=32)
    assert int(again.stdout.split()[3]) == int(whole.stdout.split()[3]) - 4
    assert same_bytes(tmp_path / "b.img", tmp_path / "c.img")


@pytest.mark.parametrize(("method", "tile"), [("median", 32), ("median+s", None), ("ras2s+s", 32)])
def test_the_disk_takes_no_more_than_was_asked_for(tmp_path, monkeypatch, method, tile):
    noisy = add_noise(scene_of(8, 100, 100), "mixture", seed=3).astype(np.float32)
    path = put(tmp_path / "a.npy", noisy)
    asked, nameless, most = [], [0], [0]
    made, make = PartFolder.__init__, PartFolder.new

    def look(parts):
        named = sum(file.stat().st_size for file in parts.path.glob("*") if file.suffix != ".json")
        most[0] = max(most[0], named + nameless[0])

    def init(self, output, plan, needed):
        asked.append(needed)
        made(self, output, plan, needed)

    def new(self, *shape, **options):
        tensor = make(self, *shape, **options)
        nameless[0] += tensor.nbytes
        look(self)
        weakref.finalize(
            tensor, lambda size=tensor.nbytes: nameless.__setitem__(0, nameless[0] - size)
        )
        return tensor

    def finish(self, step, **facts):
        look(self)
        return finished(self, step, **facts)

    finished = PartFolder.finish
    for name, function in (("__init__", init), ("new", new), ("finish", finish)):
        monkeypatch.setattr(PartFolder, name, function)
    denoise_file(path, tmp_path / "b.npy", job(method, tile=tile))
    assert 0.3 * asked[0] < most[0] <= asked[0]


# What became of a scene


def looked_at(path, output, **options):
    """What ``then`` sees, and copies of it."""
    seen = []

    def look(source, done):
        rows, columns = slice(3, 20), slice(5, 30)
        error = None if done.learned is None else done.standard_error(rows, columns)
        whole = None if done.learned is None else done.standard_error(slice(None), slice(None))
        seen.append((*done.read(rows, columns)[:2], error, whole))

    denoise_file(path, output, job(scale=(0.0, 1.0), then=look, **options))
    return seen[0]


def test_windows_of_a_denoised_scene_lie_as_in_the_file_turned_or_not(tmp_path):
    noisy = scene_of(12) + 0.05 * np.random.default_rng(0).standard_normal((12, 40, 44))
    noisy = noisy.astype(np.float32)
    put(tmp_path / "a.npy", noisy)
    part = np.s_[:, 3:20, 5:30]
    for direction in ("columns", "rows"):
        output = tmp_path / f"{direction}.npy"
        seen = looked_at(tmp_path / "a.npy", output, method="median+s", direction=direction)
        window, clean, error, whole = seen
        np.testing.assert_allclose(window, noisy[part], atol=1e-6)
        np.testing.assert_allclose(clean, numbers(output)[part], atol=1e-6)
        np.testing.assert_allclose(error, whole[part], rtol=1e-5)
        assert whole.shape == noisy.shape


def test_a_method_sees_a_cube_as_it_sees_the_scene(tmp_path):
    """Lines run along columns there, also where the file has them along rows."""
    put(tmp_path / "a.npy", scene_of(4))
    cube = torch.rand(4, 5, 7)

    def ramp_along_rows(noisy):
        return noisy + torch.arange(float(noisy.shape[2]))[:, None]

    def look(source, done):
        torch.testing.assert_close(done.denoise(cube), cube + torch.arange(7.0))

    turned = replace(job(direction="rows", then=look), denoiser=ramp_along_rows)
    denoise_file(tmp_path / "a.npy", tmp_path / "b.npy", turned)


def test_at_a_lower_strength_the_error_holds_what_is_left_of_the_noise(tmp_path):
    noisy = scene_of(20) + 0.1 * np.random.default_rng(0).standard_normal((20, 40, 44))
    put(tmp_path / "a.npy", noisy.astype(np.float32))
    whole, half, none = (
        looked_at(tmp_path / "a.npy", tmp_path / f"{s}.npy", method="median+s", strength=s)[3]
        for s in (1.0, 0.5, 0.0)
    )
    np.testing.assert_allclose(np.median(none), 0.1, rtol=0.1)
    np.testing.assert_allclose(half, np.hypot(whole, none) / 2, rtol=1e-4)


def test_an_uncertainty_is_the_same_after_a_stop_in_the_writing(tmp_path, monkeypatch):
    noisy = scene_of(12) + 0.05 * np.random.default_rng(0).standard_normal((12, 40, 44))
    put(tmp_path / "a.npy", noisy.astype(np.float32))

    def run(name):
        file = tmp_path / f"{name}_error.npy"
        denoise_file(
            tmp_path / "a.npy", tmp_path / f"{name}.npy", job("median+s", uncertainty=file)
        )
        return numbers(file), numbers(tmp_path / f"{name}.npy")

    whole = run("whole")
    with monkeypatch.context() as patch:
        patch.setattr(denoise_module, "_write", stopped)
        with pytest.raises(KeyboardInterrupt):
            run("stopped")
    again = run("stopped")
    np.testing.assert_array_equal(again[0], whole[0])
    np.testing.assert_array_equal(again[1], whole[1])


def stopped(*_):
    raise KeyboardInterrupt
