"use strict";
(() => {
  const switches = [...document.querySelectorAll("#switches input")];
  const toggled = [...document.querySelectorAll("[data-of]")];
  const layers = [...document.querySelectorAll(".regions, .chips")];
  const tip = document.getElementById("tip");

  // Titles serve readers without scripts; with one, a tip that the keyboard reaches is better.
  for (const title of document.querySelectorAll(".region > title")) {
    const region = title.parentNode;
    region.dataset.tip = title.textContent;
    region.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  for (const element of document.querySelectorAll(".plate [title]")) {
    element.dataset.tip = element.title;
    element.removeAttribute("title");
  }

  function refresh() {
    const off = new Set(switches.filter((one) => !one.checked).map((one) => one.value));
    for (const element of toggled) {
      element.classList.toggle("off", element.dataset.of.split(" ").some((of) => off.has(of)));
    }
    // Of equal outlines the first is drawn, so that colours do not pile up.
    for (const layer of layers) {
      const seen = new Set();
      for (const element of layer.children) {
        if (element.matches(".off, .mask")) continue;
        element.classList.toggle("echo", seen.has(element.dataset.at));
        seen.add(element.dataset.at);
      }
    }
  }

  function light(plate, regionIds) {
    for (const element of plate.querySelectorAll("[data-at]")) {
      const isLit = element.dataset.at.split(" ").some((regionId) => regionIds.includes(regionId));
      element.classList.toggle("lit", isLit);
    }
    plate.classList.toggle("has-lit", regionIds.length > 0);
  }

  function show(element, x, y) {
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const below = y + 18 + height < innerHeight;
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${below ? y + 18 : Math.max(8, y - height - 12)}px`;
  }

  function point(target, x, y) {
    const plate = target.closest(".plate");
    const tipped = target.closest("[data-tip]");
    const located = target.closest("[data-at]");
    if (plate) light(plate, located && !located.matches(".off") ? located.dataset.at.split(" ") : []);
    if (plate && tipped && !tipped.matches(".off")) show(tipped, x, y);
    else tip.hidden = true;
  }

  function leave(plate) {
    light(plate, []);
    tip.hidden = true;
  }

  function step(overlay, by) {
    const shown = [...overlay.querySelectorAll(".region:not(.off, .echo)")];
    if (!shown.length) return;
    const now = shown.indexOf(document.activeElement);
    const next = now < 0 ? (by > 0 ? 0 : shown.length - 1) : now + by;
    shown[(next + shown.length) % shown.length].focus();
  }

  // `florilegium serve` shows the report at this path; elsewhere there is nothing to link to.
  if (location.pathname === "/serve/report") {
    for (const element of document.querySelectorAll("[data-serve]")) {
      const link = document.createElement("a");
      link.href = element.dataset.serve;
      link.append(...element.childNodes);
      element.append(link);
    }
  }

  for (const plate of document.querySelectorAll(".plate")) {
    plate.addEventListener("click", (event) => point(event.target, event.clientX, event.clientY));
    plate.addEventListener("pointermove", (event) => point(event.target, event.clientX, event.clientY));
    plate.addEventListener("pointerleave", () => leave(plate));
    plate.addEventListener("focusin", (event) => {
      const box = event.target.getBoundingClientRect();
      if (event.target.matches(".region")) point(event.target, box.left, box.bottom);
    });
    plate.addEventListener("focusout", () => leave(plate));
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
    const overlay = event.target.closest(".overlay");
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!overlay || !by) return;
    event.preventDefault();
    step(overlay, by);
  });
  for (const one of switches) one.addEventListener("change", refresh);
  document.getElementById("switches").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("scroll", () => {
    const region = document.activeElement;
    if (tip.hidden || !region.matches(".region")) { tip.hidden = true; return; }
    const box = region.getBoundingClientRect();
    show(region, box.left, box.bottom);
  }, { passive: true });
  refresh();
})();
