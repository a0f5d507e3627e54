// One image, drawn, with all its annotations and every verdict; a round beside it, if asked.
import { ask, imageUrl } from "./api.js";
import { make } from "./dom.js";
import { corners, drawing, isDrawn, LAYERS, paintMasks, palette, words } from "./overlay.js";

const MASK_SIDE = 1400;

export async function show({ main, run, parameters, go, signal }) {
  const asked = { key: parameters.get("key") ?? "", shard: parameters.get("shard"), round: parameters.get("round") };
  const beside = parameters.get("beside");
  const sample = await ask("/api/sample", asked, { signal });
  const other = beside === null ? null : await ask("/api/sample", { key: asked.key, round: beside }, { signal });
  const layers = new Set((parameters.get("draw") ?? "boxes,masks").split(","));
  const colours = palette(run);
  const here = view(sample, asked.round, layers, colours, other);
  const there = other && view(other, beside, layers, colours, sample);
  const query = (changes) => {
    const made = new URLSearchParams(parameters);
    for (const [name, value] of Object.entries(changes)) if (value === null) made.delete(name); else made.set(name, value);
    return `/image?${made}`;
  };
  const among = Object.fromEntries(new URLSearchParams(parameters.get("among") ?? ""));
  const isAmong = Object.keys(among).length > 0 && asked.round === null;
  const [previous, next] = isAmong
    ? await Promise.all([found(among, sample.place - 1, "previous", signal), found(among, sample.place + 1, "next", signal)])
    : [sample.previous, sample.next];
  const step = (neighbour, text, key) => (neighbour
    ? make("a", { class: "button", href: query({ key: neighbour[0], shard: neighbour[1] }), data: { page: "" }, "aria-keyshortcuts": key }, text)
    : make("span", { class: "button quiet", "aria-disabled": "true" }, text));
  const toggle = (name, on) => {
    if (on) layers.add(name); else layers.delete(name);
    go(query({ draw: [...layers].join(",") || "nothing" }), { replace: true });
  };
  const roundChoice = (name, value, text) => make("label", { class: "inline" }, text,
    make("select", { on: { change: (event) => go(query({ [name]: event.target.value || null, ...(name === "round" ? { shard: null } : {}) })) } },
      [["", name === "round" ? "the dataset" : "nothing"], ...run.rounds.map((one) => [String(one.number), `round ${one.number}`])]
        .map(([one, shown]) => make("option", { value: one, selected: one === (value ?? "") }, shown))));
  main.replaceChildren(
    make("div", { class: "row image-head" },
      make("h1", { class: "mono", dir: "auto" }, sample.key),
      make("nav", { class: "pages", "aria-label": "Images beside this one" },
        step(previous, "‹ Previous", "ArrowLeft"), step(next, "Next ›", "ArrowRight"))),
    make("p", { class: "quiet facts" }, `${sample.place + 1} of ${sample.samples}${isAmong ? ", beside others of the search" : ""} · ${sample.width} × ${sample.height} · `,
      make("bdi", {}, sample.source), " · ", make("span", { class: "mono", title: sample.sha256 }, sample.sha256.slice(0, 12))),
    make("div", { class: "row" },
      make("fieldset", { class: "layers" }, make("legend", {}, "Draw"), LAYERS.map((name) => make("label", { class: "tick" },
        make("input", { type: "checkbox", checked: layers.has(name), on: { change: (event) => toggle(name, event.target.checked) } }), name))),
      run.rounds.length ? roundChoice("round", asked.round, "Labels of") : null,
      run.rounds.length ? roundChoice("beside", beside, "beside") : null),
    make("div", { class: there ? "sides" : "one" }, here, there),
    metadata(sample));
  return (event) => keys(event, main, go);
}

/** Return the next or previous image of a search, [key, shard], or null. */
async function found(among, start, towards, signal) {
  while (start !== null && start >= 0) {
    const answer = await ask("/api/beside", { ...among, start, towards }, { signal });
    if (answer.found) return answer.found;
    start = answer.more;
  }
  return null;
}

/** Return the drawn image and the list of its annotations, which show each other. */
function view(sample, round, layers, colours, other) {
  const drawn = sample.annotations.filter((one) => isDrawn(one, layers));
  const scale = Math.min(1, MASK_SIDE / Math.max(sample.width, sample.height));
  const canvas = make("canvas", { width: Math.round(sample.width * scale), height: Math.round(sample.height * scale), "aria-hidden": "true" });
  const masks = drawn.filter((one) => one.mask_rle && layers.has("masks"));
  const image = make("img", { src: `${imageUrl(sample.key, { round })}&shard=${sample.shard}`, alt: describe(sample), width: sample.width, height: sample.height });
  const regions = drawing(sample.width, sample.height, layers.has("boxes") ? drawn : masks, colours);
  const stage = make("div", { class: "stage", style: { "aspect-ratio": `${sample.width} / ${sample.height}`, "--ratio": sample.width / sample.height } }, image, canvas, regions);
  paintMasks(canvas, masks, colours);
  const list = annotationList(sample, colours, other, layers);
  const box = make("section", { class: "view", "aria-label": round === null ? "Labels of the dataset" : `Labels of round ${round}` }, stage, list);
  link(box, stage, list, (id) => {
    const lit = id && sample.annotations.find((one) => one.id === id);
    paintMasks(canvas, lit ? (lit.mask_rle ? [lit] : []) : masks, colours, lit ? { alpha: 140 } : {});
  });
  return box;
}

/** Light the region and the entry of what the pointer or the focus is on. */
function link(box, stage, list, paint) {
  let pinned = null, lit = null;
  const light = (id) => {
    if (id === lit) return;
    lit = id;
    stage.classList.toggle("has-lit", id !== null);
    for (const one of box.querySelectorAll("[data-id]")) one.classList.toggle("lit", one.dataset.id === id);
    paint(id);
  };
  const idOf = (event) => event.target.closest?.("[data-id]")?.dataset.id ?? null;
  for (const part of [stage, list]) {
    part.addEventListener("pointerover", (event) => light(idOf(event) ?? pinned));
    part.addEventListener("pointerleave", () => light(pinned));
  }
  list.addEventListener("focusin", (event) => light(idOf(event)));
  list.addEventListener("focusout", () => light(pinned));
  stage.addEventListener("click", (event) => {
    pinned = idOf(event) === pinned ? null : idOf(event);
    light(pinned);
    const entry = [...list.querySelectorAll("[data-id]")].find((one) => one.dataset.id === pinned);
    entry?.scrollIntoView({ block: "nearest" });
  });
}

function annotationList(sample, colours, other, layers) {
  const ids = other && new Set(other.annotations.filter((one) => one.kept).map((one) => one.id));
  const tasks = new Map();
  for (const one of sample.annotations) {
    if (!tasks.has(one.task)) tasks.set(one.task, []);
    tasks.get(one.task).push(one);
  }
  if (!tasks.size) return make("div", { class: "said-list" }, make("p", {}, "It has no annotations."));
  const parts = [...tasks].sort().map(([task, annotations]) => {
    const kept = annotations.filter((one) => one.kept).length;
    annotations.sort((one, another) => another.kept - one.kept);
    return make("section", {}, make("h3", {}, task.replaceAll("_", " "), make("span", { class: "quiet" }, ` ${kept} kept, ${annotations.length - kept} dropped`)),
      make("ul", { class: "plain" }, annotations.map((one) => entry(one, colours, ids))));
  });
  return make("div", { class: "said-list" }, parts);
}

function entry(one, colours, ids) {
  const numbers = [["score", one.score], ["support", one.support], ["confidence", one.confidence]].filter(([, value]) => value !== null);
  const isNew = ids && one.kept && !ids.has(one.id);
  const what = words(one) || (corners(one).length ? "a region" : "nothing");
  return make("li", { class: `entry ${one.kept ? "" : "is-dropped"}`, data: { id: one.id }, tabindex: "0", style: { "--c": colours.get(one.specialist)?.fill ?? "#888888" } },
    make("p", {}, make("span", { class: "swatch" }), make("span", { dir: "auto" }, what), isNew ? make("b", { class: "only" }, " only here") : null),
    make("p", { class: "quiet by" }, make("span", { class: one.kept ? "kept" : "dropped" }, one.kept ? "kept" : "dropped"),
      ` by ${[one.specialist, one.model, one.revision].filter(Boolean).join(" ")}`, one.round ? `, round ${one.round}` : "",
      ...numbers.map(([name, value]) => `, ${name} ${value.toFixed(3)}`),
      one.merged_from.length ? `, merged from ${one.merged_from.length}` : ""),
    one.verdicts.length ? make("details", { class: "verdicts", open: !one.kept }, make("summary", {}, judged(one)), make("ul", { class: "plain" }, one.verdicts.map((verdict) => make("li", {},
      make("span", { class: verdict.keep ? "kept" : "dropped" }, verdict.keep ? "keep" : verdict.reason), ` ${verdict.filter}`,
      make("span", { class: "quiet" }, verdict.measurement.map(([name, value]) => ` ${name} ${Number(value).toPrecision(4)}`).join(",")))))) : null);
}

function judged(one) {
  const dropped = one.verdicts.filter((verdict) => !verdict.keep);
  const count = one.verdicts.length;
  return dropped.length ? `dropped: ${dropped.map((verdict) => `${verdict.filter}/${verdict.reason}`).join(", ")}`
    : `kept by ${count} filter${count === 1 ? "" : "s"}`;
}

function describe(sample) {
  const caption = sample.annotations.find((one) => one.kept && one.kind === "text" && one.text);
  return caption ? caption.text : sample.key;
}

function metadata(sample) {
  if (sample.metadata === "{}") return null;
  let text = sample.metadata;
  try { text = JSON.stringify(JSON.parse(text), null, 1); } catch { /* as it is */ }
  return make("details", {}, make("summary", {}, "What the source knows"), make("pre", { class: "mono" }, text));
}

function keys(event, main, go) {
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    main.querySelector(`[aria-keyshortcuts=${event.key}]`)?.click();
    return true;
  }
  if (event.key === "Escape") {
    if (history.state?.inside) history.back(); else go("/");
    return true;
  }
  if (event.key === "/") { go("/"); return true; }
  return false;
}
