// A scene, band by band and pixel by pixel. The page is drawn from `state` alone: whatever changes it calls `show`.

const data = JSON.parse(byId("viewer-data").textContent);
const [depth] = data.shape;
const [height, width] = data.size;
const area = height * width;
const { order, x: bandX, edges, starts } = data.axis;
const spectrum = [edges[0][0], edges[1].at(-1)];  // what the curves and strips cover
const placeOfBand = order.map(() => 0);
order.forEach((band, place) => { placeOfBand[band] = place; });
const hasClean = data.clean !== null;
const NOISY = "Noisy", CLEAN = "Clean";
const OTHERS = ["var(--blue)", "var(--green)", "var(--purple)", "var(--sky)"];
const state = {
  band: data.band, case: 0, left: NOISY, right: "", rgb: false, swipe: 0.5, black: 0, white: 1,
  map: "", mapMethod: "", kind: "", source: "", input: "", opacity: 1, contours: false, measure: "",
  pixel: [data.top + (height >> 1), data.left + (width >> 1)], pins: [], zoom: { scale: 1, x: width / 2, y: height / 2 },
};

// What has been unpacked, by its number. "+" stands before differences from band to band.
const ready = new Map();
async function unpack(blob, Type) {
  const codes = new Type(await inflate(blob));
  if (byId(`blob-${blob}`).textContent[0] === "+") for (let place = area; place < codes.length; place++) codes[place] += codes[place - area];
  return codes;
}

async function load(blobs, Type) {
  for (const blob of blobs) if (blob !== undefined && !ready.has(blob)) ready.set(blob, await unpack(blob, Type));
}

const Code = data.bits === 16 ? Uint16Array : Uint8Array;
const unknown = 2 ** data.bits - 1;
function value(cube, band, pixel) {
  const code = ready.get(cube.blob)[band * area + pixel];
  return code === unknown ? NaN : cube.low[band] + cube.step[band] * code;
}

const current = () => data.cases[state.case];
const methods = () => Object.keys(current().cubes);
const best = () => methods().at(-1);
const cubeOf = (name) => (name === CLEAN ? data.clean : current().cubes[name]);
const shownNames = () => [...methods(), ...(hasClean ? [CLEAN] : [])];
function lookOf(name) {
  if (name === NOISY) return { colour: "var(--noisy)", width: 1.1 };
  if (name === CLEAN) return { colour: "var(--ink)", width: 1.8 };
  if (name === best()) return { colour: "var(--orange)", width: 2 };
  if (`${name}+S` === best()) return { colour: "var(--orange)", width: 1.4, dash: "5 3" };
  return { colour: OTHERS[(methods().indexOf(name) - 1) % OTHERS.length], width: 1.2 };
}

// ---- colour maps: stops of [position, r, g, b], interpolated
const SEQUENTIAL = [[0, 68, 1, 84], [0.25, 59, 82, 139], [0.5, 33, 145, 140], [0.75, 94, 201, 98], [1, 253, 231, 37]];
const SIGNED = [[0, 64, 0, 75], [0.25, 153, 112, 171], [0.5, 247, 247, 247], [0.75, 90, 174, 97], [1, 0, 68, 27]];
function table(stops) {
  return Array.from({ length: 256 }, (_, level) => {
    const t = level / 255;
    const next = Math.max(1, stops.findIndex(([p]) => p >= t));
    const [[p, ...a], [q, ...b]] = [stops[next - 1], stops[next]];
    return a.map((v, c) => Math.round(v + ((t - p) / (q - p)) * (b[c] - v)));
  });
}
const TABLES = { sequential: table(SEQUENTIAL), signed: table(SIGNED) };
const UNKNOWN = [86, 180, 233];

// ---- pictures
function greyOf(name, band) {
  const cube = cubeOf(name);
  const [low, high] = [data.limits[0][band], data.limits[1][band]];
  const span = high - low || 1;
  const [dark, bright] = [low + state.black * span, low + state.white * span];
  return (pixel) => {
    const v = value(cube, band, pixel);
    if (Number.isNaN(v)) return UNKNOWN;
    const grey = Math.max(0, Math.min(255, (255 * (v - dark)) / (bright - dark || 1)));
    return [grey, grey, grey];
  };
}

function rgbOf(name) {
  const { weights, low, high, curved } = data.rgb;
  const cube = cubeOf(name);
  const used = [...Array(depth).keys()].filter((band) => weights.some((row) => Math.abs(row[band]) > 1e-6));
  return (pixel) =>
    weights.map((row, channel) => {
      let sum = 0;
      for (const band of used) sum += row[band] * (value(cube, band, pixel) || 0);
      const span = high[channel] - low[channel] || 1;
      const t = Math.max(0, Math.min(1, (sum - low[channel] - state.black * span) / ((state.white - state.black) * span || 1)));
      return 255 * (curved ? (t <= 0.0031308 ? 12.92 * t : 1.055 * t ** (1 / 2.4) - 0.055) : t);
    });
}

function imageOf(colour) {
  const image = new ImageData(width, height);
  for (let p = 0; p < area; p++) {
    const [r, g, b] = colour(p);
    image.data.set([r, g, b, 255], 4 * p);
  }
  return image;
}

function sideBySide(left, right) {
  const image = new ImageData(width, height);
  const border = state.swipe * width;
  for (let p = 0; p < area; p++) {
    const [r, g, b] = (p % width) + 0.5 < border ? left(p) : right(p);
    image.data.set([r, g, b, 255], 4 * p);
  }
  return image;
}

// Where the scene lies on a canvas: pixels of the screen per pixel, and the place of its corner.
function placing(canvas) {
  const wide = canvas.clientWidth || 300;
  const share = isTall ? 0.56 : 0.42;  // of the window
  const tall = Math.round(Math.max(140, Math.min((wide * height) / width, Math.max(300, share * window.innerHeight), 700)));
  const fitted = Math.min(wide / width, tall / height);
  const size = fitted * state.zoom.scale;
  return { wide, tall, size, left: wide / 2 - state.zoom.x * size, top: tall / 2 - state.zoom.y * size };
}

const isTall = height > 2 * width;  // then the curves stand beside the pictures
byId("viewer").classList.toggle("tall", isTall);
const buffer = new OffscreenCanvas(width, height);
function paint(canvas, image, extra) {
  const at = placing(canvas);
  const density = window.devicePixelRatio || 1;
  canvas.style.height = `${at.tall}px`;
  [canvas.width, canvas.height] = [Math.round(at.wide * density), Math.round(at.tall * density)];
  const context = canvas.getContext("2d");
  context.scale(density, density);
  context.imageSmoothingEnabled = false;
  buffer.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(buffer, at.left, at.top, width * at.size, height * at.size);
  if (extra) extra(context, at);
  drawPins(context, at);
  return at;
}

function drawPins(context, at) {
  const pixels = [...state.pins, state.pixel];
  pixels.forEach(([row, column], number) => {
    const [x, y] = [at.left + (column - data.left + 0.5) * at.size, at.top + (row - data.top + 0.5) * at.size];
    for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.stroke();
    }
    if (!state.pins.length) return;
    context.font = "bold 13px system-ui, sans-serif";
    context.lineWidth = 3;
    context.strokeStyle = "#000";
    context.fillStyle = "#fff";
    context.strokeText(String(number + 1), x + 10, y - 6);
    context.fillText(String(number + 1), x + 10, y - 6);
  });
}

function showPicture() {
  const of = (name) => (state.rgb ? rgbOf(name) : greyOf(name, state.band));
  const image = sideBySide(of(state.left), of(state.right));
  paint(byId("picture"), image, (context, at) => {
    const x = at.left + state.swipe * width * at.size;
    const [top, bottom] = [Math.max(0, at.top), Math.min(at.tall, at.top + height * at.size)];
    for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.beginPath();
      context.moveTo(x, top);
      context.lineTo(x, bottom);
      context.stroke();
    }
  });
  byId("picture").setAttribute("aria-label", `${state.left} left and ${state.right} right, ${state.rgb ? data.rgb.caption : data.names[state.band]}`);
  byId("left-name").textContent = `◀ ${state.left}`;
  byId("right-name").textContent = `${state.right} ▶`;
  byId("picture-note").textContent = state.rgb ? `RGB: ${data.rgb.caption}, one stretch for all methods` : `Grey from ${digits(data.limits[0][state.band])} to ${digits(data.limits[1][state.band])} (${data.units}), alike for all methods`;
}

// ---- maps
const MAPS = {
  gain: { title: "gain over noisy", needs: "clean", signed: true, note: "|noisy − clean| − |denoised − clean|: green is nearer to the clean scene than the noisy one, purple is farther." },
  error: { title: "error", needs: "clean", note: "|denoised − clean|" },
  removed: { title: "removed", signed: true, note: "noisy − denoised: should be noise alone; a picture of the scene here is signal that was taken." },
  angle: { title: "spectral angle", needs: "clean", whole: true, note: "SAM of each pixel over all bands, in rad: 0 is the shape of the clean spectrum." },
  uncertainty: { title: "uncertainty", needs: "error", note: "predicted standard error" },
};
const mapsThere = () => Object.keys(MAPS).filter((key) => (MAPS[key].needs === "clean" ? hasClean : MAPS[key].needs === "error" ? current().error : methods().length > 1));

function angleTo(name, pixel) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let band = 0; band < depth; band++) {
    const [a, b] = [value(cubeOf(name), band, pixel), value(data.clean, band, pixel)];
    if (Number.isNaN(a) || Number.isNaN(b)) continue;
    [ab, aa, bb] = [ab + a * b, aa + a * a, bb + b * b];
  }
  return aa && bb ? Math.acos(Math.max(-1, Math.min(1, ab / Math.sqrt(aa * bb)))) : aa || bb ? Math.PI / 2 : 0;
}

function mapValue() {
  const { band, mapMethod } = state;
  const [noisy, shown] = [cubeOf(NOISY), cubeOf(mapMethod)];
  if (state.map === "angle") return (p) => angleTo(mapMethod, p);
  if (state.map === "uncertainty") return (p) => value(current().error, band, p);
  if (state.map === "removed") return (p) => value(noisy, band, p) - value(shown, band, p);
  const off = (cube, p) => Math.abs(value(cube, band, p) - value(data.clean, band, p));
  return state.map === "error" ? (p) => off(shown, p) : (p) => off(noisy, p) - off(shown, p);
}

const angles = new Map();
function showMap() {
  const map = MAPS[state.map];
  if (!map) return;
  const of = mapValue();
  const key = `${state.case} ${state.mapMethod}`;
  let values = map.whole ? angles.get(key) : undefined;
  if (!values) values = Float32Array.from({ length: area }, (_, p) => of(p));
  if (map.whole) angles.set(key, values);
  const sizes = values.filter((v) => Number.isFinite(v)).map(Math.abs).sort();
  const end = sizes[Math.floor(0.995 * (sizes.length - 1))] || 1e-6;
  const colours = map.signed ? TABLES.signed : TABLES.sequential;
  const image = imageOf((p) => {
    if (Number.isNaN(values[p])) return UNKNOWN;
    const t = map.signed ? (values[p] / end + 1) / 2 : values[p] / end;
    return colours[Math.max(0, Math.min(255, Math.round(255 * t)))];
  });
  paint(byId("map"), image);
  byId("map").setAttribute("aria-label", `${map.title} of ${state.mapMethod}`);
  byId("map").values = values;
  const strip = element("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const scale = new ImageData(256, 1);
  colours.forEach(([r, g, b], level) => scale.data.set([r, g, b, 255], 4 * level));
  strip.getContext("2d").putImageData(scale, 0, 0);
  byId("map-scale").replaceChildren(map.signed ? `−${digits(end)}` : "0", strip, digits(end));
  const unit = map.whole ? "rad" : data.units;
  byId("map-note").textContent = `${map.note} (${unit}${map.whole ? "" : `, ${data.names[state.band]}`})`;
}

// ---- regions
const SOURCES = { encoded: "encoded state", embedding: "embedding" };
const keyOf = (kind, source = state.source, input = state.input) => `${source} ${input} ${kind}`;
function maskKeys() { return Object.keys(current().masks).map((key) => key.split(" ")); }
const kinds = () => [...new Set(maskKeys().map(([, , kind]) => kind))];

function regionNote() {
  const of = state.kind === "spatial" ? "by a 3 x 3 convolution, so by what surrounds it" : "by its own features alone, so by its material";
  const what = `A region is the set of pixels that share one of the network's ${data.colours.length} filters, here chosen for each pixel and band ${of}. `;
  if (state.source === "encoded") return `${what}Read from the encoder's state, as the network itself uses them${state.input === "noisy" ? "" : `, of the ${state.input} scene`}.`;
  const noise = state.input === "noisy" ? " Of the noisy scene they are salt and pepper by nature: the embedding sees one band and 3 x 3 pixels, which here are noise." : "";
  return `${what}Read from the embedding of the band, before the recurrence, as the paper's Fig. 5 shows them.${noise}`;
}

function regionAt(kind, band, pixel) {
  return ready.get(current().masks[keyOf(kind)])[band * area + pixel];
}

function showRegions() {
  const mask = ready.get(current().masks[keyOf(state.kind)]);
  if (!mask) return;
  const colours = data.colours.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const below = state.input === "clean" && hasClean ? CLEAN : state.input === "noisy" ? NOISY : best();
  const grey = greyOf(below, state.band);
  const start = state.band * area;
  const image = imageOf((p) => {
    const [over, under] = [colours[mask[start + p]], grey(p)];
    return over.map((v, c) => state.opacity * v + (1 - state.opacity) * under[c]);
  });
  paint(byId("regions"), image, (context, at) => { if (state.contours) drawContours(context, at, mask, start); });
  byId("regions").setAttribute("aria-label", `${state.kind} regions from the ${SOURCES[state.source]} of the ${state.input} scene, ${data.names[state.band]}`);
  const counts = data.colours.map(() => 0);
  for (let p = 0; p < area; p++) counts[mask[start + p]]++;
  byId("region-shares").replaceChildren(
    ...counts.map((count, region) => element("span", {}, element("i", { class: "chip", style: `background:${data.colours[region]}` }), `region ${region}: ${((100 * count) / area).toFixed(1)} %`)),
  );
  byId("region-note").textContent = regionNote();
}

function drawContours(context, at, mask, start) {
  context.beginPath();
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const own = mask[start + row * width + column];
      const [x, y] = [at.left + column * at.size, at.top + row * at.size];
      if (column + 1 < width && mask[start + row * width + column + 1] !== own) {
        context.moveTo(x + at.size, y);
        context.lineTo(x + at.size, y + at.size);
      }
      if (row + 1 < height && mask[start + (row + 1) * width + column] !== own) {
        context.moveTo(x, y + at.size);
        context.lineTo(x + at.size, y + at.size);
      }
    }
  }
  context.lineWidth = 1;
  context.strokeStyle = "#fff";
  context.stroke();
}

// ---- spectra and curves
function showSpectra() {
  const pixels = [...state.pins, state.pixel];
  const names = shownNames();
  const old = byId("spectra").querySelectorAll("figure");
  const figures = pixels.map((_, number) => old[number] ?? element("figure", {}, element("figcaption"), drawn("svg", { role: "img" })));
  byId("spectra").replaceChildren(...figures);
  pixels.forEach(([row, column], number) => {
    const pixel = (row - data.top) * width + column - data.left;
    const lines = names.map((name) => ({ name, ...lookOf(name), values: order.map((band) => value(cubeOf(name), band, pixel)) }));
    const [caption, svg] = figures[number].children;
    caption.textContent = captionOf(row, column, pixel, names, number);
    svg.setAttribute("aria-label", `Spectrum of row ${row}, column ${column}`);
    let area_;
    if (current().error) {
      const centre = lines.find(({ name }) => name === best()).values;
      const error = order.map((band) => value(current().error, band, pixel));
      area_ = { lower: centre.map((v, p) => v - error[p]), upper: centre.map((v, p) => v + error[p]), colour: "var(--orange)" };
    }
    const strips = kinds().map((kind) => {
      const regions = order.map((band) => regionAt(kind, band, pixel));
      return { name: kind, colours: regions.map((r) => data.colours[r]), told: regions.map((r) => `region ${r}`), edges };
    });
    chart(svg, {
      x: bandX, xs: spectrum, lines, starts, strips, area: area_, height: pixels.length > 1 ? 200 : 240,
      limits: limitsOf(lines), titles: { x: data.axis.title, y: data.units.startsWith("data") ? "value" : data.units },
      cursor: bandX[placeOfBand[state.band]], tell: (place) => data.names[order[place]], pick: (place) => change({ band: order[place] }),
    });
  });
}

// Noise may leave the frame; what was denoised, and the clean spectrum, may not.
function limitsOf(lines) {
  const calm = lines.filter(({ name }) => name !== NOISY);
  return extent((calm.length ? calm : lines).flatMap(({ values }) => values), 0.12);
}

function captionOf(row, column, pixel, names, number) {
  const pin = state.pins.length ? `${number + 1}: ` : "";
  const values = names.map((name) => `${name} ${digits(value(cubeOf(name), state.band, pixel))}`);
  const sam = hasClean ? `; SAM ${methods().map((name) => `${name} ${angleTo(name, pixel).toFixed(3)}`).join(", ")} rad` : "";
  const found = kinds().map((kind) => `${kind} region ${regionAt(kind, state.band, pixel)}`);
  return `${pin}row ${row}, column ${column}${found.length ? `, ${found.join(", ")}` : ""}: ${values.join(", ")}${sam}`;
}

function showMeasure() {
  const measures = current().measures;
  const measure = measures[state.measure];
  byId("measure-part").hidden = !measure && !current().means.length;
  if (measure) {
    const lines = Object.entries(measure.values).map(([name, values]) => ({ name, ...lookOf(name), values: order.map((band) => values[band]) }));
    chart(byId("measure-chart"), {
      x: bandX, xs: spectrum, lines, starts, height: 190, log: measure.log, titles: { x: data.axis.title, y: measure.title },
      cursor: bandX[placeOfBand[state.band]], tell: (place) => data.names[order[place]], pick: (place) => change({ band: order[place] }),
    });
  }
  const rows = current().means;
  const columns = rows.length ? Object.keys(rows[0]) : [];
  byId("means").tHead.replaceChildren(element("tr", {}, ...columns.map((name, c) => element("th", { scope: "col", class: c ? "number" : "" }, name))));
  byId("means").tBodies[0].replaceChildren(
    ...rows.map((row) => element("tr", {}, ...columns.map((name, c) => element(c ? "td" : "th", c ? { class: "number" } : { scope: "row" }, ...(c ? [] : [element("i", { style: `background:${lookOf(row[name]).colour}` })]), row[name])))),
  );
}

// ---- choices
function choose(id, options, chosen, change_) {
  const select = byId(id);
  select.replaceChildren(...options.map(([key, title]) => element("option", { value: key }, title)));
  select.value = chosen;
  select.onchange = () => change_(select.value);
  const label = select.closest("label");
  label.hidden = options.length < 2;
  label.dataset.chosen = select.selectedOptions[0]?.text ?? "";  // what print shows
}

const named = (names) => names.map((name) => [name, name]);
const within = (chosen, names, otherwise) => (names.includes(chosen) ? chosen : otherwise);

function settle() {
  const names = shownNames();
  const denoised = methods().filter((name) => name !== NOISY);
  state.left = within(state.left, names, NOISY);
  state.right = within(state.right, names, best());
  state.map = within(state.map, mapsThere(), mapsThere()[0] ?? "");
  state.mapMethod = within(state.mapMethod, denoised, best());
  state.measure = within(state.measure, Object.keys(current().measures), Object.keys(current().measures)[0] ?? "");
  state.kind = within(state.kind, kinds(), kinds().at(-1) ?? "");
  const sources = [...new Set(maskKeys().map(([source]) => source))];
  state.source = within(state.source, sources, sources[0] ?? "");
  const inputs = [...new Set(maskKeys().filter(([source]) => source === state.source).map(([, input]) => input))];
  state.input = within(state.input, inputs, inputs[0] ?? "");
  choose("case", data.cases.map((each, place) => [place, each.name]), state.case, (v) => change({ case: Number(v) }));
  choose("left-method", named(names), state.left, (v) => change({ left: v }));
  choose("right-method", named(names), state.right, (v) => change({ right: v }));
  choose("map-kind", mapsThere().map((key) => [key, MAPS[key].title]), state.map, (v) => change({ map: v }));
  choose("map-method", named(denoised), state.mapMethod, (v) => change({ mapMethod: v }));
  choose("region-kind", named(kinds()), state.kind, (v) => change({ kind: v }));
  choose("region-source", sources.map((key) => [key, SOURCES[key]]), state.source, (v) => change({ source: v, input: v === "encoded" ? "noisy" : hasClean ? "clean" : "denoised" }));
  choose("region-input", named(inputs), state.input, (v) => change({ input: v }));
  choose("measure", Object.entries(current().measures).map(([key, { title }]) => [key, title]), state.measure, (v) => change({ measure: v }));
  byId("map-panel").hidden = !state.map;
  byId("regions-panel").hidden = !state.kind;
}

async function change(changes) {
  Object.assign(state, changes);
  await show();
}

let turn = 0;
async function show() {
  const mine = ++turn;
  settle();
  const cubes = shownNames().map(cubeOf).concat(current().error ?? []);
  await load(cubes.map((cube) => cube.blob), Code);
  await load(kinds().map((kind) => current().masks[keyOf(kind)]), Uint8Array);
  if (mine !== turn) return;  // changed meanwhile
  byId("band").value = placeOfBand[state.band];
  byId("band").setAttribute("aria-valuetext", data.names[state.band]);
  byId("band-name").textContent = data.names[state.band];
  showPicture();
  showMap();
  showRegions();
  byId("method-legend").replaceChildren(...legendOf(shownNames().map((name) => ({ name, ...lookOf(name) }))));
  showPins();
  showSpectra();
  showMeasure();
  document.documentElement.dataset.shown = String(mine);
}

function showPins() {
  ["row", "column"].forEach((id, axis) => {
    const first = [data.top, data.left][axis];
    Object.assign(byId(id), { min: first, max: first + data.size[axis] - 1, value: state.pixel[axis] });
    byId(id).closest("label").dataset.chosen = state.pixel[axis];
  });
  byId("pins").replaceChildren(
    ...state.pins.map(([row, column], number) => {
      const button = element("button", { type: "button", title: "removes this pin" }, `${number + 1}: ${row}, ${column} ✕`);
      button.onclick = () => change({ pins: state.pins.filter((_, other) => other !== number) });
      return button;
    }),
  );
}

// ---- pointer and keys
const canvases = ["picture", "map", "regions"].map(byId);
function pixelAt(canvas, event) {
  const { left, top } = canvas.getBoundingClientRect();
  const at = placing(canvas);
  const column = Math.floor((event.clientX - left - at.left) / at.size);
  const row = Math.floor((event.clientY - top - at.top) / at.size);
  const inside = row >= 0 && row < height && column >= 0 && column < width;
  return { row, column, inside, x: (event.clientX - left - at.left) / at.size, y: (event.clientY - top - at.top) / at.size };
}

function readOut(canvas, event) {
  const { row, column, inside } = pixelAt(canvas, event);
  if (!inside) return hush();
  const pixel = row * width + column;
  const lines = [[`row ${row + data.top}, column ${column + data.left}, ${data.names[state.band]}`]];
  if (canvas.id === "map") lines.push([`${MAPS[state.map].title} ${digits(canvas.values[pixel])}`]);
  else if (canvas.id === "regions") for (const kind of kinds()) { const r = regionAt(kind, state.band, pixel); lines.push([`${kind} region ${r}`, data.colours[r]]); }
  else for (const name of shownNames()) lines.push([`${name} ${digits(value(cubeOf(name), state.band, pixel))}`, lookOf(name).colour]);
  tell(event, lines);
}

function zoomBy(factor, x = state.zoom.x, y = state.zoom.y) {
  const scale = Math.max(1, Math.min(64, state.zoom.scale * factor));
  const kept = state.zoom.scale / scale;  // what is under the pointer stays there
  const moved = { x: x + (state.zoom.x - x) * kept, y: y + (state.zoom.y - y) * kept };
  change({ zoom: scale === 1 ? { scale, x: width / 2, y: height / 2 } : { scale, ...moved } });
}

let held = null;
for (const canvas of canvases) {
  canvas.addEventListener("pointerdown", (event) => {
    const at = pixelAt(canvas, event);
    const near = Math.abs(at.x - state.swipe * width) * placing(canvas).size < 10;
    held = { canvas, swipes: canvas.id === "picture" && near, moved: false, from: [event.clientX, event.clientY], zoom: state.zoom };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return readOut(canvas, event);
    const [dx, dy] = [event.clientX - held.from[0], event.clientY - held.from[1]];
    held.moved ||= Math.hypot(dx, dy) > 4;
    if (!held.moved) return;
    if (held.swipes) {
      state.swipe = Math.max(0, Math.min(1, pixelAt(canvas, event).x / width));
      byId("swipe").value = Math.round(100 * state.swipe);
      showPicture();
    } else if (state.zoom.scale > 1) {
      const { size } = placing(canvas);
      change({ zoom: { ...held.zoom, x: held.zoom.x - dx / size, y: held.zoom.y - dy / size } });
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const at = pixelAt(canvas, event);
    if (held && !held.moved && at.inside) change({ pixel: [at.row + data.top, at.column + data.left] });
    held = null;
  });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointerleave", hush);
  canvas.addEventListener("wheel", (event) => {
    const at = pixelAt(canvas, event);
    if (!at.inside) return;
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? 1.25 : 0.8, at.x, at.y);
  }, { passive: false });
}

byId("band").addEventListener("input", (event) => change({ band: order[Number(event.target.value)] }));
byId("swipe").addEventListener("input", (event) => { state.swipe = event.target.value / 100; showPicture(); });
byId("black").addEventListener("input", (event) => change({ black: event.target.value / 100 }));
byId("white").addEventListener("input", (event) => change({ white: event.target.value / 100 }));
byId("opacity").addEventListener("input", (event) => { state.opacity = event.target.value / 100; showRegions(); });
byId("contours").addEventListener("change", (event) => change({ contours: event.target.checked }));
["row", "column"].forEach((id, axis) => byId(id).addEventListener("change", (event) => {
  const [low, high] = [Number(event.target.min), Number(event.target.max)];
  const chosen = Math.max(low, Math.min(high, Math.round(Number(event.target.value)) || low));
  change({ pixel: state.pixel.map((old, place) => (place === axis ? chosen : old)) });
}));
byId("rgb").addEventListener("change", (event) => change({ rgb: event.target.checked }));
byId("zoom-in").onclick = () => zoomBy(1.5);
byId("zoom-out").onclick = () => zoomBy(1 / 1.5);
byId("zoom-all").onclick = () => zoomBy(0);
byId("pin").onclick = () => { if (state.pins.length < 7 && !state.pins.some(([r, c]) => r === state.pixel[0] && c === state.pixel[1])) change({ pins: [...state.pins, state.pixel] }); };
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (!step || typing || event.ctrlKey || event.altKey || event.metaKey) return;
  const place = Math.max(0, Math.min(depth - 1, placeOfBand[state.band] + step));
  change({ band: order[place] });
});
byId("band").closest("label").hidden = false;
if (depth === 1) byId("band").hidden = true;
let resizing;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(show, 60); });
window.addEventListener("beforeprint", show);
show();
