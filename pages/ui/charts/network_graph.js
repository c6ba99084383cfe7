// A network as SVG: dragged, zoomed, walked through by keys. Names of layers are strangers': they become text alone.

const SVG = "http://www.w3.org/2000/svg"
const SMALLEST = 0.05, LARGEST = 3, READABLE = 0.85, EDGE = 12
const STEP = 1.25
const CLICK_PX = 4 // a pointer that moves less has not dragged

const places = new WeakMap()

function drawn(name, parent, attributes = {}, text) {
  const element = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  if (text !== undefined) element.textContent = text
  parent.append(element)
  return element
}

// Through the points from above to below: straight down where x stays, else in a curve that leaves and arrives upright.
function path(points) {
  let text = `M${points[0]} ${points[1]}`
  for (let i = 2; i < points.length; i += 2) {
    const [ax, ay, bx, by] = points.slice(i - 2, i + 2)
    const middle = (ay + by) / 2
    text += ax === bx ? `V${by}` : `C${ax} ${middle} ${bx} ${middle} ${bx} ${by}`
  }
  return text
}

function node(parent, each) {
  const kinds = ["net-node", `net-${each.kind}`, each.level === null ? "" : "net-painted", each.chosen ? "net-chosen" : "",
    each.own ? "net-own" : ""].filter(Boolean)
  const group = drawn("g", parent, { class: kinds.join(" "), transform: `translate(${each.x} ${each.y})`, tabindex: -1,
    role: each.kind === "operator" ? "img" : "button", "aria-label": each.told })
  if (each.level !== null) group.style.setProperty("--level", each.level)
  group.dataset.id = each.id
  if (each.kind === "open" || each.kind === "block") group.setAttribute("aria-expanded", each.kind === "open")
  if (each.kind === "layer") group.setAttribute("aria-pressed", each.chosen)
  const size = { width: each.w, height: each.h, rx: 7 }
  if (each.kind === "block") drawn("rect", group, { class: "net-behind", ...size, x: 4, y: 4 })
  drawn("rect", group, { class: "net-box", ...size })
  if (each.kind === "open") drawn("rect", group, { class: "net-head", width: each.w, height: 22, rx: 7 })
  drawn("title", group, {}, each.told)
  const first = each.kind === "layer" || each.kind === "block" ? 17 : 16.5
  drawn("text", group, { class: "net-label", x: 9, y: first }, each.label)
  if (each.kind === "open" || each.kind === "block") {
    drawn("text", group, { class: "net-sign", x: each.w - 9, y: first }, each.kind === "open" ? "−" : "+")
  }
  const below = each.kind === "layer" || each.kind === "block" ? 34 : 17
  if (each.kind !== "open") {
    drawn("text", group, { class: "net-detail", x: 9, y: below }, each.detail)
    drawn("text", group, { class: "net-value", x: each.w - 9, y: below }, each.value)
  }
  return group
}

function show(view) { view.all.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`) }

// Sides of one shape move together.
function together(state, view) {
  const alike = (other) => other.data.width === view.data.width && other.data.height === view.data.height
  return state.views.filter((other) => other === view || alike(other))
}

// `moved` is one that the user has moved: it is not fitted again.
function move(state, view, { k, x, y }, moved = true) {
  for (const each of together(state, view)) {
    Object.assign(each, { k, x, y, moved: moved || each.moved })
    show(each)
  }
}

function zoom(state, view, factor, at) {
  const box = view.svg.getBoundingClientRect()
  const [px, py] = at ? [at.clientX - box.left, at.clientY - box.top] : [box.width / 2, box.height / 2]
  const k = Math.min(Math.max(view.k * factor, SMALLEST), LARGEST)
  move(state, view, { k, x: px - (px - view.x) * k / view.k, y: py - (py - view.y) * k / view.k })
}

function zoomAll(state, factor) {
  const done = new Set()
  for (const view of state.views) {
    if (done.has(view)) continue
    for (const other of together(state, view)) done.add(other)
    zoom(state, view, factor)
  }
}

// All of it where that can be read, or else from the top at a size that can.
function fit(view, whole) {
  const { clientWidth: width, clientHeight: height } = view.svg
  if (!width) return
  const { width: w, height: h } = view.data
  const most = Math.min(1.15, (width - 2 * EDGE) / w, (height - 2 * EDGE) / h)
  const k = Math.max(whole ? most : Math.max(most, Math.min(READABLE, (width - 2 * EDGE) / w)), SMALLEST)
  Object.assign(view, { k, x: Math.max((width - w * k) / 2, EDGE), y: Math.max((height - h * k) / 2, EDGE), moved: false })
  show(view)
}

function spot(view, each) {
  return { left: view.x + each.x * view.k, top: view.y + each.y * view.k, right: view.x + (each.x + each.w) * view.k,
    bottom: view.y + (each.y + Math.min(each.h, 60)) * view.k }
}

function reveal(state, view, each, moved = true) {
  const { clientWidth: width, clientHeight: height } = view.svg
  const at = spot(view, each)
  const by = (low, high, room) => (low < EDGE ? EDGE - low : high > room - EDGE ? room - EDGE - high : 0)
  const dx = by(at.left, at.right, width), dy = by(at.top, at.bottom, height)
  if (dx || dy) move(state, view, { k: view.k, x: view.x + dx, y: view.y + dy }, moved)
}

function focusOn(state, view, each) {
  for (const group of view.groups.values()) group.setAttribute("tabindex", -1)
  const group = view.groups.get(each.id)
  group.setAttribute("tabindex", 0)
  reveal(state, view, each)
  group.focus({ preventScroll: true })
}

const WAYS = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowRight: [1, 0], ArrowLeft: [-1, 0] }

// The nearest other part in a direction, by the upper middles of their boxes; what lies aside counts double.
function nearest(view, from, [dx, dy]) {
  const middle = (each) => [each.x + each.w / 2, each.y]
  const [x, y] = middle(from)
  let best, least = Infinity
  for (const each of view.data.nodes) {
    const [ox, oy] = middle(each)
    const along = (ox - x) * dx + (oy - y) * dy, aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx)
    if (each !== from && along > 1 && along + 2 * aside < least) [best, least] = [each, along + 2 * aside]
  }
  return best
}

function act(state, view, each) {
  if (each.kind === "operator") return
  if (each.kind !== "layer") {
    state.anchor = { side: view.data.side, id: each.id, x: view.x + each.x * view.k, y: view.y + each.y * view.k }
  }
  state.focus = { side: view.data.side, id: each.id }
  state.send(each.kind === "layer" ? "picked" : "toggled", { side: view.data.side, id: each.id })
}

function key(state, view, event) {
  const each = view.data.nodes.find(({ id }) => id === event.target.dataset?.id)
  if (event.ctrlKey || event.metaKey || event.altKey) return
  if (event.key === "+" || event.key === "=") zoom(state, view, STEP)
  else if (event.key === "-") zoom(state, view, 1 / STEP)
  else if (event.key === "0") state.views.forEach((other) => fit(other, true))
  else if (each && (event.key === "Enter" || event.key === " ")) act(state, view, each)
  else if (each && WAYS[event.key]) {
    const next = nearest(view, each, WAYS[event.key])
    if (next) focusOn(state, view, next)
  } else return
  event.preventDefault()
}

function drags(state, view) {
  const held = new Map()
  let dragged = false
  const { svg } = view
  svg.onpointerdown = (event) => {
    if (event.button) return
    held.set(event.pointerId, event)
    dragged = false
    state.anchor = undefined
  }
  svg.onpointermove = (event) => {
    const before = held.get(event.pointerId)
    if (!before) return
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY
    if (!dragged && Math.hypot(dx, dy) < CLICK_PX) return
    if (!dragged) svg.setPointerCapture(event.pointerId)
    dragged = true
    const other = [...held.values()].find(({ pointerId }) => pointerId !== event.pointerId)
    held.set(event.pointerId, event)
    if (other) {
      const apart = (point) => Math.hypot(point.clientX - other.clientX, point.clientY - other.clientY)
      return zoom(state, view, apart(event) / Math.max(apart(before), 1), other)
    }
    move(state, view, { k: view.k, x: view.x + dx, y: view.y + dy })
  }
  svg.onpointerup = svg.onpointercancel = (event) => { held.delete(event.pointerId) }
  svg.onclick = (event) => {
    const id = event.target.closest("[data-id]")?.dataset.id
    const each = view.data.nodes.find((known) => known.id === id)
    if (each && !dragged) act(state, view, each)
  }
  svg.onkeydown = (event) => key(state, view, event)
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !svg.contains(document.activeElement)) return // the page scrolls
    event.preventDefault()
    zoom(state, view, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event)
  }, { passive: false })
}

function side(state, parent) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption")
  figure.className = "net-side"
  figure.append(caption)
  parent.append(figure)
  const svg = drawn("svg", figure, { class: "net-view", role: "group" })
  const view = { svg, caption, all: drawn("g", svg), k: 1, x: 0, y: 0, moved: false, groups: new Map() }
  drags(state, view)
  view.observer = new ResizeObserver(() => { if (!view.moved && view.data) { fit(view); look(state, view) } })
  view.observer.observe(svg)
  return view
}

// Brings the chosen layer into sight.
function look(state, view) {
  const chosen = view.data.nodes.find((each) => each.chosen)
  if (chosen) reveal(state, view, chosen, false)
  view.chosen = chosen?.id
}

function fill(state, view, data) {
  view.data = data
  view.caption.textContent = data.title
  view.svg.setAttribute("aria-label",
    `${data.title}: ${state.words.about}`)
  view.all.replaceChildren()
  const open = data.nodes.filter((each) => each.kind === "open"), others = data.nodes.filter((each) => each.kind !== "open")
  view.groups = new Map(open.map((each) => [each.id, node(view.all, each)]))
  for (const line of data.lines) drawn("path", view.all, { class: "net-line", d: path(line) })
  for (const each of others) view.groups.set(each.id, node(view.all, each))
  const first = data.nodes.find((each) => each.chosen) ?? data.nodes[0]
  if (first) view.groups.get(first.id).setAttribute("tabindex", 0)
}

// What was clicked stays where it was on the screen, on its side, and on the other one at the same height.
function hold(state, { side: clicked, id, x, y }) {
  const same = ({ data }) => data.nodes.find((each) => each.id === id)
  const here = state.views.find(({ data }) => data.side === clicked)
  if (!here || !same(here)) return
  for (const view of state.views) {
    const each = same(view)
    if (each) move(state, view, { k: here.k, x: x - each.x * here.k, y: y - each.y * here.k })
  }
}

// Where the focus lies in the picture: its side and its part; nowhere where it is on something else of the page.
function focused(state) {
  const element = document.activeElement, view = state.views.find(({ svg }) => svg.contains(element))
  return view && { side: view.data.side, id: element.closest("[data-id]")?.dataset.id }
}

// The part that has the focus now: the same one, the least that it is a part of, or the chosen one.
function heir(view, id) {
  const [first, end] = id?.split("-").map(Number) ?? []
  const around = view.data.nodes.filter((each) => {
    const [from, to] = each.id.split("-").map(Number)
    return from <= first && end <= to
  })
  const length = ({ id: known }) => known.split("-").reduce((from, to) => to - from)
  return view.data.nodes.find((each) => each.id === id) ?? around.sort((a, b) => length(a) - length(b))[0]
    ?? view.data.nodes.find((each) => each.chosen)
}

function update(state, data) {
  state.words = data.words
  for (const [name, text] of [["out", data.words.out], ["in", data.words.in], ["fit", data.words.all]]) {
    const button = state.parent.querySelector(`.net-${name}`)
    button.title = text
    if (name === "fit") button.textContent = data.words.fit
    else button.setAttribute("aria-label", text)
  }
  const nobody = document.activeElement === null || document.activeElement === document.body
  const focus = focused(state) ?? (nobody ? state.focus : undefined)
  const parent = state.parent.querySelector(".net-sides")
  while (state.views.length < data.sides.length) state.views.push(side(state, parent))
  for (const gone of state.views.splice(data.sides.length)) {
    gone.observer.disconnect()
    gone.svg.parentElement.remove()
  }
  data.sides.forEach((each, i) => fill(state, state.views[i], each))
  state.parent.querySelector(".net-low").textContent = data.low
  state.parent.querySelector(".net-high").textContent = data.high
  if (state.anchor) hold(state, state.anchor)
  else for (const view of state.views) if (!view.moved) fit(view)
  state.anchor = undefined
  for (const view of state.views) {
    if (view.chosen !== view.data.nodes.find((each) => each.chosen)?.id) look(state, view)
  }
  const view = focus && (state.views.find(({ data: known }) => known.side === focus.side) ?? state.views[0])
  const next = view && heir(view, focus.id)
  if (next) focusOn(state, view, next)
  state.focus = undefined
}

function made(parent) {
  const state = { parent, views: [] }
  const press = (name, act) => { parent.querySelector(name).onclick = act }
  press(".net-in", () => zoomAll(state, STEP))
  press(".net-out", () => zoomAll(state, 1 / STEP))
  press(".net-fit", () => state.views.forEach((view) => fit(view, true)))
  return state
}

export default function ({ data, parentElement, setTriggerValue }) {
  if (!places.has(parentElement)) places.set(parentElement, made(parentElement))
  const state = places.get(parentElement), text = JSON.stringify(data)
  state.send = setTriggerValue
  if (state.text !== text) {
    state.text = text
    update(state, data)
  }
  return () => {}
}
