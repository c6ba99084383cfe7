// A Plotly figure that is updated in place: zoom, hidden traces and the pointer survive whatever comes in.
// While a slider is dragged, the point that is expected there follows it, without a word to the server.

const MOVES = ["pointermove", "keydown", "keyup"]

const STORE = "compression-lab-plotly"

let loading

function library(source) {
  if (window.Plotly) return Promise.resolve(window.Plotly)
  loading ??= kept(new URL(source, document.baseURI)).then(run).catch((error) => {
    loading = undefined
    throw error
  })
  return loading
}

// The script's address, or that of a copy: the server does not say how long the script may be kept, so the browser's
// own store holds it, where there is one (it needs https or localhost) and it has room.
async function kept(address) {
  try {
    const store = await caches.open(STORE)
    let script = await store.match(address)
    if (!script) {
      await Promise.all((await store.keys()).map((older) => store.delete(older)))
      script = await fetch(address)
      if (!script.ok) return address
      await store.put(address, script.clone())
    }
    return URL.createObjectURL(await script.blob())
  } catch { return address }
}

function run(address) {
  return new Promise((done, failed) => {
    const script = document.createElement("script")
    const refuse = () => {
      globalThis.caches?.delete(STORE)
      failed(new Error("The chart library could not be loaded."))
    }
    script.src = address
    script.onload = () => window.Plotly ? done(window.Plotly) : refuse()
    script.onerror = refuse
    document.head.append(script)
  }).finally(() => URL.revokeObjectURL(address))
}

function themed(layout, element) {
  const style = getComputedStyle(element)
  const colour = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise
  const text = colour("--st-text-color", "#1F2328")
  const lines = colour("--st-border-color", "#D8DCE2")
  const axis = {
    gridcolor: lines, zerolinecolor: lines, linecolor: lines, automargin: true, tickfont: { size: 12 },
  }
  return {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: colour("--st-font", "sans-serif"), size: 13, color: text },
    hoverlabel: { bgcolor: colour("--st-secondary-background-color", "#F5F6F8"), bordercolor: lines,
      font: { color: text }, align: "left" },
    ...Object.fromEntries(Object.entries(layout).filter(([name]) => /^[xy]axis/.test(name))
      .map(([name, own]) => [name, { ...axis, ...own, title: { ...own.title, font: { size: 12 } } }])),
  }
}

function between(positions, values, at) {
  let i = positions.findIndex((p) => p >= at)
  if (i < 0) i = positions.length - 1
  if (i === 0 || positions[i] === at) return values[i]
  const share = (at - positions[i - 1]) / (positions[i] - positions[i - 1])
  return values[i - 1] + share * (values[i] - values[i - 1])
}

function follow(box, data) {
  const index = (box.data ?? []).findIndex((trace) => trace.name === data.ghost)
  for (const [name, way] of Object.entries(data.foresight ?? {})) {
    const at = document.querySelector(`.${name} input[type=range]`)?.valueAsNumber
    if (at === undefined || at === way.shown) continue
    const started = way.shown !== undefined
    way.shown = at
    way.moved = started
    if (!started || index < 0) continue
    const x = between(way.positions, way.x, at)
    const y = between(way.positions, way.y, at)
    const text = `≈ ${Number(y.toPrecision(4))}, ${Number(x.toPrecision(3))}<br>interpolated`
    window.Plotly.restyle(box, { x: [[x]], y: [[y]], text: [[text]] }, [index])
  }
}

// Sliders that are still held away from where they were when the figure now on the page came in.
const held = (data) => Object.entries(data?.foresight ?? {})
  .filter(([name, way]) => way.moved && document.querySelector(`.${name}:active`)).map(([name]) => name)

// What the legend above several charts hides is hidden in each of them; see legend.js.
const withoutHidden = ({ data, layout }) => structuredClone(data).map((trace) => (
  layout.meta === "shared legend" && globalThis.compressionLabHidden?.has(trace.name)
    ? { ...trace, visible: false } : trace))

const drawn = new WeakMap()
const zooms = new WeakMap()
const hovered = new WeakMap() // what is under the pointer; a chart that is drawn anew does not say it again

// What the user has zoomed to, axis by axis, until the chart shows other quantities.
function zoomed(box, layout) {
  const zoom = zooms.get(box)
  if (!zoom || zoom.revision !== layout.uirevision) zooms.set(box, { revision: layout.uirevision })
  for (const name of ["xaxis", "yaxis"]) if (zooms.get(box)[name]) Object.assign(layout[name], zooms.get(box)[name])
  return layout
}

function remember(box, change) {
  for (const name of ["xaxis", "yaxis"]) {
    if (!Object.keys(change).some((key) => key.startsWith(`${name}.`))) continue
    const { autorange, range } = box.layout[name]
    const sent = drawn.get(box).figure.layout[name]?.range
    const back = sent && range.every((end, i) => Math.abs(end - sent[i]) < 1e-6)
    const all = { autorange: true, range: undefined }
    zooms.get(box)[name] = autorange ? (sent ? all : undefined) : back ? undefined : { range: [...range], autorange: false }
  }
}

// Resolves when no button is held on the chart: one that is drawn anew between press and release loses the click.
const released = (box) => (!box.matches(":active") ? Promise.resolve() : new Promise((done) => {
  const later = () => setTimeout(done) // behind the release that Plotly listens for
  for (const event of ["pointerup", "pointercancel"]) window.addEventListener(event, later, { once: true })
}))

const QUIET_MS = 500 // after the last key, an edge that keys move has arrived

// Where an edge stands on the page, in pixels of the chart; null where that is outside what is shown.
function spot(box, handle, value) {
  const { xaxis, yaxis } = box._fullLayout
  const axis = handle.axis === "x" ? xaxis : yaxis
  const at = axis.d2p(value)
  if (!(at >= -1 && at <= axis._length + 1)) return null
  return handle.axis === "x" ? [axis._offset + at, yaxis._offset] : [xaxis._offset + xaxis._length, axis._offset + at]
}

function place(box, knob, handle) {
  const at = box._fullLayout && spot(box, handle, handle.value)
  knob.hidden = !at
  if (!at) return
  knob.style.left = `${at[0]}px`
  knob.style.top = `${at[1]}px`
  knob.setAttribute("aria-valuenow", Number(handle.value.toPrecision(4)))
}

// The edge's line and the nearer side of what it shades go along; shapes are named after the limit.
function drag(box, knob, handle, value) {
  handle.value = Math.min(Math.max(value, handle.low), handle.high)
  const change = {}
  for (const [i, shape] of (box.layout.shapes ?? []).entries()) {
    if (shape.name === `edge ${handle.limit}`) change[`shapes[${i}].${handle.axis}1`] = handle.value
    if (shape.name?.endsWith(` ${handle.limit}`)) change[`shapes[${i}].${handle.axis}0`] = handle.value
  }
  window.Plotly.relayout(box, change)
  place(box, knob, handle)
}

function grasp(box, knob, handle, arrived) {
  const axis = () => box._fullLayout[`${handle.axis}axis`]
  const along = (event) => (handle.axis === "x" ? event.clientX : event.clientY)
  const origin = () => box.getBoundingClientRect()[handle.axis === "x" ? "left" : "top"]
  knob.onpointerdown = (event) => {
    knob.setPointerCapture(event.pointerId)
    event.preventDefault()
    knob.focus()
  }
  knob.onpointermove = (event) => {
    if (knob.hasPointerCapture(event.pointerId)) {
      drag(box, knob, handle, axis().p2d(along(event) - origin() - axis()._offset))
    }
  }
  knob.onpointerup = () => arrived(handle)
  let quiet
  knob.onkeydown = (event) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key]
    if (!by) return
    event.preventDefault()
    drag(box, knob, handle, handle.value + by * handle.step)
    clearTimeout(quiet)
    quiet = setTimeout(() => arrived(handle), QUIET_MS)
  }
}

// A knob on each edge of the budget; what is being moved stays as it is.
function edges(box, given, about, arrived) {
  const frame = box.parentElement
  const old = [...frame.querySelectorAll(".plot-edge")]
  if (old.some((knob) => knob.matches(":active"))) return
  const focused = document.activeElement?.dataset?.limit
  for (const knob of old) knob.remove()
  for (const handle of structuredClone(given ?? [])) {
    const knob = document.createElement("div")
    knob.className = `plot-edge plot-edge-${handle.axis}`
    knob.dataset.limit = handle.limit
    knob.tabIndex = 0
    knob.title = about
    for (const [name, value] of Object.entries({
      role: "slider", "aria-label": handle.label, "aria-valuemin": handle.low, "aria-valuemax": handle.high,
      "aria-orientation": handle.axis === "x" ? "horizontal" : "vertical",
    })) knob.setAttribute(name, value)
    knob.place = () => place(box, knob, handle)
    frame.append(knob)
    knob.place()
    grasp(box, knob, handle, arrived)
    if (old.includes(document.activeElement) || focused === handle.limit) knob.focus()
  }
}

// Which point a click is on. Plotly looks for it at the release, and finds none where the page has moved meanwhile: then
// it is the point that was under the pointer at the press.
function listenForClicks(box, clicked) {
  let pressed
  const told = ({ points }) => {
    pressed = undefined
    const known = points.find((point) => point.customdata?.[1])
    if (known) clicked(known.customdata[1])
  }
  box.on("plotly_hover", (event) => hovered.set(box, event))
  box.on("plotly_unhover", () => hovered.delete(box))
  box.on("plotly_click", told)
  box.onpointerdown = () => { pressed = hovered.get(box) }
  box.onclick = () => { if (pressed) told(pressed) } // Plotly's own, where nothing was dragged; behind its plotly_click
}

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".plot")
  const note = parentElement.querySelector(".plot-note")
  note.textContent ||= data.loading
  box.setAttribute("aria-label", data.alt)
  const kept = held(drawn.get(box)).filter((name) => data.foresight?.[name])
  drawn.set(box, data)
  let ended = false
  const sketched = () => box.parentElement.querySelector(".plot-sketch")
  if (!window.Plotly) {
    sketched()?.remove()
    try {
      box.insertAdjacentHTML("beforebegin", sketch(data.figure, box.clientWidth))
    } catch (error) { console.warn("No sketch:", error) } // the chart itself is on its way
    note.hidden = Boolean(sketched())
  }
  const draw = () => Promise.all([library(data.library), released(box)]).then(([Plotly]) => {
    if (ended) return
    note.hidden = true
    sketched()?.remove()
    const shown = zoomed(box, themed(structuredClone(data.figure.layout), parentElement))
    return Plotly.react(box, withoutHidden(data.figure), shown, data.config)
  }).then(() => {
    if (ended || !box.removeAllListeners) return
    for (const event of ["click", "hover", "unhover", "relayout", "afterplot"]) box.removeAllListeners(`plotly_${event}`)
    edges(box, data.handles, data.drag, ({ limit, value }) => setTriggerValue("moved", { limit, value }))
    box.on("plotly_afterplot", () => box.parentElement.querySelectorAll(".plot-edge").forEach((knob) => knob.place()))
    listenForClicks(box, (point) => setTriggerValue("clicked", point))
    box.on("plotly_relayout", (change) => {
      remember(box, change)
    })
  }).catch((error) => { note.hidden = false; note.textContent = `${error.message} Reload the page.` })
  draw().then(() => {
    for (const name of kept) data.foresight[name].shown = null // not where it was: its point stays on the new figure
    if (kept.length) follow(box, data)
  })
  follow(box, data)  // remembers where the sliders are
  let asked = 0
  const listen = () => {
    cancelAnimationFrame(asked)
    asked = requestAnimationFrame(() => follow(box, drawn.get(box)))
  }
  const scheme = window.matchMedia("(prefers-color-scheme: dark)")
  for (const event of MOVES) document.addEventListener(event, listen, true)
  scheme.addEventListener("change", draw)
  document.addEventListener("compression-lab-legend", draw)
  return () => {
    ended = true
    for (const event of MOVES) document.removeEventListener(event, listen, true)
    scheme.removeEventListener("change", draw)
    document.removeEventListener("compression-lab-legend", draw)
  }
}
