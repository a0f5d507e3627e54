// An image as a card: thumbnail, overlay, and what was said in two lines.
import { imageUrl } from "./api.js";
import { make } from "./dom.js";
import { drawCard, words } from "./overlay.js";

const SIDE = 320;
const FRAME = 4 / 3;

/** Return the address of the page of an image. */
export function pageOf(card, more = {}) {
  return `/image?${new URLSearchParams({ key: card.key, shard: card.shard, ...more })}`;
}

/** Return a thumbnail with its overlay. */
export function picture(card, colours, layers, { round = null } = {}) {
  const image = make("img", { src: imageOf(card, round), alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const canvas = make("canvas", { "aria-hidden": "true" });
  const box = make("div", { class: "picture" }, image, canvas);
  const fit = (width, height) => {
    const ratio = width / height;
    box.style.aspectRatio = ratio;
    box.style.width = ratio >= FRAME ? "100%" : `${(100 * ratio) / FRAME}%`;
    const scale = (SIDE * 2) / Math.max(width, height);
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
  };
  if (card.width) {
    fit(card.width, card.height);
    drawCard(canvas, card, colours, layers);
  } else image.addEventListener("load", () => fit(image.naturalWidth, image.naturalHeight));
  image.addEventListener("error", () => box.classList.add("broken"));
  return make("div", { class: "frame" }, box);
}

function imageOf(card, round) {
  const url = imageUrl(card.key, { side: SIDE, round });
  return `${url}&shard=${card.shard}`;
}

/** Return a card that links to the page of its image. */
export function cardOf(card, colours, layers, more = {}) {
  const kept = card.annotations.filter((one) => one.kept);
  const hits = card.annotations.filter((one) => card.hits.includes(one.id));
  const said = summary(hits.length ? hits : kept);
  const marks = [];
  if (card.score !== null) marks.push(make("span", {}, `score ${card.score}`));
  if (!kept.length) marks.push(make("span", { class: "dropped" }, card.total ? `nothing kept, ${card.total} dropped` : "no annotation"));
  else marks.push(make("span", {}, `${card.total} annotation${card.total === 1 ? "" : "s"}`));
  return make("a", { class: "card", href: pageOf(card, more), data: { page: "" } },
    picture(card, colours, layers),
    make("span", { class: "said", dir: "auto" }, said || " "),
    make("span", { class: "key mono", dir: "auto" }, card.key),
    make("span", { class: "marks" }, marks));
}

function summary(annotations) {
  const texts = annotations.filter((one) => one.kind === "text" && words(one));
  texts.sort((one, other) => (other.task === "caption") - (one.task === "caption"));
  if (texts.length) return words(texts[0]);
  return [...new Set(annotations.map(words).filter(Boolean))].slice(0, 8).join(", ");
}
