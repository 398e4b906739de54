"""Where pictures go: files, TensorBoard, and W&B read back from what it leaves on disk."""

import base64
import json
import os
import re
import warnings
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image

from lightning_ras2s.pictures.gallery import DPI, Gallery, Subject, safe_name
from lightning_ras2s.runs.best_effort import warn_once
from tests.wandb_files import history

SUBJECT = Subject("jelly", "mixture")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


def gallery(folder, *loggers, step=7, stage="val"):
    trainer = SimpleNamespace(loggers=list(loggers), global_step=step)
    return Gallery(trainer, folder / "pictures", stage, "spectra")


def drawn(pixels):
    """A figure that is these pixels."""
    height, width, _ = pixels.shape
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    figure.figimage(pixels)
    return figure


@pytest.fixture
def wandb_logger(tmp_path, monkeypatch):
    """Offline, with everything in ``tmp_path``."""
    for variable in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(variable)
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    yield WandbLogger(project="test", save_dir=tmp_path, offline=True)
    wandb.teardown()


def logged(folder):
    """What the offline run in ``folder`` has, by key; and the folder of its files."""
    import wandb

    wandb.finish()
    wandb.teardown()  # flushes the file
    (run,) = folder.glob("wandb/offline-run-*")
    (path,) = run.glob("run-*.wandb")
    return {key: value for row in history(path) for key, value in row.items()}, run / "files"


def test_a_picture_is_a_file_with_a_safe_name(tmp_path):
    gallery(tmp_path).picture("a/b scene: mixture", drawn(PIXELS), SUBJECT)
    (path,) = (tmp_path / "pictures").rglob("*.*")
    assert path == tmp_path / "pictures/val" / f"spectra_{safe_name('a/b scene: mixture')}.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), PIXELS)


def test_a_figure_is_drawn_whole(tmp_path):
    figure = Figure((3, 2), facecolor="white")
    figure.add_axes((0, 0, 0.5, 0.5), facecolor="red", xticks=[], yticks=[])
    gallery(tmp_path).picture("plot", figure, SUBJECT)
    picture = np.asarray(Image.open(tmp_path / "pictures/val/spectra_plot.png"))
    assert picture.shape == (200, 300, 3)
    assert picture[150, 75].tolist() == [255, 0, 0]
    assert picture[50, 225].tolist() == [255, 255, 255]


def test_a_picture_says_what_it_is_of(tmp_path):
    gallery(tmp_path).picture("a", drawn(PIXELS), Subject("Größe", "mixture"))
    gallery(tmp_path).picture("b", drawn(PIXELS), Subject("Größe", "mixture", "shares"))
    for name, topic in {"a": "spectra", "b": "shares"}.items():
        with Image.open(tmp_path / f"pictures/val/spectra_{name}.png") as image:
            assert Subject.read(image) == ("Größe", "mixture", topic)
    assert Subject.read(Image.fromarray(PIXELS)) is None


def test_that_of_a_test_is_kept_in_vector_form_with_the_same_bytes_each_time(tmp_path):
    figure = Figure((3, 2))
    figure.add_subplot().imshow(PIXELS, interpolation="none")
    gallery(tmp_path).picture("plot", figure, SUBJECT)
    assert [path.name for path in (tmp_path / "pictures/val").iterdir()] == ["spectra_plot.png"]
    folder, kept = tmp_path / "pictures/test", []
    for _ in range(2):
        gallery(tmp_path, stage="test").picture("plot", figure, SUBJECT)
        kept.append({path.suffix: path.read_bytes() for path in folder.iterdir()})
    assert kept[0] == kept[1]
    assert kept[0].keys() == {".png", ".svg", ".pdf"}
    assert kept[0][".pdf"].startswith(b"%PDF")
    svg = kept[0][".svg"].decode()
    content = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", svg)[1])
    np.testing.assert_array_equal(Image.open(BytesIO(content)).convert("RGB"), PIXELS)


def test_a_table_is_kept_as_csv(tmp_path):
    gallery(tmp_path).table("plot table", ["band", "psnr"], [[0, 30.5], [1, float("inf")]])
    text = (tmp_path / "pictures/val/spectra_plot-table.csv").read_text()
    assert text.splitlines() == ["band,psnr", "0,30.5", "1,"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("jelly mixture", "jelly-mixture"),
        ("../up\\and:down", "up-and-down-2bb716"),
        ("up/and/down", "up-and-down-11492d"),
        ("???", "a03b22"),
        ("a" * 200, "a" * 150 + "-c2a908"),
        ("4cam_0411-1640.v2", "4cam_0411-1640.v2"),
        ("Größe", "Größe"),
    ],
)
def test_names_are_safe(name, safe):
    assert safe_name(name) == safe


def test_a_failing_write_leaves_the_picture_before(tmp_path, monkeypatch):
    gallery(tmp_path).picture("plot", drawn(PIXELS), SUBJECT)

    def fill_the_disk(image, path, kind, **options):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        gallery(tmp_path).picture("plot", drawn(255 - PIXELS), SUBJECT)
    (path,) = (tmp_path / "pictures").rglob("*.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), PIXELS)


def test_tensorboard_has_the_very_pixels(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    gallery(tmp_path, logger).picture("jelly", drawn(PIXELS), SUBJECT)
    gallery(tmp_path, logger).scalars({"cost/spectra_s": 0.5})
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Images("spectra/val/jelly")
    assert event.step == 7
    path = tmp_path / "event.png"
    path.write_bytes(event.encoded_image_string)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), PIXELS)
    (scalar,) = events.Scalars("cost/spectra_s")
    assert (scalar.step, scalar.value) == (7, 0.5)


def test_loggers_without_pictures_are_told_of_once(tmp_path):
    warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for step in range(3):
            gallery(tmp_path, CSVLogger(tmp_path), step=step).tell_where_pictures_are()
    (line,) = [str(warning.message) for warning in told]
    assert line == f"CSVLogger: cannot show pictures; they are in {tmp_path / 'pictures'} only"


def test_loggers_with_pictures_are_not_told_of(tmp_path, wandb_logger):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for logger in (wandb_logger, TensorBoardLogger(tmp_path)):
            gallery(tmp_path, CSVLogger(tmp_path), logger).tell_where_pictures_are()
    assert not told


def test_wandb_has_all_kinds_of_content(tmp_path, wandb_logger):
    shown = gallery(tmp_path, wandb_logger)
    shown.picture("jelly", drawn(PIXELS), SUBJECT)
    masks = [{"spatial": np.full((12, 17), label)} for label in (1, 2)]
    shown.overlays("regions", PIXELS, masks, ["band 0", "band 1"], {1: "A", 2: "B"})
    (tmp_path / "page.html").write_text("<p>inspector</p>")
    shown.page("inspector", tmp_path / "page.html")
    x = np.array([400.0, 500.0, 600.0])
    lines = {"noisy": np.array([1.0, np.inf, 3.0]), "denoised": np.array([4.0, 5.0, np.nan])}
    shown.curves("quality", x, lines, "wavelength (nm)", "PSNR (dB)")
    shown.table("rows", ("band", "psnr"), [[0, 30.5], [1, float("inf")], [2, None]])
    rows, files = logged(tmp_path)

    assert rows["trainer/global_step"] == 7
    assert rows["spectra/val/jelly._type"] == "image-file"
    picture = Image.open(files / rows["spectra/val/jelly.path"])
    np.testing.assert_array_equal(np.asarray(picture), PIXELS)
    assert rows["spectra/val/regions.captions"] == ["band 0", "band 1"]
    for label, mask in zip((1, 2), rows["spectra/val/regions.all_masks"], strict=True):
        labels = np.asarray(Image.open(files / mask["spatial"]["path"]))
        assert labels.shape == (12, 17)
        assert (labels == label).all()
    page = (files / rows["spectra/val/inspector.path"]).read_text()
    assert "<p>inspector</p>" in page
    table = strict_json(files / rows["spectra/val/rows.path"])
    assert table["columns"] == ["band", "psnr"]
    assert table["data"] == [[0, 30.5], [1, None], [2, None]]
    chart = strict_json(files / rows["Custom Chart Tables/spectra/val/quality_table.path"])
    assert chart["data"] == [
        [400, "noisy", 1],
        [600, "noisy", 3],
        [400, "denoised", 4],
        [500, "denoised", 5],
    ]


def strict_json(path):
    """What a browser reads: JSON knows neither Infinity nor NaN."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)
