// The list of runs: sorted, filtered, refreshed, and compared. What the user chose outlives a refresh.

const table = byId("runs");
const body = () => table.tBodies[0];
const headers = [...table.tHead.rows[0].cells];
const REFRESH_S = 5;
const COLOURS = ["var(--blue)", "var(--green)", "var(--purple)", "var(--sky)", "var(--noisy)"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const state = { sort: headers.findIndex((each) => each.hasAttribute("aria-sort")), down: true, ticked: [], case: byId("case")?.value };
let data = JSON.parse(byId("data").textContent);

// Numbers as numbers, the rest as text; empty cells last in both directions.
function compare(a, b, sign, numbers) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return sign * (numbers ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
}

function sort() {
  headers.forEach((each) => each.removeAttribute("aria-sort"));
  headers[state.sort].setAttribute("aria-sort", state.down ? "descending" : "ascending");
  const numbers = headers[state.sort].hasAttribute("data-numbers");
  const value = (row) => row.cells[state.sort].dataset.value;
  const sorted = [...body().rows].sort((a, b) => compare(value(a), value(b), state.down ? -1 : 1, numbers));
  body().append(...sorted);
}

headers.forEach((header, column) => {
  header.querySelector("button")?.addEventListener("click", () => {
    const first = header.hasAttribute("data-numbers");
    state.down = state.sort === column ? !state.down : first;
    state.sort = column;
    sort();
  });
});

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/);
  let shown = 0;
  for (const row of body().rows) {
    const text = `${row.dataset.name} ${row.textContent}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  byId("shown").textContent = shown;
}
byId("filter").addEventListener("input", filter);

function showNumbers() {
  for (const row of body().rows) {
    const found = data.runs[row.dataset.name]?.cases[state.case];
    for (const cell of row.querySelectorAll("[data-column]")) {
      const [text, value] = found?.[cell.dataset.column] ?? ["", ""];
      cell.textContent = text;
      cell.dataset.value = value;
    }
  }
}
byId("case")?.addEventListener("change", (event) => {
  state.case = event.target.value;
  show();
});

// ---- side by side
table.addEventListener("change", (event) => {
  const row = event.target.closest("tr");
  state.ticked = state.ticked.filter((name) => name !== row.dataset.name);
  if (event.target.checked) state.ticked.push(row.dataset.name);
  showTicks();
});

const lookOf = (place) => ({ colour: COLOURS[place % COLOURS.length], dash: DASHES[Math.floor(place / COLOURS.length) % DASHES.length], width: 1.7 });

function showTicks() {
  for (const row of body().rows) {
    const ticked = state.ticked.includes(row.dataset.name);
    row.classList.toggle("ticked", ticked);
    row.querySelector("input").checked = ticked;
  }
  const names = state.ticked.filter((name) => name in data.runs);
  byId("comparison").hidden = names.length < 2;
  if (names.length < 2) return;
  byId("comparison-legend").replaceChildren(...legendOf(names.map((name, place) => ({ name, ...lookOf(place) }))));
  drawCurves("curve-psnr", "val/psnr_db", names, false);
  drawCurves("curve-loss", "train/loss", names, true);
  const head = (title, ends) => element("thead", {}, element("tr", {}, element("th", { scope: "col" }, title), ...ends.map((end) => element("th", { scope: "col" }, end))));
  const line = (title, cells) => element("tr", {}, element("th", { scope: "row" }, title), ...cells.map((cell) => element("td", {}, cell)));
  byId("numbers").replaceChildren(
    head(`under ${state.case ?? "no"} noise`, data.numbers),
    element("tbody", {}, ...names.map((name) => {
      const found = data.runs[name].cases[state.case];
      return line(name, data.numbers.map((title) => found?.[title][0] ?? ""));
    })),
  );
  const differing = Object.entries(data.settings).filter(([, values]) => new Set(names.map((name) => values[name])).size > 1);
  byId("differences-title").textContent = `Differences of the configuration${differing.length ? "" : ": none"}`;
  byId("differences").hidden = !differing.length;
  byId("differences").replaceChildren(
    head("", names),
    element("tbody", {}, ...differing.map(([key, values]) => line(key, names.map((name) => values[name] ?? "–")))),
  );
}

function drawCurves(id, key, names, log) {
  const lines = names.map((name, place) => ({ name, ...lookOf(place), curve: data.runs[name].curves[key] })).filter(({ curve }) => curve);
  byId(id).closest("figure").hidden = !lines.length;
  if (!lines.length) return;
  const drawnLines = lines.map(({ curve: [x, values], ...rest }) => ({ ...rest, x, values }));
  chart(byId(id), { lines: drawnLines, log: log && drawnLines.every(({ values }) => values.every((v) => v > 0)), height: 260, titles: { x: "step" } });
}

function show() {
  showNumbers();
  sort();
  filter();
  showTicks();
}

// ---- a served page looks again now and then; one that was opened from disk cannot
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const rows = fresh.querySelector("#runs tbody");
    if (!answer.ok || !rows || fresh.getElementById("data").textContent + rows.innerHTML === refresh.last) return;
    refresh.last = fresh.getElementById("data").textContent + rows.innerHTML;
    data = JSON.parse(fresh.getElementById("data").textContent);
    body().replaceWith(document.adoptNode(rows));
    show();
  } catch { /* the server is gone; what is there stays */ }
}
if (location.protocol.startsWith("http")) setInterval(refresh, REFRESH_S * 1000);
window.addEventListener("resize", () => showTicks());
show();
