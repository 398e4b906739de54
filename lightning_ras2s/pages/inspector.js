// Draws the page anew from its state: the band is slider.value, the pixel stands in marker, the
// overlay is choice.active. cb_obj is what has changed it: a control, a click or the opened page.

const {name: names, codes, low, step} = cubes.data
const {kind: kinds, mask: masks} = regions.data
const [depth, height, width] = codes[0].shape
const area = height * width
const unknown = 2 ** (8 * codes[0].BYTES_PER_ELEMENT) - 1
const chooseBand = (band) => { slider.value = Math.max(0, Math.min(depth - 1, band)) }

function decode(image, place) {
  const [code, band] = [codes[image][place], Math.floor(place / area)]
  return code === unknown ? NaN : low[image][band] + step[image][band] * code
}

function choosePixel(x, y) {
  const [column, row] = [Math.round(x), Math.round(y)]
  const inside = row >= top && row < top + height && column >= left && column < left + width
  if (inside) marker.data = {row: [row], column: [column]}
}

function chooseNearestBand(x) {
  const distances = Array.from(bands.data.x, (place) => Math.abs(place - x))
  chooseBand(bands.data.band[distances.indexOf(Math.min(...distances))])
}

function listenToKeys() {
  const steps = {ArrowLeft: -1, ArrowRight: 1}
  document.addEventListener("keydown", (event) => {
    const taken = event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey
    if (event.key in steps && !taken) chooseBand(slider.value + steps[event.key])
  })
}

function drawPictures(band) {
  const place = bands.data.band.indexOf(band)
  grey.low = bands.data.low[place]
  grey.high = bands.data.high[place]
  names.forEach((name, image) => {
    const picture = frame.data[name][0]
    for (let p = 0; p < area; p++) picture[p] = decode(image, band * area + p)
  })
  const {noisy, denoised, clean, difference} = frame.data
  for (let p = 0; denoised && p < area; p++) {
    difference[0][p] = clean ? Math.abs(denoised[0][p] - clean[0][p]) : noisy[0][p] - denoised[0][p]
  }
  const mask = masks[choice.active - 1]
  if (mask) for (let p = 0; p < area; p++) frame.data.overlay[0][p] = mask[band * area + p]
  for (const overlay of overlays) overlay.visible = mask !== undefined
  frame.change.emit()
}

function drawBand(band) {
  const place = bands.data.band.indexOf(band)
  const label = bands.data.label[place]
  const number = bands.data.number ? bands.data.number[place] : band
  heading.text = `<b>Band ${number}${label && ": "}${label}</b> (0 to ${depth - 1})`
  cursor.location = bands.data.x[place]
  for (const panel of panels) {
    const titles = bands.data[`title_${panel.name}`]
    if (titles) panel.title.text = titles[place]
  }
}

function drawPixel(band) {
  const [row, column] = [marker.data.row[0], marker.data.column[0]]
  const pixel = (row - top) * width + column - left
  bands.data.band.forEach((each, place) => {
    names.forEach((name, image) => { bands.data[name][place] = decode(image, each * area + pixel) })
    if (bands.data.lower) {
      const {denoised, uncertainty} = bands.data
      bands.data.lower[place] = denoised[place] - uncertainty[place]
      bands.data.upper[place] = denoised[place] + uncertainty[place]
    }
    kinds.forEach((kind, k) => { bands.data[kind][place] = palette[masks[k][each * area + pixel]] })
  })
  bands.change.emit()
  const its = kinds.map((kind, k) => `${kind} region ${1 + masks[k][band * area + pixel]}`)
  const values = names.map((name, image) => `${name} ${decode(image, band * area + pixel).toFixed(4)}`)
  const found = its.length ? `: ${its.join(", ")} in band ${band}` : ""
  caption.text = `<b>row ${row}, column ${column}${found}</b> &nbsp; ${values.join(", ")}`
}

if (["tap", "doubletap"].includes(cb_obj.event_name)) {
  if (panels.includes(cb_obj.origin)) choosePixel(cb_obj.x, cb_obj.y)
  else chooseNearestBand(cb_obj.x)
} else if (cb_obj !== slider && cb_obj !== choice) {
  listenToKeys()
}
drawPictures(slider.value)
drawBand(slider.value)
drawPixel(slider.value)
