// SPDX-License-Identifier: Apache-2.0
// Masks as run lengths: bounds, and pixels of a colour. Used by the page and by its compositing worker.
// Does not know objects, frames or effects.

/** @typedef {{x: number, y: number, width: number, height: number}} Bounds */

/**
 * Bounds of a mask.
 * @param {Uint32Array} runs row-major run lengths that start with background
 * @param {number} width of the frame, pixels
 * @returns {Bounds | null} null: no pixel
 */
export function boundsOf(runs, width) {
  let left = width;
  let right = 0;
  let top = -1;
  let bottom = 0;
  let at = 0;
  for (let run = 0; run < runs.length; run += 1) {
    const end = at + runs[run];
    if (run % 2 === 1 && end > at) {
      const row = Math.floor(at / width);
      const lastRow = Math.floor((end - 1) / width);
      if (top < 0) top = row;
      bottom = lastRow;
      left = row === lastRow ? Math.min(left, at % width) : 0;
      right = row === lastRow ? Math.max(right, ((end - 1) % width) + 1) : width;
    }
    at = end;
  }
  return top < 0 ? null : { x: left, y: top, width: right - left, height: bottom - top + 1 };
}

/**
 * Where the number of a mask is written: above its middle. Specks above it, less than a fiftieth of it, do not count.
 * @param {Uint32Array} runs row-major run lengths that start with background
 * @param {number} width of the frame, pixels
 * @returns {{x: number, y: number} | null} null: no pixel
 */
export function anchorOf(runs, width) {
  let area = 0;
  let columns = 0;
  let at = 0;
  for (let run = 0; run < runs.length; at += runs[run], run += 1) {
    if (run % 2 === 0) continue;
    area += runs[run];
    const left = at % width;
    columns += runs[run] * (left + runs[run] <= width ? left + runs[run] / 2 : width / 2);
  }
  let above = 0;
  at = 0;
  for (let run = 0; run < runs.length; at += runs[run], run += 1) {
    if (run % 2 === 1) above += runs[run];
    if (above * 50 > area) return { x: columns / area, y: Math.floor(at / width) };
  }
  return null;
}

/**
 * Mask within its bounds.
 * @param {Uint32Array} runs
 * @param {number} width of the frame, pixels
 * @param {Bounds} bounds
 * @returns {Uint8Array} `[bounds.height * bounds.width]`, 1 on the object
 */
export function pixelsOf(runs, width, bounds) {
  const pixels = new Uint8Array(bounds.width * bounds.height);
  let at = 0;
  for (let run = 0; run < runs.length; run += 1) {
    let start = at;
    at += runs[run];
    if (run % 2 === 0) continue;
    while (start < at) {
      const row = Math.floor(start / width);
      const end = Math.min(at, (row + 1) * width);
      const line = (row - bounds.y) * bounds.width - bounds.x - row * width;
      pixels.fill(1, line + start, line + end);
      start = end;
    }
  }
  return pixels;
}

/**
 * The pixels of a mask that touch its outside.
 * @param {Uint8Array} pixels `[height * width]`
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} `[height * width]`, 1 on the edge
 */
export function edgeOf(pixels, width, height) {
  const edge = new Uint8Array(pixels.length);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) {
      if (!pixels[at]) continue;
      const inside =
        x > 0 && pixels[at - 1] && x < width - 1 && pixels[at + 1] &&
        y > 0 && pixels[at - width] && y < height - 1 && pixels[at + width];
      if (!inside) edge[at] = 1;
    }
  }
  return edge;
}

/**
 * An image of a mask in one colour.
 * @param {Uint8Array} pixels `[height * width]`
 * @param {number} width
 * @param {number} height
 * @param {[number, number, number]} rgb
 * @param {number} alpha 0..1
 * @returns {ImageData}
 */
export function paint(pixels, width, height, rgb, alpha) {
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const word = (Math.round(alpha * 255) << 24) | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0];
  for (let at = 0; at < pixels.length; at += 1) if (pixels[at]) words[at] = word;
  return image;
}

/**
 * @param {string} colour "#rrggbb"; anything else is grey
 * @returns {[number, number, number]}
 */
export function rgbOf(colour) {
  const value = /^#[0-9a-f]{6}$/i.test(colour) ? Number.parseInt(colour.slice(1), 16) : 0x888888;
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/**
 * A mask as stripes of a colour: what a click would give, as against what is there.
 * @param {Uint32Array} runs
 * @param {number} width of the frame, pixels
 * @param {[number, number, number]} rgb
 * @returns {{image: HTMLCanvasElement, x: number, y: number} | null} null: no pixel; x, y: its place in the frame
 */
export function striped(runs, width, rgb) {
  const bounds = boundsOf(runs, width);
  if (!bounds) return null;
  const pixels = pixelsOf(runs, width, bounds);
  for (let at = 0; at < pixels.length; at += 1) {
    if (((at % bounds.width) + Math.floor(at / bounds.width)) % 8 > 2) pixels[at] = 0;
  }
  const image = document.createElement("canvas");
  image.width = bounds.width;
  image.height = bounds.height;
  image.getContext("2d")?.putImageData(paint(pixels, bounds.width, bounds.height, rgb, 0.75), 0, 0);
  return { image, x: bounds.x, y: bounds.y };
}
