// SPDX-License-Identifier: Apache-2.0
// Buttons that change what a click means or what is open: tool, size of the brush, effects, help.
// Does not know the server, nor which view is shown.

import { element } from "./panels.js";

/**
 * @param {import("./stage.js").Stage} stage
 * @param {import("./stage.js").Tool} tool
 */
export function setTool(stage, tool) {
  stage.setTool(tool);
  for (const name of ["add", "remove", "brush", "eraser"]) {
    element(`tool-${name}`, HTMLButtonElement).setAttribute("aria-pressed", String(name === tool));
  }
  element("size", HTMLElement).hidden = tool !== "brush" && tool !== "eraser";
}

/**
 * @param {import("./stage.js").Stage} stage
 * @param {number} factor
 */
export function resizeBrush(stage, factor) {
  const field = element("radius", HTMLInputElement);
  field.value = String(Math.round(factor > 1 ? stage.radius * factor + 1 : stage.radius * factor - 1));
  stage.radius = Number(field.value);
  stage.draw();
}

export function toggleEffects() {
  const panel = element("effects-panel", HTMLElement);
  panel.hidden = !panel.hidden;
  element("effects", HTMLButtonElement).setAttribute("aria-expanded", String(!panel.hidden));
  if (!panel.hidden) panel.scrollIntoView({ block: "nearest" });
}

export function toggleHelp() {
  const dialog = element("help-dialog", HTMLDialogElement);
  if (dialog.open) dialog.close();
  else dialog.showModal();
}
