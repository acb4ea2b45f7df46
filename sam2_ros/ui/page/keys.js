// SPDX-License-Identifier: Apache-2.0
// The keyboard map: which key does what, and the help that is written from the same table.
// Does not know what an action does: it gives its name to the page. Space and the crosshair act on the stage.

/**
 * @typedef {{group: string, keys: string[], shown: string, text: string, action: string}} Binding
 *   `keys`: as `chordOf` writes them
 */

/** @type {Record<string, [keys: string, shown: string, text: string, action: string][]>} keys apart by spaces */
const TABLE = {
  Prompt: [
    ["q", "Q", "clicks add to the object (+)", "tool-add"],
    ["e", "E", "clicks remove from the object (−)", "tool-remove"],
    ["b", "B", "brush", "tool-brush"],
    ["x", "X", "eraser", "tool-eraser"],
    ["[", "[", "smaller brush", "brush-smaller"],
    ["]", "]", "larger brush", "brush-larger"],
    ["k", "K", "crosshair, to click with the keyboard", "crosshair"],
    ["shift+delete", "Shift Del", "clear its prompts in this frame", "clear"],
  ],
  Objects: [
    ["n", "N", "new object", "new"],
    ["1 2 3 4 5 6 7 8 9", "1 – 9", "select object", "select"],
    ["delete backspace", "Del", "delete the selected object", "delete"],
    ["h", "H", "hide or show it", "hide"],
    ["s", "S", "show it alone", "solo"],
    ["l", "L", "lock or unlock it", "lock"],
  ],
  Track: [
    ["t", "T", "track forward from this frame", "track-forward"],
    ["shift+t", "Shift T", "track backward from this frame", "track-backward"],
    ["ctrl+z", "Ctrl Z", "undo", "undo"],
    ["ctrl+shift+z ctrl+y", "Ctrl Shift Z", "redo", "redo"],
  ],
  Node: [
    ["r", "R", "record prompts, or end the recording", "record"],
  ],
  Frames: [
    ["space", "Space", "play or pause", "play"],
    ["a arrowleft", "A  ←", "previous frame", "back"],
    ["d arrowright", "D  →", "next frame", "forward"],
    ["shift+a shift+arrowleft", "Shift A  ←", "10 frames back", "back-10"],
    ["shift+d shift+arrowright", "Shift D  →", "10 frames on", "forward-10"],
    ["home", "Home", "first frame", "first"],
    ["end", "End", "last frame", "last"],
    [",", ",", "previous prompted frame of the object", "keyframe-back"],
    [".", ".", "next prompted frame of the object", "keyframe-forward"],
    ["j", "J", "next frame worth looking at", "doubt"],
  ],
  View: [
    ["m", "M", "opacity of the masks", "opacity"],
    ["+ =", "+", "zoom in", "zoom-in"],
    ["-", "−", "zoom out", "zoom-out"],
    ["0", "0", "fit the frame", "fit"],
    ["v", "V", "effects", "effects"],
    ["escape", "Esc", "cancel what is under way: tracking, an export, a box, the crosshair", "cancel"],
    ["g", "G", "clips", "gallery"],
    ["?", "?", "this help", "help"],
  ],
};

/** @type {Binding[]} */
export const BINDINGS = Object.entries(TABLE).flatMap(([group, rows]) =>
  rows.map(([keys, shown, text, action]) => ({ group, keys: keys.split(" "), shown, text, action })));

const MOUSE = "Mouse and touch";
/** What the mouse and a finger do, with the action that it belongs to; the crosshair's keys. */
const GESTURES = [
  ["Click", "a new object, or add to the selected one (+)", "record"],
  ["Click", "add (+); on a point of the selected object: take it back", "clear"],
  ["Right click, Alt click, long press", "remove (−)"],
  ["Drag", "box around an object"],
  ["Drag with brush or eraser", "a stroke", "tool-brush"],
  ["Space drag, middle drag, two fingers", "move the picture"],
  ["Wheel, pinch", "zoom"],
  ["Timeline: Ctrl wheel, Shift wheel", "zoom, scroll", "first"],
];
const CROSSHAIR = [
  ["Arrows", "move the crosshair; with Shift by one pixel"],
  ["Enter", "click where it is, with the sign of Q or E"],
  ["R", "first corner of a box, then the opposite corner"],
  ["K or Esc", "put it away"],
];

/**
 * @param {KeyboardEvent} event
 * @returns {string} such as "ctrl+shift+z"
 */
export function chordOf(event) {
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  const ctrl = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const letter = key.length > 1 || /[a-z]/.test(key);
  return `${ctrl}${event.shiftKey && letter ? "shift+" : ""}${key}`;
}

/**
 * @param {string} chord
 * @returns {Binding | undefined}
 */
export function bindingOf(chord) {
  return BINDINGS.find(({ keys }) => keys.includes(chord));
}

/**
 * True if the element needs this key for itself.
 * @param {EventTarget | null} target
 * @param {string} chord
 */
export function belongsTo(target, chord) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement && ["radio", "range", "color", "checkbox"].includes(target.type)) {
    return /^(shift\+)?(arrow|home|end|space|page)/.test(chord);
  }
  if (target.matches("input, select, textarea")) return true;
  return target.matches("button, a, summary") && (chord === "space" || chord === "enter");
}

/**
 * @param {HTMLElement} place
 * @param {(action: string) => boolean} [possible] actions that the page has now; all if it is left out
 */
export function writeHelp(place, possible = () => true) {
  /** @type {[string, string[][]][]} */
  const tables = Object.entries(TABLE).map(([group, rows]) =>
    [group, rows.filter(([, , , action]) => possible(action)).map(([, shown, text]) => [shown, text])]);
  tables.unshift([MOUSE, GESTURES.filter(([, , action]) => !action || possible(action))]);
  tables.push(["Crosshair (the canvas has the focus)", CROSSHAIR]);
  const filled = tables.filter(([, rows]) => rows.length > 0);
  place.replaceChildren(...filled.map(([title, rows]) => {
    const section = document.createElement("section");
    const heading = document.createElement("h3");
    heading.textContent = title;
    const list = document.createElement("dl");
    for (const [shown, text] of rows) {
      const keys = document.createElement("dt");
      if (title === MOUSE) {
        keys.textContent = shown;
        list.className = "gestures";
      } else {
        for (const part of shown.split("  ")) {
          const key = document.createElement("kbd");
          key.textContent = part;
          keys.append(key, " ");
        }
      }
      const what = document.createElement("dd");
      what.textContent = text;
      const row = document.createElement("div");
      row.append(keys, what);
      list.append(row);
    }
    section.append(heading, list);
    return section;
  }));
}

/**
 * Listen to the keyboard.
 * @param {import("./stage.js").Stage} stage
 * @param {(action: string, chord: string) => void} run
 * @param {(action: string) => boolean} possible
 */
export function listen(stage, run, possible) {
  document.addEventListener("keydown", (event) => {
    const chord = chordOf(event);
    if (document.querySelector("dialog[open]") && chord !== "?") return;
    if (stage.crosshair && event.target === stage.canvas && steer(stage, chord)) {
      event.preventDefault();
      return;
    }
    const binding = bindingOf(chord);
    if (!binding || !possible(binding.action)) return;
    if (binding.action !== "cancel" && belongsTo(event.target, chord)) return;
    event.preventDefault();
    if (binding.action !== "play") run(binding.action, chord);
    else if (!event.repeat) stage.hold();
  });
  document.addEventListener("keyup", (event) => {
    // Space plays when it is released, unless the picture was dragged with it.
    if (event.key === " " && stage.panning && stage.release()) run("play", "space");
  });
  window.addEventListener("blur", () => stage.release());
}

/**
 * Keys of the crosshair.
 * @param {import("./stage.js").Stage} stage
 * @param {string} chord
 * @returns {boolean} true if the key was one of them
 */
function steer(stage, chord) {
  const { crosshair, scene } = stage;
  if (!crosshair || !scene) return false;
  const [, fine, way] = /^(shift\+)?arrow(left|right|up|down)$/.exec(chord) ?? [];
  if (way) {
    const step = (fine ? 1 : Math.max(1, Math.round(16 / stage.scale))) * (way === "left" || way === "up" ? -1 : 1);
    const across = way === "left" || way === "right";
    const within = (/** @type {number} */ value, /** @type {number} */ size) =>
      Math.min(size - 0.5, Math.max(0.5, value));
    stage.crosshair = {
      x: within(crosshair.x + (across ? step : 0), scene.width),
      y: within(crosshair.y + (across ? 0 : step), scene.height),
    };
  } else if (chord === "enter") {
    stage.clickAt(crosshair, stage.tool === "remove" ? -1 : 1);
  } else if (chord === "r") {
    if (stage.corner) stage.sendBox(stage.corner, crosshair);
    stage.corner = stage.corner ? null : crosshair;
  } else {
    return false;
  }
  stage.draw();
  return true;
}
