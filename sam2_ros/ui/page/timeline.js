// SPDX-License-Identifier: Apache-2.0
// The timeline: ruler, filmstrip, playhead, and a lane for each object with its bars, curves, prompts and doubts.
// Does not know the server: it reports where the user wants to go, and which thumbnails it lacks.

import { dot, hatch, triangle } from "./marks.js";

/**
 * @typedef {import("./connection.js").Lane} Lane
 * @typedef {import("./connection.js").SceneObject} SceneObject
 * @typedef {{object: number, frame: number, why: string}} Doubt
 * @typedef {{frames: number, aspect: number, index: number, selected: number, objects: SceneObject[],
 *   lanes: Map<number, Lane>, doubts: Doubt[], tracking: {from: number, to: number} | null}} View
 *   `aspect`: width / height of a frame
 * @typedef {{seek: (index: number) => void, select: (object: number) => void,
 *   strip: (indices: number[], height: number) => void}} Actions
 */

const RULER_PX = 20;
const STRIP_PX = 44;
const LANE_PX = 30;
const NEVER = 255;
const [TRACKING, OCCLUDED] = [1, 2];
const MOST_THUMBNAILS = 600;

export class Timeline {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Actions} actions
   */
  constructor(canvas, actions) {
    this.canvas = canvas;
    this.actions = actions;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser has no 2D canvas");
    this.context = context;
    /** @type {View | null} */
    this.view = null;
    this.first = 0; // frames at the left and right edge, fractions allowed
    this.last = 1;
    /** @type {Map<number, ImageBitmap>} */
    this.thumbnails = new Map();
    /** @type {Set<number>} */
    this.asked = new Set();
    this.dragging = false;
    this.due = false;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => {
      if (this.dragging) this.seekTo(event.offsetX);
    });
    canvas.addEventListener("lostpointercapture", () => (this.dragging = false));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(/** @type {Element} */ (canvas.parentElement));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Begin with another source. */
  reset() {
    for (const bitmap of this.thumbnails.values()) bitmap.close();
    this.thumbnails.clear();
    this.asked.clear();
    this.view = null;
    this.first = 0;
    this.last = 1;
    this.draw();
  }

  /** @param {View} view */
  set(view) {
    if (!this.view) this.last = view.frames;
    const moved = this.view?.index !== view.index;
    this.view = view;
    if (moved) this.keepVisible(view.index);
    const { canvas } = this;
    canvas.style.height = `${RULER_PX + STRIP_PX + 4 + LANE_PX * view.objects.length + 4}px`;
    canvas.setAttribute("aria-valuemax", String(view.frames - 1));
    canvas.setAttribute("aria-valuenow", String(view.index));
    canvas.setAttribute("aria-valuetext", `Frame ${view.index + 1} of ${view.frames}`);
    this.draw();
  }

  /**
   * @param {number} index
   * @param {Blob} jpeg
   */
  async addThumbnail(index, jpeg) {
    const bitmap = await createImageBitmap(jpeg);
    this.thumbnails.get(index)?.close();
    this.thumbnails.set(index, bitmap);
    for (const oldest of this.thumbnails.keys()) {
      if (this.thumbnails.size <= MOST_THUMBNAILS) break;
      this.thumbnails.get(oldest)?.close();
      this.thumbnails.delete(oldest);
      this.asked.delete(oldest);
    }
    this.draw();
  }

  /** @param {number[]} indices of thumbnails that will not come */
  forget(indices) {
    for (const index of indices) this.asked.delete(index);
  }

  get gutter() {
    return this.canvas.clientWidth < 600 ? 64 : 120;
  }

  get pixelsPerFrame() {
    return (this.canvas.clientWidth - this.gutter) / Math.max(1, this.last - this.first);
  }

  /** @param {number} frame */
  xOf(frame) {
    return this.gutter + (frame - this.first) * this.pixelsPerFrame;
  }

  /** @param {number} x */
  frameAt(x) {
    return this.first + (x - this.gutter) / this.pixelsPerFrame;
  }

  /** @param {number} index */
  keepVisible(index) {
    const span = this.last - this.first;
    if (index < this.first) this.moveTo(index - 0.1 * span, span);
    else if (index + 1 > this.last) this.moveTo(index + 1 - 0.9 * span, span);
  }

  /**
   * @param {number} first
   * @param {number} span
   */
  moveTo(first, span) {
    const frames = this.view?.frames ?? 1;
    const width = Math.min(frames, Math.max(Math.min(frames, 8), span));
    this.first = Math.min(frames - width, Math.max(0, first));
    this.last = this.first + width;
    this.draw();
  }

  /**
   * @param {number} factor above 1 = fewer frames
   * @param {number} [frame] that stays in place
   */
  zoom(factor, frame = (this.view?.index ?? 0) + 0.5) {
    const span = (this.last - this.first) / factor;
    const share = (frame - this.first) / (this.last - this.first);
    this.moveTo(frame - share * span, span);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!this.view || !(event.ctrlKey || event.shiftKey || event.deltaX)) return; // else the lanes scroll
    event.preventDefault();
    const delta = event.deltaY || event.deltaX;
    if (event.ctrlKey) this.zoom(Math.exp(-delta * 0.002), this.frameAt(event.offsetX));
    else this.moveTo(this.first + delta / this.pixelsPerFrame, this.last - this.first);
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (!this.view || event.button !== 0) return;
    const lane = Math.floor((event.offsetY - RULER_PX - STRIP_PX - 4) / LANE_PX);
    const object = lane >= 0 ? this.view.objects[lane] : undefined;
    if (object) this.actions.select(object.object);
    if (event.offsetX < this.gutter) return;
    const frame = this.frameAt(event.offsetX);
    const near = 8 / this.pixelsPerFrame;
    const marks = object
      ? [...object.keyframes, ...this.view.doubts.filter((doubt) => doubt.object === object.object)]
      : [];
    const hit = marks
      .filter((mark) => Math.abs(mark.frame + 0.5 - frame) < near)
      .sort((a, b) => Math.abs(a.frame + 0.5 - frame) - Math.abs(b.frame + 0.5 - frame))[0];
    this.dragging = !hit;
    if (!hit) this.canvas.setPointerCapture(event.pointerId);
    if (hit) this.actions.seek(hit.frame);
    else this.seekTo(event.offsetX);
  }

  /** @param {number} x css pixels of the canvas */
  seekTo(x) {
    const frame = Math.floor(this.frameAt(x));
    this.actions.seek(Math.min((this.view?.frames ?? 1) - 1, Math.max(0, frame)));
  }

  draw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.due = false;
    const { canvas, context, view } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (!view) return;
    const style = getComputedStyle(canvas);
    const colours = Object.fromEntries(["ink", "quiet", "line", "sunken", "accent", "warn", "raised"].map((name) =>
      [name, style.getPropertyValue(`--${name}`).trim()]));
    this.drawRuler(view, colours);
    this.drawStrip(view, colours);
    view.objects.forEach((object, row) =>
      this.drawLane(view, object, RULER_PX + STRIP_PX + 4 + row * LANE_PX, colours));
    this.drawPlayhead(view, colours);
  }

  /**
   * @param {View} view
   * @param {Record<string, string>} colours
   */
  drawRuler(view, colours) {
    const { context } = this;
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];
    const step = steps.find((frames) => frames * this.pixelsPerFrame >= 58) ?? 200_000;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (let frame = Math.ceil(this.first / step) * step; frame < this.last; frame += step) {
      const x = this.xOf(frame);
      context.fillStyle = colours.line;
      context.fillRect(x, 4, 1, RULER_PX - 4);
      context.fillStyle = colours.quiet;
      context.fillText(String(frame + 1), x + 4, RULER_PX / 2 + 1);
    }
    if (view.tracking) {
      const { from, to } = view.tracking;
      const start = this.xOf(Math.min(from, to));
      const end = this.xOf(Math.max(from, to) + 1);
      context.fillStyle = colours.accent;
      context.globalAlpha = 0.35;
      context.fillRect(Math.max(this.gutter, start), RULER_PX - 3, Math.max(0, end - Math.max(this.gutter, start)), 3);
      context.globalAlpha = 1;
    }
  }

  /**
   * Thumbnails stand at multiples of a power of two of frames, so that zooming needs few new ones.
   * @param {View} view
   * @param {Record<string, string>} colours
   */
  drawStrip(view, colours) {
    const { context } = this;
    const right = this.canvas.clientWidth;
    context.fillStyle = colours.sunken;
    context.fillRect(this.gutter, RULER_PX, right - this.gutter, STRIP_PX);
    context.save();
    context.beginPath();
    context.rect(this.gutter, RULER_PX, right - this.gutter, STRIP_PX);
    context.clip();
    const wide = STRIP_PX * view.aspect;
    const step = 2 ** Math.max(0, Math.floor(Math.log2(wide / this.pixelsPerFrame)));
    const slot = Math.min(wide, step * this.pixelsPerFrame); // the middle of the thumbnail fills it
    /** @type {number[]} */
    const missing = [];
    for (let frame = Math.floor(this.first / step) * step; frame < this.last; frame += step) {
      const bitmap = this.thumbnails.get(frame);
      const used = bitmap ? (bitmap.width * slot) / wide : 0;
      if (bitmap) {
        const left = (bitmap.width - used) / 2;
        context.drawImage(bitmap, left, 0, used, bitmap.height, this.xOf(frame), RULER_PX, slot, STRIP_PX);
      } else if (!this.asked.has(frame)) {
        missing.push(frame);
      }
    }
    context.restore();
    if (missing.length) {
      for (const frame of missing) this.asked.add(frame);
      this.actions.strip(missing, Math.round(STRIP_PX * Math.min(2, window.devicePixelRatio || 1)));
    }
  }

  /**
   * @param {View} view
   * @param {SceneObject} object
   * @param {number} top css pixels
   * @param {Record<string, string>} colours
   */
  drawLane(view, object, top, colours) {
    const { context, gutter } = this;
    const width = this.canvas.clientWidth;
    const selected = object.object === view.selected;
    context.fillStyle = selected ? colours.sunken : colours.raised;
    context.fillRect(0, top, width, LANE_PX - 2);
    context.fillStyle = object.colour;
    context.fillRect(0, top, 4, LANE_PX - 2);
    context.fillStyle = colours.ink;
    context.font = `${selected ? "600 " : ""}12px system-ui, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    let text = `${object.object} ${object.name}`;
    while (text.length > 3 && context.measureText(text).width > gutter - 22) text = `${text.slice(0, -2).trimEnd()}…`;
    context.fillText(text, 11, top + LANE_PX / 2 - 1);
    context.save();
    context.beginPath();
    context.rect(gutter - 7, top, width - gutter + 7, LANE_PX);
    context.clip();
    const lane = view.lanes.get(object.object);
    if (lane) {
      this.drawBars(lane, top, object.colour);
      this.drawCurve(lane.presence, lane, top, colours.ink, []);
      this.drawCurve(lane.iou, lane, top, colours.ink, [2, 2]);
    }
    for (const doubt of view.doubts) {
      if (doubt.object === object.object) triangle(context, this.xOf(doubt.frame + 0.5), top, 5, 8, colours.warn);
    }
    for (const keyframe of object.keyframes) {
      const fill = keyframe.accepted ? object.colour : colours.raised;
      dot(context, this.xOf(keyframe.frame + 0.5), top + LANE_PX / 2 - 1, fill, colours.ink);
    }
    context.restore();
  }

  /**
   * Runs of equal state: full where visible, hatched where OCCLUDED, empty otherwise.
   * @param {Lane} lane
   * @param {number} top
   * @param {string} colour
   */
  drawBars(lane, top, colour) {
    const { context } = this;
    const end = Math.min(lane.frames, Math.ceil(this.last));
    let start = Math.max(0, Math.floor(this.first));
    while (start < end) {
      const state = lane.state[start];
      let stop = start + 1;
      while (stop < end && lane.state[stop] === state) stop += 1;
      const x = this.xOf(start);
      const width = Math.max(1, this.xOf(stop) - x);
      context.fillStyle = colour;
      if (state === TRACKING) {
        context.globalAlpha = 0.45;
        context.fillRect(x, top + 4, width, LANE_PX - 10);
      } else if (state === OCCLUDED) {
        hatch(context, x, top + 4, width, LANE_PX - 10, colour);
      }
      context.globalAlpha = 1;
      start = stop;
    }
  }

  /**
   * The smallest value of each column of pixels: a single weak frame stays visible when zoomed out.
   * @param {Uint8Array} values
   * @param {Lane} lane
   * @param {number} top
   * @param {string} colour
   * @param {number[]} dash
   */
  drawCurve(values, lane, top, colour, dash) {
    const { context } = this;
    const step = Math.max(1, Math.floor(1 / this.pixelsPerFrame));
    const end = Math.min(lane.frames, Math.ceil(this.last));
    context.beginPath();
    let pen = false;
    for (let frame = Math.max(0, Math.floor(this.first / step) * step); frame < end; frame += step) {
      let least = NEVER + 1;
      for (let at = frame; at < Math.min(frame + step, end); at += 1) {
        if (lane.state[at] !== NEVER) least = Math.min(least, values[at]);
      }
      if (least > NEVER) {
        pen = false;
        continue;
      }
      const x = this.xOf(frame + step / 2);
      const y = top + LANE_PX - 5 - (least / 255) * (LANE_PX - 9);
      context[pen ? "lineTo" : "moveTo"](x, y);
      pen = true;
    }
    context.setLineDash(dash);
    context.lineWidth = 1;
    context.globalAlpha = 0.8;
    context.strokeStyle = colour;
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  /**
   * @param {View} view
   * @param {Record<string, string>} colours
   */
  drawPlayhead(view, colours) {
    const { context } = this;
    const x = this.xOf(view.index);
    const width = Math.max(2, this.pixelsPerFrame);
    if (x + width < this.gutter) return;
    context.globalAlpha = 0.16;
    context.fillStyle = colours.accent;
    context.fillRect(x, RULER_PX, width, this.canvas.clientHeight - RULER_PX);
    context.globalAlpha = 1;
    context.fillRect(x + width / 2 - 1, 6, 2, this.canvas.clientHeight - 6);
    triangle(context, x + width / 2, 2, 6, 9, colours.accent);
  }
}
