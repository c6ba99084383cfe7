// Runs the fp32 file and the compressed one in this browser, side by side: on test images, a dropped picture, the
// camera. Class names and titles are data: they become text, never markup.

const WARM_UP_MS = 500  // browsers first interpret WebAssembly, and make code of it while it runs
const LEAST = 20, MOST = 400, SECONDS = 2
const CLEAR_MS = 2  // browsers round their clocks, to a millisecond at worst: so long are runs timed together
const LUMA = [19595, 38470, 7471]
const places = new WeakMap()

let runtime

function library(data) {
  runtime ??= import(new URL(data.library, document.baseURI).href).then((ort) => {
    ort.env.wasm.numThreads = 1
    ort.env.wasm.wasmPaths = { wasm: new URL(data.wasm, document.baseURI).href }
    return ort
  }).catch((error) => { runtime = undefined; throw error })
  return runtime
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
const pause = () => new Promise((done) => setTimeout(done))
const median = (values) => quantile(values, 0.5)

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b), at = share * (sorted.length - 1), low = Math.floor(at)
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low])
}

function medianInterval(values) {
  const sorted = [...values].sort((a, b) => a - b), n = sorted.length, half = 1.96 * Math.sqrt(n) / 2
  return [sorted[Math.max(Math.floor(n / 2 - half), 0)], sorted[Math.min(Math.ceil(n / 2 + half), n - 1)]]
}

async function opened(ort, file) {
  const began = performance.now()
  const session = await ort.InferenceSession.create(bytes(file), { executionProviders: ["wasm"] })
  const size = session.inputMetadata?.[0]?.shape?.[0]
  return { session, batch: typeof size === "number" && size > 0 ? size : 1, loadMs: performance.now() - began }
}

// What both files take: float32 [batch, C, H, W] of one image's pixels, uint8 [C, H, W].
function tensor(ort, state, pixels, batch) {
  const [channels, height, width] = state.shape, size = height * width, one = channels * size
  const values = new Float32Array(batch * one)
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < size; i++) values[c * size + i] = state.table[256 * c + pixels[c * size + i]]
  for (let b = 1; b < batch; b++) values.copyWithin(b * one, 0, one)
  return new ort.Tensor("float32", values, [batch, channels, height, width])
}

async function run(file, input) {
  return (await file.session.run({ [file.session.inputNames[0]]: input }))[file.session.outputNames[0]]
}

// The class with the highest score and its softmax; class -1 where scores name none.
function decided(scores, classes) {
  const values = Array.from(scores.data.slice(0, classes), Number)
  const named = values.reduce((best, value, i) => Number.isNaN(value) || value > values[best] ? i : best, 0)
  if (!Number.isFinite(values[named])) return { named: -1, confidence: 0 }
  return { named, confidence: 1 / values.reduce((sum, value) => sum + Math.exp(value - values[named]), 0) }
}

async function answer(state, pixels) {
  const found = []
  for (const file of state.files) {
    const input = tensor(state.ort, state, pixels, file.batch)
    const began = performance.now()
    const scores = await run(file, input)
    found.push({ ...decided(scores, state.classes.length), ms: performance.now() - began })
  }
  return found
}

// A message in the visitor's language, with values in the places that it names.
function word(state, message, values = {}) {
  return (state.words?.[message] ?? message).replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place)
}

function show(state, pixels, found, label) {
  const [channels, height, width] = state.shape, size = height * width
  const picture = new ImageData(width, height)
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = pixels[Math.min(c, channels - 1) * size + i]
    picture.data[4 * i + 3] = 255
  }
  state.canvas.width = width
  state.canvas.height = height
  state.canvas.getContext("2d").putImageData(picture, 0, 0)
  state.label.textContent = label
  found.forEach(({ named, confidence, ms }, side) => {
    const [name, share, took] = state.sides[side]
    name.textContent = named < 0 ? word(state, "no class") : state.classes[named]
    share.textContent = `${(100 * confidence).toFixed(1)}%`
    took.textContent = `${ms.toFixed(ms < 10 ? 2 : 0)} ms`
  })
  const apart = found[0].named !== found[1].named
  state.sides[1][0].classList.toggle("probe-apart", apart)
}

const test = (state, number) => {
  const one = state.shape[0] * state.shape[1] * state.shape[2]
  return state.pixels.subarray(number * one, (number + 1) * one)
}

async function step(state, by) {
  stop(state)
  state.at = (state.at + by + state.images) % state.images
  const pixels = test(state, state.at), truth = state.labels ? state.classes[state.labels[state.at]] : word(state, "no label")
  show(state, pixels, await answer(state, pixels), 
    word(state, "Test image {number} of {images}: {truth}", { number: state.at + 1, images: state.images, truth }))
}

// The middle of a picture, as large as the networks take it: uint8 [C, H, W].
function cropped(state, source, sourceWidth, sourceHeight) {
  const [channels, height, width] = state.shape, size = height * width
  const scale = Math.min(sourceWidth / width, sourceHeight / height)
  const [w, h] = [width * scale, height * scale]
  const canvas = new OffscreenCanvas(width, height), draw = canvas.getContext("2d", { willReadFrequently: true })
  draw.imageSmoothingQuality = "high"
  draw.drawImage(source, (sourceWidth - w) / 2, (sourceHeight - h) / 2, w, h, 0, 0, width, height)
  const rgba = draw.getImageData(0, 0, width, height).data, pixels = new Uint8Array(channels * size)
  for (let i = 0; i < size; i++) {
    const rgb = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]]
    if (channels === 1) pixels[i] = (rgb.reduce((sum, v, c) => sum + LUMA[c] * v, 32768)) >> 16
    else rgb.forEach((v, c) => { pixels[c * size + i] = v })
  }
  return pixels
}

async function dropped(state, file) {
  stop(state)
  let picture
  try { picture = await createImageBitmap(file) } catch {
    return tell(state, word(state, "This browser cannot read the file as an image."))
  }
  const pixels = cropped(state, picture, picture.width, picture.height)
  picture.close()
  show(state, pixels, await answer(state, pixels), 
    word(state, "Your picture (centre crop); it does not leave this browser"))
}

async function camera(state) {
  if (state.stream) return stop(state)
  if (!navigator.mediaDevices) {
    return tell(state, word(state, "The camera needs https or localhost. Drop a picture instead."))
  }
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } })
  } catch (error) { return tell(state, word(state, "The camera could not be opened: {name}.", { name: error.name })) }
  const video = document.createElement("video")
  Object.assign(video, { muted: true, playsInline: true, srcObject: state.stream })
  await video.play()
  state.buttons.camera.textContent = word(state, "Stop the camera")
  while (state.stream && state.canvas.isConnected) {
    const pixels = cropped(state, video, video.videoWidth, video.videoHeight)
    show(state, pixels, await answer(state, pixels), 
      word(state, "Camera image; it does not leave this browser"))
    await new Promise(requestAnimationFrame)
  }
  stop(state)
}

function stop(state) {
  state.stream?.getTracks().forEach((track) => track.stop())
  state.stream = undefined
  state.buttons.camera.textContent = word(state, "Camera")
}

const tell = (state, text) => { state.note.textContent = text }

// Milliseconds for one run: of as many as the clock needs to tell them from none.
async function timed(file, input) {
  const began = performance.now()
  for (let runs = 1; ; runs++) {
    await run(file, input)
    const took = performance.now() - began
    if (took >= CLEAR_MS) return took / runs
  }
}

// Milliseconds for one image of `ours`, in turns with the fp32 file.
async function pace(state, ours) {
  const theirs = state.files[0], pixels = test(state, 0)
  const [a, b] = [ours, theirs].map((file) => tensor(state.ort, state, pixels, file.batch))
  let warmUp = 0
  for (const began = performance.now(); warmUp < 2 || (warmUp < 9999 && performance.now() - began < WARM_UP_MS); warmUp++) {
    await run(ours, a)
    await run(theirs, b)
  }
  const first = [], second = [], end = performance.now() + 1000 * SECONDS
  while (first.length < MOST && (first.length < LEAST || performance.now() < end)) {
    first.push(await timed(ours, a))
    second.push(await timed(theirs, b))
    if (first.length % 10 === 0) await pause()
  }
  const ratio = first.map((ms, i) => ms / second[i]), [low, high] = medianInterval(ratio)
  const half = Math.floor(second.length / 2), halves = [median(second.slice(0, half)), median(second.slice(half))]
  return {
    threads: 1, pairs: first.length, warm_up: warmUp, batch: ours.batch,
    p50_ms: median(first), p90_ms: quantile(first, 0.9), p95_ms: quantile(first, 0.95), p99_ms: quantile(first, 0.99),
    baseline_p50_ms: median(second), ratio: median(ratio), ratio_low: low, ratio_high: high,
    drift: Math.abs(halves[0] - halves[1]) / Math.min(...halves),
  }
}

async function answers(state, file) {
  const classes = [], confidences = []
  for (let i = 0; i < state.images; i++) {
    const scores = await run(file, tensor(state.ort, state, test(state, i), file.batch))
    const { named, confidence } = decided(scores, state.classes.length)
    if (named < 0) throw new Error("The file gives NaN or infinite scores for an image.")
    classes.push(named)
    confidences.push(Math.round(1e4 * confidence) / 1e4)
    if (i % 20 === 0) {
      tell(state, word(state, "Classifying image {number} of {images} …", { number: i + 1, images: state.images }))
      await pause()
    }
  }
  return { classes, confidences }
}

async function saturates(state, file) {
  try {
    const { session } = await opened(state.ort, file)
    const codes = new state.ort.Tensor("uint8", new Uint8Array(64).fill(255), [1, 64])
    return (await session.run({ codes })).sums.data.some((sum) => sum !== 64 * 255 * 127)
  } catch { return null }
}

function browserName() {
  const known = navigator.userAgentData?.brands?.find(({ brand }) => !/Not|Chromium/.test(brand))
    ?? navigator.userAgentData?.brands?.find(({ brand }) => brand === "Chromium")
  if (known) return `${known.brand} ${known.version}`
  const found = /(Firefox|Edg|Chrome|Version)\/(\d+)/.exec(navigator.userAgent)
  return found ? `${found[1] === "Version" ? "Safari" : found[1]} ${found[2]}` : "A browser"
}

const systemName = () => navigator.userAgentData?.platform
  || /(Android|iPhone|iPad|Windows|Mac OS|Linux)/.exec(navigator.userAgent)?.[1] || "unknown system"

function ownId() {
  const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(6)), (b) => b.toString(16).padStart(2, "0")).join("")
  try {
    const known = localStorage.getItem("compression-lab-browser")
    if (/^[0-9a-f]{12}$/.test(known ?? "")) return known
    const made = fresh()
    localStorage.setItem("compression-lab-browser", made)
    return made
  } catch { return fresh() }
}

async function measure(state, data, send) {
  stop(state)
  Object.values(state.buttons).forEach((button) => { button.disabled = true })
  const files = []
  for (const [side, file] of state.files.entries()) {
    const found = { sha256: data.hashes[side], latency: [], classes: [], confidences: [] }
    try {
      Object.assign(found, await answers(state, file))
      tell(state, word(state, "Timing the {title} file …", { title: data.titles[side] }))
      found.latency.push(await pace(state, file))
    } catch (error) { found.error = String(error.message ?? error).slice(0, 500) }
    files.push(found)
  }
  const machine = {
    kind: "browser", id: ownId(), cpu: `${browserName()} on ${systemName()}`.slice(0, 80),
    cores: navigator.hardwareConcurrency || 1, system: `${systemName()} WebAssembly`.slice(0, 80),
    onnxruntime: `web ${data.version}`, saturates: await saturates(state, data.saturation),
  }
  send(JSON.stringify({
    format: "compression-lab probe report", version: 1, data_fingerprint: data.fingerprint, n_test: data.n_test,
    images: state.images, machine, files,
  }))
  const took = files.map((file) => file.latency[0]?.p50_ms)
  const same = files[0].classes.length && files[1].classes.length
    ? files[0].classes.filter((named, i) => named === files[1].classes[i]).length : 0
  tell(state, took.every(Boolean)
    ? word(state, "fp32 {before} ms, compressed {after} ms per image on one thread; equal predictions on {same} of "
      + "{images} images. Load times: {loaded} ms.", {
      before: took[0].toFixed(3), after: took[1].toFixed(3), same, images: state.images,
      loaded: state.files.map((f) => f.loadMs.toFixed(0)).join(" / "),
    })
    : files.map((file) => file.error ?? "").join(" "))
  Object.values(state.buttons).forEach((button) => { button.disabled = false })
}

function translate(state, parent, words) {
  state.words = words
  for (const each of parent.querySelectorAll("[data-word]")) {
    each.dataset.word ||= each.textContent
    each.textContent = words[each.dataset.word] ?? each.dataset.word
  }
}

function made(parent) {
  const find = (name) => parent.querySelector(`.probe-${name}`)
  return {
    canvas: find("image"), label: find("label"), note: find("note"), drop: find("drop"), file: find("file"), at: 0,
    sides: [...parent.querySelectorAll(".probe-side")].map((side) => ["class", "share", "ms"].map(
      (name) => side.querySelector(`.probe-${name}`))),
    titles: [...parent.querySelectorAll(".probe-title")],
    buttons: Object.fromEntries(["back", "next", "camera", "measure"].map((name) => [name, find(name)])),
  }
}

async function begin(state, data, send) {
  Object.values(state.buttons).forEach((button) => { button.disabled = true })
  tell(state, word(state, "Loading ONNX Runtime and both files …"))
  Object.assign(state, {
    shape: data.shape, classes: data.classes, labels: data.labels, images: data.images, pixels: bytes(data.pixels),
    table: new Float32Array(bytes(data.table).buffer),
  })
  state.titles.forEach((title, side) => { title.textContent = data.titles[side] })
  try {
    state.ort = await library(data)
    state.files = [await opened(state.ort, data.files[0]), await opened(state.ort, data.files[1])]
  } catch (error) {
    return tell(state, word(state, "This browser cannot run the files: {error}", {
      error: String(error.message ?? error).slice(0, 300),
    }))
  }
  const on = (task) => () => task().catch((error) => tell(state, String(error.message ?? error).slice(0, 300)))
  state.buttons.back.onclick = on(() => step(state, -1))
  state.buttons.next.onclick = on(() => step(state, 1))
  state.buttons.camera.onclick = on(() => camera(state))
  state.buttons.measure.onclick = on(() => measure(state, data, send))
  state.file.onchange = () => state.file.files[0] && on(() => dropped(state, state.file.files[0]))()
  state.drop.ondragover = (event) => event.preventDefault()
  state.drop.ondrop = (event) => {
    event.preventDefault()
    if (event.dataTransfer.files[0]) on(() => dropped(state, event.dataTransfer.files[0]))()
  }
  Object.values(state.buttons).forEach((button) => { button.disabled = false })
  tell(state, word(state, "Ready."))
  await step(state, 0)
}

export default function ({ data, parentElement, setTriggerValue }) {
  const known = places.get(parentElement), identity = data.hashes.join()
  translate(known ?? {}, parentElement, data.words)
  if (known?.identity === identity) return () => {}
  const state = { ...made(parentElement), identity, words: data.words }
  places.set(parentElement, state)
  begin(state, data, (report) => setTriggerValue("report", report))
  return () => stop(state)
}
