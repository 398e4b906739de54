"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const metrics = data.metrics.map((each) => each.name);
const facts = Object.fromEntries(data.metrics.map((each) => [each.name, each]));
const columns = ["method", ...metrics, "seconds", "MB", "parameters", "GFLOPs"];
const titles = { method: "Method", seconds: "Seconds", parameters: "Weights" };
const palette = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a4fbf", "#8a6d3b"];
const state = { table: 0, case: 0, sort: "psnr_db", descending: true, what: "pictures", off: new Set() };

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const table = () => data.tables[state.table];
const current = () => table().cases[state.case];
const number = (value) => {
  if (value === null || value === undefined || value === "-") return NaN;
  return Number(String(value).replaceAll(",", ""));
};

function rows() {
  const words = byId("filter").value.toLowerCase().split(/\s+/);
  const sign = state.descending ? -1 : 1;
  return current()
    .rows.filter((row) => words.every((word) => row.method.toLowerCase().includes(word)))
    .sort((a, b) => {
      if (state.sort === "method") return sign * a.method.localeCompare(b.method);
      const [x, y] = [number(a[state.sort]), number(b[state.sort])];
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return sign * (x - y);
    });
}

function rank(row, metric) {
  const digits = facts[metric].digits;
  const shown = (each) => number(each[metric]).toFixed(digits);
  const values = [...new Set(current().rows.map(shown))].filter((v) => v !== "NaN");
  values.sort((a, b) => data.best[metric] * (a - b));
  if (values.length < 2) return "";
  return { 0: "first", 1: "second" }[values.indexOf(shown(row))] ?? "";
}

function cell(row, column) {
  if (column === "method") return element("td", { title: row.paper }, row.method);
  const value = number(row[column]);
  const text = element("span", {});
  const made = element("td", { class: "number" }, text);
  if (column in facts) {
    const digits = facts[column].digits;
    text.textContent = isNaN(value) ? "-" : value.toFixed(digits);
    text.className = isNaN(value) ? "" : rank(row, column);
    const spread = row[`spread_${column}`];
    if (spread !== undefined) made.append(element("small", {}, `± ${spread.toFixed(digits)}`));
    const paper = row[`paper_${column}`];
    if (paper !== undefined) {
      const difference = Number(value.toFixed(digits)) - paper;
      const sign = difference < 0 ? "" : "+";
      made.append(element("small", { title: `the paper: ${paper}` }, sign + difference.toFixed(digits)));
    }
  } else if (column === "seconds") {
    text.textContent = isNaN(value) ? "-" : value.toFixed(2);
  } else {
    text.textContent = row[column];
  }
  return made;
}

function showTable() {
  const head = document.querySelector("#results thead tr");
  head.replaceChildren(
    ...columns.map((column) => {
      const title = facts[column]?.title ?? titles[column] ?? column;
      const button = element("button", { type: "button" }, title);
      button.addEventListener("click", () => sortBy(column));
      const made = element("th", { scope: "col", class: column === "method" ? "" : "number" }, button);
      if (column === state.sort) made.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      return made;
    }),
  );
  const body = document.querySelector("#results tbody");
  body.replaceChildren(
    ...rows().map((row) => element("tr", { "data-key": row.key }, ...columns.map((c) => cell(row, c)))),
  );
  const { scenes, seeds, title, notes } = table();
  const draws = seeds > 1 ? `, mean ± standard deviation of ${seeds} draws of the noise` : "";
  byId("caption").textContent = `${title}, ${current().name}: ${scenes} scene${scenes > 1 ? "s" : ""}${draws}`;
  byId("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
  byId("paper").hidden = !current().rows.some((row) => row.paper_psnr_db !== undefined);
}

function sortBy(column) {
  const better = data.best[column] ?? 1;
  const first = column !== "method" && better < 0;
  state.descending = state.sort === column ? !state.descending : first;
  state.sort = column;
  show();
}

// A chart's frame: gives the places of values, and draws its axes.
function frame(svg, height, x, y, title, places) {
  const width = Math.max(320, svg.clientWidth || 900);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const box = { left: 46, right: width - places.right, top: 12, bottom: height - 40 };
  const at = {
    x: (v) => box.left + ((v - x[0]) / (x[1] - x[0] || 1)) * (box.right - box.left),
    y: (v) => box.bottom - ((v - y[0]) / (y[1] - y[0] || 1)) * (box.bottom - box.top),
  };
  for (const [v, text] of places.x) {
    svg.append(drawn("line", { class: "axis", x1: at.x(v), x2: at.x(v), y1: box.top, y2: box.bottom }));
    svg.append(drawn("text", { class: "tick", x: at.x(v), y: box.bottom + 16, "text-anchor": "middle" }, text));
  }
  for (const [v, text] of places.y) {
    svg.append(drawn("line", { class: "axis", x1: box.left, x2: box.right, y1: at.y(v), y2: at.y(v) }));
    svg.append(drawn("text", { class: "tick", x: box.left - 6, y: at.y(v) + 4, "text-anchor": "end" }, text));
  }
  svg.append(drawn("text", { class: "tick", x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, title));
  return at;
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) found.push([v, String(Number(v.toFixed(6)))]);
  return found;
}

function showScatter() {
  const svg = byId("scatter");
  const points = rows()
    .filter((row) => row.base !== "identity" && row.psnr_db !== null && row.psnr_db !== undefined)
    .map((row) => ({ row, x: Math.log10(Math.max(row.seconds, 1e-3)), y: row.psnr_db }));
  if (!points.length) return svg.replaceChildren();
  const [xs, ys] = [points.map((p) => p.x), points.map((p) => p.y)];
  const x = [Math.floor(Math.min(...xs)), Math.ceil(Math.max(...xs) + 0.01)];
  const margin = Math.max(0.5, 0.06 * (Math.max(...ys) - Math.min(...ys)));
  const y = [Math.min(...ys) - margin, Math.max(...ys) + margin];
  const powers = [];
  for (let p = x[0]; p <= x[1]; p++) powers.push([p, String(10 ** p)]);
  const at = frame(svg, 380, x, y, "seconds a scene", { x: powers, y: ticks(...y, 6), right: 76 });
  const byKey = Object.fromEntries(points.map((p) => [p.row.key, p]));
  const taken = [];
  for (const p of [...points].sort((a, b) => b.y - a.y)) {
    const colour = p.row.kind === "network" ? "#d55e00" : "#0072b2";
    const [left, top] = [at.x(p.x), at.y(p.y)];
    const isRefined = p.row.key !== p.row.base;
    const before = isRefined ? byKey[p.row.base] : undefined;
    if (before) {
      svg.append(drawn("line", { x1: at.x(before.x), y1: at.y(before.y), x2: left, y2: top, stroke: colour, opacity: 0.45 }));
    }
    const mark = drawn("circle", { cx: left, cy: top, r: 5, stroke: colour, "stroke-width": 1.6, fill: isRefined ? colour : "#fff", "data-key": p.row.key });
    mark.append(drawn("title", {}, `${p.row.method}: ${p.y.toFixed(2)} dB, ${p.row.seconds.toFixed(2)} s`));
    svg.append(mark);
    let height = top;
    while (taken.some((t) => Math.abs(t.left - left) < 92 && Math.abs(t.height - height) < 13)) height += 3;
    taken.push({ left, height });
    svg.append(drawn("text", { x: left + 9, y: height + 4 }, p.row.method));
  }
}

function showView() {
  const view = current().pictures ? current() : table().cases.find((each) => each.pictures);
  byId("view").hidden = !view;
  if (!view) return;
  const shown = rows().filter((row) => row.key in view.pictures);
  const isError = state.what === "errors";
  const scale = isError ? `black is none, bright is ${view.error.toPrecision(2)} or more` : "the same grey scale";
  byId("view-caption").textContent = `${view.scene}, ${view.name}, band ${view.band}: the same crop by every method, ${scale}.`;
  const images = isError ? view.errors : view.pictures;
  const keys = [...(isError ? [] : [["clean", "Clean"]]), ...shown.map((row) => [row.key, row.method])];
  const value = Object.fromEntries(view.rows.map((row) => [row.key, row.psnr_db]));
  const figures = keys.map(([key, label]) => {
    const decibels = value[key] === undefined || value[key] === null ? "" : `${value[key].toFixed(1)} dB`;
    const caption = element("figcaption", {}, label, element("br", {}), decibels);
    return element("figure", { "data-key": key }, element("img", { src: images[key], alt: `${label} ${decibels}` }), caption);
  });
  byId("gallery").replaceChildren(...figures);
  const first = figures[0]?.querySelector("img");
  first?.decode().then(() => byId("gallery").classList.toggle("narrow", first.naturalHeight > 2 * first.naturalWidth)).catch(() => {});
  showSpectra(view, shown);
}

function showSpectra(view, shown) {
  const lines = [["clean", "Clean", "#000"], ...shown.map((row, place) => [row.key, row.method, palette[place % palette.length]])];
  if (!state.off.size) for (const [key] of lines.slice(4)) state.off.add(key);
  const legend = lines.map(([key, label, colour]) => {
    const on = !state.off.has(key);
    const button = element("button", { type: "button", "aria-pressed": on, "data-key": key }, element("i", { style: `background:${colour}` }), label);
    button.addEventListener("click", () => {
      state.off[on ? "add" : "delete"](key);
      showSpectra(view, shown);
    });
    return button;
  });
  byId("legend").replaceChildren(...legend);
  const drawnLines = lines.filter(([key]) => !state.off.has(key));
  const values = drawnLines.flatMap(([key]) => view.spectra[key]);
  if (!values.length) return byId("spectra").replaceChildren();
  const count = view.spectra.clean.length;
  const inNm = view.wavelengths.length === count;
  const places = inNm ? view.wavelengths : view.spectra.clean.map((_, band) => band);
  const order = places.map((_, band) => band).sort((a, b) => places[a] - places[b]);
  const x = [places[order[0]], places[order[count - 1]]];
  const y = [Math.min(...values), Math.max(...values)];
  const at = frame(byId("spectra"), 300, x, y, inNm ? "wavelength (nm)" : "band", { x: ticks(...x, 8), y: ticks(...y, 5), right: 12 });
  for (const [key, label, colour] of drawnLines.reverse()) {
    const points = order.map((band) => `${at.x(places[band]).toFixed(1)},${at.y(view.spectra[key][band]).toFixed(1)}`);
    const line = drawn("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": key === "clean" ? 1.6 : 1.1, "data-key": key });
    line.append(drawn("title", {}, label));
    byId("spectra").append(line);
  }
}

function show() {
  showTable();
  showScatter();
  showView();
}

function fill(select, names, change) {
  select.replaceChildren(...names.map((name, place) => element("option", { value: place }, name)));
  select.onchange = () => change(Number(select.value));
}

function chooseTable(place) {
  const before = data.tables[state.table].cases[state.case]?.name;
  state.table = place;
  const names = table().cases.map((each) => each.name);
  state.case = Math.max(0, names.indexOf(before));
  fill(byId("case"), names, (chosen) => { state.case = chosen; show(); });
  byId("case").value = state.case;
  show();
}

byId("filter").addEventListener("input", show);
document.querySelectorAll("[name=what]").forEach((radio) =>
  radio.addEventListener("change", () => { state.what = radio.value; showView(); }),
);
window.addEventListener("resize", show);
if (data.tables.length) {
  fill(byId("dataset"), data.tables.map((each) => each.title), chooseTable);
  chooseTable(0);
}
