// SPDX-License-Identifier: Apache-2.0
// Marks over the frame (points and boxes of prompts, numbers, brush, crosshair) and in the lanes (hatching, doubts).
// Does not know the pointer or the server. Marks over the frame are light on dark: visible on any image.

/**
 * @typedef {import("./connection.js").SceneObject} SceneObject
 * @typedef {import("./stage.js").Stage} Stage
 * @typedef {import("./stage.js").Scene} Scene
 */

const DARK = "#10151c";
const LIGHT = "#ffffff";
const POINT_PX = 7;

/**
 * @param {Stage} stage
 * @param {Scene} scene
 */
export function drawMarks(stage, scene) {
  if (stage.preview) {
    const { image, x, y } = stage.preview;
    const { scale, left, top } = stage;
    stage.context.drawImage(image, left + x * scale, top + y * scale, image.width * scale, image.height * scale);
  }
  for (const object of scene.objects) {
    const keyframe = object.keyframes.find(({ frame }) => frame === scene.index);
    // Below 0: prompts that were just sent to a node.
    if (keyframe) drawPrompts(stage, object, keyframe, object.object === scene.selected || object.object < 0);
  }
  for (const tag of scene.tags) drawTag(stage, tag, tag.object === scene.selected);
  const { drag, corner, crosshair, cursor, context, tool } = stage;
  if (drag?.moved && drag.kind === "prompt") {
    strokeBox(context, drag.x, drag.y, drag.lastX, drag.lastY, stage.colour());
  }
  if (drag?.kind === "paint") drawStroke(stage, drag.points);
  if (corner && crosshair) {
    const x = (/** @type {number} */ value) => stage.left + value * stage.scale;
    const y = (/** @type {number} */ value) => stage.top + value * stage.scale;
    strokeBox(context, x(corner.x), y(corner.y), x(crosshair.x), y(crosshair.y), stage.colour());
  }
  if (crosshair) drawCrosshair(stage, crosshair);
  if (cursor && (tool === "brush" || tool === "eraser")) drawBrush(stage, cursor);
}

/**
 * The number of an object above its mask: colour alone would not tell objects apart for everyone.
 * @param {Stage} stage
 * @param {{object: number, x: number, y: number, colour: string}} tag
 * @param {boolean} selected
 */
function drawTag({ context, scale, left, top }, { object, x, y, colour }, selected) {
  const text = String(object);
  context.font = "600 12px system-ui, sans-serif";
  const width = Math.max(18, context.measureText(text).width + 10);
  const cx = left + x * scale;
  const cy = Math.max(11, top + y * scale - 13);
  context.beginPath();
  context.roundRect(cx - width / 2, cy - 9, width, 18, 9);
  context.fillStyle = DARK;
  context.fill();
  context.lineWidth = selected ? 2.5 : 1.5;
  context.strokeStyle = colour;
  context.stroke();
  context.fillStyle = LIGHT;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, cx, cy + 0.5);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 * @param {string} colour
 */
function strokeBox(context, x0, y0, x1, y1, colour) {
  context.setLineDash([]);
  context.lineWidth = 3.5;
  context.strokeStyle = "rgb(0 0 0 / 0.65)";
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  context.setLineDash([6, 4]);
  context.lineWidth = 2;
  context.strokeStyle = colour;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  context.setLineDash([]);
}

/**
 * @param {Stage} stage
 * @param {SceneObject} object
 * @param {import("./connection.js").Keyframe} keyframe
 * @param {boolean} selected
 */
function drawPrompts({ context, scale, left, top }, object, keyframe, selected) {
  context.globalAlpha = selected ? 1 : 0.45;
  if (keyframe.box) {
    const [x0, y0, x1, y1] = keyframe.box;
    strokeBox(context, left + x0 * scale, top + y0 * scale, left + x1 * scale, top + y1 * scale, object.colour);
  }
  for (const [x, y, sign] of keyframe.points) {
    const radius = selected ? POINT_PX : POINT_PX - 2;
    const cx = left + (x + 0.5) * scale;
    const cy = top + (y + 0.5) * scale;
    context.beginPath();
    context.arc(cx, cy, radius + 1.5, 0, 7);
    context.fillStyle = DARK;
    context.fill();
    context.beginPath();
    context.arc(cx, cy, radius, 0, 7);
    context.fillStyle = sign > 0 ? LIGHT : DARK;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = sign > 0 ? DARK : LIGHT;
    if (sign <= 0) context.stroke();
    context.beginPath();
    context.moveTo(cx - radius + 3, cy);
    context.lineTo(cx + radius - 3, cy);
    if (sign > 0) {
      context.moveTo(cx, cy - radius + 3);
      context.lineTo(cx, cy + radius - 3);
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

/**
 * @param {Stage} stage
 * @param {[number, number][]} points
 */
function drawStroke(stage, points) {
  const { context, scale, left, top } = stage;
  context.globalAlpha = 0.55;
  context.strokeStyle = stage.tool === "eraser" ? DARK : stage.colour();
  context.lineWidth = Math.max(1, 2 * stage.radius * scale);
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(left + (points[0][0] + 0.5) * scale, top + (points[0][1] + 0.5) * scale);
  for (const [x, y] of points) context.lineTo(left + (x + 0.5) * scale, top + (y + 0.5) * scale);
  context.stroke();
  context.globalAlpha = 1;
}

/**
 * @param {Stage} stage
 * @param {{x: number, y: number}} place
 */
function drawBrush({ context, scale, left, top, radius }, { x, y }) {
  for (const [width, colour] of /** @type {[number, string][]} */ ([[3, DARK], [1.5, LIGHT]])) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(left + x * scale, top + y * scale, Math.max(1, radius * scale), 0, 7);
    context.stroke();
  }
}

/**
 * @param {Stage} stage
 * @param {{x: number, y: number}} place
 */
function drawCrosshair({ context, scale, left, top, canvas }, { x, y }) {
  const cx = left + x * scale;
  const cy = top + y * scale;
  for (const [width, colour] of /** @type {[number, string][]} */ ([[3.5, DARK], [1.5, LIGHT]])) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    for (const side of [-1, 1]) {
      context.moveTo(cx + side * 5, cy);
      context.lineTo(cx + side * canvas.clientWidth, cy);
      context.moveTo(cx, cy + side * 5);
      context.lineTo(cx, cy + side * canvas.clientHeight);
    }
    context.stroke();
  }
}

/**
 * A prompted frame in a lane.
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {string} fill
 * @param {string} line
 */
export function dot(context, x, y, fill, line) {
  context.beginPath();
  context.arc(x, y, 5, 0, 7);
  context.fillStyle = fill;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = line;
  context.stroke();
}

/**
 * A triangle that points down.
 * @param {CanvasRenderingContext2D} context
 * @param {number} x of its tip
 * @param {number} y of its upper edge
 * @param {number} half width
 * @param {number} height
 * @param {string} colour
 */
export function triangle(context, x, y, half, height, colour) {
  context.beginPath();
  context.moveTo(x - half, y);
  context.lineTo(x + half, y);
  context.lineTo(x, y + height);
  context.closePath();
  context.fillStyle = colour;
  context.fill();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @param {string} colour
 */
export function hatch(context, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.beginPath();
  for (let at = x - height - ((x - height) % 6); at < x + width; at += 6) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.lineWidth = 1.5;
  context.strokeStyle = colour;
  context.stroke();
  context.restore();
}
