// SPDX-License-Identifier: Apache-2.0
// Worker that draws one frame with its masks and effects into an OffscreenCanvas, and returns it as an ImageBitmap.
// Does not know the server, zoom or time. The preview of what the server renders into the mp4 file.

import { boundsOf, edgeOf, paint, pixelsOf, rgbOf } from "./masks.js";

/**
 * @typedef {import("./connection.js").Mask} Mask
 * @typedef {import("./connection.js").Effect} Effect
 * @typedef {import("./connection.js").Settings} Settings
 * @typedef {{id: number, width: number, height: number, jpeg: Blob, masks: Mask[], colours: Record<number, string>,
 *   settings: Settings, selected: number, crops: number[]}} Job
 *   `crops`: objects whose thumbnail is wanted
 * @typedef {{id: number, bitmap?: ImageBitmap, crops: {object: number, bitmap: ImageBitmap}[], error?: string}} Done
 * @typedef {{mask: Mask, bounds: import("./masks.js").Bounds, pixels: Uint8Array,
 *   colour: [number, number, number]}} Shape
 * @typedef {{canvas: OffscreenCanvas, context: OffscreenCanvasRenderingContext2D}} Layer
 */

const CROP_PX = 72;
const MOST_CELLS = 6; // along the longer side of a hidden object, at strength 0
const FEWEST_CELLS = 3; // at strength 1
const DIRECTIONS = 16; // in which a mask is shifted to grow it
const worker = /** @type {{onmessage: ((event: MessageEvent) => void) | null,
  postMessage(message: Done, transfer: Transferable[]): void}} */ (/** @type {unknown} */ (self));

worker.onmessage = async (/** @type {MessageEvent} */ event) => {
  const job = /** @type {Job} */ (event.data);
  try {
    const frame = await createImageBitmap(job.jpeg);
    const { effect, picture } = job.settings.object;
    const replacement = effect === "replace" && picture ? await uploaded(picture) : null;
    const { bitmap, crops } = compose(frame, job, replacement);
    frame.close();
    worker.postMessage({ id: job.id, bitmap, crops }, [bitmap, ...crops.map((crop) => crop.bitmap)]);
  } catch (error) {
    worker.postMessage({ id: job.id, crops: [], error: String(error) }, []);
  }
};

/**
 * @param {number} width
 * @param {number} height
 * @returns {Layer}
 */
function layer(width, height) {
  const canvas = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser has no 2D canvas in workers");
  return { canvas, context };
}

/** @type {Map<string, ImageBitmap>} */
const pictures = new Map();

/**
 * @param {string} name of an uploaded picture
 * @returns {Promise<ImageBitmap | null>} null: the server does not have it
 */
async function uploaded(name) {
  const known = pictures.get(name);
  if (known) return known;
  const answer = await fetch(`/pictures/${encodeURIComponent(name)}`).catch(() => null);
  if (!answer?.ok) return null;
  const picture = await createImageBitmap(await answer.blob());
  pictures.set(name, picture);
  return picture;
}

/**
 * @param {ImageBitmap} frame
 * @param {Job} job
 * @param {ImageBitmap | null} replacement picture over the objects, instead of an emoji
 */
function compose(frame, job, replacement) {
  const { width, height } = frame;
  const out = layer(width, height);
  const shapes = shapesOf(job, width);
  const shown = shapes.filter(({ mask: { object } }) =>
    job.settings.solo ? object === job.settings.solo : !job.settings.hidden.includes(object));
  drawBackground(out.context, frame, job.settings.background);
  if (job.settings.object.effect === "spotlight") shade(out.context, width, height, job.settings.object.strength);
  const objects = job.settings.object;
  const filled = objects.effect === "erase" || objects.effect === "replace" ? inpaint(frame, shown) : null;
  for (const shape of shown) drawObject(out.context, frame, shape, job, filled, replacement);
  const crops = shapes.filter(({ mask }) => job.crops.includes(mask.object)).map((shape) => cropOf(frame, shape));
  return { bitmap: out.canvas.transferToImageBitmap(), crops };
}

/**
 * @param {Job} job
 * @param {number} width
 * @returns {Shape[]}
 */
function shapesOf(job, width) {
  /** @type {Shape[]} */
  const shapes = [];
  for (const mask of job.masks) {
    const bounds = boundsOf(mask.runs, width);
    if (!bounds) continue;
    const pixels = pixelsOf(mask.runs, width, bounds);
    shapes.push({ mask, bounds, pixels, colour: rgbOf(job.colours[mask.object] ?? "") });
  }
  return shapes;
}

/**
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {ImageBitmap} frame
 * @param {Effect} effect
 */
function drawBackground(context, frame, effect) {
  const { width, height } = frame;
  const [first = "#101820", second = "#3f6fb5"] = effect.colours ?? [];
  if (effect.effect === "blur" || effect.effect === "pixelate") {
    context.drawImage(coarse(frame, effect.effect === "blur", effect.strength), 0, 0, width, height);
  } else {
    context.drawImage(frame, 0, 0);
  }
  if (effect.effect === "erase") {
    context.fillStyle = first;
    context.fillRect(0, 0, width, height);
  } else if (effect.effect === "gradient") {
    const gradient = context.createLinearGradient(0, 0, 0, height);
    gradient.addColorStop(0, first);
    gradient.addColorStop(1, second);
    context.globalAlpha = effect.strength;
    context.fillStyle = gradient;
    context.fillRect(0, 0, width, height);
  } else if (effect.effect === "desaturate") {
    context.globalAlpha = effect.strength;
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, width, height);
  }
  context.globalAlpha = 1;
  context.globalCompositeOperation = "source-over";
}

/**
 * The frame without its details: smooth (blur) or in squares (pixelate). Scaling is what every browser does fast.
 * @param {ImageBitmap} frame
 * @param {boolean} smooth
 * @param {number} strength 0..1: cells of 2 pixels to 1/12 of the shorter side
 * @returns {OffscreenCanvas} at the size of the frame
 */
function coarse(frame, smooth, strength) {
  const { width, height } = frame;
  const cell = Math.max(2, (strength * Math.min(width, height)) / (smooth ? 24 : 12));
  let small = layer(Math.round(width / cell), Math.round(height / cell));
  small.context.imageSmoothingQuality = "high";
  small.context.drawImage(frame, 0, 0, small.canvas.width, small.canvas.height);
  const out = layer(width, height);
  if (smooth) {
    // Upscaled in two steps: one bilinear step shows the cells as diamonds.
    const middle = layer(small.canvas.width * 3, small.canvas.height * 3);
    middle.context.imageSmoothingQuality = "high";
    middle.context.drawImage(small.canvas, 0, 0, middle.canvas.width, middle.canvas.height);
    small = middle;
  }
  out.context.imageSmoothingEnabled = smooth;
  out.context.imageSmoothingQuality = "high";
  out.context.drawImage(small.canvas, 0, 0, width, height);
  return out.canvas;
}

/**
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {number} width
 * @param {number} height
 * @param {number} strength
 */
function shade(context, width, height, strength) {
  context.fillStyle = `rgb(0 0 0 / ${0.25 + 0.65 * strength})`;
  context.fillRect(0, 0, width, height);
}

/**
 * The frame with the objects filled from what surrounds them: coarse levels show through where finer ones have a hole.
 * @param {ImageBitmap} frame
 * @param {Shape[]} shapes
 * @returns {OffscreenCanvas}
 */
function inpaint(frame, shapes) {
  const { width, height } = frame;
  const out = layer(width, height);
  out.context.drawImage(frame, 0, 0);
  out.context.globalCompositeOperation = "destination-out";
  for (const { bounds, pixels } of shapes) {
    const hole = stamp(pixels, bounds, [0, 0, 0], 1);
    for (let dy = -1; dy <= 1; dy += 1) {
      for (let dx = -1; dx <= 1; dx += 1) {
        out.context.drawImage(hole, bounds.x + 2 * dx, bounds.y + 2 * dy);
      }
    }
  }
  out.context.globalCompositeOperation = "destination-over";
  for (let cell = 4; cell <= 2 * Math.max(width, height); cell *= 2) {
    const small = layer(Math.ceil(width / cell), Math.ceil(height / cell));
    small.context.imageSmoothingQuality = "high";
    small.context.drawImage(out.canvas, 0, 0, small.canvas.width, small.canvas.height);
    out.context.drawImage(small.canvas, 0, 0, width, height);
  }
  return out.canvas;
}

/**
 * A mask as an image, to be drawn or to cut with.
 * @param {Uint8Array} pixels
 * @param {import("./masks.js").Bounds} bounds
 * @param {[number, number, number]} rgb
 * @param {number} alpha
 * @returns {OffscreenCanvas} at the size of the bounds
 */
function stamp(pixels, bounds, rgb, alpha) {
  const out = layer(bounds.width, bounds.height);
  out.context.putImageData(paint(pixels, bounds.width, bounds.height, rgb, alpha), 0, 0);
  return out.canvas;
}

/**
 * The pixels of an object, cut out of an image.
 * @param {CanvasImageSource} image at the size of the frame
 * @param {Shape} shape
 * @returns {OffscreenCanvas} at the size of the bounds
 */
function cut(image, { bounds, pixels }) {
  const out = layer(bounds.width, bounds.height);
  out.context.putImageData(paint(pixels, bounds.width, bounds.height, [0, 0, 0], 1), 0, 0);
  out.context.globalCompositeOperation = "source-in";
  out.context.drawImage(image, -bounds.x, -bounds.y);
  return out.canvas;
}

/**
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {ImageBitmap} frame
 * @param {Shape} shape
 * @param {Job} job
 * @param {OffscreenCanvas | null} filled
 * @param {ImageBitmap | null} replacement
 */
function drawObject(context, frame, shape, job, filled, replacement) {
  const { bounds, pixels, colour } = shape;
  const { effect, strength, emoji } = job.settings.object;
  const selected = shape.mask.object === job.selected;
  if (filled) {
    context.drawImage(filled, bounds.x, bounds.y, bounds.width, bounds.height, bounds.x, bounds.y, bounds.width,
      bounds.height);
    if (effect === "replace" && replacement) drawPicture(context, replacement, bounds);
    else if (effect === "replace") drawEmoji(context, emoji || "🙂", bounds);
    return;
  }
  context.drawImage(cut(frame, shape), bounds.x, bounds.y);
  if (effect === "pixelate" || effect === "blur") hide(context, shape, effect === "blur", strength);
  if (effect === "overlay") {
    context.drawImage(stamp(pixels, bounds, colour, job.settings.opacity), bounds.x, bounds.y);
    if (job.settings.opacity > 0) drawEdge(context, shape, selected ? 2 : 1);
  } else if (effect === "outline") {
    drawEdge(context, shape, 1 + Math.round(strength * 5));
  }
}

/**
 * Hide an object as the server does: a few mean colours along its longer side, over it and a border around it.
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {Shape} shape
 * @param {boolean} smooth blurred, not in squares
 * @param {number} strength 0..1
 */
function hide(context, { bounds, pixels }, smooth, strength) {
  const side = Math.max(bounds.width, bounds.height);
  const soft = Math.max(1, Math.round(side * 0.02));
  const border = Math.max(2, Math.round(side * 0.04)) + soft;
  const x = Math.max(0, bounds.x - border - soft);
  const y = Math.max(0, bounds.y - border - soft);
  const width = Math.min(context.canvas.width, bounds.x + bounds.width + border + soft) - x;
  const height = Math.min(context.canvas.height, bounds.y + bounds.height + border + soft) - y;
  const cell = Math.max(width, height) / Math.round(MOST_CELLS + (FEWEST_CELLS - MOST_CELLS) * strength);
  const cells = layer(Math.round(width / cell), Math.round(height / cell));
  cells.context.imageSmoothingQuality = "high";
  cells.context.drawImage(context.canvas, x, y, width, height, 0, 0, cells.canvas.width, cells.canvas.height);
  const cover = layer(width, height); // the mask, grown by the border
  const mask = stamp(pixels, bounds, [0, 0, 0], 1);
  for (const radius of [0, border / 2, border]) {
    for (let at = 0; at < (radius ? DIRECTIONS : 1); at += 1) {
      const angle = (at * 2 * Math.PI) / DIRECTIONS;
      const dx = Math.round(radius * Math.cos(angle));
      cover.context.drawImage(mask, bounds.x - x + dx, bounds.y - y + Math.round(radius * Math.sin(angle)));
    }
  }
  cover.context.globalCompositeOperation = "source-in";
  cover.context.imageSmoothingEnabled = smooth;
  cover.context.imageSmoothingQuality = "high";
  cover.context.drawImage(cells.canvas, 0, 0, width, height);
  context.drawImage(cover.canvas, x, y);
}

/**
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {ImageBitmap} picture drawn with about the area of the bounds
 * @param {import("./masks.js").Bounds} bounds
 */
function drawPicture(context, picture, bounds) {
  const scale = 1.1 * Math.sqrt((bounds.width * bounds.height) / (picture.width * picture.height));
  const width = picture.width * scale;
  const height = picture.height * scale;
  const x = bounds.x + (bounds.width - width) / 2;
  const y = bounds.y + (bounds.height - height) / 2;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, x, y, width, height);
}

/**
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {Shape} shape
 * @param {number} thickness pixels
 */
function drawEdge(context, { bounds, pixels, colour }, thickness) {
  const line = stamp(edgeOf(pixels, bounds.width, bounds.height), bounds, colour, 1);
  for (let dy = 0; dy < thickness; dy += 1) {
    for (let dx = 0; dx < thickness; dx += 1) {
      const half = Math.floor((thickness - 1) / 2);
      context.drawImage(line, bounds.x + dx - half, bounds.y + dy - half);
    }
  }
}

/**
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {string} emoji
 * @param {import("./masks.js").Bounds} bounds
 */
function drawEmoji(context, emoji, bounds) {
  context.font = `${Math.max(bounds.width, bounds.height) * 0.9}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = "#ffffff";
  context.fillText(emoji, bounds.x + bounds.width / 2, bounds.y + bounds.height / 2);
}

/**
 * @param {ImageBitmap} frame
 * @param {Shape} shape
 */
function cropOf(frame, { bounds, mask }) {
  const side = Math.max(bounds.width, bounds.height) * 1.2;
  const out = layer(CROP_PX, CROP_PX);
  const x = bounds.x + bounds.width / 2 - side / 2;
  const y = bounds.y + bounds.height / 2 - side / 2;
  out.context.imageSmoothingQuality = "high";
  out.context.drawImage(frame, x, y, side, side, 0, 0, CROP_PX, CROP_PX);
  return { object: mask.object, bitmap: out.canvas.transferToImageBitmap() };
}
