"""Pages of the site that are no files of docs/: README as its home, and code that is linked to.

mkdocs calls ``on_files`` and ``on_page_markdown`` (``hooks`` in mkdocs.yml). Paths are relative to
the clone, and places to the site.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HOUSE = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s#]+)([^)\s]*)\)")
LANGUAGES = {".py": "python", ".cpp": "cpp", ".sh": "bash", ".yaml": "yaml", ".cff": "yaml"}
PAGE = """---
search: {{exclude: true}}
---
# `{path}`

~~~~{language}
{text}
~~~~
"""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the home, and a page for each file outside docs/ that is linked to."""
    shown, waiting = set[str](), ["README.md", *(f"docs/{file.src_uri}" for file in files)]
    while waiting:
        path = waiting.pop()
        if path in shown or not (HOUSE / path).is_file():
            continue
        shown.add(path)
        if path.endswith(".md"):
            waiting += linked(path)
        if not path.startswith("docs/"):
            files.append(File.generated(config, place_of(path), content=page_of(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page in docs/."""
    place = page.file.src_uri
    generated = place == "index.md" or place.startswith("source/")
    return markdown if generated else turn_links(markdown, f"docs/{place}")


def linked(path: str) -> Iterator[str]:
    """The files that a page links to."""
    for target, _ in LINK.findall((HOUSE / path).read_text()):
        if "://" not in target:
            yield normpath(join(dirname(path), target))


def place_of(path: str) -> str:
    """Where the site has a file."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def page_of(path: str) -> str:
    """A page that shows a file."""
    file = HOUSE / path
    text = file.read_text()
    if file.suffix == ".md":
        return turn_links(text, path)
    return PAGE.format(path=path, language=LANGUAGES.get(file.suffix, "text"), text=text.rstrip())


def turn_links(markdown: str, path: str) -> str:
    """The text of a file, whose links lead to where the site has what they lead to."""

    def turned(link: re.Match[str]) -> str:
        target, anchor = link.groups()
        if "://" in target:
            return link[0]
        place = place_of(normpath(join(dirname(path), target)))
        return f"]({relpath(place, dirname(place_of(path)) or '.')}{anchor})"

    return LINK.sub(turned, markdown)
