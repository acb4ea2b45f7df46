// SPDX-License-Identifier: Apache-2.0
// The canvas in the middle: zoom, pan, what the pointer means (click, box, stroke), and marks over the frame.
// Does not know the server: it reports prompts in pixels of the source, and draws what it is given.

import { drawMarks } from "./marks.js";
import { rgbOf, striped } from "./masks.js";

/**
 * @typedef {import("./connection.js").Mask} Mask
 * @typedef {import("./connection.js").SceneObject} SceneObject
 * @typedef {"add" | "remove" | "brush" | "eraser"} Tool
 * @typedef {{index: number, width: number, height: number, masks: Mask[], objects: SceneObject[],
 *   selected: number, tags: {object: number, x: number, y: number, colour: string}[]}} Scene
 *   `tags`: where the number of an object is written, source pixels
 * @typedef {{click: (x: number, y: number, sign: number) => void,
 *   unclick: (object: number, number: number) => void,
 *   box: (x0: number, y0: number, x1: number, y1: number) => void,
 *   stroke: (points: [number, number][], radius: number, erase: boolean) => void,
 *   hover: (x: number, y: number, sign: number) => void}} Actions
 * @typedef {{id: number, kind: "prompt" | "paint" | "pan", sign: number, x: number, y: number, lastX: number,
 *   lastY: number, moved: boolean, points: [number, number][]}} Drag
 */

const DRAG_PX = 6;
const HIT_PX = 12;
const MARGIN_PX = 12;
const LONG_PRESS_MS = 500;
const HOVER_MS = 70;

export class Stage {
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
    /** @type {Scene | null} */
    this.scene = null;
    /** @type {ImageBitmap | null} */
    this.bitmap = null;
    /** @type {{image: HTMLCanvasElement, x: number, y: number} | null} */
    this.preview = null;
    /** @type {Tool} */
    this.tool = "add";
    this.radius = 12;
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    this.fitted = true;
    this.panning = false; // Space is held
    this.panned = false;
    /** @type {{x: number, y: number} | null} source pixels; null = the keyboard moves no crosshair */
    this.crosshair = null;
    /** @type {{x: number, y: number} | null} first corner of a box set by the keyboard */
    this.corner = null;
    /** @type {{x: number, y: number} | null} */
    this.cursor = null;
    /** @type {Map<number, {x: number, y: number}>} */
    this.touches = new Map();
    /** @type {Drag | null} */
    this.drag = null;
    this.press = 0;
    this.hoverTimer = 0;
    this.hovering = false; // a preview is awaited; a click or a move gives it up
    this.due = false;
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.abort(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomAt(Math.exp(-event.deltaY * 0.0015), event.offsetX, event.offsetY);
    }, { passive: false });
  }

  /** @param {Scene} scene */
  setScene(scene) {
    const first = !this.scene || this.scene.width !== scene.width || this.scene.height !== scene.height;
    if (this.scene?.index !== scene.index) this.preview = null;
    this.scene = scene;
    if (first) this.fit();
    this.draw();
  }

  clear() {
    this.bitmap?.close();
    this.bitmap = null;
    this.scene = null;
    this.preview = null;
    this.crosshair = null;
    this.draw();
  }

  /** @param {ImageBitmap} bitmap */
  setBitmap(bitmap) {
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.draw();
  }

  /** @param {Mask | null} mask of the click that the pointer hovers over */
  setPreview(mask) {
    if (!this.hovering) return;
    this.preview = mask && striped(mask.runs, this.scene?.width ?? 0, rgbOf(this.colour()));
    this.draw();
  }

  colour() {
    const selected = this.scene?.objects.find((object) => object.object === this.scene?.selected);
    return selected?.colour ?? "#ffffff";
  }

  /** @param {Tool} tool */
  setTool(tool) {
    this.tool = tool;
    this.preview = null;
    this.canvas.dataset.tool = tool;
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.fitted) this.fit();
    this.drawNow();
  }

  fit() {
    if (!this.scene) return;
    const { clientWidth, clientHeight } = this.canvas;
    const { width, height } = this.scene;
    this.scale = Math.max(0.01, Math.min((clientWidth - MARGIN_PX) / width, (clientHeight - MARGIN_PX) / height));
    this.left = (clientWidth - width * this.scale) / 2;
    this.top = (clientHeight - height * this.scale) / 2;
    this.fitted = true;
    this.draw();
  }

  /**
   * @param {number} factor
   * @param {number} [x] css pixels of the canvas that stay in place
   * @param {number} [y]
   */
  zoomAt(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(40, Math.max(0.05, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  /**
   * Position in the source in pixels, where 0 is the left edge of the first pixel.
   * @param {{offsetX: number, offsetY: number}} event
   */
  at(event) {
    return { x: (event.offsetX - this.left) / this.scale, y: (event.offsetY - this.top) / this.scale };
  }

  /**
   * Clicks count pixels from their centres: the middle of the first pixel is 0.
   * @param {{x: number, y: number}} place
   * @returns {[number, number]} within the source
   */
  pixel({ x, y }) {
    const { width, height } = this.scene ?? { width: 1, height: 1 };
    const round = (/** @type {number} */ value, /** @type {number} */ size) =>
      Math.round(Math.min(size - 1, Math.max(0, value - 0.5)) * 100) / 100;
    return [round(x, width), round(y, height)];
  }

  /** @param {{x: number, y: number}} place */
  inside({ x, y }) {
    return Boolean(this.scene && x >= 0 && y >= 0 && x < this.scene.width && y < this.scene.height);
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (!this.scene) return;
    this.canvas.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      if (this.touches.size > 1) {
        this.abort();
        return;
      }
    }
    const pan = this.panning || event.button === 1;
    const paints = !pan && event.button === 0 && (this.tool === "brush" || this.tool === "eraser");
    const negative = event.button === 2 || event.altKey || this.tool === "remove";
    const place = this.at(event);
    this.drag = {
      id: event.pointerId,
      kind: pan ? "pan" : paints ? "paint" : "prompt",
      sign: negative ? -1 : 1,
      x: event.offsetX,
      y: event.offsetY,
      lastX: event.offsetX,
      lastY: event.offsetY,
      moved: false,
      points: paints ? [this.pixel(place)] : [],
    };
    if (event.pointerType === "touch" && this.drag.kind === "prompt") {
      this.press = window.setTimeout(() => this.longPress(), LONG_PRESS_MS);
    }
    this.endHover();
    this.draw();
  }

  endHover() {
    clearTimeout(this.hoverTimer);
    this.hovering = false;
    this.preview = null;
  }

  longPress() {
    const { drag } = this;
    if (!drag || drag.moved) return;
    const place = this.at({ offsetX: drag.x, offsetY: drag.y });
    this.abort();
    if (this.inside(place)) this.actions.click(...this.pixel(place), -1);
    navigator.vibrate?.(20);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (!this.scene) return;
    const place = this.at(event);
    this.cursor = event.pointerType === "touch" ? null : place;
    if (this.touches.size === 2 && this.touches.has(event.pointerId)) {
      this.pinch(event);
      return;
    }
    const { drag } = this;
    if (drag && drag.id === event.pointerId) {
      const [dx, dy] = [event.offsetX - drag.lastX, event.offsetY - drag.lastY];
      drag.moved ||= Math.hypot(event.offsetX - drag.x, event.offsetY - drag.y) > DRAG_PX;
      drag.lastX = event.offsetX;
      drag.lastY = event.offsetY;
      if (drag.moved) clearTimeout(this.press);
      if (drag.kind === "pan") {
        this.panned = true;
        this.left += dx;
        this.top += dy;
        this.fitted = false;
      } else if (drag.kind === "paint") {
        drag.points.push(this.pixel(place));
      }
    } else if (!drag && this.cursor) {
      this.hover(place, event.altKey);
    }
    this.draw();
  }

  /**
   * @param {{x: number, y: number}} place
   * @param {boolean} negative
   */
  hover(place, negative) {
    this.endHover();
    if (!this.inside(place) || this.tool === "brush" || this.tool === "eraser") return;
    const sign = negative || this.tool === "remove" ? -1 : 1;
    this.hoverTimer = window.setTimeout(() => {
      this.hovering = true;
      this.actions.hover(...this.pixel(place), sign);
    }, HOVER_MS);
  }

  /** @param {PointerEvent} event */
  pinch(event) {
    const before = [...this.touches.values()];
    this.touches.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const after = [...this.touches.values()];
    const spread = (/** @type {{x: number, y: number}[]} */ p) =>
      Math.max(1, Math.hypot(p[0].x - p[1].x, p[0].y - p[1].y));
    const x = (after[0].x + after[1].x) / 2;
    const y = (after[0].y + after[1].y) / 2;
    this.left += x - (before[0].x + before[1].x) / 2;
    this.top += y - (before[0].y + before[1].y) / 2;
    this.zoomAt(spread(after) / spread(before), x, y);
  }

  /** @param {PointerEvent} event */
  up(event) {
    clearTimeout(this.press);
    this.touches.delete(event.pointerId);
    const { drag } = this;
    this.drag = null;
    if (!drag || drag.id !== event.pointerId || !this.scene) return;
    const start = this.at({ offsetX: drag.x, offsetY: drag.y });
    const end = this.at(event);
    if (drag.kind === "paint") {
      this.actions.stroke(drag.points, this.radius, this.tool === "eraser");
    } else if (drag.kind === "prompt" && drag.moved) {
      this.sendBox(start, end);
    } else if (drag.kind === "prompt") {
      this.clickAt(start, drag.sign);
    }
    this.draw();
  }

  /** @param {number} [pointer] */
  abort(pointer) {
    clearTimeout(this.press);
    if (pointer !== undefined) this.touches.delete(pointer);
    this.drag = null;
    this.draw();
  }

  leave() {
    this.endHover();
    this.cursor = null;
    this.draw();
  }

  /**
   * @param {{x: number, y: number}} a
   * @param {{x: number, y: number}} b
   */
  sendBox(a, b) {
    if (!this.scene) return;
    const { width, height } = this.scene;
    const x0 = Math.max(0, Math.floor(Math.min(a.x, b.x)));
    const y0 = Math.max(0, Math.floor(Math.min(a.y, b.y)));
    const x1 = Math.min(width, Math.ceil(Math.max(a.x, b.x)));
    const y1 = Math.min(height, Math.ceil(Math.max(a.y, b.y)));
    if (x1 > x0 && y1 > y0) this.actions.box(x0, y0, x1, y1);
  }

  /**
   * Click, or take back the point of the selected object that is there.
   * @param {{x: number, y: number}} place source pixels
   * @param {number} sign
   */
  clickAt(place, sign) {
    const selected = this.scene?.objects.find((object) => object.object === this.scene?.selected);
    const keyframe = selected?.keyframes.find(({ frame }) => frame === this.scene?.index);
    const number = (keyframe?.points ?? []).findIndex(([x, y]) =>
      Math.hypot(x + 0.5 - place.x, y + 0.5 - place.y) * this.scale < HIT_PX);
    if (selected && number >= 0) this.actions.unclick(selected.object, number);
    else if (this.inside(place)) this.actions.click(...this.pixel(place), sign);
  }

  /** Space is held: a drag moves the picture. */
  hold() {
    this.panning = true;
    this.panned = false;
    this.canvas.dataset.pan = "";
  }

  /** @returns {boolean} true if the picture was not dragged meanwhile */
  release() {
    const held = this.panning && !this.panned;
    this.panning = false;
    delete this.canvas.dataset.pan;
    return held;
  }

  toggleCrosshair() {
    this.corner = null;
    this.crosshair = this.crosshair || !this.scene ? null : { x: this.scene.width / 2, y: this.scene.height / 2 };
    this.canvas.focus();
    this.draw();
  }

  draw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.due = false;
    const { context, canvas, scene } = this;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!scene) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = this.scale < 3;
    const width = scene.width * this.scale;
    const height = scene.height * this.scale;
    if (this.bitmap) context.drawImage(this.bitmap, this.left, this.top, width, height);
    drawMarks(this, scene);
  }
}
