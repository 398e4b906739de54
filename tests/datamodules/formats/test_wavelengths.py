"""Wavelengths in the ways that files have them: in nm, or left out with the reason told."""

import warnings

import h5py
import numpy as np
import pytest
import tifffile

from datamodules import read_cube, read_scene
from datamodules.scene import DataNote

NM = [450.0, 550, 650]


def told(function, *args):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args)
    return result, " ".join(str(w.message) for w in caught if issubclass(w.category, DataNote))


@pytest.mark.parametrize(
    ("text", "nm", "words"),
    [
        ("wavelength = {450.0, 550, 650}", NM, ""),
        ("wavelength = {450.0,\n550,\n650,\n}", NM, ""),
        ("wavelength = {450 nm, 550 nm, 650 nm}", NM, ""),
        ("wavelength = {0.45 um, 0.55 um, 0.65 um}", NM, ""),
        ("wavelengths = {450, 550, 650}", NM, ""),
        ("wavelength units = Micrometers\nwavelength = {0.45, 0.55, 0.65}", NM, ""),
        ("wavelength units = Nanometers\nwavelength = {0.45, 0.55, 0.65}", NM, "taken as um"),
        ("wavelength units = um\nband names = {b1 (0.45), b2 (0.55), b3 (0.65)}", NM, ""),
        ("band names = {a (450 Nanometers), b (550 nm), c (650 nm)}", None, ""),
        ("band names = {a (450 nm), b (550 nm), c (650 nm)}", NM, ""),
        ("band names = {Red, Green, Blue}", None, ""),
        ("wavelength units = Micrometers\nwavelength = {8.1, 9.2, 12.5}", [8100, 9200, 12500], ""),
        ("wavelength = {650, 550, 450}", NM[::-1], ""),
        ("wavelength = {450.0, 550}", None, "2 for 3 bands"),
        ("wavelength = {0, 550, 650}", None, "from 0 to 650 are no wavelengths"),
        ("wavelength = {1, 2, 3}", None, "only numbers the bands"),
        ("wavelength = {450, x, 650}", None, "'x' is no number"),
        ("wavelength units = Angstroms\nwavelength = {4500, 5500, 6500}", None, "'Angstroms'"),
        ("wavelength units = Wavenumber\nwavelength = {900, 1000, 1100}", None, "'Wavenumber'"),
    ],
)
def test_envi(tmp_path, text, nm, words):
    np.arange(60, dtype="<f4").tofile(tmp_path / "a.raw")
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 5\nlines = 4\nbands = 3\ndata type = 4\ninterleave = bsq\n"
        f"byte order = 0\n{text}\n"
    )
    (_, found), said = told(read_cube, tmp_path / "a.raw")
    assert words in said
    assert bool(words) == bool(said)
    if nm is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, nm)


rasterio = pytest.importorskip("rasterio", reason="the extra [geo] is not installed")


@pytest.mark.parametrize("how", ["tags", "imagery", "descriptions", "sidecar", "aux"])
def test_geotiff(tmp_path, how):
    path = tmp_path / "a.tif"
    nm = [443.0, 482, 562, 655]
    cube = np.random.default_rng(0).random((4, 20, 30)).astype("f4")
    if how == "aux":
        tifffile.imwrite(path, cube, photometric="minisblack", planarconfig="separate")
        bands = "".join(
            f'<PAMRasterBand band="{band}"><Metadata domain="IMAGERY">'
            f'<MDI key="CENTRAL_WAVELENGTH_UM">{w / 1000}</MDI></Metadata></PAMRasterBand>'
            for band, w in enumerate(nm, 1)
        )
        (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    else:
        sizes = {"count": 4, "height": 20, "width": 30, "dtype": "float32"}
        with rasterio.open(path, "w", **sizes) as file:
            file.write(cube)
            for band, w in enumerate(nm, 1):
                if how == "tags":
                    file.update_tags(band, wavelength=str(w), wavelength_units="nanometers")
                elif how == "imagery":
                    file.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=str(w / 1000))
                elif how == "descriptions":
                    file.set_band_description(band, f"band {band} ({w} Nanometers)")
    if how == "sidecar":
        (tmp_path / "a.hdr").write_text(
            "ENVI\nbands = 4\nwavelength units = nm\nwavelength = {443, 482, 562, 655}\n"
            "fwhm = {10, 20, 30, 40}\n"
        )
    scene, _ = told(read_scene, path)
    np.testing.assert_allclose(scene.wavelengths, nm)
    if how == "sidecar":
        assert scene.fwhm.tolist() == [10, 20, 30, 40]


def write_h5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values


CUBE = np.arange(5 * 20 * 30, dtype="f4").reshape(5, 20, 30)
FIVE = np.array([400.0, 500, 600, 700, 800])


@pytest.mark.parametrize(
    "name",
    ["wl", "center_wavelengths", "wavelength_nm", "CentralWavelengths", "Wavelengths", "wvl"],
)
def test_names_of_variables(tmp_path, name):
    write_h5(tmp_path / "a.h5", cube=CUBE, **{name: FIVE})
    (_, found), said = told(read_cube, tmp_path / "a.h5")
    assert found.tolist() == FIVE.tolist()
    assert not said


def test_a_variable_bands_that_counts_them_is_no_wavelength(tmp_path):
    write_h5(tmp_path / "a.h5", cube=CUBE, bands=np.arange(1, 6), wavelength=FIVE)
    (_, found), said = told(read_cube, tmp_path / "a.h5")
    assert found.tolist() == FIVE.tolist()
    write_h5(tmp_path / "b.h5", cube=CUBE, bands=np.arange(1, 6))
    (_, found), said = told(read_cube, tmp_path / "b.h5")
    assert found is None
    assert not said


@pytest.mark.parametrize(("unit", "known"), [("nm", True), ("cm-1", False), ("K", False)])
def test_the_units_of_a_dataset_count(tmp_path, unit, known):
    write_h5(tmp_path / "a.h5", cube=CUBE, wavelength=np.array([900.0, 1200, 1800, 2500, 4000]))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["wavelength"].attrs["units"] = unit
    (_, found), said = told(read_cube, tmp_path / "a.h5")
    assert (found is not None) == known
    assert ("left out" in said) != known


def test_the_own_group_goes_first_and_else_the_nearest(tmp_path):
    vnir, swir = np.linspace(400, 1000, 5), np.linspace(950, 2500, 5)
    write_h5(
        tmp_path / "a.h5",
        vnir__cube=CUBE,
        vnir__wavelength=vnir,
        swir__cube=CUBE + 1,
        swir__meta__wavelength=swir,
    )
    for key, nm in (("vnir/cube", vnir), ("swir/cube", swir)):
        assert read_cube(tmp_path / "a.h5", key=key)[1].tolist() == nm.tolist()
