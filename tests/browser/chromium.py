"""Headless Chromium: the system's, or the one that playwright has installed."""

import shutil
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WINDOW = {"width": 1400, "height": 900}


def launch(playwright):
    """Starts it; None where there is none."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None and not Path(playwright.chromium.executable_path).exists():
        return None
    return playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
