"""What `make info` says of a file."""

import numpy as np
import pytest

from datamodules.info import main

HEADER = """ENVI
samples = 30
lines = 20
bands = 5
data type = 2
interleave = bil
sensor type = AVIRIS
map info = {UTM, 1, 1, 500000, 4000000, 2, 2, 11, North, WGS-84, units=Meters}
reflectance scale factor = 10000
data ignore value = -9999
bbl = {1, 0, 0, 1, 1}
wavelength units = Nanometers
wavelength = {400, 500, 600, 700, 800}
fwhm = {5, 5, 5, 6, 6}
"""


@pytest.fixture
def cube(tmp_path):
    values = np.random.default_rng(0).integers(100, 4000, (5, 20, 30)).astype("<i2")
    values[0, 5, 5], values[4, 6, 6] = 100, 3999
    values[:, :2] = -9999
    values.transpose(1, 0, 2).tofile(tmp_path / "a.dat")
    (tmp_path / "a.hdr").write_text(HEADER)
    return tmp_path / "a.dat"


def test_what_a_file_is_taken_for(cube, capsys):
    assert main([str(cube)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(cube)
    for expected in (
        "format      ENVI, bil, int16",
        "size        5 bands x 20 rows x 30 columns (5 x 20 x 30 is BHW: as the file says)",
        "values      100 to 3999",
        "nodata      -9999: 60 of 600 pixels (10 %)",
        "wavelengths 400 to 800 nm",
        "FWHM        5 to 6 nm",
        "scale       x 0.0001 + 0 gives physical units; not applied",
        "place       EPSG:32611, pixels of 2 x 2, corner at 500000, 4000000",
        "header      sensor type = AVIRIS",
        "note        a.hdr has no byte order: 0 (little-endian) is taken",
        "bad bands   2: 2-3",
    ):
        assert f"  {expected}" in lines


def test_options_and_mistakes(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((6, 6, 7)))
    assert main([str(tmp_path / "a.npy")]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert told.err.startswith(f"error: {tmp_path}/a.npy: shape (6, 6, 7) does not tell")
    assert main([str(tmp_path / "a.npy"), "--axes=HWB"]) == 0
    assert "7 bands x 6 rows x 6 columns" in capsys.readouterr().out
    assert main([str(tmp_path / "gone.npy")]) == 2
    assert "no such file" in capsys.readouterr().err
