"""`ras2s quality`, and what `ras2s denoise` leaves beside its output."""

import json
from html import unescape

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from datamodules import Scene, add_noise, write_scene
from datamodules.file_facts import FileFacts
from datamodules.scene import DataError
from datamodules.windows import open_scene
from lightning_ras2s.inference.command import main as denoise
from lightning_ras2s.quality import assessment, page
from lightning_ras2s.quality.command import main as quality
from lightning_ras2s.quality.record import SCHEMA, VERSION, read_record
from tests.inference.test_subspace import natural

pytestmark = pytest.mark.filterwarnings("ignore::datamodules.scene.DataNote")
BANDS, HEIGHT, WIDTH = 16, 36, 32
WAVELENGTHS = np.linspace(400, 1000, BANDS)


def put(path, cube):
    wavelengths = WAVELENGTHS if len(cube) == BANDS else None
    write_scene(Scene.from_raw("s", cube, wavelengths, file=FileFacts(dtype=cube.dtype)), path)


def numbers(path):
    with open_scene(path) as source:
        return source.read((slice(None),) * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A noisy scene in the units of a file, and what ras2s+s makes of it."""
    made = tmp_path_factory.mktemp("quality")
    clean = natural(BANDS, HEIGHT, 4, 1.5)[:, :, :WIDTH].numpy()
    noisy = 100 + 4000 * add_noise(clean, "gaussian12.75", 7)
    noisy[7] = 12  # a band that holds nothing
    put(made / "noisy.hdr", noisy.astype(np.float32))
    put(made / "truth.hdr", (100 + 4000 * clean).astype(np.float32))
    args = ["--device=cpu", "--scale", "100", "4100", f"--uncertainty={made / 'error.hdr'}"]
    assert denoise([str(made / "noisy.hdr"), "-o", str(made / "clean.hdr"), *args]) == 0
    return made


@pytest.fixture
def undrawn(monkeypatch):
    """Pages are left empty: drawing takes longer than all else."""
    monkeypatch.setattr(page, "quality_page", lambda quality: "")


def record(path):
    made = json.loads(path.read_text())
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(made)
    return made


def test_a_denoising_leaves_a_page_and_a_record_in_the_units_of_the_file(folder):
    made = record(folder / "clean.quality.json")
    assert (made["version"], made["scene"], made["denoised"]) == (1, "noisy.hdr", "clean.hdr")
    assert made["range"] == [100, 4100]
    assert made["bands"]["number"] == [band for band in range(BANDS) if band != 7]
    assert made["method"]["key"] == "ras2s+s"
    before, after = made["noise_before"], made["noise_after"]
    np.testing.assert_allclose(before["sigma"], 200, rtol=0.1)
    noisy = numbers(folder / "noisy.hdr").mean((1, 2))[made["bands"]["number"]]
    np.testing.assert_allclose(before["snr"], noisy / np.array(before["sigma"]), rtol=1e-3)
    ranked = [before["snr"][made["bands"]["number"].index(band)] for band in before["ranked"]]
    assert ranked == sorted(before["snr"])
    assert np.median(after["snr"]) > 2 * np.median(before["snr"])
    np.testing.assert_allclose(made["removed"]["sigma"], 200, rtol=0.25)
    assert made["signal_kept"]["depth"] == [0.01, 0.02, 0.05, 0.1, 0.15]
    html = unescape((folder / "clean.quality.html").read_text())
    assert all(line.split(": ", 1)[-1] in html for line in made["findings"])


def test_the_uncertainty_is_a_file_like_the_scene_and_covers_the_errors(folder):
    clean, truth, error = (numbers(folder / f"{n}.hdr") for n in ("clean", "truth", "error"))
    with open_scene(folder / "error.hdr") as source:
        np.testing.assert_allclose(source.wavelengths, WAVELENGTHS)
    assert error.shape == clean.shape
    assert np.isnan(error[7]).all()
    used = [band for band in range(BANDS) if band != 7]
    within = np.abs(clean - truth)[used] <= error[used]
    assert 0.55 < within.mean() < 0.85
    made = record(folder / "clean.quality.json")["uncertainty"]["standard_error"]
    rms = np.sqrt((error[used].astype(float) ** 2).mean((1, 2)))
    np.testing.assert_allclose(made, rms, rtol=1e-3)


@pytest.mark.usefixtures("undrawn")
def test_a_scene_alone_is_told_its_noise(folder, capsys):
    assert quality([str(folder / "noisy.hdr"), "--scale", "100", "4100"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 6
    assert told[0].startswith("Not denoised yet: denoising is worth while")
    made = record(folder / "noisy.quality.json")
    assert (made["trust"], made["denoised"], made["noise_after"]) == ("not denoised", None, None)
    whole = record(folder / "clean.quality.json")
    np.testing.assert_allclose(
        made["noise_before"]["sigma"], whole["noise_before"]["sigma"], rtol=1e-4
    )
    assert not list(folder.glob(".*"))


@pytest.mark.usefixtures("undrawn")
def test_a_pair_of_files_is_told_the_same_as_at_its_denoising(folder, tmp_path, capsys):
    files = [str(folder / "noisy.hdr"), str(folder / "clean.hdr")]
    before = record(folder / "clean.quality.json")
    assert quality([*files, "--scale", "100", "4100", "-o", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    after = record(tmp_path / "again.quality.json")
    assert after["method"] == before["method"]  # from the record beside the denoised file
    assert after["trust"] == before["trust"]
    for part in ("noise_before", "removed"):
        np.testing.assert_allclose(after[part]["sigma"], before[part]["sigma"], rtol=1e-3)
    np.testing.assert_allclose(
        after["signal_kept"]["auc_after"], before["signal_kept"]["auc_after"], atol=0.01
    )
    assert after["uncertainty"] == before["uncertainty"]


@pytest.mark.usefixtures("undrawn")
def test_a_method_that_is_not_known_is_not_guessed(folder, tmp_path, capsys):
    put(tmp_path / "theirs.npy", numbers(folder / "clean.hdr"))
    files = [str(folder / "noisy.hdr"), str(tmp_path / "theirs.npy")]
    assert quality(files) == 0
    assert "the method is not known" in capsys.readouterr().out
    made = record(tmp_path / "theirs.quality.json")
    assert made["method"] is made["signal_kept"] is made["uncertainty"] is None
    assert quality([*files, "--method=median"]) == 0
    assert record(tmp_path / "theirs.quality.json")["method"]["label"] == "Median"


def test_a_mean_is_not_trusted(folder, tmp_path, capsys, monkeypatch):
    from scipy.ndimage import uniform_filter

    from lightning_ras2s.classical import median

    monkeypatch.setattr(
        median, "median_filter", lambda noisy: noisy.new_tensor(uniform_filter(noisy, (1, 1, 9, 9)))
    )
    args = [str(folder / "noisy.hdr"), "-o", str(tmp_path / "blurred.npy"), "--method=median"]
    assert denoise([*args, "--scale", "100", "4100"]) == 0
    made = record(tmp_path / "blurred.quality.json")
    assert any(made["signal_kept"]["lost"])
    assert made["trust"] != "yes"
    assert '<tr class="lost">' in (tmp_path / "blurred.quality.html").read_text()
    assert "--strength=" in made["findings"][3]
    assert made["uncertainty"] is None


@pytest.mark.usefixtures("undrawn")
def test_a_target_of_ones_own_is_looked_for(folder, tmp_path):
    lines = [
        f"{nm} {1 - 0.4 * np.exp(-(((nm - 700) / 40) ** 2)):.4f}" for nm in range(300, 1100, 5)
    ]
    (tmp_path / "gas.txt").write_text("\n".join(lines))
    args = [str(folder / "noisy.hdr"), "-o", str(tmp_path / "a.npy"), "--method=identity"]
    assert denoise([*args, f"--target={tmp_path / 'gas.txt'}"]) == 0
    kept = record(tmp_path / "a.quality.json")["signal_kept"]
    assert kept["target"].startswith("gas.txt, taken for a spectrum of reflectance")
    bands = np.delete(WAVELENGTHS, 7)
    expected = np.exp(-(((bands - 700) / 40) ** 2))
    np.testing.assert_allclose(kept["absorption"], expected / expected.max(), atol=0.02)


@pytest.mark.usefixtures("undrawn")
def test_of_a_large_scene_a_part_is_measured(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(assessment, "MOST", 15 * WIDTH * HEIGHT // 2)
    args = [str(folder / "noisy.hdr"), "-o", str(tmp_path / "part"), "--scale", "100", "4100"]
    assert quality(args) == 0
    made = record(tmp_path / "part.quality.json")
    assert made["measured"] == [24, 22]
    np.testing.assert_allclose(np.median(made["noise_before"]["sigma"]), 200, rtol=0.1)


@pytest.mark.usefixtures("undrawn")
def test_stripes_along_rows_are_told_as_the_file_has_them(tmp_path):
    cube = natural(BANDS, HEIGHT, 4, 1.5)[:, :, :WIDTH].numpy()
    noisy = add_noise(np.ascontiguousarray(cube.transpose(0, 2, 1)), "stripe", 3)
    put(tmp_path / "a.npy", np.ascontiguousarray(noisy.transpose(0, 2, 1)))
    assert quality([str(tmp_path / "a.npy"), "--direction=rows"]) == 0
    made = record(tmp_path / "a.quality.json")
    assert made["shape"] == [BANDS, HEIGHT, WIDTH]
    assert sum(made["noise_before"]["striped_rows"]) > 0
    assert sum(made["noise_before"]["striped_columns"]) == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nothing.hdr"], "there is no such file"),
        (["noisy.hdr", "small.npy"], "give the file that was made of it"),
        (["noisy.hdr", "clean.hdr", "--method=nonsense"], "unknown method"),
        (["noisy.hdr", "clean.hdr", "--target=none.txt"], "no such file of a spectrum"),
        (["noisy.hdr", "clean.hdr", "--strength=0.5"], "say which (--method"),
        (["noisy.hdr", "clean.hdr", "--method=median", "--strength=2"], "a share from 0 to 1"),
        (["noisy.hdr", "--scale", "5", "1"], "give the lowest and the highest value"),
    ],
)
def test_mistakes_are_told_in_a_line(folder, capsys, monkeypatch, args, told):
    monkeypatch.chdir(folder)
    put(folder / "small.npy", np.random.default_rng(0).random((BANDS, 9, 9), np.float32))
    pages = set(folder.iterdir())
    assert quality(args) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert set(folder.iterdir()) == pages  # nothing half-written


def test_a_denoising_says_beforehand_what_cannot_be(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    out = ["-o", str(tmp_path / "a.npy")]
    assert denoise(["noisy.hdr", *out, "--method=median", "--uncertainty=e.npy"]) == 2
    assert "Median predicts no error; choose --method=median+s" in capsys.readouterr().err
    assert denoise(["noisy.hdr", *out, "--target=t.txt", "--no-page"]) == 2
    assert "--target is for the page" in capsys.readouterr().err
    assert denoise(["noisy.hdr", *out, "--target=none.txt"]) == 2
    assert "none.txt: no such file of a spectrum" in capsys.readouterr().err
    (tmp_path / "two").mkdir()
    for name in ("a.npy", "a.hdr"):
        put(tmp_path / "two" / name, np.random.default_rng(0).random((4, 9, 9), np.float32))
    assert denoise([str(tmp_path / "two"), "-o", str(tmp_path / "out")]) == 2
    assert "would share the page a.quality.html" in capsys.readouterr().err
    assert not (tmp_path / "a.npy").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ((1, 5, 5), "too small"),
        ((3, 8, 9), "It is noisy still"),
        ((12, 1, 30), "It is noisy still"),
        ((60, 9, 7), "It is noisy still"),
    ],
)
def test_small_scenes_have_a_verdict_too(tmp_path, capsys, shape, line):
    put(tmp_path / "a.npy", np.random.default_rng(0).random(shape, np.float32))
    args = [str(tmp_path / "a.npy"), "-o", str(tmp_path / "b.npy"), "--method=identity"]
    assert denoise(args) == 0
    assert line in record(tmp_path / "b.quality.json")["findings"][0]
    assert quality([str(tmp_path / "a.npy")]) == 0


def test_a_page_that_cannot_be_made_leaves_the_denoised_file(folder, tmp_path, capsys, monkeypatch):
    def fail(quality):
        raise ValueError("no such colour")

    monkeypatch.setattr(page, "quality_page", fail)
    args = [str(folder / "noisy.hdr"), "-o", str(tmp_path / "a.npy"), "--method=identity"]
    assert denoise(args) == 2
    told = capsys.readouterr().err
    assert "a.npy: is written, but its page is not (no such colour); --no-page" in told
    np.testing.assert_array_equal(numbers(tmp_path / "a.npy"), numbers(folder / "noisy.hdr"))
    assert not list(tmp_path.glob(".*"))


def test_a_record_of_another_version_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"version": VERSION + 1}))
    with pytest.raises(DataError, match=f"is of version {VERSION + 1}"):
        read_record(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match="is no quality of a scene"):
        read_record(tmp_path / "a.json")
