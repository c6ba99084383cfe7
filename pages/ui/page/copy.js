// Copies the text that stands below the button; the clipboard is closed to pages that are not served securely.

const SHOWN_MS = 2000

async function copied(area) {
  try {
    await navigator.clipboard.writeText(area.value)
    return true
  } catch {
    area.focus()
    area.select()
    return document.execCommand("copy")
  }
}

export default function ({ data, parentElement }) {
  const button = parentElement.querySelector(".copy")
  const area = parentElement.querySelector(".copied")
  button.textContent = data.label
  area.value = data.text
  area.setAttribute("aria-label", data.label)
  button.onclick = async () => {
    button.textContent = (await copied(area)) ? data.copied : data.press
    setTimeout(() => { button.textContent = data.label }, SHOWN_MS)
  }
}
