// Two rounds of a refinement side by side: the samples that changed most, first.
import { ask } from "./api.js";
import { pageOf, picture } from "./cards.js";
import { make } from "./dom.js";
import { palette } from "./overlay.js";

export async function show({ main, run, parameters, go, signal }) {
  const numbers = run.rounds.map((one) => one.number);
  const after = Number(parameters.get("after") ?? numbers.at(-1));
  const before = Number(parameters.get("before") ?? numbers.at(-2) ?? after);
  const choose = (name, value) => make("label", {}, name,
    make("select", { name, on: { change: (event) => go(`/rounds?${new URLSearchParams({ before, after, [name]: event.target.value })}`) } },
      numbers.map((one) => make("option", { value: one, selected: one === value }, `round ${one}`))));
  const head = [make("h1", {}, "Rounds"),
    make("ul", { class: "plain" }, run.rounds.map((one) => make("li", {},
      make("b", {}, `Round ${one.number}`), one.is_promoted ? " promoted: " : " not promoted: ", make("bdi", {}, one.reason),
      make("span", { class: "quiet" }, ` ${quality(one)}`)))),
    make("div", { class: "row" }, choose("before", before), choose("after", after))];
  if (before === after) { main.replaceChildren(...head, make("p", {}, "Choose two rounds.")); return; }
  main.replaceChildren(...head, make("p", { class: "quiet", role: "status" }, "Comparing …"));
  const found = await ask("/api/compared", { before, after }, { signal });
  const colours = palette(run), layers = new Set(["boxes", "masks"]);
  const side = (card, round, name) => make("figure", {}, card ? picture(card, colours, layers, { round }) : make("div", { class: "frame" }, "not there"),
    make("figcaption", { class: "quiet" }, name));
  main.replaceChildren(...head,
    make("p", { class: "quiet" }, `${found.samples_changed} images changed in ${found.compared} of ${found.shards} shards that were compared.`),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ["task", "same", "changed", "added", "dropped"].map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, found.tasks.map((one) => make("tr", {}, make("th", { scope: "row" }, one.task), [one.same, one.changed, one.added, one.dropped].map((number) => make("td", {}, String(number)))))))),
    make("div", { class: "pairs" }, found.pairs.map((pair) => make("section", { class: "pair" },
      side(pair.before, before, `round ${before}`), side(pair.after, after, `round ${after}`),
      make("a", { href: pageOf(pair.after ?? pair.before, { round: pair.after ? after : before, beside: before }), data: { page: "" }, class: "key mono" }, pair.key)))));
}

function quality(round) {
  const numbers = Object.entries(round.quality).filter(([, value]) => value !== null);
  return numbers.map(([kind, value]) => `${kind} ${value.toFixed(3)}`).join(", ") + (numbers.length ? ` by ${round.measured_by}` : "");
}
