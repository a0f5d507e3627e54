// Shows what the answers say of the whole dataset.

const percent = (value) => (value === null ? "" : `${(100 * value).toFixed(1)} %`);

function range({ share, low, high }) {
  return share === null ? "not yet" : `${percent(share)} (${(100 * low).toFixed(0)}–${(100 * high).toFixed(0)})`;
}

// What was unsure is not asked again: where all is asked, no more answers can come.
function needed({ more, answered, unsure, of }) {
  if (answered + unsure >= of) return "all asked";
  return more ? `${Math.min(more, of - answered - unsure)} more` : "enough";
}

function table(caption, heads, rows) {
  const one = document.createElement("table");
  one.createCaption().textContent = caption;
  const head = one.createTHead().insertRow();
  for (const name of heads) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = one.createTBody();
  for (const [name, ...cells] of rows) {
    const row = body.insertRow();
    const first = document.createElement("th");
    first.scope = "row";
    first.textContent = name;
    row.append(first);
    for (const text of cells) row.insertCell().textContent = text;
  }
  return one;
}

export function showProgress(place, progress) {
  if (progress.by_gain && !progress.by_random) {
    place.textContent = "These answers calibrate a merge. They are no random sample, so nothing is "
      + "estimated from them: serve with --queue random for estimates.";
    return;
  }
  const parts = [];
  parts.push(table("Precision", ["what", "right, 95 %", "asked", "for ±2 %"],
    progress.precision.map(({ task, specialist, precision }) => [
      `${task} by ${specialist}`, range(precision),
      String(precision.answered + precision.unsure), needed(precision),
    ])));
  if (progress.recall.length) {
    parts.push(table("Recall", ["what", "found, 95 %", "images"],
      progress.recall.map(({ task, recall }) => [task, range(recall), String(recall.answered)])));
  }
  if (progress.agreement.length) {
    parts.push(table("Agreement", ["who", "both asked", "kappa"],
      progress.agreement.map(({ first, second, statements, kappa }) => [
        `${first}, ${second}`, String(statements), kappa === null ? "undefined" : kappa.toFixed(2)])));
  }
  for (const note of progress.notes) {
    const one = document.createElement("p");
    one.className = "quiet";
    one.textContent = note;
    parts.push(one);
  }
  place.replaceChildren(...parts);
}
