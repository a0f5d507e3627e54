// Draws an image with regions, and lets one box be moved. Coordinates are pixels of the image.

const SVG = "http://www.w3.org/2000/svg";
const CONTEXT = 0.6; // of the longer side of a region, around it

function element(parent, name, attributes, className) {
  const one = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  if (className) one.setAttribute("class", className);
  parent.append(one);
  return one;
}

function rectangle(parent, [x0, y0, x1, y1], className) {
  const size = { x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0) };
  return element(parent, "rect", size, className);
}

// The pixels of a mask, given by run lengths of off and on, column by column.
function maskPath(runs, height) {
  const parts = [];
  let start = 0;
  runs.forEach((length, index) => {
    for (let at = start; index % 2 && at < start + length; ) {
      const y = at % height;
      const run = Math.min(height - y, start + length - at);
      parts.push(`M${Math.floor(at / height)} ${y}h1v${run}h-1z`);
      at += run;
    }
    start += length;
  });
  return parts.join("");
}

export function region(parent, shown, height, className = "region") {
  if (shown.mask.length) element(parent, "path", { d: maskPath(shown.mask, height) }, "mask");
  if (shown.quad.length) {
    const points = shown.quad.join(" ");
    if (className === "region") element(parent, "polygon", { points }, "halo");
    element(parent, "polygon", { points }, className);
  } else if (shown.box_xyxy.length) {
    if (className === "region") rectangle(parent, shown.box_xyxy, "halo");
    rectangle(parent, shown.box_xyxy, className);
  }
}

// The words of a region at its top left corner, as large on the screen as the text around.
function words(svg, parent, shown) {
  const name = shown.label || shown.text;
  if (!name || !shown.box_xyxy.length) return;
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const size = svg.getBoundingClientRect();
  const pixel = 1 / Math.min(size.width / width, size.height / height);
  const [x, y] = shown.box_xyxy;
  const one = element(parent, "text", { x: x + 3 * pixel, y: y + 13 * pixel, "font-size": 12 * pixel, "stroke-width": 3 * pixel });
  one.textContent = name.length > 40 ? `${name.slice(0, 40)}…` : name;
}

export class View {
  constructor(svg) {
    this.svg = svg;
    this.onBox = null; // called with a box that was drawn
    this.box = null; // the box that can be moved
    this.drag = null;
    svg.addEventListener("pointerdown", (event) => this.press(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => this.release());
  }

  show(question, box) {
    const { width, height } = question;
    this.size = [width, height];
    this.box = null;
    this.canDraw = false;
    this.svg.replaceChildren();
    const href = `/audit/api/image?key=${encodeURIComponent(question.key)}`;
    element(this.svg, "image", { href, width, height });
    this.regions = element(this.svg, "g", {});
    this.editor = element(this.svg, "g", {});
    this.svg.setAttribute("viewBox", (box ? this.around(box) : [0, 0, width, height]).join(" "));
  }

  around([x0, y0, x1, y1]) {
    const [width, height] = this.size;
    const margin = Math.max(CONTEXT * Math.max(x1 - x0, y1 - y0), 0.08 * Math.max(width, height));
    const left = Math.max(x0 - margin, 0);
    const top = Math.max(y0 - margin, 0);
    return [left, top, Math.min(x1 + margin, width) - left, Math.min(y1 + margin, height) - top];
  }

  name(shown) {
    words(this.svg, this.regions, shown);
  }

  edit(box) {
    this.box = box && [...box];
    this.drawEditor();
  }

  // Move the box, or with `isResized` its right and bottom sides.
  nudge(dx, dy, isResized) {
    if (!this.box) return;
    const [x0, y0, x1, y1] = this.box;
    this.set(isResized ? [x0, y0, x1 + dx, y1 + dy] : this.shifted([x0, y0, x1, y1], dx, dy));
  }

  shifted([x0, y0, x1, y1], dx, dy) {
    const [width, height] = this.size;
    const x = Math.min(Math.max(dx, -x0), width - x1);
    const y = Math.min(Math.max(dy, -y0), height - y1);
    return [x0 + x, y0 + y, x1 + x, y1 + y];
  }

  set([x0, y0, x1, y1]) {
    const [width, height] = this.size;
    const inside = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 100) / 100;
    const box = [inside(Math.min(x0, x1), width), inside(Math.min(y0, y1), height),
      inside(Math.max(x0, x1), width), inside(Math.max(y0, y1), height)];
    if (box[2] - box[0] < 1 || box[3] - box[1] < 1) return;
    this.box = box;
    this.drawEditor();
  }

  drawEditor() {
    this.editor.replaceChildren();
    if (!this.box) return;
    rectangle(this.editor, this.box, "halo");
    rectangle(this.editor, this.box, "region ours");
    rectangle(this.editor, this.box, "grip").dataset.part = "all";
    const [, , width, height] = this.svg.getAttribute("viewBox").split(" ").map(Number);
    const shown = this.svg.getBoundingClientRect();
    const r = 7 / Math.min(shown.width / width, shown.height / height);
    for (const x of [0, 2]) {
      for (const y of [1, 3]) {
        const corner = element(this.editor, "circle", { cx: this.box[x], cy: this.box[y], r }, "handle");
        corner.dataset.part = `${x}${y}`;
      }
    }
  }

  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = point.matrixTransform(this.svg.getScreenCTM().inverse());
    return [x, y];
  }

  press(event) {
    const part = event.target.dataset ? event.target.dataset.part : undefined;
    if (!part && !this.canDraw) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.drag = { part: part || "new", from: this.at(event), box: this.box && [...this.box] };
  }

  move(event) {
    if (!this.drag) return;
    const [x, y] = this.at(event);
    const { part, from, box } = this.drag;
    if (part === "new") this.set([from[0], from[1], x, y]);
    else if (part === "all") this.set(this.shifted(box, x - from[0], y - from[1]));
    else {
      const moved = [...box];
      moved[Number(part[0])] = x;
      moved[Number(part[1])] = y;
      this.set(moved);
    }
  }

  release() {
    const isNew = this.drag && this.drag.part === "new" && this.box;
    this.drag = null;
    if (isNew && this.onBox) this.onBox();
  }
}
