// Masks in COCO's compressed run lengths: column by column, background first.

const MOST_PIXELS = 200_000_000;

/** Return the runs of a compressed text as numbers; a damaged one gives fewer. */
export function runs(counts) {
  const found = [];
  let place = 0;
  while (place < counts.length) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const digit = counts.charCodeAt(place++) - 48;
      if (!(digit >= 0 && digit < 64) || shift > 6) return found;
      value |= (digit & 31) << (5 * shift++);
      more = (digit & 32) !== 0;
      if (!more && digit & 16) value |= -1 << (5 * shift);
    }
    if (found.length > 2) value += found[found.length - 2];
    if (value < 0) return found;
    found.push(value);
  }
  return found;
}

/** Call `each(x, top, bottom)` for each upright piece of a mask; return its size [height, width]. */
export function pieces(mask, each) {
  const [height, width] = mask.size;
  if (!(height > 0 && width > 0 && height * width <= MOST_PIXELS)) return mask.size;
  let place = 0, inside = false;
  for (const run of runs(mask.counts)) {
    const end = Math.min(place + run, height * width);
    while (inside && place < end) {
      const x = Math.floor(place / height), top = place - x * height;
      const bottom = Math.min(height, top + end - place);
      each(x, top, bottom);
      place += bottom - top;
    }
    place = end;
    inside = !inside;
  }
  return mask.size;
}

/** Paint a mask into pixels of another size, in a colour [r, g, b, alpha]. */
export function paint(pixels, mask, [red, green, blue, alpha]) {
  const [height, width] = mask.size;
  const across = pixels.width / width, down = pixels.height / height;
  pieces(mask, (x, top, bottom) => {
    const left = Math.floor(x * across), right = Math.max(left + 1, Math.floor((x + 1) * across));
    if (across < 1 && left === Math.floor((x - 1) * across) && x > 0) return;
    const low = Math.floor(top * down), high = Math.max(low + 1, Math.ceil(bottom * down));
    for (let row = low; row < Math.min(high, pixels.height); row++) {
      for (let column = left; column < Math.min(right, pixels.width); column++) {
        pixels.data.set([red, green, blue, alpha], 4 * (row * pixels.width + column));
      }
    }
  });
}

/** Return the box [left, top, right, bottom] around a mask, or null without one. */
export function around(mask) {
  let box = null;
  pieces(mask, (x, top, bottom) => {
    box = box
      ? [box[0], Math.min(box[1], top), x + 1, Math.max(box[3], bottom)]
      : [x, top, x + 1, bottom];
  });
  return box;
}
