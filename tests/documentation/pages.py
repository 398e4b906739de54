"""What README and docs show: blocks of code, and the commands among them."""

import re
from pathlib import Path
from typing import NamedTuple

HOUSE = Path(__file__).parents[2]
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"\s+#\s.*$|^#.*$", re.MULTILINE)


class Shown(NamedTuple):
    """A piece of code, or a command, and the page that shows it."""

    page: str
    text: str

    def __str__(self):
        return f"{self.page}: {self.text.splitlines()[0]}"


def blocks(language):
    """The blocks of a language, page by page."""
    return [
        Shown(page.name, text)
        for page in PAGES
        for found, text in BLOCK.findall(page.read_text())
        if found == language
    ]


def commands():
    """The commands of all bash blocks, each once, without comments."""
    shown = {}
    for page, text in blocks("bash"):
        for line in COMMENT.sub("", text.replace("\\\n", " ")).splitlines():
            command = " ".join(line.split())
            if command:
                shown.setdefault(command, Shown(page, command))
    return list(shown.values())
