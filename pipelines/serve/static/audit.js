// The flow of an audit: one question at a time, answered by keys. The server remembers everything
// but what is being written: that is kept in this browser until it is sent.

import { ask, send as post } from "./api.js";
import { showProgress } from "./audit_progress.js";
import { View, region } from "./audit_view.js";

const $ = (id) => document.getElementById(id);
const close = new View($("close"));
const whole = new View($("whole"));
const state = { person: "", about: null, question: null, mode: "ask", found: [], isBusy: false };
const KEYS = { 1: "right", y: "right", 2: "wrong", n: "wrong", 3: "unsure", u: "unsure",
  f: "fix", m: "missing", z: "undo", Backspace: "undo" };
const MISSING_KEYS = { a: "box", d: "done", z: "undo", Escape: "cancel" };

// Send one request at a time, so that a key pressed twice answers one question.
async function send(path, body) {
  if (state.isBusy) return false;
  state.isBusy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    const { question, progress } = await post(`/audit/api/${path}`, { person: state.person, ...body });
    $("note").textContent = "";
    showProgress($("progress"), progress);
    $("who").textContent = `${state.person}: ${progress.own} answered; `
      + `all: ${progress.by_random + progress.by_gain} statements, ${progress.images} images`;
    if (question || path !== "undo") show(question);
    else $("note").textContent = "There is no answer to take back.";
    return true;
  } catch (error) {
    $("note").textContent = `Not saved: ${error.message}`;
    return false;
  } finally {
    state.isBusy = false;
    document.body.removeAttribute("aria-busy");
  }
}

function show(question) {
  state.question = question;
  state.found = [];
  for (const id of ["answers", "fix", "missing", "caption"]) $(id).hidden = true;
  if (!question) {
    state.mode = "end";
    $("kind").textContent = "";
    $("question").textContent = "Nothing is left to ask. Every answer is saved.";
    for (const view of [close, whole]) view.svg.replaceChildren();
    $("answers").hidden = false;
  }
  document.body.classList.toggle("ended", !question);
  if (!question) return;
  document.body.classList.toggle("searching", question.question === "image");
  if (question.question === "image") showMissing();
  else showStatement();
}

function showStatement() {
  const { statement, caption } = state.question;
  state.mode = "ask";
  const box = statement.box_xyxy.length ? statement.box_xyxy : null;
  close.show(state.question, box);
  whole.show(state.question, null);
  region(close.regions, statement, state.question.height);
  region(whole.regions, statement, state.question.height);
  $("whole").toggleAttribute("hidden", !box);
  const words = statement.label || statement.text;
  $("kind").textContent = `${statement.task} by ${statement.specialist}, image ${state.question.key}`;
  $("question").textContent = !words ? "Is this one thing?" : asked(statement, box);
  showCaption(caption, statement.span);
  $("answers").hidden = false;
  $("missing").hidden = true;
  $("fix").hidden = true;
  if (state.question.fix) $("note").textContent = "You had fixed it: press f to see your fix.";
}

function asked({ label, text, span }, box) {
  if (label && text && text !== label && !span.length) return `Is this “${label}”: “${text}”?`;
  const words = label || text;
  if (span.length) return `Does “${text || label}” mean this?`;
  return box ? `Is this “${words}”?` : `Is this true: “${words}”?`;
}

function showCaption(caption, span) {
  $("caption").hidden = !caption;
  if (!caption) return;
  const letters = Array.from(caption); // spans count characters, JavaScript counts code units
  const mark = document.createElement("mark");
  mark.textContent = letters.slice(span[0], span[1]).join("");
  $("caption").replaceChildren(letters.slice(0, span[0]).join(""), mark, letters.slice(span[1]).join(""));
}

function offerLabels(task) {
  const options = (state.about.vocabulary[task] || []).map((name) => {
    const one = document.createElement("option");
    one.value = name;
    return one;
  });
  $("labels").replaceChildren(...options);
}

// --- fix ---

// A tag has its name as its text, too: it is asked for once, and both are fixed.
const isNamedTwice = ({ label, text, span }) => Boolean(label) && text === label && !span.length;
const field = (id) => $(id).querySelector("input, textarea");

function showFix() {
  const { statement, caption, fix } = state.question;
  state.mode = "fix";
  $("answers").hidden = true;
  $("fix").hidden = false;
  const box = statement.mask.length ? [] : (fix && fix.box_xyxy) || statement.box_xyxy;
  $("fix-box").hidden = !box.length;
  close.edit(box.length ? box : null);
  $("fix-label").hidden = !statement.label;
  field("fix-label").value = (fix && fix.label !== null && fix.label !== undefined) ? fix.label : statement.label;
  $("fix-text").hidden = !statement.text || Boolean(caption) || isNamedTwice(statement);
  field("fix-text").value = (fix && fix.text !== null && fix.text !== undefined) ? fix.text : statement.text;
  $("fix-span").hidden = !caption;
  field("fix-span").value = caption;
  offerLabels(statement.task);
  if (caption) {
    const [start, end] = (fix && fix.span) || statement.span;
    const letters = Array.from(caption);
    const units = (count) => letters.slice(0, count).join("").length;
    field("fix-span").setSelectionRange(units(start), units(end));
  }
  if (box.length) $("close").focus();
  else (caption ? field("fix-span") : statement.label ? field("fix-label") : field("fix-text")).focus();
}

function fixed() {
  const { statement, caption } = state.question;
  const fix = {};
  const box = close.box;
  if (box && box.some((value, at) => Math.abs(value - statement.box_xyxy[at]) > 0.005)) fix.box_xyxy = box;
  const label = field("fix-label").value.trim();
  if (statement.label && label && label !== statement.label) fix.label = label;
  const text = isNamedTwice(statement) ? label : field("fix-text").value.trim();
  if (!caption && statement.text && text && text !== statement.text) fix.text = text;
  if (caption) {
    const { selectionStart, selectionEnd } = field("fix-span");
    const span = [selectionStart, selectionEnd].map((at) => Array.from(caption.slice(0, at)).length);
    if (span[0] < span[1] && span.some((value, at) => value !== statement.span[at])) fix.span = span;
  }
  return Object.keys(fix).length ? fix : null;
}

async function saveFix() {
  const fix = fixed();
  if (!fix) {
    $("note").textContent = "Nothing is changed: move the box, or type something else.";
    return;
  }
  await send("judge", { id: state.question.statement.id, answer: "fixed", fix });
}

// --- what is missing ---

const draftName = () => `audit ${state.about.dataset} ${state.person} ${state.question.key}`;

function readDraft() {
  try {
    return JSON.parse(sessionStorage.getItem(draftName()));
  } catch {
    return null;
  }
}

function showMissing() {
  state.mode = "missing";
  const { question } = state;
  state.found = readDraft() || question.missing || [];
  $("kind").textContent = `image ${question.key}`;
  $("question").textContent = "What is missing here?";
  $("missing").hidden = false;
  $("whole").toggleAttribute("hidden", true);
  close.show(question, null);
  close.canDraw = true;
  close.onBox = () => $("missing-name").focus();
  drawFound();
  $("close").focus();
}

function drawFound() {
  close.regions.replaceChildren();
  for (const one of state.question.annotations) {
    region(close.regions, { ...one, mask: [] }, 0, "other");
    close.name(one);
  }
  for (const one of state.found) {
    if (!one.box_xyxy) continue;
    region(close.regions, { mask: [], quad: [], box_xyxy: one.box_xyxy }, 0, "region ours");
    close.name(one);
  }
  const rows = state.found.map((one, index) => {
    const row = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = `${one.label || one.text || "a thing"} (${one.task})`;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "remove";
    remove.setAttribute("aria-label", `remove ${name.textContent}`);
    remove.addEventListener("click", () => {
      state.found.splice(index, 1);
      keepDraft();
    });
    row.append(name, remove);
    return row;
  });
  $("found").replaceChildren(...rows);
  $("done").textContent = state.found.length ? `done, ${state.found.length} missing` : "nothing is missing";
  const isRead = $("missing-task").value.includes("ocr");
  $("missing-words").textContent = isRead ? "Text" : "Name";
  offerLabels($("missing-task").value);
}

function keepDraft() {
  sessionStorage.setItem(draftName(), JSON.stringify(state.found));
  drawFound();
}

function middleBox() {
  const { width, height } = state.question;
  close.edit([width * 0.4, height * 0.4, width * 0.6, height * 0.6].map(Math.round));
  $("close").focus();
}

function addFound() {
  const name = $("missing-name").value.trim();
  if (!close.box || !name) {
    $("note").textContent = close.box ? "Name it." : "Draw its box first, or press a.";
    (close.box ? $("missing-name") : $("close")).focus();
    return;
  }
  const task = $("missing-task").value;
  const words = task.includes("ocr") ? { label: "", text: name } : { label: name, text: "" };
  state.found.push({ task, ...words, box_xyxy: close.box });
  close.edit(null);
  $("missing-name").value = "";
  $("note").textContent = "";
  keepDraft();
  $("close").focus();
}

async function saveMissing() {
  if (close.box && !window.confirm("A box has no name yet. Leave it out?")) return;
  const draft = draftName();
  if (await send("search", { key: state.question.key, missing: state.found })) sessionStorage.removeItem(draft);
}

// --- keys ---

const DO = {
  right: () => judge("right"),
  wrong: () => judge("wrong"),
  unsure: () => judge("unsure"),
  fix: () => state.mode === "ask" && showFix(),
  missing: () => state.mode === "ask" && state.about.missing_tasks.length
    ? send("choose", { key: state.question.key }) : undefined,
  undo: () => send("undo", {}),
  box: middleBox,
  add: addFound,
  done: saveMissing,
  cancel: () => (state.mode === "fix" ? showStatement() : send("next", {})),
};

function judge(answer) {
  if (state.mode === "ask") send("judge", { id: state.question.statement.id, answer });
}

function onKey(event) {
  if (!state.about || $("work").hidden || event.ctrlKey || event.metaKey || event.isComposing) return;
  const isTyping = event.target.matches("input, textarea, select");
  if (event.key === "Escape") {
    event.preventDefault();
    if (isTyping && state.mode === "missing") $("close").focus();
    else if (state.mode !== "ask") DO.cancel();
    return;
  }
  if (event.key.startsWith("Arrow") && close.box && !isTyping) {
    event.preventDefault();
    const step = event.altKey ? 10 : 1;
    const across = { ArrowLeft: -step, ArrowRight: step }[event.key] || 0;
    const down = { ArrowUp: -step, ArrowDown: step }[event.key] || 0;
    close.nudge(across, down, event.shiftKey);
    return;
  }
  if (event.key === "Enter" && !event.target.matches("button, select") && !event.shiftKey) {
    if (state.mode === "fix") { event.preventDefault(); saveFix(); }
    if (state.mode === "missing") { event.preventDefault(); addFound(); }
    return;
  }
  if (isTyping || event.altKey || event.repeat) return;
  const keys = state.mode === "missing" ? MISSING_KEYS : state.mode === "fix" ? {} : KEYS;
  const name = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (name) {
    event.preventDefault();
    DO[name]();
  }
}

async function begin(person) {
  state.person = person;
  localStorage.setItem("florilegium audit name", person);
  $("welcome").hidden = true;
  $("work").hidden = false;
  await send("next", {});
}

async function start() {
  state.about = await ask("/audit/api/about");
  $("dataset").textContent = state.about.dataset;
  document.title = `Audit ${state.about.dataset}`;
  for (const task of state.about.missing_tasks) $("missing-task").add(new Option(task, task));
  document.querySelector('[data-do="missing"]').hidden = !state.about.missing_tasks.length;
  $("missing-task").addEventListener("change", drawFound);
  document.addEventListener("keydown", onKey);
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => DO[button.dataset.do]());
  }
  $("fix").addEventListener("submit", (event) => { event.preventDefault(); saveFix(); });
  $("missing").addEventListener("submit", (event) => event.preventDefault());
  $("welcome").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("name").value.trim()) begin($("name").value.trim());
  });
  const known = localStorage.getItem("florilegium audit name");
  if (known) await begin(known);
  else {
    $("welcome").hidden = false;
    $("name").focus();
  }
}

start().catch((error) => { document.body.append(`The audit cannot start: ${error.message}`); });
