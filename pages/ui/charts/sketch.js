// The points of a figure as plain SVG, for the second or two in which the charts' library is still on its way.

const SKETCH = { left: 62, right: 12, top: 10, bottom: 42 }

function span(values, axis) {
  const place = axis.type === "log" ? Math.log10 : Number
  const low = Math.min(...values.map(place))
  const high = Math.max(...values.map(place))
  if (axis.range) return [place, axis.range[0], axis.range[1]]
  const room = (high - low || Math.abs(high) || 1) * 0.06
  return [place, axis.rangemode === "tozero" ? Math.min(0, low) : low - room, high + room]
}

// Where an axis has numbers: those that the figure names, or four to eight round ones.
function ticks(axis, low, high) {
  if (axis.type === "log") return (axis.tickvals ?? []).filter((v) => Math.log10(v) >= low && Math.log10(v) <= high)
  const rough = 10 ** Math.floor(Math.log10((high - low) / 4))
  const step = rough * [1, 2, 5].findLast((by) => rough * by <= (high - low) / 4)
  const first = Math.ceil(low / step)
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(6)))
}

// What stands on a second axis is left out.
const scatters = ({ data, layout }) => data.filter((trace) => trace.type === "scatter" && trace.x?.length
  && (trace.yaxis ?? "y") === "y" && trace.x.every((x, i) => Number.isFinite(x) && Number.isFinite(trace.y[i])
    && (layout.xaxis?.type !== "log" || x > 0) && (layout.yaxis?.type !== "log" || trace.y[i] > 0)))

// '' where there is nothing to sketch, or no room for it: a page that is being laid out may have no width yet.
function sketch(figure, width) {
  if (width <= SKETCH.left + SKETCH.right) return ""
  const traces = scatters(figure)
  if (!traces.some((trace) => trace.mode?.includes("markers"))) return ""
  const { xaxis, yaxis, height } = figure.layout
  const bottom = height - SKETCH.bottom
  const scale = (name, axis, from, to) => {
    const [place, low, high] = span(traces.flatMap((trace) => trace[name]), axis)
    const at = (value) => (from + ((place(value) - low) / (high - low)) * (to - from)).toFixed(1)
    return [at, ticks(axis, low, high)]
  }
  const [across, columns] = scale("x", xaxis, SKETCH.left, width - SKETCH.right)
  const [up, rows] = scale("y", yaxis, bottom, SKETCH.top)
  const escaped = (said) => said.replace(/[<&]/g, (sign) => `&#${sign.charCodeAt(0)};`)
  const text = (x, y, said, turn = "") => `<text x="${x}" y="${y}" text-anchor="middle"${turn}>${escaped(said)}</text>`
  const middle = (SKETCH.top + bottom) / 2
  const parts = [
    `<path d="M${SKETCH.left} ${SKETCH.top}V${bottom}H${width - SKETCH.right}" fill="none" stroke="currentColor"/>`,
    text((SKETCH.left + width) / 2, height - 8, xaxis.title?.text ?? ""),
    text(16, middle, yaxis.title?.text ?? "", ` transform="rotate(-90 16 ${middle})"`),
    ...columns.map((value) => text(across(value), bottom + 18, String(value))),
    ...rows.map((value) => text(SKETCH.left - 20, Number(up(value)) + 4, String(value))),
  ]
  const marks = []
  for (const { x, y, mode, marker, line } of traces) {
    if (mode === "lines" && line?.shape === "hv") {
      const steps = x.map((at, i) => `${i ? `H${across(at)}V` : `M${across(at)} `}${up(y[i])}`).join("")
      marks.push(`<path d="${steps}" fill="none" stroke="${line.color}" stroke-width="2"/>`)
    }
    if (!mode?.includes("markers") || (typeof marker?.symbol === "string" && marker.symbol.includes("open"))) continue
    const size = (i) => (Array.isArray(marker?.size) ? marker.size[i] : marker?.size ?? 8) / 2
    const colour = (i) => (Array.isArray(marker?.color) ? marker.color[i] : marker?.color) ?? line?.color
    const fill = (i) => (String(marker?.symbol?.[i]).includes("open") ? `none" stroke="${colour(i)}` : colour(i))
    marks.push(...x.map((at, i) => `<circle cx="${across(at)}" cy="${up(y[i])}" r="${size(i)}" fill="${fill(i)}"/>`))
  }
  const [wide, high] = [width - SKETCH.left - SKETCH.right, bottom - SKETCH.top]
  const inside = `x="${SKETCH.left}" y="${SKETCH.top}" width="${wide}" height="${high}"
    viewBox="${SKETCH.left} ${SKETCH.top} ${wide} ${high}"`
  return `<svg class="plot-sketch" width="${width}" height="${height}" aria-hidden="true">${parts.join("")}
    <svg ${inside}>${marks.join("")}</svg></svg>`
}
