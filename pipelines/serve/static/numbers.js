// The funnel, where each number links to the images behind it, and the inputs that were lost.
import { ask } from "./api.js";
import { make } from "./dom.js";

const format = new Intl.NumberFormat("en");

function images(number, query) {
  return number ? make("a", { href: `/?${new URLSearchParams(query)}`, data: { page: "" } }, format.format(number)) : "0";
}

function lost(number, query) {
  return number ? make("a", { href: `/lost?${new URLSearchParams(query)}`, data: { page: "" } }, format.format(number)) : "0";
}

function table(caption, heads, rows) {
  return make("div", { class: "scroll" }, make("table", {},
    caption ? make("caption", {}, caption) : null,
    make("thead", {}, make("tr", {}, heads.map(([text, kind]) => make("th", { scope: "col", class: kind }, text)))),
    make("tbody", {}, rows)));
}

function row(name, ...cells) {
  return make("tr", {}, make("th", { scope: "row" }, make("bdi", {}, name)),
    cells.map((cell, place) => make("td", { class: place < 2 && !Array.isArray(cell) ? "number" : null }, cell)));
}

function reasons(step, link) {
  return step.reasons.map(([reason, count]) => make("span", { class: "reason" }, `${reason} `, link(count, step.filter, reason)));
}

export async function showFunnel({ main, signal }) {
  const found = await ask("/api/funnel", {}, { signal });
  const share = (part) => (found.annotations ? `${((100 * part) / found.annotations).toFixed(1)} %` : "");
  const body = [make("h1", {}, "Funnel"),
    make("p", { class: "quiet lead" }, `${format.format(found.inputs)} inputs, ${format.format(found.samples)} images, `,
      `${format.format(found.annotations)} annotations, `, images(found.kept, { verdict: "kept" }), ` kept (${share(found.kept)}). A number counts annotations, and leads to the images that have them.`)];
  if (found.sample_steps.length || found.failures.length) {
    body.push(make("h2", {}, "From inputs to images"), table("", [["Filter", ""], ["dropped", "number"], ["left", "number"], ["reasons", ""]],
      [...found.sample_steps.map((step) => row(step.filter, lost(step.dropped, { stage: step.filter }), format.format(step.left),
        reasons(step, (count, stage, reason) => lost(count, { stage, reason })))),
      ...found.failures.map(([reason, count]) => row("failed", lost(count, { reason }), "", [reason]))]));
  }
  body.push(make("h2", {}, "From annotations to kept ones"),
    table("", [["Filter", ""], ["dropped", "number"], ["left", "number"], ["reasons", ""]],
      found.steps.map((step) => row(step.filter, images(step.dropped, { reason: step.filter }), format.format(step.left),
        reasons(step, (count, filter, reason) => images(count, { reason: `${filter}/${reason}` }))))));
  for (const [title, name, sides] of [["Tasks", "task", found.tasks], ["Specialists", "specialist", found.specialists]]) {
    body.push(make("h2", {}, title), table("", [[name, ""], ["kept", "number"], ["dropped", "number"]],
      sides.map((side) => row(side.name, images(side.kept, { [name]: side.name, verdict: "kept" }), images(side.dropped, { [name]: side.name, verdict: "dropped", draw: "boxes,masks,dropped" })))));
  }
  body.push(make("p", {}, make("a", { href: "/?none_kept=true", data: { page: "" } }, "Images of which nothing was kept")));
  main.replaceChildren(...body);
}

export async function showLost({ main, parameters, signal }) {
  const asked = { stage: parameters.get("stage"), reason: parameters.get("reason"), start: parameters.get("start") };
  const found = await ask("/api/lost", asked, { signal });
  const more = new URLSearchParams(parameters);
  more.set("start", found.next ?? 0);
  main.replaceChildren(make("h1", {}, "Inputs that became no image"),
    make("p", { class: "quiet" }, `${format.format(found.found)} inputs`, asked.stage || asked.reason ? ` (${[asked.stage, asked.reason].filter(Boolean).join(": ")})` : "", "."),
    table("", [["Source", ""], ["stage", ""], ["reason", ""], ["what happened", ""]],
      found.letters.map((one) => make("tr", {}, make("th", { scope: "row", class: "mono" }, make("bdi", {}, one.source)),
        [one.is_drop ? `dropped by ${one.stage}` : one.stage, one.reason, one.message].map((text) => make("td", {}, make("bdi", {}, text)))))),
    make("nav", { class: "pages", "aria-label": "Pages" }, found.next === null ? null
      : make("a", { class: "button", href: `/lost?${more}`, data: { page: "" } }, "Next ›")));
}
