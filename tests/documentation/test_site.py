"""The site, its links and its notebooks."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.documentation.pages import HOUSE, PAGES

pytestmark = pytest.mark.docs


class Links(HTMLParser):
    """What a page leads to, and where it can be led to."""

    def __init__(self, html):
        super().__init__()
        self.targets, self.anchors = set(), set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        self.targets |= {given[name] for name in ("href", "src") if given.get(name)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from mkdocs.commands.build import build  # of the extra docs
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(HOUSE / "mkdocs.yml"), site_dir=str(folder), strict=True)
    build(config)  # warnings are errors
    return folder


def test_every_link_of_the_site_leads_somewhere(site):
    pages = {path: Links(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 40
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # is served from any place
        for target in page.targets:
            scheme, host, place, _, anchor = urlsplit(target)
            if scheme or host:
                continue
            there = (path.parent / unquote(place)).resolve() if place else path
            assert there.is_file(), f"{path.relative_to(site)} leads to {target}"
            if anchor and there in pages:
                assert unquote(anchor) in pages[there].anchors, target


def test_nothing_of_the_site_is_fetched_from_elsewhere(site):
    fetched = r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)'
    for path in site.rglob("*.html"):
        assert not re.findall(fetched, path.read_text()), path.name


def test_every_page_is_in_the_navigation():
    navigation = (HOUSE / "mkdocs.yml").read_text()
    for page in PAGES:
        assert page.name in navigation or page.name == "README.md", page


def test_what_people_call_is_in_the_api(site):
    api = (site / "api.html").read_text()
    for name in ("denoise", "RAS2S", "load_network", "add_noise", "read_scene", "HSIDataModule"):
        assert re.search(rf'id="[\w.]+\.{name}"', api), name


@pytest.mark.parametrize("name", ["denoise_a_scene", "look_into_ssra"])
def test_a_notebook_is_that_of_its_script_and_was_run(name):
    import jupytext

    script = jupytext.read(HOUSE / "docs" / "notebooks" / f"{name}.py")
    notebook = jupytext.read(HOUSE / "docs" / "notebooks" / f"{name}.ipynb")
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in script.cells]
    kinds = [output.output_type for cell in notebook.cells for output in cell.get("outputs", ())]
    assert kinds.count("display_data") >= 2
    assert "error" not in kinds


@pytest.mark.parametrize("name", ["denoise_a_scene", "look_into_ssra"])
def test_the_script_of_a_notebook_runs(clone, name):
    done = clone.run(f"cd docs/notebooks && MPLBACKEND=agg python {name}.py")
    assert done.returncode == 0, done.stderr
