// A card that points at one part of the page after another. It covers nothing else and takes no focus by itself.

const SEEN = "compression-lab-tour"
const LOOK_MS = 300 // the page is still being drawn, and parts of it move
const GAP = 12

let dismissed = false // where the browser keeps nothing, for as long as the page is open

function seen() {
  try { return dismissed || localStorage.getItem(SEEN) !== null } catch { return dismissed }
}

function remember() {
  dismissed = true
  try { localStorage.setItem(SEEN, "1") } catch { /* then until the page is closed */ }
}

function button(label, name, press) {
  const made = document.createElement("button")
  made.type = "button"
  made.textContent = label
  made.className = `tour-${name}`
  made.onclick = press
  return made
}

function said(tag, text) {
  const made = document.createElement(tag)
  made.textContent = text
  return made
}

// Beside what it points at, where there is room; else over its lower end. Always inside the window.
function place(card, ring, selector) {
  const target = document.querySelector(selector)?.getBoundingClientRect()
  const [wide, high] = [window.innerWidth, window.innerHeight]
  const shown = target && target.width > 0 && target.right > 0 && target.bottom > 0 && target.top < high
  ring.hidden = !shown
  const within = (at, size, end) => Math.max(GAP, Math.min(at, end - size - GAP))
  let [left, top] = [wide - card.offsetWidth - GAP, high - card.offsetHeight - GAP]
  if (shown) {
    const [from, to] = [Math.max(target.top, 2), Math.min(target.bottom, high - 2)]
    Object.assign(ring.style, { left: `${Math.max(target.left, 2)}px`, top: `${from}px`,
      width: `${Math.min(target.right, wide - 2) - Math.max(target.left, 2)}px`, height: `${to - from}px` })
    if (target.right + card.offsetWidth + 2 * GAP < wide) [left, top] = [target.right + GAP, from + GAP]
    else if (to + card.offsetHeight + 2 * GAP < high) [left, top] = [target.left, to + GAP]
    else if (from - card.offsetHeight - 2 * GAP > 0) [left, top] = [target.left, from - card.offsetHeight - GAP]
  }
  card.style.left = `${within(left, card.offsetWidth, wide)}px`
  card.style.top = `${within(top, card.offsetHeight, high)}px`
}

function open({ steps, words }, opener) {
  const [card, ring] = [document.createElement("section"), document.createElement("div")]
  const style = getComputedStyle(document.querySelector("[data-testid=stApp]"))
  Object.assign(card.style, { background: style.backgroundColor, color: style.color, fontFamily: style.fontFamily })
  card.className = "tour-card"
  ring.className = "tour-ring"
  card.setAttribute("role", "dialog")
  card.setAttribute("aria-label", words.open)
  card.setAttribute("aria-live", "polite")
  let at = 0
  const put = () => place(card, ring, steps[at].at)
  const timer = setInterval(put, LOOK_MS)
  const onKey = (event) => { if (event.key === "Escape") end() }
  const close = () => {
    clearInterval(timer)
    for (const event of ["resize", "scroll"]) window.removeEventListener(event, put, true)
    document.removeEventListener("keydown", onKey)
    card.remove()
    ring.remove()
  }
  function end() {
    const held = card.contains(document.activeElement)
    remember()
    close()
    if (held) opener.focus()
  }
  function show(number, focus) {
    at = number
    const last = at === steps.length - 1
    const row = document.createElement("div")
    row.append(said("span", words.at.replace("{number}", at + 1).replace("{steps}", steps.length)))
    if (!last) row.append(button(words.skip, "skip", end))
    if (at) row.append(button(words.back, "back", () => show(at - 1, true)))
    row.append(button(last ? words.done : words.next, "next", () => (last ? end() : show(at + 1, true))))
    card.replaceChildren(said("h4", steps[at].title), said("p", steps[at].text), row)
    put()
    if (focus) row.lastChild.focus()
  }
  document.body.append(ring, card)
  for (const event of ["resize", "scroll"]) window.addEventListener(event, put, true)
  document.addEventListener("keydown", onKey)
  show(0, false)
  return close
}

const cards = new WeakMap() // the card that is open; the page is drawn anew beneath it

export default function ({ data, parentElement }) {
  const opener = parentElement.querySelector(".tour-open")
  opener.textContent = data.words.open
  const start = () => {
    cards.get(parentElement)?.()
    cards.set(parentElement, open(data, opener))
  }
  opener.onclick = start
  if (!seen() && !cards.has(parentElement)) start()
  return () => {
    cards.get(parentElement)?.()
    cards.delete(parentElement)
  }
}
