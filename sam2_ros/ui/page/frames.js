// SPDX-License-Identifier: Apache-2.0
// Frames and masks of the open source in memory, requests for those that are missing, playback by the clock, and the
// queue to the compositing worker. Does not know how a frame is drawn. All of it can be dropped: the server has it.

/**
 * @typedef {import("./connection.js").Mask} Mask
 * @typedef {{jpeg: Blob | null, masks: Mask[], version: number, stale: boolean, used: number}} Entry
 *   `version`: grows with each new masks; `stale`: the masks may have changed on the server
 * @typedef {(command: string, fields?: Record<string, unknown>) => Promise<any>} Send
 */

const MOST_BYTES = 192 * 2 ** 20;
const MOST_REQUESTS = 6;
const AHEAD = 24; // frames fetched in the direction of play

export class Frames {
  /**
   * @param {Send} send
   * @param {(index: number) => void} onChange a frame or its masks arrived
   */
  constructor(send, onChange) {
    this.send = send;
    this.onChange = onChange;
    this.source = 0;
    this.count = 0;
    /** @type {Map<number, Entry>} */
    this.entries = new Map();
    /** @type {Set<number>} */
    this.asked = new Set();
    this.bytes = 0;
    this.clock = 0;
  }

  /**
   * @param {number} source
   * @param {number} count
   */
  reset(source, count) {
    this.source = source;
    this.count = count;
    this.entries = new Map();
    this.asked = new Set();
    this.bytes = 0;
  }

  /** Ask again for the masks of each frame when it is shown: an undo or a deleted object may have changed any. */
  markStale() {
    for (const entry of this.entries.values()) entry.stale = true;
  }

  /** Forget what was asked for: its answers are lost with the connection. */
  forgetRequests() {
    this.asked.clear();
    this.markStale();
  }

  /**
   * @param {number} index
   * @returns {Entry | null} null: not here yet; asked for
   */
  get(index) {
    const entry = this.entries.get(index);
    if (!entry || entry.stale || !entry.jpeg) this.ask(index);
    if (!entry?.jpeg) return null;
    this.clock += 1;
    entry.used = this.clock;
    return entry;
  }

  /** @param {number} index */
  has(index) {
    return Boolean(this.entries.get(index)?.jpeg);
  }

  /** @param {number} index */
  ask(index) {
    if (this.asked.has(index) || index < 0 || index >= this.count) return;
    this.asked.add(index);
    const { source } = this;
    const done = () => {
      if (source !== this.source) return;
      this.asked.delete(index);
      const entry = this.entries.get(index);
      if (entry) entry.stale = false;
      this.onChange(index);
    };
    // The picture of a frame never changes: of one that is here only the masks are asked for.
    const command = this.has(index) ? "masks" : "frame";
    this.send(command, { index }).then(done, () => this.asked.delete(index));
  }

  /**
   * @param {number} index where the playhead is
   * @param {number} ahead frames to fetch before it, negative = behind it
   */
  prefetch(index, ahead) {
    const step = Math.sign(ahead) || 1;
    for (let offset = 1; offset <= Math.abs(ahead) && this.asked.size < MOST_REQUESTS; offset += 1) {
      const wanted = index + offset * step;
      if (!this.has(wanted) || this.entries.get(wanted)?.stale) this.ask(wanted);
    }
  }

  /** @param {import("./connection.js").Binary} message */
  accept(message) {
    if (message.source !== this.source || message.kind === "lanes") return;
    let entry = this.entries.get(message.index);
    if (!entry) {
      this.clock += 1;
      entry = { jpeg: null, masks: [], version: 0, stale: true, used: this.clock };
      this.entries.set(message.index, entry);
    }
    if ("jpeg" in message) {
      this.bytes += message.jpeg.size - (entry.jpeg?.size ?? 0);
      entry.jpeg = message.jpeg;
      this.dropOld();
    } else {
      entry.masks = message.masks;
      entry.version += 1;
      entry.stale = false;
    }
    this.onChange(message.index);
  }

  dropOld() {
    if (this.bytes <= MOST_BYTES) return;
    const oldest = [...this.entries].sort((a, b) => a[1].used - b[1].used);
    for (const [index, entry] of oldest) {
      if (this.bytes <= 0.8 * MOST_BYTES) break;
      this.bytes -= entry.jpeg?.size ?? 0;
      this.entries.delete(index);
    }
  }
}

export class Player {
  /**
   * @param {Frames} frames
   * @param {(index: number) => void} show
   * @param {(playing: boolean) => void} onToggle
   */
  constructor(frames, show, onToggle) {
    this.frames = frames;
    this.show = show;
    this.onToggle = onToggle;
    this.playing = false;
    this.fps = 30;
    this.index = 0;
    this.startedMs = 0;
    this.startedIndex = 0;
  }

  /** @param {number} index */
  play(index) {
    this.index = index >= this.frames.count - 1 ? 0 : index;
    this.playing = true;
    this.resync(performance.now());
    this.onToggle(true);
    requestAnimationFrame((now) => this.tick(now));
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.onToggle(false);
  }

  /** @param {number} nowMs */
  resync(nowMs) {
    this.startedMs = nowMs;
    this.startedIndex = this.index;
  }

  /**
   * Show the frame that is due. A frame that is not here stops the clock; frames between two refreshes are skipped.
   * @param {number} nowMs
   */
  tick(nowMs) {
    if (!this.playing) return;
    this.frames.prefetch(this.index - 1, AHEAD);
    const due = this.startedIndex + Math.floor(((nowMs - this.startedMs) / 1000) * this.fps);
    const last = this.frames.count - 1;
    let next = this.index;
    while (next < Math.min(due, last) && this.frames.has(next + 1)) next += 1;
    if (next < Math.min(due, last)) {
      this.index = next;
      this.resync(nowMs);
    }
    this.index = next;
    this.show(next);
    if (next >= last) this.stop();
    else requestAnimationFrame((now) => this.tick(now));
  }
}

/** Sends frames to the compositing worker: one at a time, and of those that wait only the newest. */
export class Picture {
  /** @param {(done: import("./compositor.js").Done) => void} onDone */
  constructor(onDone) {
    this.worker = new Worker(new URL("compositor.js", import.meta.url), { type: "module" });
    /** @type {import("./compositor.js").Job | null} */
    this.next = null;
    this.busy = false;
    this.sent = "";
    this.worker.onmessage = (event) => {
      this.busy = false;
      onDone(event.data);
      this.submit();
    };
  }

  /**
   * @param {import("./compositor.js").Job} job
   * @param {string} key equal keys give equal pictures: drawn once
   */
  want(job, key) {
    if (key === this.sent) return;
    this.sent = key;
    this.next = job;
    this.submit();
  }

  submit() {
    if (this.busy || !this.next) return;
    this.busy = true;
    this.worker.postMessage(this.next);
    this.next = null;
  }
}
