// Annotations drawn over an image: boxes, lines of text and masks, in the colours of specialists.
import { make } from "./dom.js";
import { around, paint } from "./masks.js";

export const LAYERS = ["boxes", "masks", "dropped"];

/** Return the colours of specialists by name. */
export function palette(run) {
  return new Map(run.specialists.map((one) => [one.name, one]));
}

/** Whether an annotation is drawn, when these layers are. */
export function isDrawn(one, layers) {
  if (!one.kept && !layers.has("dropped")) return false;
  return one.mask_rle ? layers.has("masks") || (layers.has("boxes") && one.box_xyxy.length === 4)
    : layers.has("boxes") && (one.box_xyxy.length === 4 || one.quad.length === 8);
}

/** What an annotation says, or "". */
export function words(one) {
  return one.text && one.label && one.label !== one.text ? `${one.text} (${one.label})` : one.text || one.label;
}

function rgb(fill) {
  return [1, 3, 5].map((start) => parseInt(fill.slice(start, start + 2), 16));
}

/** Paint the masks of annotations on a canvas; dropped ones are thinner. */
export function paintMasks(canvas, annotations, colours, { alpha = 95 } = {}) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  for (const one of annotations) {
    if (one.mask_rle) paint(pixels, one.mask_rle, [...rgb(colours.get(one.specialist)?.fill ?? "#888888"), one.kept ? alpha : alpha / 2]);
  }
  context.putImageData(pixels, 0, 0);
}

/** Draw a card's annotations on a canvas that lies over its thumbnail. */
export function drawCard(canvas, card, colours, layers) {
  const context = canvas.getContext("2d");
  const shown = card.annotations.filter((one) => isDrawn(one, layers));
  if (layers.has("masks")) paintMasks(canvas, shown, colours);
  else context.clearRect(0, 0, canvas.width, canvas.height);
  if (!layers.has("boxes")) return;
  const across = canvas.width / card.width, down = canvas.height / card.height;
  const hits = new Set(card.hits), thin = Math.max(canvas.width, canvas.height) / 150;
  for (const one of shown) {
    context.strokeStyle = colours.get(one.specialist)?.fill ?? "#888888";
    context.lineWidth = thin * (hits.has(one.id) ? 2 : 1);
    context.setLineDash(one.kept ? [] : [3 * thin, 2 * thin]);
    context.beginPath();
    for (const [x, y] of corners(one)) context.lineTo(x * across, y * down);
    context.closePath();
    context.stroke();
  }
}

/** Return the corners of a region: of the quad, else of the box, else around the mask. */
export function corners(one) {
  if (one.quad.length === 8) return [0, 2, 4, 6].map((place) => [one.quad[place], one.quad[place + 1]]);
  const box = one.box_xyxy.length === 4 ? one.box_xyxy : one.mask_rle ? around(one.mask_rle) : null;
  if (!box) return [];
  const [left, top, right, bottom] = box;
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

/** Return an SVG with a region for each annotation that has one; large ones lie below. */
export function drawing(width, height, annotations, colours) {
  const area = (points) => Math.abs((points[2][0] - points[0][0]) * (points[2][1] - points[0][1]));
  const regions = annotations.map((one) => [one, corners(one)]).filter(([, points]) => points.length);
  regions.sort((one, other) => area(other[1]) - area(one[1]));
  return make("svg", { viewBox: `0 0 ${width} ${height}`, class: "regions", "aria-hidden": "true", preserveAspectRatio: "none" },
    regions.map(([one, points]) => make("polygon", {
      class: `region ${one.kept ? "" : "is-dropped"}`, points: points.map((each) => each.join(",")).join(" "),
      style: { "--c": colours.get(one.specialist)?.fill ?? "#888888" }, data: { id: one.id },
    }, make("title", {}, words(one) || one.task))));
}
