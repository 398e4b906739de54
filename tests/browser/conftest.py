"""A real browser without a network; tests that need it are skipped where there is none."""

from pathlib import Path

import pytest

from tests.browser.chromium import BROWSERS, WINDOW, launch


def pytest_addoption(parser):
    """``make test-browser ARGS=--pictures=folder`` keeps pictures of all pages, to be looked at."""
    parser.addoption("--pictures", help="a folder for pictures of all pages")


@pytest.fixture(scope="package")
def browser():
    """Chromium, as long as these tests run."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = launch(playwright)
        if chromium is None:
            pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}, none of playwright's")
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """Opens HTML files; in the end, none may have asked for anything, or written an error."""
    context = browser.new_context(viewport=WINDOW)
    asked, errors = [], []

    def refuse(route):
        asked.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith(("file:", "data:", "blob:")), refuse)

    def open_file(path):
        page = context.new_page()
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(Path(path).absolute().as_uri())
        return page

    yield open_file
    context.close()
    assert asked == []
    assert errors == []
