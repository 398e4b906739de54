"""No page keeps anybody out: axe-core finds no serious fault, light or dark, large or small."""

import pytest

from lightning_ras2s.pages.dashboard import write_dashboard
from lightning_ras2s.pages.inspector import inspector_page
from lightning_ras2s.pages.report import write_report
from tests.browser.test_dashboard_page import runs  # noqa: F401
from tests.browser.test_inspector_page import whole_scene
from tests.browser.test_quality_page import folder  # noqa: F401
from tests.browser.test_report_page import run  # noqa: F401
from tests.browser.test_tables_page import written  # noqa: F401

PAGES = ("inspector", "report", "dashboard", "quality", "tables")
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest.fixture
def path(request, tmp_path):
    """The page of that name, made anew."""
    page = tmp_path / "page.html"
    if request.param == "inspector":
        page.write_text(inspector_page("toy", whole_scene()), encoding="utf-8")
    elif request.param == "report":
        return write_report(request.getfixturevalue("run"))
    elif request.param == "dashboard":
        page.write_text(write_dashboard(request.getfixturevalue("runs")))
    elif request.param == "quality":
        return request.getfixturevalue("folder") / "clean.quality.html"
    else:
        return request.getfixturevalue("written")
    return page


@pytest.mark.parametrize("path", PAGES, indirect=True)
def test_axe_finds_no_serious_fault(path, open_page, request):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = open_page(path)
    page.wait_for_timeout(200)
    for box in page.locator("#runs tbody input").all()[:2]:
        box.check()
    faults = {}
    for name, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(200)
            if pictures := request.config.getoption("--pictures", None):
                name_of_page = request.node.callspec.id
                place = f"{pictures}/{name_of_page}-{width}-{scheme}.png"
                page.screenshot(path=place, full_page=True)
            for fault in axe.Axe().run(page).response["violations"]:
                if fault["impact"] in ("serious", "critical"):
                    nodes = [node["target"] for node in fault["nodes"][:4]]
                    faults[name, scheme, fault["id"]] = nodes
    assert faults == {}
