// Questions to the server of this page.

/** Return the JSON of a route; parameters that are empty are left out. */
export async function ask(path, parameters = {}, { signal } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "" && value !== null && value !== undefined) query.set(name, value);
  }
  return answer(await fetch(query.size ? `${path}?${query}` : path, { signal }));
}

/** Send JSON to a route and return the JSON that it answers. */
export async function send(path, body) {
  const headers = { "Content-Type": "application/json" };
  return answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answer(response) {
  if (response.ok) return response.json();
  const text = await response.text();
  let message = text;
  try { message = JSON.parse(text).error ?? text; } catch { /* it is plain text */ }
  throw new Error(message || `the server answers ${response.status}`);
}

/** Return the URL of the bytes of an image, or of a thumbnail so many pixels wide at most. */
export function imageUrl(key, { round = null, side = null } = {}) {
  const query = new URLSearchParams({ key });
  if (round !== null) query.set("round", round);
  if (side !== null) query.set("side", side);
  return `/api/image?${query}`;
}
