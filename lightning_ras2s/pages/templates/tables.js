const data = JSON.parse(document.getElementById("data").textContent);
const metrics = data.metrics.map((each) => each.name);
const facts = Object.fromEntries(data.metrics.map((each) => [each.name, each]));
const columns = ["method", ...metrics, "seconds", "MB", "parameters", "GFLOPs"];
const titles = { method: "Method", seconds: "Seconds", parameters: "Weights" };
// Orange is what was denoised, and here the best; what is in grey was not.
const palette = ["var(--orange)", "var(--blue)", "var(--green)", "var(--purple)", "var(--sky)", "#7a4fbf", "#8a6d3b"];
const state = { table: 0, case: 0, sort: "psnr_db", descending: true, what: "pictures", off: new Set() };

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
  const tens = [];
  for (let p = x[0]; p <= x[1]; p++) tens.push([p, String(10 ** p)]);
  const at = frame(svg, 380, x, y, { x: "seconds a scene", y: "PSNR (dB)" }, { x: tens, y: ticks(...y, 6), right: 76 });
  const byKey = Object.fromEntries(points.map((p) => [p.row.key, p]));
  const taken = [];
  for (const p of [...points].sort((a, b) => b.y - a.y)) {
    const colour = p.row.kind === "network" ? "var(--green)" : "var(--blue)";
    const [left, top] = [at.x(p.x), at.y(p.y)];
    const isRefined = p.row.key !== p.row.base;
    const before = isRefined ? byKey[p.row.base] : undefined;
    if (before) {
      svg.append(drawn("line", { x1: at.x(before.x), y1: at.y(before.y), x2: left, y2: top, style: `stroke:${colour}`, opacity: 0.45 }));
    }
    const mark = drawn("circle", { cx: left, cy: top, r: 5, style: `stroke:${colour};stroke-width:1.6;fill:${isRefined ? colour : "var(--paper)"}`, "data-key": p.row.key });
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
  const scale = isError ? `dark is none, bright is ${view.error.toPrecision(2)} or more` : "the same grey scale";
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
  const colourOf = (row, place) => (row.key === "identity" ? "var(--noisy)" : palette[place % palette.length]);
  const lines = [["clean", "Clean", "var(--ink)"], ...shown.map((row, place) => [row.key, row.method, colourOf(row, place)])];
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
  if (!drawnLines.length) return byId("spectra").replaceChildren();
  const count = view.spectra.clean.length;
  const inNm = view.wavelengths.length === count;
  const places = inNm ? view.wavelengths : view.spectra.clean.map((_, band) => band);
  const order = places.map((_, band) => band).sort((a, b) => places[a] - places[b]);
  chart(byId("spectra"), {
    x: order.map((band) => places[band]),
    lines: drawnLines.reverse().map(([key, name, colour]) => ({ key, name, colour, width: key === "clean" ? 1.8 : 1.2, values: order.map((band) => view.spectra[key][band]) })),
    starts: view.starts,
    height: 300,
    titles: { x: inNm ? "wavelength (nm)" : "band", y: "value" },
    tell: (place) => `band ${order[place]}${inNm ? `, ${places[order[place]]} nm` : ""}`,
  });
}

function show() {
  showTable();
  showScatter();
  showView();
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
