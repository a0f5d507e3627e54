// Elements with text: what a dataset says becomes text nodes alone, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element; `on` has handlers, `style` properties, `data` data attributes. */
export function make(tag, { on = {}, style = {}, data = {}, ...attributes } = {}, ...children) {
  const svg = ["svg", "path", "rect", "g", "polygon", "title", "image", "text"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  for (const [name, handler] of Object.entries(on)) element.addEventListener(name, handler);
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
  for (const [name, value] of Object.entries(data)) element.dataset[name] = value;
  element.append(...children.flat().filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

/** Show what goes on, also to screen readers; empty text hides it. */
export function tell(text) {
  document.getElementById("status").textContent = text;
}
