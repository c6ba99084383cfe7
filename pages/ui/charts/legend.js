// The legend of several charts. A click hides what it names in all of them: plot.js reads `compressionLabHidden`.

const hidden = (globalThis.compressionLabHidden ??= new Set())

const icon = ({ colour, points, hollow }) => `<svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">${points
  ? `<polygon points="${points}" fill="${hollow ? "none" : colour}" stroke="${colour}" stroke-width="1.5"/>`
  : `<circle cx="8" cy="8" r="6" fill="${hollow ? "none" : colour}" stroke="${colour}" stroke-width="1.5"/>`}</svg>`

function entry(told) {
  const item = document.createElement(told.trace ? "button" : "span")
  item.className = "legend-entry"
  item.innerHTML = icon(told)
  item.append(told.name)
  if (!told.trace) return item
  item.type = "button"
  const say = () => item.setAttribute("aria-pressed", String(!hidden.has(told.trace)))
  item.onclick = () => {
    if (!hidden.delete(told.trace)) hidden.add(told.trace)
    say()
    document.dispatchEvent(new Event("compression-lab-legend"))
  }
  say()
  return item
}

export default function ({ data, parentElement }) {
  const row = parentElement.querySelector(".legend-row")
  const said = JSON.stringify(data)
  if (row.dataset.said === said) return // what has the focus keeps it
  row.dataset.said = said
  row.setAttribute("aria-label", data.label)
  row.replaceChildren(...data.entries.map(entry))
}
