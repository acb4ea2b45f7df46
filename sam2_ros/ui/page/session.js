// SPDX-License-Identifier: Apache-2.0
// The open source as the server describes it: state, lanes, doubts, frames; sends commands and asks again afterwards.
// Does not know elements or pointers. Keeps nothing that the server does not have: each state replaces the one before.

import { Connection, login, uploadPicture } from "./connection.js";
import { Frames } from "./frames.js";

/**
 * @typedef {import("./connection.js").State} State
 * @typedef {import("./connection.js").Settings} Settings
 * @typedef {import("./connection.js").Lane} Lane
 * @typedef {import("./connection.js").Binary} Binary
 * @typedef {import("./timeline.js").Doubt} Doubt
 * @typedef {{what: string, done: number, total: number, fps: number}} Progress
 * @typedef {{onChange: () => void, onSource: () => void, onFrame: (index: number) => void,
 *   onTracked: (index: number) => void, onThumbnail: (index: number, jpeg: Blob) => void,
 *   onPreview: (message: Binary) => void, onSay: (text: string, bad?: boolean) => void, onDone: () => void,
 *   onGallery: (clips: import("./panels.js").Clip[]) => void, onProgress: (progress: Progress | null) => void,
 *   onExported: (file: string, url: string) => void, onLive: () => void}} Listener
 *   `onLive`: the server shows a running node instead of clips
 */

/** @type {Settings} */
const DEFAULTS = {
  background: { effect: "original", strength: 0.5, colours: ["#101820", "#3f6fb5"] },
  object: { effect: "overlay", strength: 0.5, emoji: "🙂", picture: "" },
  opacity: 0.5,
  hidden: [],
  solo: null,
};
const LANES_EVERY_MS = 400;
const NEVER_TRACKED = 255; // state of a frame in a lane

export class Session {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    /** @type {State | null} */
    this.state = null;
    /** @type {Map<number, Lane>} */
    this.lanes = new Map();
    /** @type {Doubt[]} */
    this.doubts = [];
    this.anyTracked = false; // some object has a state in more frames than those with its prompts
    /** @type {Partial<Settings>} what a slider shows before the server has confirmed it */
    this.draft = {};
    this.exporting = 0; // number of the export that runs
    this.read = Infinity; // frames that the server has read from the source, as far as is known
    this.asking = false;
    this.askAgain = false;
    this.lanesTimer = 0;
    this.previewing = false;
    /** @type {Record<string, unknown> | null} */
    this.nextPreview = null;
    this.connection = new Connection({
      onEvent: (event) => this.onEvent(event),
      onBinary: (message) => this.onBinary(message),
      onOpen: () => this.onOpen(),
      onStatus: (text, connected) => {
        if (!connected) this.frames.forgetRequests();
        listener.onSay(text, !connected);
      },
    });
    this.frames = new Frames((command, fields) => this.connection.send(command, fields), listener.onFrame);
  }

  async start() {
    this.connection.advice = await login(); // a page that was opened before has its cookie: tried all the same
    this.connection.open();
  }

  /** @returns {Settings} of the server, with its defaults and the sliders that move */
  get settings() {
    const given = this.state?.settings ?? {};
    const merged = { ...DEFAULTS, ...given, ...this.draft };
    return {
      ...merged,
      background: { ...DEFAULTS.background, ...given.background, ...this.draft.background },
      object: { ...DEFAULTS.object, ...given.object, ...this.draft.object },
    };
  }

  async onOpen() {
    const wanted = this.state?.source.number ?? Number(new URLSearchParams(location.hash.slice(1)).get("source"));
    await this.gallery();
    if (wanted) await this.open(wanted);
  }

  async gallery() {
    const result = await this.ask("gallery");
    if (result?.live) this.listener.onLive();
    else if (result) this.listener.onGallery(Array.isArray(result) ? result : result.sources ?? []);
  }

  /** @param {number} source */
  async open(source) {
    const result = await this.ask("open", { source });
    if (!result) return;
    history.replaceState(null, "", `#source=${source}`);
    if (result.source && result.objects) this.accept(result);
    else await this.refresh();
    this.askLanes();
    await this.askDoubts();
  }

  /**
   * Send a command; say what went wrong.
   * @param {string} command
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<any>} the result, or null
   */
  async ask(command, fields) {
    try {
      return await this.connection.send(command, fields);
    } catch (error) {
      this.listener.onSay(error instanceof Error ? error.message : String(error), true);
      return null;
    }
  }

  /**
   * Ask for the mask of a click that is not made; of those that wait for an answer only the newest.
   * @param {Record<string, unknown>} fields
   */
  async preview(fields) {
    this.nextPreview = fields;
    if (this.previewing) return;
    this.previewing = true;
    while (this.nextPreview) {
      const sent = this.nextPreview;
      this.nextPreview = null;
      await this.connection.send("preview", sent).catch(() => null);
    }
    this.previewing = false;
  }

  /**
   * Send a command that changes something, then ask for the state.
   * @param {string} command
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<any>} the result, or null
   */
  async change(command, fields) {
    const result = await this.ask(command, fields);
    if (result) this.listener.onDone();
    const object = result?.object;
    if (this.state && object?.keyframes) {
      const others = this.state.objects.filter((other) => other.object !== object.object);
      this.state.objects = [...others, object].sort((a, b) => a.object - b.object);
      this.listener.onChange();
    }
    if (["undo", "redo", "delete_object"].includes(command)) this.markStale();
    await this.refresh();
    return result;
  }

  /** @param {number} index */
  isRead(index) {
    return index < this.read || this.frames.has(index);
  }

  markStale() {
    this.frames.markStale();
    this.askLanes();
    this.askDoubts();
  }

  /** Ask for the state; calls during a pending one are answered by one more. */
  async refresh() {
    if (this.asking) {
      this.askAgain = true;
      return;
    }
    this.asking = true;
    do {
      this.askAgain = false;
      const state = await this.ask("state");
      if (state?.source) this.accept(state);
    } while (this.askAgain);
    this.asking = false;
  }

  /** @param {State} state */
  accept(state) {
    const other = this.state?.source.number !== state.source.number;
    this.state = state;
    if (other) {
      this.frames.reset(state.source.number, state.source.frames);
      this.lanes.clear();
      this.doubts = [];
      this.anyTracked = false;
      this.read = Infinity;
      this.draft = {};
      this.listener.onProgress(null);
      this.listener.onSource();
    }
    this.listener.onChange();
  }

  /**
   * @param {Partial<Settings>} settings
   * @param {boolean} final false: shown here only, while a slider is dragged
   */
  async changeSettings(settings, final) {
    this.draft = { ...this.draft, ...settings };
    this.listener.onChange();
    if (!final) return;
    const sent = this.draft;
    await this.change("settings", { settings: sent });
    if (this.draft === sent) this.draft = {};
    this.listener.onChange();
  }

  /**
   * @param {File} file a picture to replace objects with
   * @returns {Promise<string>} its name on the server, "" if it was refused
   */
  async upload(file) {
    try {
      return await uploadPicture(file);
    } catch (error) {
      this.listener.onSay(`Picture: ${error instanceof Error ? error.message : error}`, true);
      return "";
    }
  }

  askLanes() {
    if (this.lanesTimer) return;
    this.lanesTimer = window.setTimeout(() => {
      this.lanesTimer = 0;
      if (this.state) this.ask("lanes");
    }, LANES_EVERY_MS);
  }

  async askDoubts() {
    const result = this.state && (await this.ask("doubt"));
    if (!result) return;
    this.doubts = result.frames ?? [];
    this.listener.onChange();
  }

  /** @param {any} event */
  onEvent(event) {
    if (event.event === "state") {
      const state = event.state ?? event;
      if (state.source?.number !== this.state?.source.number) return;
      this.frames.markStale();
      this.accept(state);
      this.askLanes();
    } else if (event.event === "progress") {
      if (event.what === "track" && !this.state?.tracking) this.refresh();
      if (event.what === "export") this.exporting = event.job;
      if (event.what === "decode" && event.source === this.state?.source.number) {
        this.read = event.done < event.total ? event.done : Infinity;
        this.listener.onChange(); // what was not read yet is asked for again
      }
      this.listener.onProgress(event.what === "decode" && event.done >= event.total ? null : event);
    } else if (event.event === "tracked") {
      this.tracked(event);
    } else if (event.event === "lanes") {
      this.askLanes();
    } else if (event.event === "exported") {
      this.exporting = 0;
      this.listener.onProgress(null);
      if (event.error) this.listener.onSay(`Export: ${event.error}`, true);
      else if (event.url) this.listener.onExported(event.file, event.url); // else a notice says where it is
    } else if (event.event === "notice") {
      this.listener.onSay(event.text);
    }
  }

  /** @param {{from: number, to: number, cancelled: boolean}} event */
  async tracked(event) {
    this.listener.onProgress(null);
    const range = `frames ${Math.min(event.from, event.to) + 1} to ${Math.max(event.from, event.to) + 1}`;
    this.listener.onSay(event.cancelled ? `Cancelled. What was tracked is kept: ${range}` : `Tracked ${range}`);
    this.frames.markStale(); // masks that were not pushed, or lost on a slow connection
    this.askLanes();
    await this.refresh();
    await this.askDoubts();
  }

  /** @param {Binary} message */
  onBinary(message) {
    if (message.source !== this.state?.source.number) return;
    if (message.kind === "lanes") {
      this.lanes = new Map(message.lanes.map((lane) => [lane.object, lane]));
      this.anyTracked = this.state.objects.some(({ object, keyframes }) => {
        const frames = this.lanes.get(object)?.state.filter((state) => state !== NEVER_TRACKED).length ?? 0;
        return frames > keyframes.length;
      });
      this.listener.onChange();
    } else if (message.kind === "thumbnail") {
      this.listener.onThumbnail(message.index, message.jpeg);
    } else if (message.kind === "preview") {
      this.listener.onPreview(message);
    } else {
      this.frames.accept(message);
      if (message.kind === "masks" && this.state?.tracking && !this.frames.asked.has(message.index)) {
        this.listener.onTracked(message.index);
      }
    }
  }
}
