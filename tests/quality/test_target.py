"""Spectra of the user's own, read for what they absorb."""

import numpy as np
import pytest

from datamodules.scene import DataError
from lightning_ras2s.quality.target import read_target

WAVELENGTHS = np.linspace(400, 1000, 61)


def dip(where, depth=0.3):
    return 1 - depth * np.exp(-0.5 * ((where - 700) / 20) ** 2)


def write(path, *columns, header="", separator=" "):
    lines = [separator.join(f"{value:.6g}" for value in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([*([header] if header else []), *lines]))
    return path


@pytest.mark.parametrize("unit", [1, 1e-3])
@pytest.mark.parametrize("separator", [" ", ",", ";", "\t"])
def test_a_reflectance_absorbs_where_it_lies_below_its_continuum(tmp_path, unit, separator):
    where = np.linspace(350, 1100, 400)
    slope = 0.2 + 0.0005 * where
    file = write(tmp_path / "a.csv", where * unit, slope * dip(where), separator=separator)
    target, told = read_target(file, WAVELENGTHS, 61)
    expected = (1 - dip(WAVELENGTHS)) / 0.3
    np.testing.assert_allclose(target, expected, atol=0.02)
    assert target.max() == 1
    assert "taken for a spectrum of reflectance" in told


def test_an_absorption_is_taken_as_it_is(tmp_path):
    where = np.linspace(350, 1100, 400)
    file = write(tmp_path / "gas.txt", where, 5 * (1 - dip(where)), header="nm, absorption cm-1")
    target, told = read_target(file, WAVELENGTHS, 61)
    np.testing.assert_allclose(target, (1 - dip(WAVELENGTHS)) / 0.3, atol=0.02)
    assert "spectrum of absorption" in told


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_value_for_each_band_needs_no_wavelengths(tmp_path, order):
    values = dip(WAVELENGTHS)[order]
    np.save(tmp_path / "a.npy", values)
    target, _ = read_target(tmp_path / "a.npy", WAVELENGTHS[order], 61)
    np.testing.assert_allclose(target, (1 - values) / 0.3, atol=1e-6)
    target, _ = read_target(tmp_path / "a.npy", None, 61)
    np.testing.assert_allclose(target, (1 - values) / 0.3, atol=1e-6)


def test_bands_that_are_not_used_are_left_out_of_a_value_for_each(tmp_path):
    np.save(tmp_path / "a.npy", dip(WAVELENGTHS))
    used = np.delete(np.arange(61), [3, 30])  # 30 is the deepest
    target, _ = read_target(tmp_path / "a.npy", None, 61, used)
    expected = (1 - dip(WAVELENGTHS))[used]
    np.testing.assert_allclose(target, expected / expected.max(), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "wavelengths", "told"),
    [
        (None, WAVELENGTHS, "no such file"),
        ("a b c", WAVELENGTHS, "is no table"),
        ("1 2\n3", WAVELENGTHS, "is no table"),
        ("400 1\nnan 2", WAVELENGTHS, "is no table"),
        ("1\n2\n3", WAVELENGTHS, "has 3 values and the scene 61 bands"),
        ("400 1\n500 0.5\n600 1", None, "has wavelengths and the scene none"),
        ("2000 1\n2100 0.5\n2200 1", WAVELENGTHS, "absorbs nothing within the bands"),
        ("400 1\n1000 1", WAVELENGTHS, "absorbs nothing"),
    ],
)
def test_what_is_no_target_is_told(tmp_path, text, wavelengths, told):
    if text is not None:
        (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=told):
        read_target(tmp_path / "a.txt", wavelengths, 61)
