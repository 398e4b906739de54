// What the pages draw with: elements, and charts over x as SVG that break at gaps and read out on hover.

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
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

if (!("DecompressionStream" in window)) document.body.prepend("This page needs a browser of 2023 or later.");

// The bytes of one of the page's packed elements.
async function inflate(blob) {
  const bytes = Uint8Array.from(atob(byId(`blob-${blob}`).textContent.slice(1)), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

function fill(select, names, change) {
  select.replaceChildren(...names.map((name, place) => element("option", { value: place }, name)));
  select.onchange = () => change(Number(select.value));
}

function digits(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(size >= 1e3 ? 5 : 4)));
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough * 0.999);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step) {
    found.push([v, String(Number(v.toPrecision(6)))]);
  }
  return found;
}

function powers(low, high) {
  const [first, last] = [Math.ceil(low - 1e-9), Math.floor(high + 1e-9)];
  const every = Math.max(1, Math.ceil((last - first + 1) / 6));
  const found = [];
  for (let p = first; p <= last; p += every) found.push([p, Math.abs(p) < 5 ? String(Number((10 ** p).toPrecision(3))) : `1e${p}`]);
  if (found.length > 1) return found;
  return [low, (low + high) / 2, high].map((p) => [p, digits(Number((10 ** p).toPrecision(2)))]);
}

// A chart's frame: gives the places of values, and draws its axes.
function frame(svg, height, x, y, titles, places) {
  const width = Math.max(260, svg.clientWidth || svg.parentElement?.clientWidth || 900);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  svg.replaceChildren();
  const longest = Math.max(2, ...places.y.map(([, text]) => text.length));
  const left = Math.max((titles.y ? 22 : 4) + 7.2 * longest, 9 + 6.6 * (places.longest ?? 0));
  const below = places.below ?? 0;  // room for strips
  const box = { left, right: width - places.right, top: 10, bottom: height - below - (titles.x ? 36 : 20), width, height };
  const at = {
    box,
    x: (v) => box.left + ((v - x[0]) / (x[1] - x[0] || 1)) * (box.right - box.left),
    y: (v) => box.bottom - ((v - y[0]) / (y[1] - y[0] || 1)) * (box.bottom - box.top),
  };
  for (const [v, text] of places.x) {
    svg.append(drawn("line", { class: "axis", x1: at.x(v), x2: at.x(v), y1: box.top, y2: box.bottom }));
    const place = at.x(v) + 3.6 * text.length > width ? { x: width - 1, "text-anchor": "end" } : { x: at.x(v), "text-anchor": "middle" };
    svg.append(drawn("text", { class: "tick", y: box.bottom + below + 15, ...place }, text));
  }
  for (const [v, text] of places.y) {
    svg.append(drawn("line", { class: "axis", x1: box.left, x2: box.right, y1: at.y(v), y2: at.y(v) }));
    svg.append(drawn("text", { class: "tick", x: box.left - 5, y: at.y(v) + 4, "text-anchor": "end" }, text));
  }
  if (titles.x) svg.append(drawn("text", { class: "tick", x: (box.left + box.right) / 2, y: height - 5, "text-anchor": "middle" }, titles.x));
  if (titles.y) {
    const middle = (box.top + box.bottom) / 2;
    svg.append(drawn("text", { class: "tick", transform: `translate(12 ${middle}) rotate(-90)`, "text-anchor": "middle" }, titles.y));
  }
  return at;
}

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const tip = element("div", { id: "tip", role: "status", hidden: "" });

function tell(event, lines) {
  if (!tip.isConnected) document.body.append(tip);
  tip.replaceChildren(...lines.map(([text, colour]) => element("div", {}, ...(colour ? [element("i", { style: `background:${colour}` })] : []), text)));
  tip.hidden = false;
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const left = event.clientX + 14 + width > document.documentElement.clientWidth ? event.clientX - width - 10 : event.clientX + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, window.innerHeight - height - 4))}px`;
}

const hush = () => { tip.hidden = true; };

// Lines over x. options: x [n], lines [{name, colour, values [n], x?, dash?, width?, dots?}], starts (places
// where a new part begins), height, title {x, y}, log, limits, area {lower, upper, colour}, strips [{name,
// colours [n], edges}], cursor (a place in x), tell (place -> text), pick (place -> nothing), marks [{x?, y?}].
function chart(svg, options) {
  const { lines, height = 220, log = false, titles = {}, starts = [0] } = options;
  const own = (line) => line.x ?? options.x;
  const scale = (v) => (known(v) && (!log || v > 0) ? (log ? Math.log10(v) : v) : NaN);
  const ys = options.limits ?? extent(lines.flatMap((line) => Array.from(line.values, scale)), 0.05);
  const xs = options.xs ?? extent(lines.flatMap((line) => Array.from(own(line))), 0);
  const strips = options.strips ?? [];
  const bar = 14;
  const narrow = (svg.clientWidth || 900) < 500;
  const yTicks = log ? powers(...ys) : ticks(...ys, height < 160 ? 3 : 5);
  const at = frame(svg, height, xs, ys, titles, { x: ticks(...xs, narrow ? 4 : 8), y: yTicks, right: 12, below: bar * strips.length, longest: Math.max(0, ...strips.map(({ name }) => name.length)) });
  const { box } = at;
  const clip = `clip-${(chart.count = (chart.count ?? 0) + 1)}`;
  const hole = drawn("clipPath", { id: clip });
  hole.append(drawn("rect", { x: box.left, y: box.top - 2, width: box.right - box.left, height: box.bottom - box.top + 4 }));
  svg.append(hole);
  const inside = drawn("g", { "clip-path": `url(#${clip})` });
  svg.append(inside);
  const pathOf = (x, values) => {
    let path = "", pen = "M";
    values.forEach((value, place) => {
      const v = scale(value);
      if (starts.includes(place) || !known(v)) pen = "M";
      if (!known(v)) return;
      path += `${pen}${at.x(x[place]).toFixed(1)} ${at.y(v).toFixed(1)}`;
      pen = "L";
    });
    return path;
  };
  if (options.area) {
    const { lower, upper, colour } = options.area;
    [...starts, options.x.length].slice(1).forEach((stop, part) => {
      const start = starts[part];
      const there = [...options.x.keys()].slice(start, stop).filter((p) => known(scale(lower[p])) && known(scale(upper[p])));
      const up = there.map((p) => `${at.x(options.x[p])},${at.y(scale(upper[p]))}`);
      const down = there.reverse().map((p) => `${at.x(options.x[p])},${at.y(scale(lower[p]))}`);
      inside.append(drawn("polygon", { points: [...up, ...down].join(" "), style: `fill:${colour};opacity:.25` }));
    });
  }
  for (const mark of options.marks ?? []) {
    const place = "x" in mark ? { x1: at.x(mark.x), x2: at.x(mark.x), y1: box.top, y2: box.bottom } : { x1: box.left, x2: box.right, y1: at.y(scale(mark.y)), y2: at.y(scale(mark.y)) };
    inside.append(drawn("line", { class: "mark", ...place }));
  }
  for (const line of lines) {
    const style = `stroke:${line.colour};stroke-width:${line.width ?? 1.5}${line.dash ? `;stroke-dasharray:${line.dash}` : ""}`;
    inside.append(drawn("path", { class: "line", d: pathOf(own(line), line.values), style, "data-name": line.name, "data-key": line.key ?? line.name }));
    const few = line.values.length <= 40;
    line.values.forEach((value, place) => {
      const v = scale(value);
      const alone = known(v) && !known(scale(line.values[place - 1])) && !known(scale(line.values[place + 1]));
      const single = starts.includes(place) && (starts.includes(place + 1) || place + 1 === line.values.length);
      if (known(v) && (few || alone || single)) inside.append(drawn("circle", { cx: at.x(own(line)[place]), cy: at.y(v), r: 2.2, style: `fill:${line.colour}` }));
    });
  }
  strips.forEach(({ name, colours, edges }, row) => {
    const top = box.bottom + 2 + bar * row;
    const strip = drawn("g", { "data-strip": name });
    colours.forEach((colour, place) => {
      const [left, right] = [at.x(edges[0][place]), at.x(edges[1][place])];
      strip.append(drawn("rect", { x: left, y: top, width: Math.max(0.5, right - left + 0.3), height: bar - 2, style: `fill:${colour}` }));
    });
    strip.append(drawn("text", { class: "tick", x: box.left - 5, y: top + 10, "text-anchor": "end" }, name));
    svg.append(strip);
  });
  if (options.cursor !== undefined) {
    const x = at.x(options.cursor);
    svg.append(drawn("line", { class: "cursor", x1: x, x2: x, y1: box.top, y2: box.bottom }));
  }
  const hair = drawn("line", { class: "hair", y1: box.top, y2: box.bottom, visibility: "hidden" });
  svg.append(hair);
  const all = options.x ?? own(lines.reduce((a, b) => (a && a.values.length >= b.values.length ? a : b)));
  const placeOf = (event) => {
    const { left, width } = svg.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * box.width;
    let best = 0;
    all.forEach((v, place) => { if (Math.abs(at.x(v) - x) < Math.abs(at.x(all[best]) - x)) best = place; });
    return best;
  };
  svg.onpointermove = (event) => {
    const place = placeOf(event);
    hair.setAttribute("x1", at.x(all[place]));
    hair.setAttribute("x2", at.x(all[place]));
    hair.setAttribute("visibility", "visible");
    const at_ = all[place];
    const values = lines.map((line) => [line, line.values[own(line).indexOf(at_)]]).filter(([, v]) => known(v));
    const head = options.tell ? options.tell(place) : `${titles.x ?? "x"} ${digits(at_)}`;
    const regions = strips.map(({ name, told }) => [`${name} ${told[place]}`]);
    tell(event, [[head], ...values.map(([line, v]) => [`${line.name} ${digits(v)}`, line.colour]), ...regions]);
  };
  svg.onpointerleave = () => { hush(); hair.setAttribute("visibility", "hidden"); };
  svg.onclick = options.pick ? (event) => options.pick(placeOf(event)) : null;
  svg.classList.toggle("picks", Boolean(options.pick));
  svg.places = at;
}

function extent(values, room) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) if (known(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) return [0, 1];
  const margin = room * (high - low) || (room ? Math.abs(high) * 0.05 || 0.5 : 0);
  return low === high && !room ? [low - 0.5, high + 0.5] : [low - margin, high + margin];
}

function legendOf(lines) {
  const entries = lines.map(({ name, colour, dash, width }) => {
    const svg = drawn("svg", { class: "key", viewBox: "0 0 22 8", "aria-hidden": "true" });
    svg.append(drawn("line", { x1: 0, x2: 22, y1: 4, y2: 4, style: `stroke:${colour};stroke-width:${width ?? 2};${dash ? `stroke-dasharray:${dash}` : ""}` }));
    return element("span", {}, svg, name);
  });
  return entries;
}
