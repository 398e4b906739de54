"""Where pictures go: PNG files in the run's folder, and every logger that can show them."""

import csv
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import matplotlib as mpl
import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datamodules.atomic_write import atomic_write
from datamodules.samples import EvaluationItem
from lightning_ras2s.runs.best_effort import best_effort, warn_once
from lightning_ras2s.runs.loggers import wandb_loggers

DPI = 100
LONGEST_NAME = 150  # characters
VECTOR: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
SAME_BYTES: Any = {
    "svg.hashsalt": "",
    "pdf.fonttype": 42,
}  # of the same figure; text that can be edited


class Subject(NamedTuple):
    """What a picture is of; the PNG keeps it in its text.

    Attributes:
        scene: Its name.
        noise_case: The noise that it has.
        topic: By default that of the gallery.
    """

    scene: str
    noise_case: str
    topic: str = ""

    @classmethod
    def of(cls, item: EvaluationItem, topic: str = "") -> "Subject":
        """A scene of an evaluation."""
        return cls(item.scene, item.noise_case, topic)

    @classmethod
    def read(cls, image: Image.Image) -> "Subject | None":
        """What a PNG says of itself; None of one of another origin."""
        said = getattr(image, "text", {})
        return cls(*(said[f] for f in cls._fields)) if set(cls._fields) <= set(said) else None


class Gallery:
    """Shows what one callback has made; for rank 0.

    A picture named ``jelly mixture`` of topic ``spectra`` and stage ``val`` is
    ``<folder>/val/spectra_jelly-mixture.png``, overwritten at each showing, and has the key
    ``spectra/val/jelly mixture`` in the loggers, which keep every showing. Those of a test are also
    kept in vector form, for papers.

    Args:
        trainer: Its loggers are used, those of W&B and TensorBoard; ``global_step`` is the step.
        folder: Where the PNG files go.
        stage: val or test.
        topic: What the callback shows.
    """

    def __init__(self, trainer: L.Trainer, folder: Path, stage: str, topic: str) -> None:
        self.loggers: list[Logger] = trainer.loggers
        self.wandb_loggers = wandb_loggers(trainer.loggers)
        self.step = trainer.global_step
        self.folder = folder / stage
        self.is_final = stage == "test"
        self.prefix, self.topic = f"{topic}/{stage}", topic

    def tell_where_pictures_are(self) -> None:
        """Warns once where no logger can show pictures."""
        boards = [logger for logger in self.loggers if isinstance(logger, TensorBoardLogger)]
        if not (boards or self.wandb_loggers):
            names = ", ".join(type(logger).__name__ for logger in self.loggers)
            warn_once(
                f"{names or 'no logger'}: cannot show pictures; "
                f"they are in {self.folder.parent} only"
            )

    def picture(self, name: str, figure: Figure, subject: Subject) -> None:
        """Shows a figure, and keeps it as PNG; that of a test as SVG and PDF, too."""
        self.tell_where_pictures_are()
        image = _drawn(figure)
        path = self.folder / f"{self.topic}_{safe_name(name)}.png"
        with atomic_write(path) as aside:
            image.save(
                aside, "png", pnginfo=_text(subject._replace(topic=subject.topic or self.topic))
            )
        for ending, metadata in VECTOR.items() if self.is_final else ():
            with atomic_write(path.with_suffix(ending)) as aside, mpl.rc_context(SAME_BYTES):
                figure.savefig(aside, format=ending[1:], metadata=metadata)
        self._to_wandb(name, lambda wandb: wandb.Image(image))
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    f"{self.prefix}/{name}",
                    np.asarray(image.convert("RGB")),
                    self.step,
                    dataformats="HWC",
                )

    def overlays(
        self,
        name: str,
        image: np.ndarray,
        masks: Sequence[Mapping[str, np.ndarray]],
        captions: Sequence[str],
        labels: Mapping[int, str],
    ) -> None:
        """Shows masks that can be switched on and off over an image, in W&B alone.

        Args:
            name: Of the panel, which has one image for each item of ``masks``.
            image: [H, W, 3] uint8.
            masks: For each image, integers [H, W] by the name of their overlay.
            captions: One for each image.
            labels: The name of each integer.
        """
        self._to_wandb(
            name,
            lambda wandb: [
                wandb.Image(
                    Image.fromarray(image),  # of an array, W&B drops a side of one pixel
                    caption=caption,
                    masks={
                        overlay: {"mask_data": mask, "class_labels": dict(labels)}
                        for overlay, mask in overlays.items()
                    },
                )
                for overlays, caption in zip(masks, captions, strict=True)
            ],
        )

    def curves(
        self, name: str, x: np.ndarray, ys: Mapping[str, np.ndarray], x_title: str, title: str
    ) -> None:
        """Shows line charts that can be zoomed, in W&B alone.

        Args:
            name: Of the chart.
            x: [B].
            ys: [B] by the name of the line; what is not finite is left out.
            x_title: What ``x`` is, with its unit.
            title: What the lines are, with their unit.
        """
        self._to_wandb(
            name,
            lambda wandb: wandb.plot.line_series(
                xs=[x[np.isfinite(y)].tolist() for y in ys.values()],
                ys=[y[np.isfinite(y)].tolist() for y in ys.values()],
                keys=list(ys),
                title=title,
                xname=x_title,
                split_table=True,  # in a section of its own
            ),
        )

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Shows a table in W&B, and keeps it as CSV; a number that is not finite is empty."""
        data = [[None if _has_no_json(cell) else cell for cell in row] for row in rows]
        path = self.folder / f"{self.topic}_{safe_name(name)}.csv"
        with atomic_write(path) as aside, aside.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *data])
        self._to_wandb(name, lambda wandb: wandb.Table(columns=list(columns), data=data))

    def page(self, name: str, path: Path) -> None:
        """Shows a self-contained HTML file, in W&B alone."""
        self._to_wandb(name, lambda wandb: wandb.Html(path, inject=False))

    def scalars(self, values: Mapping[str, float]) -> None:
        """Logs numbers, by their whole keys, with every logger."""
        for logger in self.loggers:
            logger.log_metrics(dict(values), self.step)

    def _to_wandb(self, name: str, make: Callable[[Any], Any]) -> None:
        """Logs what is made with the package wandb."""
        for logger in self.wandb_loggers:
            with best_effort("W&B takes no pictures", Exception):
                import wandb

                content = make(wandb)
                logger.experiment.log(
                    {f"{self.prefix}/{name}": content, "trainer/global_step": self.step}
                )


def safe_name(name: str) -> str:
    """A name that any file system takes; one that had to be changed ends in what tells it apart."""
    safe = re.sub(r"[^\w.,=+-]+", "-", name).strip("-.")[:LONGEST_NAME]
    if safe == name.replace(" ", "-"):
        return safe
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:6]}".lstrip("-")


def _has_no_json(cell: Any) -> bool:
    return isinstance(cell, float) and not math.isfinite(cell)


def _text(subject: Subject) -> PngInfo:
    info = PngInfo()
    for name, value in subject._asdict().items():
        info.add_itxt(name, value)
    return info


def _drawn(figure: Figure) -> Image.Image:
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
