// SPDX-License-Identifier: Apache-2.0
// The keyboard map: which key does what, and the help that is written from the same table.
// Does not know what an action does: it gives its name to the page. Space and the crosshair act on the stage.

/**
 * @typedef {{group: string, keys: string[], shown: string, text: string, action: string, always?: boolean}} Binding
 *   `keys`: as `chordOf` writes them; `always`: also while a text field has the focus
 */

/** @type {Binding[]} */
export const BINDINGS = [
  { group: "Prompt", keys: ["q"], shown: "Q", text: "clicks add to the object (+)", action: "tool-add" },
  { group: "Prompt", keys: ["e"], shown: "E", text: "clicks remove from the object (−)", action: "tool-remove" },
  { group: "Prompt", keys: ["b"], shown: "B", text: "brush", action: "tool-brush" },
  { group: "Prompt", keys: ["x"], shown: "X", text: "eraser", action: "tool-eraser" },
  { group: "Prompt", keys: ["["], shown: "[", text: "smaller brush", action: "brush-smaller" },
  { group: "Prompt", keys: ["]"], shown: "]", text: "larger brush", action: "brush-larger" },
  { group: "Prompt", keys: ["k"], shown: "K", text: "crosshair: place clicks with the keyboard (see below)", action: "crosshair" },
  { group: "Prompt", keys: ["shift+delete"], shown: "Shift Del", text: "clear the object's prompts in this frame", action: "clear" },
  { group: "Objects", keys: ["n"], shown: "N", text: "new object", action: "new" },
  { group: "Objects", keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], shown: "1 – 9", text: "select object", action: "select" },
  { group: "Objects", keys: ["delete", "backspace"], shown: "Del", text: "delete the selected object", action: "delete" },
  { group: "Objects", keys: ["h"], shown: "H", text: "hide or show it", action: "hide" },
  { group: "Objects", keys: ["s"], shown: "S", text: "show it alone", action: "solo" },
  { group: "Objects", keys: ["l"], shown: "L", text: "lock or unlock it", action: "lock" },
  { group: "Track", keys: ["t"], shown: "T", text: "track forward from this frame", action: "track-forward" },
  { group: "Track", keys: ["shift+t"], shown: "Shift T", text: "track backward from this frame", action: "track-backward" },
  { group: "Track", keys: ["escape"], shown: "Esc", text: "cancel tracking, or a box or crosshair", action: "cancel", always: true },
  { group: "Track", keys: ["ctrl+z"], shown: "Ctrl Z", text: "undo", action: "undo" },
  { group: "Track", keys: ["ctrl+shift+z", "ctrl+y"], shown: "Ctrl Shift Z", text: "redo", action: "redo" },
  { group: "Frames", keys: ["space"], shown: "Space", text: "play or pause", action: "play" },
  { group: "Frames", keys: ["a", "arrowleft"], shown: "A  ←", text: "previous frame", action: "back" },
  { group: "Frames", keys: ["d", "arrowright"], shown: "D  →", text: "next frame", action: "forward" },
  { group: "Frames", keys: ["shift+a", "shift+arrowleft"], shown: "Shift A  ←", text: "10 frames back", action: "back-10" },
  { group: "Frames", keys: ["shift+d", "shift+arrowright"], shown: "Shift D  →", text: "10 frames on", action: "forward-10" },
  { group: "Frames", keys: ["home"], shown: "Home", text: "first frame", action: "first" },
  { group: "Frames", keys: ["end"], shown: "End", text: "last frame", action: "last" },
  { group: "Frames", keys: [","], shown: ",", text: "previous prompted frame of the object", action: "keyframe-back" },
  { group: "Frames", keys: ["."], shown: ".", text: "next prompted frame of the object", action: "keyframe-forward" },
  { group: "Frames", keys: ["j"], shown: "J", text: "next frame worth looking at", action: "doubt" },
  { group: "View", keys: ["m"], shown: "M", text: "opacity of the masks", action: "opacity" },
  { group: "View", keys: ["+", "="], shown: "+", text: "zoom in", action: "zoom-in" },
  { group: "View", keys: ["-"], shown: "−", text: "zoom out", action: "zoom-out" },
  { group: "View", keys: ["0"], shown: "0", text: "fit the frame", action: "fit" },
  { group: "View", keys: ["v"], shown: "V", text: "effects", action: "effects" },
  { group: "View", keys: ["g"], shown: "G", text: "clips", action: "gallery" },
  { group: "View", keys: ["?"], shown: "?", text: "this help", action: "help" },
];

/** What the mouse and a finger do; the crosshair's keys. */
const GESTURES = [
  ["Click", "add (+); on a point of the selected object: take it back"],
  ["Right click, Alt click, long press", "remove (−)"],
  ["Drag", "box around an object; with brush or eraser: a stroke"],
  ["Space drag, middle drag, two fingers", "move the picture"],
  ["Wheel, pinch", "zoom"],
  ["Timeline: Ctrl wheel, Shift wheel", "zoom, scroll"],
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
 */
export function writeHelp(place) {
  const groups = [...new Set(BINDINGS.map(({ group }) => group))];
  /** @type {[string, string[][]][]} */
  const tables = groups.map((group) =>
    [group, BINDINGS.filter((binding) => binding.group === group).map(({ shown, text }) => [shown, text])]);
  tables.push(["Mouse and touch", GESTURES], ["Crosshair, while the canvas has the focus", CROSSHAIR]);
  place.replaceChildren(...tables.map(([title, rows]) => {
    const section = document.createElement("section");
    const heading = document.createElement("h3");
    heading.textContent = title;
    const list = document.createElement("dl");
    for (const [shown, text] of rows) {
      const keys = document.createElement("dt");
      for (const part of title === "Mouse and touch" ? [shown] : shown.split("  ")) {
        const key = document.createElement("kbd");
        key.textContent = part;
        keys.append(key, " ");
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
    if (!binding.always && belongsTo(event.target, chord)) return;
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
