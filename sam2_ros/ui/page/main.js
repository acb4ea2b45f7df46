// SPDX-License-Identifier: Apache-2.0
// Starts the page and connects its parts: session, stage, timeline, panels, keys, compositing worker.
// Knows what the user looks at (frame, selected object, tool); everything else is the server's, in `session`.

import { Picture, Player } from "./frames.js";
import { listen, writeHelp } from "./keys.js";
import { Live } from "./live.js";
import { anchorOf } from "./masks.js";
import { Effects, element, ObjectList, seenOf, showGallery, showHint, showProgress, showToolbar } from "./panels.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { resizeBrush, setTool, toggleEffects, toggleHelp } from "./tools.js";

/** @typedef {import("./connection.js").SceneObject} SceneObject */

const OPACITIES = [0, 0.25, 0.5, 0.75];

const view = { index: 0, selected: 0, follow: false, due: false };
const status = element("status", HTMLElement);
/** @type {Live | null} */
let live = null; // the view of a running node, once the server has said that it shows one

const session = new Session({
  onChange: () => redraw(),
  onSource: () => startSource(),
  onFrame: (index) => index === view.index && redraw(),
  onTracked: (index) => {
    if (view.follow) seek(index, true);
  },
  onThumbnail: (index, jpeg) => timeline.addThumbnail(index, jpeg),
  onPreview: (message) => {
    if (message.kind === "preview" && message.index === view.index) stage.setPreview(message.masks[0] ?? null);
  },
  onSay: say,
  onDone: () => status.hasAttribute("data-bad") && say(""), // what went wrong before is over
  onGallery: (clips) => {
    showGallery(element("clips", HTMLElement), clips, (source) => openSource(source));
    element("no-clips", HTMLElement).hidden = clips.length > 0;
  },
  onProgress: showProgress,
  onLive: () => {
    live ??= new Live(session.connection, stage, say);
    writeHelp(element("help-text", HTMLElement), can);
    live.open();
  },
  onExported: (file, url) => {
    const link = element("download", HTMLAnchorElement);
    const address = new URL(url, location.href);
    if (address.origin !== location.origin) return;
    link.href = address.href;
    link.download = "";
    link.textContent = `Save ${file}`;
    link.hidden = false;
    say("Export finished");
  },
});

const stage = new Stage(element("stage", HTMLCanvasElement), {
  click: (x, y, sign) => prompt("click", { x, y, sign }),
  unclick: (object, number) => session.change("unclick", { frame: view.index, object, number }),
  box: (x0, y0, x1, y1) => prompt("box", { x0, y0, x1, y1 }),
  stroke: (points, radius, erase) => prompt("stroke", { points, radius, erase }),
  hover: (x, y, sign) => {
    if (!player.playing && !session.state?.tracking) session.preview({ frame: view.index, x, y, sign });
  },
});
const timeline = new Timeline(element("timeline", HTMLCanvasElement), {
  seek: (index) => seek(index),
  select,
  strip: (indices, height) => {
    session.connection.send("strip", { indices, height }).catch(() => timeline.forget(indices));
  },
});
const player = new Player(session.frames, (index) => seek(index, true), (playing) => {
  const button = element("play", HTMLButtonElement);
  button.setAttribute("aria-pressed", String(playing));
  button.querySelector("use")?.setAttribute("href", playing ? "#i-pause" : "#i-play");
});
const list = new ObjectList(element("objects", HTMLElement), {
  select,
  rename: (object, name) => session.change("rename", { object, name }),
  classify: (object, name) => session.change("set_class", { object, class: name }),
  hide: toggleHidden,
  solo: (object) => session.changeSettings({ solo: session.settings.solo === object ? null : object }, true),
  lock: (object) => session.change("lock", { object, locked: !objectOf(object)?.locked }),
  remove: (object) => session.change("delete_object", { object }),
});
const effects = new Effects(element("effects-form", HTMLFormElement), (settings, final) =>
  session.changeSettings(settings, final), (file) => session.upload(file));

/** @type {Set<number>} */
const thumbnails = new Set(); // objects that have one
const picture = new Picture(({ bitmap, crops, error }) => {
  if (error) say(`Frame ${view.index + 1} cannot be drawn: ${error}`, true);
  if (bitmap) stage.setBitmap(bitmap);
  for (const crop of crops) {
    thumbnails.add(crop.object);
    list.setThumbnail(crop.object, crop.bitmap);
  }
});

/**
 * @param {string} text
 * @param {boolean} [bad]
 */
function say(text, bad = false) {
  status.textContent = text;
  status.toggleAttribute("data-bad", bad);
}

/** @param {number} object */
function objectOf(object) {
  return session.state?.objects.find((other) => other.object === object);
}

/** @param {"gallery" | "clip"} what */
function showView(what) {
  document.body.dataset.view = what;
  player.stop();
  if (what === "gallery") session.gallery();
}

/** @param {number} source */
async function openSource(source) {
  await session.open(source);
  if (session.state?.source.number !== source) return;
  showView("clip");
  stage.canvas.focus();
}

/** Show no picture, rather than another one than the frame's: a click on it would go to the wrong frame. */
function blank() {
  picture.sent = "";
  stage.clear();
}

function startSource() {
  view.index = 0;
  view.selected = session.state?.objects[0]?.object ?? 0;
  view.follow = false;
  thumbnails.clear();
  blank();
  timeline.reset();
  list.clear();
  element("download", HTMLAnchorElement).hidden = true;
  showView("clip");
  say(`Opened ${session.state?.source.name}`);
}

/**
 * @param {number} index
 * @param {boolean} [playing] true: the player or the tracking moves on, not the user
 */
function seek(index, playing = false) {
  const frames = session.state?.source.frames ?? 0;
  view.index = Math.min(Math.max(0, frames - 1), Math.max(0, index));
  if (!playing) {
    player.stop();
    view.follow = false;
  }
  redraw();
}

/** @param {number} object */
function select(object) {
  view.selected = object;
  redraw();
}

/** @type {Promise<any> | null} */
let adding = null;

/** Make an object and select it; clicks in quick succession share one. */
async function newObject() {
  adding ??= session.change("add_object").finally(() => (adding = null));
  const result = await adding;
  const number = result?.object?.object ?? 0;
  if (number) select(number);
  return number;
}

/**
 * Prompt the selected object, or a new one if none is selected.
 * @param {string} command
 * @param {Record<string, unknown>} fields
 */
async function prompt(command, fields) {
  const frame = view.index;
  player.stop();
  const selected = objectOf(view.selected);
  if (selected?.locked) return say(`${selected.name} is locked. Unlock it (L) or select another.`, true);
  const object = selected ? view.selected : await newObject();
  if (object) await session.change(command, { frame, object, ...fields });
}

/** @param {number} object */
function toggleHidden(object) {
  const { hidden } = session.settings;
  const without = hidden.filter((other) => other !== object);
  session.changeSettings({ hidden: without.length < hidden.length ? without : [...hidden, object] }, true);
}

/**
 * @param {string} direction
 * @param {boolean} [only] the selected object alone
 */
async function track(direction, only = false) {
  const prompted = session.state?.objects.some(({ keyframes }) => keyframes.length);
  if (!prompted) return say("Nothing to track yet: click an object, or drag a box around it", true);
  view.follow = true;
  say("Tracking");
  const objects = only && view.selected ? { objects: [view.selected] } : {};
  await session.change("track", { frame: view.index, direction, ...objects });
}

/** @param {number} step 1 or -1 */
function toKeyframe(step) {
  const frames = (objectOf(view.selected)?.keyframes ?? []).map(({ frame }) => frame);
  const next = frames.sort((a, b) => (a - b) * step).find((frame) => (frame - view.index) * step > 0);
  if (next === undefined) say("No other prompted frame of this object in this direction");
  else seek(next);
}

function toDoubt() {
  const doubts = [...session.doubts].sort((a, b) => a.frame - b.frame);
  const next = doubts.find(({ frame }) => frame > view.index) ?? doubts[0];
  if (!next) return;
  select(next.object);
  seek(next.frame);
  say(`Frame ${next.frame + 1}, ${objectOf(next.object)?.name || `object ${next.object}`}: ${next.why}`);
}

function cancel() {
  if (stage.crosshair) stage.crosshair = stage.corner = null;
  else if (stage.drag) stage.abort();
  else if (session.state?.tracking) session.change("cancel");
  else if (session.exporting) session.ask("cancel_export", { job: session.exporting });
  else document.activeElement instanceof HTMLInputElement && document.activeElement.blur();
  for (const menu of document.querySelectorAll("details.menu")) menu.removeAttribute("open");
  redraw();
}

/** @type {Record<string, (chord: string) => void>} */
const ACTIONS = {
  "tool-add": () => setTool(stage, "add"),
  "tool-remove": () => setTool(stage, "remove"),
  "tool-brush": () => setTool(stage, "brush"),
  "tool-eraser": () => setTool(stage, "eraser"),
  "brush-smaller": () => resizeBrush(stage, 0.8),
  "brush-larger": () => resizeBrush(stage, 1.25),
  crosshair: () => {
    stage.toggleCrosshair();
    redraw();
  },
  clear: () => session.change("clear", { frame: view.index, object: view.selected }),
  new: () => newObject(),
  select: (chord) => (objectOf(Number(chord)) ? select(Number(chord)) : say(`There is no object ${chord}`, true)),
  delete: () => objectOf(view.selected) && list.actions.remove(view.selected),
  hide: () => toggleHidden(view.selected),
  solo: () => list.actions.solo(view.selected),
  lock: () => list.actions.lock(view.selected),
  "track-forward": () => track("forward"),
  "track-backward": () => track("backward"),
  cancel,
  undo: () => session.state?.undo && session.change("undo"),
  redo: () => session.state?.redo && session.change("redo"),
  play: () => {
    view.follow = false;
    if (player.playing) player.stop();
    else player.play(view.index);
  },
  back: () => seek(view.index - 1),
  forward: () => seek(view.index + 1),
  "back-10": () => seek(view.index - 10),
  "forward-10": () => seek(view.index + 10),
  first: () => seek(0),
  last: () => seek((session.state?.source.frames ?? 1) - 1),
  "keyframe-back": () => toKeyframe(-1),
  "keyframe-forward": () => toKeyframe(1),
  doubt: toDoubt,
  opacity: () => {
    const next = OPACITIES.find((opacity) => opacity > session.settings.opacity + 0.01) ?? OPACITIES[0];
    session.changeSettings({ opacity: next }, true);
  },
  "zoom-in": () => stage.zoomAt(1.25),
  "zoom-out": () => stage.zoomAt(0.8),
  fit: () => stage.fit(),
  effects: toggleEffects,
  gallery: () => showView(document.body.dataset.view === "gallery" && session.state ? "clip" : "gallery"),
  help: toggleHelp,
};

/**
 * Do what a key or a button means in the view that is shown.
 * @param {string} action
 * @param {string} chord
 */
function act(action, chord) {
  const own = live?.actions[action];
  if (own) own(chord);
  else ACTIONS[action](chord);
}

/** @param {string} action */
function can(action) {
  if (live) return live.can(action);
  if (!(action in ACTIONS)) return false;
  if (["gallery", "help"].includes(action)) return true;
  const selected = objectOf(view.selected) !== undefined;
  return document.body.dataset.view === "clip" && (selected || !["clear", "hide", "solo", "lock"].includes(action));
}

function redraw() {
  if (view.due) return;
  view.due = true;
  requestAnimationFrame(() => {
    view.due = false;
    if (session.state) redrawNow(session.state);
  });
}

/** @param {import("./connection.js").State} state */
function redrawNow(state) {
  const { source, objects } = state;
  if (!objectOf(view.selected)) view.selected = objects.at(-1)?.object ?? 0;
  const entry = session.frames.get(view.index);
  const { settings } = session;
  const read = session.isRead(view.index);
  if (!read) blank();
  else if (entry) drawFrame(state, entry);
  if (!player.playing) session.frames.prefetch(view.index, 2);
  player.fps = source.fps > 0 ? source.fps : 10;
  const { lanes, doubts } = session;
  const aspect = source.width / source.height;
  timeline.set({ frames: source.frames, aspect, ...view, objects, lanes, doubts, tracking: state.tracking });
  list.show(objects, view.selected, settings, (object) => seenOf(object, entry));
  effects.show(settings);
  showToolbar(state, view.index, session.doubts.length);
  showHint(state, view.selected, { read, crosshair: stage.crosshair !== null, tracked: session.anyTracked });
}

/**
 * @param {import("./connection.js").State} state
 * @param {import("./frames.js").Entry} entry
 */
function drawFrame({ source, objects }, entry) {
  const { settings } = session;
  const colours = Object.fromEntries(objects.map(({ object, colour }) => [object, colour]));
  const shown = entry.masks.filter(({ object }) =>
    settings.solo ? object === settings.solo : !settings.hidden.includes(object));
  const tags = shown.flatMap(({ object, runs }) => {
    const anchor = colours[object] ? anchorOf(runs, source.width) : null;
    return anchor ? [{ object, ...anchor, colour: colours[object] }] : [];
  });
  const { width, height } = source;
  stage.setScene({ index: view.index, width, height, masks: shown, objects, selected: view.selected, tags });
  const crops = objects.filter(({ object, keyframes }) =>
    !thumbnails.has(object) || keyframes.some(({ frame }) => frame === view.index)).map(({ object }) => object);
  const key = JSON.stringify([source.number, view.index, entry.version, settings, view.selected, colours]);
  if (!entry.jpeg) return;
  const { jpeg, masks } = entry;
  const { index: id, selected } = view;
  picture.want({ id, width, height, jpeg, masks, colours, settings, selected, crops }, key);
}

function start() {
  writeHelp(element("help-text", HTMLElement), (action) => action in ACTIONS);
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(target) || target?.closest("button")) menu.removeAttribute("open");
    }
    const button = target?.closest("button");
    if (!button) return;
    if (button.dataset.action) act(button.dataset.action, button.dataset.action);
    if (button.dataset.track) track(button.dataset.track, element("only-selected", HTMLInputElement).checked);
    const kind = button.dataset.export;
    if (kind) session.ask("export", { kind }).then((result) => result && say("Export started"));
    // After a click of the mouse the keys go to the stage again; after Enter or Space the focus stays.
    const tool = event.detail > 0 && button.closest(".toolbar, .transport, .zoom");
    if (tool && (session.state || live)) stage.canvas.focus();
  });
  element("timeline-in", HTMLButtonElement).addEventListener("click", () => timeline.zoom(1.6));
  element("timeline-out", HTMLButtonElement).addEventListener("click", () => timeline.zoom(1 / 1.6));
  element("radius", HTMLInputElement).addEventListener("input", (event) => {
    stage.radius = Number(/** @type {HTMLInputElement} */ (event.target).value);
    stage.draw();
  });
  listen(stage, act, can);
  setTool(stage, "add");
  session.start();
}

start();
