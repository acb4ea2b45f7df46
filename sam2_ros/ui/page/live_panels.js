// SPDX-License-Identifier: Apache-2.0
// The elements beside a live picture: the list of the node's objects, gauges of rate and latency, the recording.
// Does not know the server. Every name is set as text, never as HTML.

import { element, icon, make, showText } from "./panels.js";
import { showRows } from "./rows.js";

/**
 * @typedef {import("./live.js").LiveObject} LiveObject
 * @typedef {{root: HTMLLIElement, pick: HTMLButtonElement, picture: HTMLCanvasElement, name: HTMLElement,
 *   seen: HTMLElement, place: HTMLElement, hide: HTMLButtonElement, remove: HTMLButtonElement, drawn: boolean}} Row
 * @typedef {{select: (object: number) => void, hide: (object: number) => void,
 *   remove: (object: number) => void}} Actions
 */

const THUMBNAIL_PX = 72;

export class LiveList {
  /**
   * @param {HTMLElement} place
   * @param {Actions} actions
   */
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    /** @type {Map<number, Row>} */
    this.rows = new Map();
  }

  /** @param {number} object @returns {boolean} true if it has no thumbnail yet */
  lacks(object) {
    return !this.rows.get(object)?.drawn;
  }

  /**
   * Rows are kept, so that a button keeps its focus.
   * @param {LiveObject[]} objects
   * @param {number} selected
   * @param {number[]} hidden
   */
  show(objects, selected, hidden) {
    showRows(this.rows, this.place, objects, (object) => this.makeRow(object), (row, object) =>
      fill(row, object, object.object === selected, hidden.includes(object.object)));
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
    picture.width = picture.height = THUMBNAIL_PX;
    pick.append(picture, make("span", "number", String(object)));
    pick.addEventListener("click", () => this.actions.select(object));
    const name = make("span", "name");
    const seen = make("span", "seen");
    const place = make("span", "place");
    const bar = make("span", "row-buttons");
    const hide = button("hide", () => this.actions.hide(object));
    const remove = button("remove", () => this.actions.remove(object));
    bar.append(seen, hide, remove);
    root.append(pick, name, bar, place);
    root.addEventListener("click", (event) => {
      if (event.target === root || event.target === name || event.target === place) this.actions.select(object);
    });
    return { root, pick, picture, name, seen, place, hide, remove, drawn: false };
  }

  /**
   * @param {number} object
   * @param {ImageBitmap} bitmap
   */
  setThumbnail(object, bitmap) {
    const row = this.rows.get(object);
    if (row) {
      row.picture.getContext("2d")?.drawImage(bitmap, 0, 0, THUMBNAIL_PX, THUMBNAIL_PX);
      row.drawn = true;
    }
    bitmap.close();
  }
}

/**
 * @param {"hide" | "remove"} name
 * @param {() => void} run
 */
function button(name, run) {
  const made = make("button", "icon");
  made.type = "button";
  made.append(icon(`i-${name}`));
  made.addEventListener("click", run);
  return made;
}

/**
 * @param {Row} row
 * @param {LiveObject} object
 * @param {boolean} selected
 * @param {boolean} hidden
 */
function fill(row, object, selected, hidden) {
  row.root.style.setProperty("--colour", object.colour);
  row.root.toggleAttribute("data-selected", selected);
  row.pick.setAttribute("aria-pressed", String(selected));
  row.pick.setAttribute("aria-label", `Select ${object.object}, ${object.id}`);
  showText(row.name, object.class ? `${object.id} (${object.class})` : object.id);
  showText(row.seen, object.state);
  row.seen.dataset.word = object.state;
  row.seen.title = `presence ${object.presence.toFixed(1)}, predicted IoU ${object.iou.toFixed(2)}`;
  showText(row.place, placeOf(object));
  row.place.hidden = !row.place.textContent;
  row.hide.setAttribute("aria-pressed", String(hidden));
  for (const [element, label] of /** @type {[HTMLElement, string][]} */ ([
    [row.hide, `Hide ${object.id}`], [row.remove, `Remove ${object.id}`],
  ])) {
    element.setAttribute("aria-label", label);
    element.title = label;
  }
}

/** @param {LiveObject} object */
function placeOf({ position, distance_m: distance, position_frame: frame, state, age_s: age }) {
  if (position && distance !== undefined) {
    const numbers = position.map((value) => value.toFixed(2)).join(", ");
    return `${distance.toFixed(2)} m away · ${numbers} m${frame ? ` in ${frame}` : ""}`;
  }
  return (state === "OCCLUDED" || state === "LOST") && age > 0 ? `last seen ${age.toFixed(0)} s ago` : "";
}

/** @param {import("./live.js").LiveFrame | null} frame null: no results come */
export function showGauges(frame) {
  if (!frame) {
    for (const name of ["results", "camera", "latency", "dropped"]) gauge(name, "–");
    return;
  }
  const number = (/** @type {number | null} */ value, digits = 0) => (value === null ? "–" : value.toFixed(digits));
  gauge("results", `${number(frame.results_hz, 1)} Hz`);
  gauge("camera", frame.camera_hz === null ? "–" : `${number(frame.camera_hz, 1)} Hz`);
  gauge("latency", frame.latency_ms === null ? "–" : `${number(frame.latency_ms)} ms`);
  const { dropped, images } = frame;
  gauge("dropped", dropped === null ? "–" : `${number(dropped)} of ${number(images)}`);
  element("gauge-latency", HTMLElement).title = frame.latency_from === "stamp"
    ? "From the image's stamp to its result"
    : "From the image's arrival to its result: the camera's clock is another one";
}

/**
 * @param {string} name
 * @param {string} text
 */
function gauge(name, text) {
  showText(element(`gauge-${name}`, HTMLElement), text);
}

/** @param {import("./live.js").LiveState["recording"]} recording */
export function showRecording({ on, prompts, file, url }) {
  const toggle = element("record", HTMLButtonElement);
  toggle.setAttribute("aria-pressed", String(on));
  const count = on && prompts ? ` (${prompts})` : "";
  const label = toggle.querySelector("span");
  if (label) showText(label, `${on ? "Recording" : "Record prompts"}${count}`);
  const link = element("download", HTMLAnchorElement);
  link.hidden = !url;
  if (!url) return;
  const address = new URL(url, location.href);
  if (address.origin !== location.origin) return;
  link.href = address.href;
  link.download = "";
  link.title = file;
  showText(link, "Save prompts.json");
}
