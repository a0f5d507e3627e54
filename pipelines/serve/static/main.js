// Shows the page that belongs to the path, and goes from one to the next without loading again.
import { ask } from "./api.js";
import { make, tell } from "./dom.js";
import * as gallery from "./gallery.js";
import * as image from "./image.js";
import * as numbers from "./numbers.js";
import * as rounds from "./rounds.js";

const PAGES = {
  "/": { title: "Images", show: gallery.showAll },
  "/disagreements": { title: "Disagreements", show: gallery.showDisagreements },
  "/rounds": { title: "Rounds", show: rounds.show },
  "/funnel": { title: "Funnel", show: numbers.showFunnel },
  "/lost": { title: "Lost", show: numbers.showLost },
  "/image": { title: "Image", show: image.show },
};
const main = document.getElementById("page");
let run = null;
let current = { stop: new AbortController(), keys: null };

async function show(y = 0) {
  current.stop.abort();
  const stop = new AbortController();
  current = { stop, keys: null };
  const page = PAGES[location.pathname] ?? PAGES["/"];
  tell("");
  main.setAttribute("aria-busy", "true");
  try {
    run ??= await ask("/api/run");
    document.title = `${page.title} · ${run.name}`;
    nav();
    const parameters = new URLSearchParams(location.search);
    const ready = () => { window.scrollTo(0, y); y = 0; };
    const keys = await page.show({ main, run, parameters, go, signal: stop.signal, ready });
    if (!stop.signal.aborted) { current.keys = keys ?? null; ready(); }
  } catch (error) {
    if (error.name === "AbortError" || stop.signal.aborted) return;
    main.replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
  }
  if (!stop.signal.aborted) main.removeAttribute("aria-busy");
}

function nav() {
  const links = [["/", "Images"], ["/disagreements", "Disagreements"]];
  if (run.rounds.length) links.push(["/rounds", "Rounds"]);
  links.push(["/funnel", "Funnel"]);
  if (run.lost) links.push(["/lost", "Lost"]);
  const here = (path) => (path === location.pathname ? "page" : null);
  const made = links.map(([path, text]) => make("a", { href: path, data: { page: "" }, "aria-current": here(path) }, text));
  made.push(make("a", { href: "/serve/report" }, "Report"));
  if (run.audits) made.push(make("a", { href: "/audit" }, "Audit"));
  document.getElementById("pages").replaceChildren(...made);
  document.querySelector(".top .name").textContent = run.name;
}

/** Go to a page; `replace` puts it in the place of this one. */
function go(url, { replace = false } = {}) {
  if (replace) history.replaceState(history.state, "", url);
  else {
    history.replaceState({ ...history.state, y: window.scrollY }, "");
    history.pushState({ inside: true }, "", url);
  }
  main.focus({ preventScroll: true });
  return show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-page]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (typing) {
    if (event.key === "Escape") { typing.blur(); main.focus({ preventScroll: true }); event.preventDefault(); }
    return;
  }
  if (current.keys?.(event)) event.preventDefault();
});
history.scrollRestoration = "manual";
window.addEventListener("popstate", (event) => show(event.state?.y ?? 0));
show();
