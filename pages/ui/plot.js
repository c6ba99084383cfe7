// A Plotly figure that is updated in place: zoom, hidden traces and the pointer survive whatever comes in.
// While a slider is dragged, the point that is expected there follows it, without a word to the server.

const MOVES = ["pointermove", "keydown", "keyup"]

let loading

function library(source) {
  if (window.Plotly) return Promise.resolve(window.Plotly)
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script")
    script.src = new URL(source, document.baseURI)
    script.onload = () => done(window.Plotly)
    script.onerror = () => { loading = undefined; failed(new Error("The charts' library did not load.")) }
    document.head.append(script)
  })
  return loading
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
      .map(([name, own]) => [name, { ...axis, ...own }])),
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
    if (!started || index < 0) continue
    const x = between(way.positions, way.x, at)
    const y = between(way.positions, way.y, at)
    const text = `≈ ${Number(y.toPrecision(4))}, ${Number(x.toPrecision(3))}<br>interpolated`
    window.Plotly.restyle(box, { x: [[x]], y: [[y]], text: [[text]] }, [index])
  }
}

const drawn = new WeakMap()
const zooms = new WeakMap()

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

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".plot")
  const note = parentElement.querySelector(".plot-note")
  box.setAttribute("aria-label", data.alt)
  drawn.set(box, data)
  let ended = false
  const draw = () => library(data.library).then((Plotly) => {
    if (ended) return
    note.hidden = true
    const { data: traces, layout } = data.figure
    const shown = zoomed(box, themed(structuredClone(layout), parentElement))
    return Plotly.react(box, structuredClone(traces), shown, data.config)
  }).then(() => {
    if (ended || !box.removeAllListeners) return
    box.removeAllListeners("plotly_click")
    box.removeAllListeners("plotly_relayout")
    box.on("plotly_click", ({ points }) => {
      const known = points.find((point) => point.customdata?.[1])
      if (known) setTriggerValue("clicked", known.customdata[1])
    })
    box.on("plotly_relayout", (change) => {
      remember(box, change)
      const moved = Object.entries(change).filter(([name]) => /^shapes\[\d+\]\.[xy][01]$/.test(name))
      if (moved.length) setTriggerValue("moved", Object.fromEntries(moved))
    })
  }).catch((error) => { note.hidden = false; note.textContent = `${error.message} Reload the page.` })
  draw()
  follow(box, data)  // remembers where the sliders are
  let asked = 0
  const listen = () => {
    cancelAnimationFrame(asked)
    asked = requestAnimationFrame(() => follow(box, drawn.get(box)))
  }
  const scheme = window.matchMedia("(prefers-color-scheme: dark)")
  for (const event of MOVES) document.addEventListener(event, listen, true)
  scheme.addEventListener("change", draw)
  return () => {
    ended = true
    for (const event of MOVES) document.removeEventListener(event, listen, true)
    scheme.removeEventListener("change", draw)
  }
}
