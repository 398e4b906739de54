// A run's page: one figure a topic, by noise case and scene; figures and tables as files; curves.

const data = JSON.parse(byId("report-data").textContent);
const TYPES = { svg: "image/svg+xml", pdf: "application/pdf", png: "image/png", csv: "text/csv", tex: "application/x-tex" };
const DPI = 300;

const made = new Map();  // files, by the number of their element
async function fileOf(blob, kind) {
  if (!made.has(blob)) made.set(blob, new Blob([await inflate(blob)], { type: TYPES[kind] }));
  return made.get(blob);
}

const addresses = new Map();
async function addressOf(figure) {
  const kind = "svg" in figure.files ? "svg" : "png";
  const blob = figure.files[kind];
  if (!addresses.has(blob)) addresses.set(blob, URL.createObjectURL(await fileOf(blob, kind)));
  return addresses.get(blob);
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- PNG with its resolution, drawn from the SVG
async function pngOf(figure) {
  if (!("svg" in figure.files)) return fileOf(figure.files.png, "png");
  const image = new Image();
  image.src = await addressOf(figure);
  await image.decode();
  const scale = DPI / 96;  // the browser's pixels are 1/96 inch
  const canvas = new OffscreenCanvas(Math.round(image.naturalWidth * scale), Math.round(image.naturalHeight * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const png = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
  return new Blob([png.slice(0, 33), resolution(), png.slice(33)], { type: "image/png" });
}

function resolution() {
  const chunk = new DataView(new ArrayBuffer(21));
  chunk.setUint32(0, 9);
  [..."pHYs"].forEach((letter, place) => chunk.setUint8(4 + place, letter.charCodeAt(0)));
  const perMetre = Math.round(DPI / 0.0254);
  chunk.setUint32(8, perMetre);
  chunk.setUint32(12, perMetre);
  chunk.setUint8(16, 1);
  let sum = 0xffffffff;
  for (let place = 4; place < 17; place++) {
    sum ^= chunk.getUint8(place);
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  chunk.setUint32(17, (sum ^ 0xffffffff) >>> 0);
  return chunk.buffer;
}

// ---- figures
const shown = [];  // of each topic that has one: {figure, title, sheet}
function choose(select, names, change) {
  fill(select, names, change);
  const label = select.closest("label");
  label.hidden = names.length < 2;
  const tellPrint = () => { label.dataset.chosen = select.selectedOptions[0]?.text ?? ""; };
  select.addEventListener("change", tellPrint);
  tellPrint();
}

document.querySelectorAll(".stage").forEach((part) => {
  const stage = data.stages[Number(part.dataset.stage)];
  const state = { case: stage.cases.at(-1), scene: stage.scenes[0] };
  const change = (changes) => { Object.assign(state, changes); show(part, stage, state); };
  choose(part.querySelector("select.case"), stage.cases, (place) => change({ case: stage.cases[place] }));
  choose(part.querySelector("select.scene"), stage.scenes, (place) => change({ scene: stage.scenes[place] }));
  part.querySelector("select.case").value = stage.cases.length - 1;
  part.querySelector("select.case").dispatchEvent(new Event("change"));
});

async function show(part, stage, state) {
  const mine = (part.turn = (part.turn ?? 0) + 1);
  for (const topic of part.querySelectorAll(".topic")) {
    const its = stage.figures.filter((each) => each.topic === topic.dataset.topic);
    const figure =
      its.find((each) => each.scene === state.scene && each.case === state.case) ??
      its.find((each) => each.scene === state.scene && stage.cases.length < 2) ?? its.find((each) => each.case === "" && stage.scenes.length < 2);
    topic.hidden = !figure;
    if (!figure) continue;
    const title = topic.querySelector("h3").textContent;
    const image = topic.querySelector("img");
    const address = await addressOf(figure);
    if (mine !== part.turn) return;  // chosen anew meanwhile
    image.src = address;
    image.alt = `${title}: ${[figure.scene, figure.case].filter(Boolean).join(", ")}`;
    topic.querySelector(".name").textContent = [figure.scene, figure.case].filter(Boolean).join(", ");
    topic.querySelectorAll("[data-kind]").forEach((button) => {
      const { kind } = button.dataset;
      button.hidden = kind !== "png" && !(kind in figure.files);
      button.title = kind === "png" && "svg" in figure.files ? `${DPI} dpi` : "";
      button.onclick = async () => save(kind === "png" ? await pngOf(figure) : await fileOf(figure.files[kind], kind), `${figure.name}.${kind}`);
    });
    showBands(topic.querySelector(".bands"), figure.extremes);
    const sheet = topic.querySelector(".sheet");
    const entry = shown.find((each) => each.sheet === sheet) ?? (shown.push({ sheet }), shown.at(-1));
    Object.assign(entry, { figure, title });
    sheet.onclick = () => enlarge(entry);
  }
  part.dataset.shown = `${state.scene} ${state.case}`;
}

function showBands(place, extremes) {
  if (!extremes) return place.replaceChildren();
  const head = element("tr", {}, ...["PSNR (dB)", ...extremes.methods].map((name, c) => element("th", { scope: "col", class: c ? "number" : "" }, name)));
  const group = (title, rows) =>
    rows.map((row, r) => element("tr", {}, ...row.map((cell, c) => element(c ? "td" : "th", c ? { class: "number" } : { scope: "row" }, r || c ? cell : `${title}: ${cell}`))));
  place.replaceChildren(
    element("table", { class: "rows" }, element("thead", {}, head), element("tbody", {}, ...group("worst", extremes.worst)), element("tbody", {}, ...group("best", extremes.best))),
  );
}

// ---- lightbox
const box = byId("lightbox");
let large = null;
async function enlarge(entry) {
  large = entry;
  byId("lightbox-picture").src = await addressOf(entry.figure);
  const name = `${entry.title}: ${[entry.figure.scene, entry.figure.case].filter(Boolean).join(", ")}`;
  byId("lightbox-name").textContent = name;
  byId("lightbox-picture").alt = name;
  if (!box.open) box.showModal();
}

function turn(step) {
  const there = shown.filter(({ sheet }) => sheet.offsetParent !== null);
  enlarge(there[(there.indexOf(large) + step + there.length) % there.length]);
}

byId("previous").onclick = () => turn(-1);
byId("next").onclick = () => turn(1);
byId("close").onclick = () => box.close();
byId("lightbox-picture").onclick = () => box.close();
box.addEventListener("close", () => large?.sheet.focus());
box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(-1);
  if (event.key === "ArrowRight") turn(1);
});

// ---- tables and curves
for (const button of document.querySelectorAll("[data-get]")) {
  const kind = button.dataset.get;
  button.onclick = () => save(new Blob([data.files[kind]], { type: TYPES[kind] }), `${data.name}.${kind}`);
}

function showCharts() {
  const drawings = document.querySelectorAll(".chart svg");
  const steps = extent(data.charts.flatMap(({ lines }) => lines.flatMap(({ x }) => x)), 0);
  data.charts.forEach(({ title, lines, log }, number) => {
    const longest = lines.reduce((a, b) => (a.x.length >= b.x.length ? a : b));
    const tellStep = (place) => `step ${longest.x[place]}${known(longest.epochs[place]) ? `, epoch ${longest.epochs[place]}` : ""}`;
    chart(drawings[number], { lines, x: longest.x, xs: steps, log, height: 230, titles: { x: "step", y: "" }, tell: tellStep });
  });
  const several = data.charts.find(({ lines, title }) => lines.length > 1 && title.startsWith("Validation"));
  byId("curves-legend")?.replaceChildren(...(several ? ["Validation:", ...legendOf(several.lines)] : []));
}
let resizing;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(showCharts, 60); });
showCharts();
