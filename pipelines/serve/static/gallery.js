// All images, filtered or by disagreement, a page at a time. The URL has the filters and the place.
import { ask } from "./api.js";
import { cardOf } from "./cards.js";
import { make, tell } from "./dom.js";
import { LAYERS, palette } from "./overlay.js";

const PAGE = 48;
const FIELDS = ["text", "label", "key", "task", "specialist", "verdict", "reason", "round", "least", "most", "none_kept"];

export function showAll(context) {
  const { main, parameters } = context;
  const asked = Object.fromEntries(FIELDS.filter((name) => parameters.get(name)).map((name) => [name, parameters.get(name)]));
  main.replaceChildren(
    make("h1", {}, "Images"), filters(context, asked), layerBox(context, drawn(asked)),
  );
  return fill(context, "/api/images", asked, drawn(asked));
}

/** Return what is drawn unless the URL says otherwise: dropped annotations where they are asked for. */
function drawn(asked) {
  const wantsDropped = asked.verdict === "dropped" || asked.reason || asked.none_kept;
  return wantsDropped ? "boxes,masks,dropped" : "boxes,masks";
}

export function showDisagreements(context) {
  context.main.replaceChildren(
    make("h1", {}, "Where specialists disagree"),
    make("p", { class: "quiet lead" },
      "Boxes of one task by two specialists, dropped ones too: a box agrees if the other has one of the same name that overlaps it by half or more. ",
      "Score: how many pairs of a box and another specialist disagree, times their share."),
    layerBox(context, "boxes,dropped"),
  );
  return fill(context, "/api/disagreements", {}, "boxes,dropped");
}

/** Ask until a page is full or all is searched, and show cards as they come. */
async function fill(context, path, asked, usual) {
  const { main, run, parameters, signal, ready } = context;
  const start = Number(parameters.get("start") ?? 0) || 0;
  const layers = layersOf(parameters, usual), colours = palette(run);
  const draw = parameters.get("draw") ?? usual;
  const more = draw === "boxes,masks" ? {} : { draw };
  if (Object.keys(asked).length) more.among = new URLSearchParams(asked);
  const list = make("div", { class: "cards", role: "list" });
  const line = make("p", { class: "quiet count", role: "status" }, "Searching …");
  const pages = make("nav", { class: "pages", "aria-label": "Pages of images" });
  main.append(line, list, pages);
  const ranked = path === "/api/disagreements";
  let next = start, count = 0, answer = null;
  do {
    const limit = ranked ? PAGE : PAGE - count;
    answer = await ask(path, { ...asked, start: ranked ? start : next, limit }, { signal });
    const cards = answer.cards.map((card) => make("div", { role: "listitem" }, cardOf(card, colours, layers, more)));
    if (ranked) list.replaceChildren(...cards); else list.append(...cards);
    count = list.childElementCount;
    next = answer.next;
    ready();
    line.textContent = `${count} image${count === 1 ? "" : "s"} so far, ${answer.searched} of ${answer.shards} shards searched …`;
  } while (ranked ? answer.searched < answer.shards : count < PAGE && next !== null);
  line.textContent = counted(answer, count, start, asked, ranked);
  pages.replaceChildren(...pageLinks(context, start, next));
  return (event) => keys(event, list, context, next);
}

function counted(answer, count, start, asked, ranked) {
  if (!count) return start ? "No more images." : ranked ? "No specialist disagrees with another about a box." : "No image is like that.";
  if (ranked) return `${start + 1} to ${start + count} of ${answer.found} images with a disagreement.`;
  if (Object.keys(asked).length) return `${count} image${count === 1 ? "" : "s"}${answer.next === null ? ", the last ones" : ""}.`;
  return `${start + 1} to ${start + count} of ${answer.samples} images.`;
}

function pageLinks(context, start, next) {
  const { parameters } = context;
  const link = (place, text, key) => {
    const query = new URLSearchParams(parameters);
    if (place) query.set("start", place); else query.delete("start");
    return make("a", { class: "button", href: `${location.pathname}?${query}`, data: { page: "" }, "aria-keyshortcuts": key }, text);
  };
  return [
    start > 0 ? link(0, "« First") : null,
    next !== null ? link(next, "Next ›", "n") : null,
  ].filter(Boolean);
}

function layersOf(parameters, usual) {
  return new Set((parameters.get("draw") ?? usual).split(",").filter((one) => LAYERS.includes(one)));
}

/** Return the boxes to tick for what is drawn over the images. */
function layerBox({ run, parameters, go }, usual) {
  const layers = layersOf(parameters, usual);
  const change = (name, on) => {
    if (on) layers.add(name); else layers.delete(name);
    const query = new URLSearchParams(parameters);
    query.set("draw", [...layers].join(",") || "nothing");
    go(`${location.pathname}?${query}`, { replace: true });
  };
  return make("div", { class: "row" }, make("fieldset", { class: "layers" }, make("legend", {}, "Draw"),
    LAYERS.map((name) => make("label", { class: "tick" },
      make("input", { type: "checkbox", checked: layers.has(name), on: { change: (event) => change(name, event.target.checked) } }), name))),
    make("p", { class: "legend" }, run.specialists.map((one) => make("span", {}, make("span", { class: "swatch", style: { "--c": one.fill } }), one.name))));
}

function filters({ run, parameters, go }, asked) {
  const value = (name) => parameters.get(name) ?? "";
  const text = (name, label, more = {}) => make("label", {}, label,
    make("input", { name, value: value(name), type: "search", autocomplete: "off", ...more }));
  const choice = (name, label, options) => make("label", {}, label,
    make("select", { name }, [["", "any"], ...options.map((one) => (Array.isArray(one) ? one : [one, one]))].map(([one, shown]) =>
      make("option", { value: one, selected: value(name) === one }, shown))));
  const number = (name, label, more) => text(name, label, { type: "number", inputmode: "decimal", min: 0, ...more });
  const form = make("form", { class: "filters", role: "search", "aria-label": "Filter images" },
    text("text", "Text", { id: "search", "aria-keyshortcuts": "/", placeholder: "words, press /" }),
    text("label", "Label"), text("key", "Key"),
    choice("task", "Task", run.tasks),
    choice("specialist", "Specialist", run.specialists.map((one) => one.name)),
    choice("verdict", "Verdict", ["kept", "dropped"]),
    choice("reason", "Dropped by", run.reasons),
    number("least", "Confidence from", { max: 1, step: 0.01 }), number("most", "to", { max: 1, step: 0.01 }),
    number("round", "Round", { step: 1 }),
    make("label", { class: "tick" }, make("input", { type: "checkbox", name: "none_kept", value: "true", checked: value("none_kept") === "true" }), "nothing kept"),
    make("div", { class: "buttons" }, make("button", { type: "submit" }, "Search"),
      Object.keys(asked).length ? make("a", { class: "button", href: "/", data: { page: "" } }, "Clear") : null));
  const search = () => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, one]) => one !== ""));
    if (parameters.get("draw")) query.set("draw", parameters.get("draw"));
    const url = query.size ? `/?${query}` : "/";
    if (url !== location.pathname + location.search) go(url);
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  form.addEventListener("change", (event) => { if (event.target.matches("select, [type=checkbox]")) search(); });
  const active = Object.keys(asked).length;
  const wide = window.matchMedia("(min-width: 701px)").matches;
  return make("details", { class: "filter-box", open: wide },
    make("summary", {}, active ? `Filters (${active})` : "Filters"), form);
}

function keys(event, list, { go, main }, next) {
  const cards = [...list.querySelectorAll("a.card")];
  const at = cards.indexOf(document.activeElement?.closest?.("a.card"));
  const columns = cards.filter((one) => one.offsetTop === cards[0]?.offsetTop && one.getBoundingClientRect().top === cards[0].getBoundingClientRect().top).length || 1;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (event.key in steps && cards.length) {
    const wanted = at < 0 ? 0 : Math.max(0, Math.min(cards.length - 1, at + steps[event.key]));
    cards[wanted].focus();
    return true;
  }
  if (event.key === "/") {
    const box = main.querySelector(".filter-box");
    if (!box) return false;
    box.open = true;
    document.getElementById("search").focus();
    return true;
  }
  if (event.key === "n" && next !== null) {
    main.querySelector("nav.pages [aria-keyshortcuts=n]")?.click();
    return true;
  }
  if (event.key === "Escape" && location.search) { tell(""); go(location.pathname); return true; }
  return false;
}
