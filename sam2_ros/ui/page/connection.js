// SPDX-License-Identifier: Apache-2.0
// Speaks the server's protocol over one WebSocket: commands with answers, events, binary messages; reconnects.
// Does not know the elements of the page, nor what an answer means.

/**
 * @typedef {{frame: number, points: [number, number, number][], box: [number, number, number, number] | null,
 *   mask: boolean, accepted: boolean}} Keyframe
 * @typedef {{object: number, name: string, class: string, colour: string, locked: boolean,
 *   keyframes: Keyframe[]}} SceneObject
 * @typedef {{number: number, name: string, kind: string, frames: number, fps: number, width: number,
 *   height: number, stamps_known: boolean}} Source
 * @typedef {{effect: string, strength: number, colours?: string[], emoji?: string,
 *   picture?: string}} Effect
 * @typedef {{background: Effect, object: Effect, opacity: number, hidden: number[], solo: number | null}} Settings
 * @typedef {{frame: number, from: number, to: number, done: number, total: number}} Tracking
 * @typedef {{source: Source, objects: SceneObject[], undo: string, redo: string, tracking: Tracking | null,
 *   settings: Partial<Settings>, model: string, device: string}} State
 * @typedef {{object: number, state: number, presence: number, iou: number, runs: Uint32Array}} Mask
 *   `runs`: row-major run lengths that start with background; empty = no pixel.
 * @typedef {{object: number, frames: number, state: Uint8Array, presence: Uint8Array, iou: Uint8Array}} Lane
 * @typedef {{kind: "frame" | "thumbnail", source: number, index: number, jpeg: Blob}
 *   | {kind: "masks" | "preview", source: number, index: number, masks: Mask[]}
 *   | {kind: "lanes", source: number, lanes: Lane[]}} Binary
 * @typedef {{seq: number, text: string, resolve: (result: any) => void, reject: (reason: Error) => void}} Waiting
 * @typedef {{onEvent: (event: any) => void, onBinary: (message: Binary) => void, onOpen: () => void,
 *   onStatus: (text: string, connected: boolean) => void}} Listener
 */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const TRIES_BEFORE_ADVICE = 4;
const ADVICE = "The server does not answer. Is it running? After a restart, open the new address that it printed.";

/**
 * Read one binary message.
 * @param {ArrayBuffer} buffer
 * @returns {Binary}
 */
export function readBinary(buffer) {
  const view = new DataView(buffer);
  const kind = view.getUint8(0);
  const source = view.getUint32(4, true);
  const second = view.getUint32(8, true); // index of the frame, or the number of lanes
  if (kind === 1 || kind === 3) {
    const jpeg = new Blob([new Uint8Array(buffer, 12)], { type: "image/jpeg" });
    return { kind: kind === 1 ? "frame" : "thumbnail", source, index: second, jpeg };
  }
  if (kind === 2 || kind === 4) {
    return { kind: kind === 2 ? "masks" : "preview", source, index: second, masks: readMasks(view, buffer) };
  }
  if (kind === 5) return { kind: "lanes", source, lanes: readLanes(view, buffer, second) };
  throw new Error(`binary message of kind ${kind}: expected 1 to 5`);
}

/**
 * @param {DataView} view
 * @param {ArrayBuffer} buffer
 * @returns {Mask[]}
 */
function readMasks(view, buffer) {
  /** @type {Mask[]} */
  const masks = [];
  let at = 16;
  for (let left = view.getUint32(12, true); left > 0; left -= 1) {
    const runs = view.getUint32(at + 16, true);
    masks.push({
      object: view.getUint32(at, true),
      state: view.getUint32(at + 4, true),
      presence: view.getFloat32(at + 8, true),
      iou: view.getFloat32(at + 12, true),
      runs: new Uint32Array(buffer, at + 20, runs).slice(),
    });
    at += 20 + 4 * runs;
  }
  return masks;
}

/**
 * @param {DataView} view
 * @param {ArrayBuffer} buffer
 * @param {number} count
 * @returns {Lane[]}
 */
function readLanes(view, buffer, count) {
  /** @type {Lane[]} */
  const lanes = [];
  let at = 12;
  for (let left = count; left > 0; left -= 1) {
    const object = view.getUint32(at, true);
    const frames = view.getUint32(at + 4, true);
    const bytes = new Uint8Array(buffer, at + 8, 3 * frames).slice();
    lanes.push({
      object,
      frames,
      state: bytes.subarray(0, frames),
      presence: bytes.subarray(frames, 2 * frames),
      iou: bytes.subarray(2 * frames),
    });
    at += 8 + Math.ceil((3 * frames) / 4) * 4;
  }
  return lanes;
}

/**
 * Exchange the token in the address for a cookie, and take it out of the address.
 * @returns {Promise<string>} why it failed, or ""
 */
export async function login() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const token = fields.get("token");
  if (!token) return "";
  fields.delete("token");
  const rest = fields.toString();
  history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      credentials: "same-origin",
      body: JSON.stringify({ token }),
    });
    return answer.ok ? "" : "The token was refused. Open the address that the server printed last.";
  } catch {
    return ADVICE;
  }
}

/**
 * Upload a picture to replace objects with.
 * @param {File} file
 * @returns {Promise<string>} its name on the server; rejects with the server's line
 */
export async function uploadPicture(file) {
  const answer = await fetch(`/pictures?name=${encodeURIComponent(file.name)}`, {
    method: "POST",
    credentials: "same-origin",
    body: file,
  });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return (await answer.json()).picture;
}

export class Connection {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    this.connected = false;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    this.seq = 0;
    this.failures = 0;
    this.advice = ""; // shown as long as there is no connection
  }

  open() {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/socket`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.connected = true;
      this.failures = 0;
      this.advice = "";
      this.listener.onStatus("Connected", true);
      this.listener.onOpen();
    };
    socket.onmessage = (message) => {
      if (typeof message.data === "string") this.readText(JSON.parse(message.data));
      else this.listener.onBinary(readBinary(message.data));
    };
    socket.onclose = () => this.retry();
  }

  /** Report what was under way as unanswered, and open the socket again after a pause that doubles up to 10 s. */
  retry() {
    this.connected = false;
    for (const { text, reject } of this.waiting.values()) {
      reject(new Error(`The connection was lost before the server confirmed "${text}".`));
    }
    this.waiting.clear();
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures);
    this.failures += 1;
    const lost = `Connection lost. Next try in ${(wait / 1000).toFixed(1)} s.`;
    this.listener.onStatus(this.advice || (this.failures > TRIES_BEFORE_ADVICE ? ADVICE : lost), false);
    setTimeout(() => this.open(), wait);
  }

  /** @param {any} message */
  readText(message) {
    if (message.event) {
      this.listener.onEvent(message);
      return;
    }
    const waiting = this.waiting.get(message.seq);
    if (!waiting) return;
    this.waiting.delete(message.seq);
    if (message.ok) waiting.resolve(message.result ?? {});
    else waiting.reject(new Error(message.error || "The server refused this without a reason."));
  }

  /**
   * Send a command.
   * @param {string} command
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<any>} the result; rejects with the server's line, or when the connection is lost
   */
  send(command, fields = {}) {
    if (!this.connected || !this.socket) {
      return Promise.reject(new Error("Not connected: nothing was sent. Wait for the connection and try again."));
    }
    this.seq += 1;
    const seq = this.seq;
    this.socket.send(JSON.stringify({ seq, do: command, ...fields }));
    return new Promise((resolve, reject) => this.waiting.set(seq, { seq, text: command, resolve, reject }));
  }
}
