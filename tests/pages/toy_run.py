"""Folders of runs, as trainings and evaluations leave them, for the tests of pages."""

import csv
import json
import os
from html.parser import HTMLParser

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lightning_ras2s.evaluation import write_csv

CONFIG = "model:\n  learning_rate: 0.001\n"
RECORD = {
    "experiment": "quickstart",
    "command": "python -m lightning_ras2s fit -c experiments/quickstart.yaml",
    "started": "2026-11-23T09:00:00+00:00",
    "finished": "2026-11-23T09:42:10+00:00",
    "status": "finished",
    "error": None,
    "git_commit": "3c8a6c8f0a2b4c6d8e0f1a2b3c4d5e6f7a8b9c0d",
    "hardware": {"device": "CPU", "memory_gib": 23.4},
    "software": {"torch": "2.13.0+cpu"},
    "data": {"name": "indian_pines", "train_scenes": 7},
    "wandb": {"id": "ycdwoig7", "url": "https://wandb.example/ycdwoig7"},
}
METRICS = [
    {"step": 0, "lr-Adam": 0.001},
    {"epoch": 0, "step": 9, "train/loss": 0.25},
    {"epoch": 0, "step": 10, "val/psnr_db": 30.25, "val/ssim": 0.8},
    {"epoch": 1, "step": 19, "train/loss": 0.125, "train/grad_norm": 0.5},
    {"epoch": 1, "step": 20, "val/psnr_db": 32.5, "val/ssim": 0.9},
    {"epoch": 2, "step": 30, "val/psnr_db": 31.75, "val/ssim": 0.85},
]


def put_record(run, **changes):
    """Writes ``run.json`` and ``config.yaml``."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(CONFIG)
    (run / "run.json").write_text(json.dumps(RECORD | changes))
    return run


def put_metrics(run, rows=METRICS):
    """Writes ``metrics.csv``."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({column for row in rows for column in row}))
        writer.writeheader()
        writer.writerows(rows)


def put_evaluation(run, dataset, case, **methods):
    """Writes ``evaluation.csv`` of two scenes, whose numbers lie on both sides of those given.

    Args:
        run: The folder.
        dataset: Its name.
        case: The noise case.
        methods: PSNR, SSIM, SAM and ERGAS, the means, by the name of the method.
    """
    run.mkdir(parents=True, exist_ok=True)
    names = ("psnr_db", "ssim", "sam_rad", "ergas")
    rows = [
        {"dataset": dataset, "noise_case": case, "method": method, "scene": scene}
        | {name: value + sign * value / 8 for name, value in zip(names, values, strict=True)}
        for method, values in methods.items()
        for scene, sign in (("one", -1), ("two", 1))
    ]
    write_csv(rows, run / "evaluation.csv")


def put_picture(run, stage, name, size=(40, 30), subject=None):
    """Writes a PNG file into ``pictures/<stage>``."""
    folder = run / "pictures" / stage
    folder.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    info = PngInfo()
    for key, value in (subject._asdict() if subject else {}).items():
        info.add_itxt(key, value)
    Image.fromarray(colours).save(folder / f"{name}.png", pnginfo=info)


def put_inspector(run, name="one mixture"):
    """Writes a page into ``inspector``."""
    (run / "inspector").mkdir(parents=True, exist_ok=True)
    (run / "inspector" / f"{name}.html").write_text(
        f"<!doctype html><p>inspector {name}", encoding="utf-8", errors="replace"
    )


def age(run, seconds):
    """Has the files of a run written so long ago."""
    for path in [*run.rglob("*"), run]:
        before = path.stat().st_mtime - seconds
        os.utime(path, (before, before))


class Page(HTMLParser):
    """What tests look for in a page.

    Attributes:
        rows: The text of the cells of each table row; that of bold cells in asterisks.
        tags: Name and attributes of every element.
        text: All text but that of scripts and styles.
    """

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags, self.pieces, self.open = [], [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" in self.open or "style" in self.open:
            return
        self.pieces.append(data)
        if "td" in self.open or "th" in self.open:
            text = data.strip()
            self.rows[-1][-1] += f"*{text}*" if "b" in self.open and text else text

    def attributes(self, tag, name):
        """The values of an attribute of all elements of one name."""
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]
