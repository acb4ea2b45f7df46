// SPDX-License-Identifier: Apache-2.0
// The view of a running node: its newest picture with masks, a list of objects, gauges; sends prompts and removals.
// Does not know ROS or clips. Keeps the newest picture only: the server sends more when it is told that one is shown.

import { Picture } from "./frames.js";
import { LiveList, showGauges, showRecording } from "./live_panels.js";
import { anchorOf } from "./masks.js";
import { element, showText } from "./panels.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./connection.js").Mask} Mask
 * @typedef {import("./stage.js").Stage} Stage
 * @typedef {{object: number, id: string, class: string, colour: string, state: string, presence: number, iou: number,
 *   age_s: number, position?: [number, number, number], distance_m?: number, position_frame?: string}} LiveObject
 * @typedef {{index: number, stamp: string, width: number, height: number, result: boolean, objects: LiveObject[],
 *   results_hz: number, camera_hz: number | null, latency_ms: number | null, latency_from: "stamp" | "arrival",
 *   dropped: number | null, images: number | null}} LiveFrame
 * @typedef {{node: string, topic: string, problem: string, results: boolean, recording: {on: boolean,
 *   prompts: number, file: string, url: string}}} LiveState
 * @typedef {{points: [number, number, number][], box: [number, number, number, number] | null, untilMs: number}} Mark
 */

const OPACITIES = [0.5, 0.75, 0, 0.25];
const MARK_MS = 1500; // a prompt stays marked for so long: the picture goes on below it
const ANNOUNCE_MS = 2000; // between two announced changes of state
const MARKS = -1; // number of the object that holds the marks; no object of the node has it

/** @type {import("./connection.js").Settings} */
const SETTINGS = {
  background: { effect: "original", strength: 0.5 },
  object: { effect: "overlay", strength: 0.5 },
  opacity: OPACITIES[0],
  hidden: [],
  solo: null,
};

export class Live {
  /**
   * @param {Connection} connection
   * @param {Stage} stage
   * @param {(text: string, bad?: boolean) => void} say
   */
  constructor(connection, stage, say) {
    this.connection = connection;
    this.stage = stage;
    this.say = say;
    this.settings = structuredClone(SETTINGS);
    /** @type {LiveFrame | null} */
    this.frame = null; // whose picture is drawn
    /** @type {Map<number, {jpeg?: Blob, masks: Mask[], frame?: LiveFrame}>} */
    this.arriving = new Map();
    /** @type {LiveState | null} */
    this.state = null;
    this.selected = 0;
    this.awaited = ""; // id of a new object, selected when it is there
    /** @type {Mark[]} */
    this.marks = [];
    /** @type {Map<string, string>} */
    this.words = new Map(); // id > state that was announced last
    this.announcedMs = 0;
    /** @type {Mask[]} */
    this.masks = [];
    this.picture = new Picture((done) => this.draw(done));
    this.list = new LiveList(element("live-objects", HTMLElement), {
      select: (object) => this.select(object),
      hide: (object) => this.toggleHidden(object),
      remove: (object) => this.remove(object),
    });
    stage.actions = {
      click: (x, y, sign) => this.click(x, y, sign),
      box: (x0, y0, x1, y1) => this.box(x0, y0, x1, y1),
      unclick: () => {},
      stroke: () => {},
      hover: () => {},
    };
    connection.listener = {
      onEvent: (event) => this.onEvent(event),
      onBinary: (message) => this.onBinary(message),
      onOpen: () => this.open(),
      onStatus: (text, connected) => say(text, !connected),
    };
    const dialog = element("reset-dialog", HTMLDialogElement);
    dialog.addEventListener("close", () => dialog.returnValue === "reset" && this.reset());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.frame) this.confirm(this.frame.index);
    });
    /** @type {Record<string, (chord: string) => void>} what keys and buttons do here */
    this.actions = {
      new: () => this.select(0),
      select: (chord) => this.objectOf(Number(chord)) && this.select(Number(chord)),
      delete: () => this.remove(this.selected),
      hide: () => this.toggleHidden(this.selected),
      opacity: () => this.nextOpacity(),
      crosshair: () => {
        stage.toggleCrosshair();
        this.showHint();
      },
      cancel: () => this.cancel(),
      record: () => this.record(),
      reset: () => {
        dialog.returnValue = ""; // Esc leaves the answer of the time before
        dialog.showModal();
      },
    };
  }

  /** @param {string} action */
  can(action) {
    if (["tool-add", "tool-remove", "zoom-in", "zoom-out", "fit", "help"].includes(action)) return true;
    return action in this.actions;
  }

  async open() {
    document.body.dataset.view = "live";
    this.arriving.clear();
    const state = await this.ask("live");
    if (state) this.accept(state);
  }

  /**
   * Send a command; say what the node answered.
   * @param {string} command
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<any>} the result, or null
   */
  async ask(command, fields) {
    try {
      const result = await this.connection.send(command, fields);
      if (result.text) this.say(result.text);
      return result;
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error), true);
      return null;
    }
  }

  /** @param {any} event */
  onEvent(event) {
    if (event.event === "live") {
      const arriving = this.arriving.get(event.index);
      if (arriving) arriving.frame = event;
      this.compose(event.index);
    } else if (event.event === "live_state") {
      this.accept(event);
    } else if (event.event === "notice") {
      this.say(event.text, true);
    }
  }

  /** @param {import("./connection.js").Binary} message */
  onBinary(message) {
    if (message.kind === "frame") {
      this.arriving.set(message.index, { jpeg: message.jpeg, masks: [] });
    } else if (message.kind === "masks") {
      const arriving = this.arriving.get(message.index);
      if (arriving) arriving.masks = message.masks;
    }
  }

  /** @param {LiveState} state */
  accept(state) {
    const before = this.state?.problem ?? "";
    if (state.problem !== before) this.say(state.problem || `${state.node} is tracking`, Boolean(state.problem));
    this.state = state;
    element("title", HTMLElement).textContent = `${state.node} live`;
    document.title = `${state.node} · sam2_ros`;
    element("model", HTMLElement).textContent = state.topic;
    showRecording(state.recording);
    if (!state.results) showGauges(null);
    this.showHint();
  }

  /**
   * Draw a picture, with the masks as they are hidden and coloured now.
   * @param {number} index
   */
  compose(index) {
    const arriving = this.arriving.get(index);
    if (!arriving?.frame || !arriving.jpeg) return;
    const { frame, jpeg, masks } = arriving;
    const colours = Object.fromEntries(frame.objects.map(({ object, colour }) => [object, colour]));
    const { settings, selected } = this;
    const crops = frame.objects.map(({ object }) => object).filter((object) => this.list.lacks(object));
    const { width, height } = frame;
    const key = JSON.stringify([index, settings, selected]);
    this.picture.want({ id: index, width, height, jpeg, masks, colours, settings, selected, crops }, key);
  }

  /** @param {import("./compositor.js").Done} done */
  draw({ id, bitmap, crops, error }) {
    const arriving = this.arriving.get(id);
    for (const index of this.arriving.keys()) if (index < id) this.arriving.delete(index);
    for (const crop of crops) this.list.setThumbnail(crop.object, crop.bitmap);
    if (error) this.say(`The picture cannot be drawn: ${error}`, true);
    if (!document.hidden) this.confirm(id);
    if (!bitmap || !arriving?.frame) return;
    this.frame = arriving.frame;
    this.masks = arriving.masks;
    this.follow();
    this.showScene();
    this.stage.setBitmap(bitmap);
    this.list.show(this.frame.objects, this.selected, this.settings.hidden);
    element("no-live-objects", HTMLElement).hidden = this.frame.objects.length > 0;
    showGauges(this.frame);
    this.showHint();
  }

  /** Tell the server that this picture is shown, and that it may send more. @param {number} index */
  confirm(index) {
    this.connection.send("shown", { index }).catch(() => {});
  }

  /** Keep the selection with its object, and announce objects that were lost or found again. */
  follow() {
    const objects = this.frame?.objects ?? [];
    const awaited = objects.find(({ id }) => id === this.awaited);
    if (awaited) {
      this.selected = awaited.object;
      this.awaited = "";
    }
    if (this.selected && !this.objectOf(this.selected)) this.selected = 0;
    this.words = new Map(objects.map(({ id, state }) => [id, this.words.get(id) ?? state]));
    const changed = objects.filter(({ id, state }) => this.words.get(id) !== state);
    const now = performance.now();
    if (!changed.length || now - this.announcedMs < ANNOUNCE_MS) return;
    this.announcedMs = now;
    this.say(changed.map(({ id, state }) => `${id}: ${state}`).join(", "));
    for (const { id, state } of changed) this.words.set(id, state);
  }

  showScene() {
    if (!this.frame) return;
    const { index, width, height, objects } = this.frame;
    const now = performance.now();
    this.marks = this.marks.filter(({ untilMs }) => untilMs > now);
    const shown = this.masks.filter(({ object }) => !this.settings.hidden.includes(object));
    const tags = shown.flatMap(({ object, runs }) => {
      const anchor = anchorOf(runs, width);
      const colour = this.objectOf(object)?.colour ?? "#ffffff";
      return anchor ? [{ object, ...anchor, colour }] : [];
    });
    const scene = objects.map(({ object, id, colour }) => ({
      object, name: id, class: "", colour, locked: false, keyframes: [],
    }));
    // One object for each mark: the stage draws one keyframe of an object in a frame.
    const marked = this.marks.map(({ points, box }) => ({
      object: MARKS, name: "", class: "", colour: this.stage.colour(), locked: false,
      keyframes: [{ frame: index, points, box, mask: false, accepted: false }],
    }));
    const all = [...scene, ...marked];
    this.stage.setScene({ index, width, height, masks: shown, objects: all, selected: this.selected, tags });
  }

  showHint() {
    const hint = element("hint", HTMLElement);
    const problem = this.state?.problem ?? "";
    let text = problem;
    if (!text && this.stage.crosshair) text = "Arrows move · Enter clicks · R sets a corner of a box · K ends";
    else if (!text && !this.frame) text = "Waiting for the first picture";
    else if (!text && !this.frame?.objects.length) text = "Click an object, or drag a box around it";
    hint.toggleAttribute("data-problem", Boolean(problem));
    showText(hint, text);
    hint.hidden = !text;
  }

  /** @param {number} object */
  objectOf(object) {
    return this.frame?.objects.find((other) => other.object === object);
  }

  /** @param {number} object 0: the next click makes a new one */
  select(object) {
    this.selected = object;
    this.awaited = "";
    if (!object) this.say("The next click or box makes a new object");
    this.refresh();
  }

  refresh() {
    if (!this.frame) return;
    this.list.show(this.frame.objects, this.selected, this.settings.hidden);
    this.showScene();
    this.compose(this.frame.index);
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {number} sign
   */
  click(x, y, sign) {
    this.prompt("click", { x, y, sign }, { points: [[x, y, sign]], box: null });
  }

  /**
   * @param {number} x0
   * @param {number} y0
   * @param {number} x1
   * @param {number} y1
   */
  box(x0, y0, x1, y1) {
    this.selected = 0;
    this.prompt("box", { x0, y0, x1, y1 }, { points: [], box: [x0, y0, x1, y1] });
  }

  /**
   * @param {string} command
   * @param {Record<string, unknown>} fields
   * @param {Omit<Mark, "untilMs">} mark
   */
  async prompt(command, fields, mark) {
    if (!this.frame) return;
    this.marks.push({ ...mark, untilMs: performance.now() + MARK_MS });
    this.showScene();
    const object = this.selected;
    const result = await this.ask(command, { frame: this.frame.index, object, ...fields });
    if (result?.id && !object) this.awaited = result.id;
  }

  /** @param {number} object */
  async remove(object) {
    if (this.objectOf(object)) await this.ask("remove", { object });
    else this.say("Select an object first", true);
  }

  reset() {
    this.select(0);
    this.ask("reset");
  }

  async record() {
    const on = !this.state?.recording.on;
    const recording = await this.ask("record", { on });
    if (!recording) return;
    showRecording(recording);
    this.say(on ? "Recording prompts" : `Recorded ${recording.prompts} prompts`);
  }

  /** @param {number} object */
  toggleHidden(object) {
    if (!this.objectOf(object)) return;
    const { hidden } = this.settings;
    const without = hidden.filter((other) => other !== object);
    this.settings.hidden = without.length < hidden.length ? without : [...hidden, object];
    this.refresh();
  }

  nextOpacity() {
    const at = OPACITIES.indexOf(this.settings.opacity);
    this.settings.opacity = OPACITIES[(at + 1) % OPACITIES.length];
    this.refresh();
  }

  cancel() {
    if (this.stage.crosshair) this.stage.crosshair = this.stage.corner = null;
    else if (this.stage.drag) this.stage.abort();
    else this.select(0);
    this.stage.draw();
    this.showHint();
  }
}
