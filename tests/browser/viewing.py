"""The viewer of an open page, as tests use it."""

import json
import time

import numpy as np

PLACE = """([id, row, column]) => {
    const canvas = document.getElementById(id)
    const {left, top, width, height} = canvas.getBoundingClientRect()
    const data = JSON.parse(document.getElementById("viewer-data").textContent)
    const [h, w] = data.size
    const size = Math.min(width / w, height / h)
    const x = width / 2 + (column - data.left + 0.5 - w / 2) * size
    const y = height / 2 + (row - data.top + 0.5 - h / 2) * size
    return [left, top, x, y]
}"""
COLOURS = """([id, places]) => {
    const canvas = document.getElementById(id)
    const density = canvas.width / canvas.clientWidth
    const context = canvas.getContext("2d")
    return places.map(([x, y]) => [...context.getImageData(x * density, y * density, 1, 1).data])
}"""
CHART = """([selector, place]) => {
    const svg = document.querySelector(selector)
    svg.scrollIntoView({block: "center"})
    const {left, top, width, height} = svg.getBoundingClientRect()
    const {box, x} = svg.places
    return [left + (x(place) / box.width) * width, top + (box.top + 30) * (height / box.height)]
}"""


class Viewed:
    """An open page with a viewer, and how a test reads and drives it; not zoomed."""

    def __init__(self, page):
        self.page = page
        page.wait_for_function("document.documentElement.dataset.shown")
        self.data = json.loads(page.locator("#viewer-data").text_content())

    def drawn(self, act):
        """Does something, and waits until the page has drawn what follows."""
        before = int(self.page.evaluate("document.documentElement.dataset.shown"))
        act()
        self.page.wait_for_function(f"Number(document.documentElement.dataset.shown) > {before}")

    def choose(self, id, label):
        self.drawn(lambda: self.page.locator(f"#{id}").select_option(label=label))

    def slide(self, id, value):
        """Moves a slider, as a pointer does."""
        move = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }"
        self.page.locator(f"#{id}").evaluate(move, str(value))

    def text(self, id):
        return self.page.locator(f"#{id}").inner_text()

    def colours(self, id, pixels):
        """What a canvas shows in the middle of pixels (row, column), [n, 3]."""
        places = [self.page.evaluate(PLACE, [id, *pixel])[2:] for pixel in pixels]
        return np.array(self.page.evaluate(COLOURS, [id, places]), float)[:, :3]

    def pointer(self, id, row, column):
        """Where a pixel of a canvas is in the window."""
        self.page.locator(f"#{id}").scroll_into_view_if_needed()
        left, top, x, y = self.page.evaluate(PLACE, [id, row, column])
        return left + x, top + y

    def click(self, id, row, column):
        self.drawn(lambda: self.page.mouse.click(*self.pointer(id, row, column)))

    def hover(self, id, row, column):
        """What is read out at a pixel."""
        self.page.mouse.move(*self.pointer(id, row, column))
        return self.tip()

    def tip(self):
        self.page.locator("#tip").wait_for()
        return self.page.locator("#tip").inner_text().split("\n")

    def hover_chart(self, selector, place):
        """What is read out in a chart at a place of its axis."""
        self.page.mouse.move(*self.page.evaluate(CHART, [selector, place]))
        return self.tip()

    def click_chart(self, selector, place):
        where = self.page.evaluate(CHART, [selector, place])
        self.drawn(lambda: self.page.mouse.click(*where))

    def eventually(self, condition):
        """Paint comes a little after the event."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "the page does not show it"
            self.page.wait_for_timeout(20)
