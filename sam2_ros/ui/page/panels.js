// SPDX-License-Identifier: Apache-2.0
// The parts of the page that are ordinary elements: gallery, list of objects, effects, toolbar.
// Does not know the server. Every name is set as text or value, never as HTML.

import { showRows } from "./rows.js";

/**
 * @typedef {import("./connection.js").SceneObject} SceneObject
 * @typedef {import("./connection.js").Settings} Settings
 * @typedef {{source: number, name: string, kind: string, frames: number, fps: number, width: number, height: number,
 *   objects: number, opened: boolean}} Clip
 * @typedef {{word: string, detail: string}} Seen state of an object in the frame that is shown
 * @typedef {{root: HTMLLIElement, pick: HTMLButtonElement, picture: HTMLCanvasElement, number: HTMLElement,
 *   seen: HTMLElement, name: HTMLInputElement, kind: HTMLInputElement,
 *   buttons: Record<string, HTMLButtonElement>}} Row
 * @typedef {{select: (object: number) => void, rename: (object: number, name: string) => void,
 *   classify: (object: number, name: string) => void, hide: (object: number) => void,
 *   solo: (object: number) => void, lock: (object: number) => void, remove: (object: number) => void}} ObjectActions
 */

const WORDS = ["PENDING", "TRACKING", "OCCLUDED", "LOST"];
const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return found;
}

/** @param {string} name of a symbol in index.html */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/**
 * Set a text, only if it differs: what is announced is announced once.
 * @param {Element} element
 * @param {string} text
 */
export function showText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {HTMLElement} place
 * @param {Clip[]} clips
 * @param {(source: number) => void} open
 */
export function showGallery(place, clips, open) {
  place.replaceChildren(...clips.map((clip) => {
    const item = make("li");
    const card = make("button", "card");
    card.type = "button";
    const seconds = clip.fps > 0 ? `${(clip.frames / clip.fps).toFixed(1)} s` : "";
    const size = `${clip.width}\u00a0×\u00a0${clip.height}`;
    const facts = [`${clip.frames} frames`, seconds, size].filter(Boolean).join(" · ");
    const work = clip.objects ? `${clip.objects} ${clip.objects === 1 ? "object" : "objects"}` : "not started";
    card.append(icon(`i-${["video", "folder", "bag", "demo"].includes(clip.kind) ? clip.kind : "video"}`));
    card.append(make("span", "card-name", clip.name), make("span", "card-facts", facts));
    card.append(make("span", "card-facts", work));
    card.addEventListener("click", () => open(clip.source));
    item.append(card);
    return item;
  }));
}

/**
 * @param {number} object
 * @param {import("./frames.js").Entry | null} entry
 * @returns {import("./panels.js").Seen}
 */
export function seenOf(object, entry) {
  const mask = entry?.masks.find((other) => other.object === object);
  if (!mask) return { word: "not tracked here", detail: "This frame was not tracked for the object" };
  const word = WORDS[mask.state] ?? "LOST";
  return { word, detail: `presence ${mask.presence.toFixed(1)}, predicted IoU ${mask.iou.toFixed(2)}` };
}

export class ObjectList {
  /**
   * @param {HTMLElement} place
   * @param {ObjectActions} actions
   */
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    /** @type {Map<number, Row>} */
    this.rows = new Map();
  }

  clear() {
    this.rows.clear();
    this.place.replaceChildren();
  }

  /**
   * Rows are kept, so that a field in which the user writes keeps its focus and its text.
   * @param {SceneObject[]} objects
   * @param {number} selected
   * @param {Settings} settings
   * @param {(object: number) => Seen} seenOf
   */
  show(objects, selected, settings, seenOf) {
    showRows(this.rows, this.place, objects, (object) => this.makeRow(object), (row, object) =>
      this.fill(row, object, selected, settings, seenOf(object.object)));
  }

  /**
   * @param {number} object
   * @returns {Row}
   */
  makeRow(object) {
    const root = make("li", "object");
    const pick = make("button", "pick");
    pick.type = "button";
    const picture = make("canvas", "thumbnail");
    picture.width = picture.height = 72;
    const number = make("span", "number", String(object));
    pick.append(picture, number);
    pick.addEventListener("click", () => this.actions.select(object));
    const name = make("input", "name");
    const kind = make("input", "class");
    kind.placeholder = "class";
    for (const field of [name, kind]) {
      field.type = "text";
      field.maxLength = 80;
      field.autocomplete = "off";
      field.spellcheck = false;
      field.addEventListener("focus", () => this.actions.select(object));
      field.addEventListener("keydown", (event) => {
        if (event.key === "Enter") field.blur();
      });
    }
    name.addEventListener("change", () => this.actions.rename(object, name.value));
    kind.addEventListener("change", () => this.actions.classify(object, kind.value));
    const seen = make("span", "seen");
    const bar = make("span", "row-buttons");
    /** @type {Record<string, HTMLButtonElement>} */
    const buttons = {};
    for (const action of /** @type {const} */ (["hide", "solo", "lock", "remove"])) {
      const button = make("button", "icon");
      button.type = "button";
      button.append(icon(`i-${action}`));
      button.addEventListener("click", () => this.actions[action](object));
      buttons[action] = button;
      bar.append(button);
    }
    root.append(pick, name, kind, seen, bar);
    return { root, pick, picture, number, seen, name, kind, buttons };
  }

  /**
   * @param {Row} row
   * @param {SceneObject} object
   * @param {number} selected
   * @param {Settings} settings
   * @param {Seen} seen
   */
  fill(row, object, selected, settings, seen) {
    const called = object.name || `object ${object.object}`;
    row.root.style.setProperty("--colour", object.colour);
    row.root.toggleAttribute("data-selected", object.object === selected);
    row.pick.setAttribute("aria-pressed", String(object.object === selected));
    row.pick.setAttribute("aria-label", `Select ${object.object}, ${called}`);
    if (document.activeElement !== row.name) row.name.value = object.name;
    if (document.activeElement !== row.kind) row.kind.value = object.class;
    row.name.placeholder = `object ${object.object}`;
    row.name.setAttribute("aria-label", `Name of object ${object.object}`);
    row.kind.setAttribute("aria-label", `Class of object ${object.object}`);
    if (row.seen.textContent !== seen.word) row.seen.textContent = seen.word;
    row.seen.title = seen.detail;
    row.seen.dataset.word = seen.word;
    /** @type {[string, string, boolean][]} */
    const toggles = [
      ["hide", `Hide ${called}`, settings.hidden.includes(object.object)],
      ["solo", `Show ${called} alone`, settings.solo === object.object],
      ["lock", `Lock ${called}`, object.locked],
    ];
    for (const [action, label, pressed] of toggles) {
      row.buttons[action].setAttribute("aria-pressed", String(pressed));
      row.buttons[action].setAttribute("aria-label", label);
      row.buttons[action].title = label;
    }
    row.buttons.remove.setAttribute("aria-label", `Delete ${called}`);
    row.buttons.remove.title = `Delete ${called}`;
  }

  /**
   * @param {number} object
   * @param {ImageBitmap} bitmap
   */
  setThumbnail(object, bitmap) {
    const row = this.rows.get(object);
    if (row) {
      const context = row.picture.getContext("2d");
      context?.clearRect(0, 0, 72, 72);
      context?.drawImage(bitmap, 0, 0, 72, 72);
    }
    bitmap.close();
  }
}

export class Effects {
  /**
   * @param {HTMLFormElement} form
   * @param {(settings: Partial<Settings>, final: boolean) => void} change `final` = false while a slider is dragged
   * @param {(file: File) => Promise<string>} upload returns the server's name of a picture, "" if it was refused
   */
  constructor(form, change, upload) {
    this.form = form;
    this.picture = ""; // the uploaded one, used instead of the emoji
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target === this.field("emoji")) this.picture = "";
      if (event.target !== this.field("picture")) change(this.read(), false);
    });
    form.addEventListener("change", async (event) => {
      const file = event.target === this.field("picture") ? this.field("picture").files?.[0] : null;
      if (file) this.picture = (await upload(file)) || this.picture;
      change(this.read(), true);
    });
    for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (form.querySelectorAll("[data-emoji]"))) {
      button.addEventListener("click", () => {
        this.picture = "";
        this.field("emoji").value = button.dataset.emoji ?? "";
        change(this.read(), true);
      });
    }
  }

  /**
   * @param {string} name
   * @returns {HTMLInputElement}
   */
  field(name) {
    return /** @type {HTMLInputElement} */ (this.form.elements.namedItem(name));
  }

  /** @returns {Partial<Settings>} */
  read() {
    return {
      background: {
        effect: this.field("background").value,
        strength: Number(this.field("background-strength").value),
        colours: [this.field("colour-1").value, this.field("colour-2").value],
      },
      object: {
        effect: this.field("object").value,
        strength: Number(this.field("object-strength").value),
        emoji: this.field("emoji").value,
        picture: this.picture,
      },
      opacity: Number(this.field("opacity").value),
    };
  }

  /** @param {Settings} settings */
  show(settings) {
    const { background, object } = settings;
    this.picture = object.picture ?? "";
    /** @type {[string, string][]} */
    const values = [
      ["background", background.effect],
      ["background-strength", String(background.strength)],
      ["colour-1", background.colours?.[0] ?? "#101820"],
      ["colour-2", background.colours?.[1] ?? "#3f6fb5"],
      ["object", object.effect],
      ["object-strength", String(object.strength)],
      ["emoji", object.emoji ?? ""],
      ["opacity", String(settings.opacity)],
    ];
    for (const [name, value] of values) {
      if (document.activeElement !== this.field(name)) this.field(name).value = value;
    }
    const has = (/** @type {string[]} */ list, /** @type {string} */ effect) => list.includes(effect);
    this.reveal("background-strength", has(["blur", "pixelate", "desaturate", "gradient"], background.effect));
    this.reveal("colour-1", has(["erase", "gradient"], background.effect));
    this.reveal("colour-2", background.effect === "gradient");
    this.reveal("object-strength", has(["outline", "spotlight", "pixelate", "blur"], object.effect));
    this.reveal("opacity", object.effect === "overlay");
    this.reveal("emoji", object.effect === "replace");
    this.reveal("picture", object.effect === "replace");
  }

  /**
   * @param {string} name
   * @param {boolean} shown
   */
  reveal(name, shown) {
    const part = this.field(name).closest(".part");
    if (part instanceof HTMLElement) part.hidden = !shown;
  }
}

/** @param {import("./session.js").Progress | null} progress */
export function showProgress(progress) {
  const label = element("progress", HTMLElement);
  label.hidden = !progress;
  if (!progress) return;
  const words = { track: "Tracking", export: "Exporting", decode: "Reading" };
  const word = words[/** @type {keyof typeof words} */ (progress.what)] ?? progress.what;
  const rate = progress.fps > 0 ? ` · ${progress.fps.toFixed(1)} frames/s` : "";
  const text = `${word} ${progress.done} of ${progress.total}${rate}`;
  /** @type {HTMLElement} */ (label.firstElementChild).textContent = text;
  const bar = label.querySelector("progress");
  if (bar) bar.value = progress.total ? progress.done / progress.total : 0;
}

/**
 * Buttons, texts and progress that follow from the state.
 * @param {import("./connection.js").State} state
 * @param {number} index of the frame that is shown
 * @param {number} doubts number of frames worth looking at
 */
export function showToolbar(state, index, doubts) {
  const { source, undo, redo, tracking } = state;
  element("title", HTMLElement).textContent = source.name;
  document.title = `${source.name} · sam2_ros`;
  for (const [id, text, what] of [["undo", "Undo", undo], ["redo", "Redo", redo]]) {
    const button = element(id, HTMLButtonElement);
    button.disabled = !what;
    button.title = what ? `${text} ${what}` : `Nothing to ${text.toLowerCase()}`;
  }
  element("cancel", HTMLButtonElement).hidden = !tracking;
  element("track-forward", HTMLButtonElement).hidden = Boolean(tracking);
  element("track-forward", HTMLButtonElement).disabled = !state.objects.some(({ keyframes }) => keyframes.length);
  element("track-menu", HTMLElement).hidden = Boolean(tracking);
  const seconds = source.fps > 0 ? ` · ${(index / source.fps).toFixed(2)} s` : "";
  element("position", HTMLElement).textContent = `${index + 1} / ${source.frames}${seconds}`;
  const doubt = element("doubt", HTMLButtonElement);
  doubt.hidden = doubts === 0;
  /** @type {HTMLElement} */ (doubt.querySelector("span")).textContent = `${doubts} doubtful`;
  element("no-objects", HTMLElement).hidden = state.objects.length > 0;
  element("model", HTMLElement).textContent = `${state.model} on ${state.device}`;
}

/**
 * The next step, over the picture.
 * @param {import("./connection.js").State} state
 * @param {number} selected object
 * @param {{read: boolean, crosshair: boolean, tracked: boolean}} now the server has read the frame; the crosshair is
 *   on; some object is tracked beyond its prompts
 */
export function showHint(state, selected, { read, crosshair, tracked }) {
  const prompted = state.objects.some(({ object, keyframes }) => object === selected && keyframes.length);
  let text = "";
  if (!read) text = "This frame is not read yet";
  else if (crosshair) text = "Arrows move · Enter clicks · R sets a corner of a box · K ends";
  else if (state.tracking) text = "";
  else if (!prompted) text = "Click an object, or drag a box around it";
  else if (!tracked) text = "Click again to mend the mask · N another object · T track";
  const hint = element("hint", HTMLElement);
  hint.hidden = !text;
  if (hint.textContent !== text) hint.textContent = text;
}
