// SPDX-License-Identifier: Apache-2.0
// Rows of a list of objects, of a clip and of a running node alike. Does not know what is in a row.

/**
 * A row for each object; those of objects that have gone are removed. Rows are kept, so that a field or a button in
 * them keeps its focus.
 * @template {{object: number}} O
 * @template {{root: HTMLElement}} R
 * @param {Map<number, R>} rows by object, changed in place
 * @param {HTMLElement} place
 * @param {O[]} objects
 * @param {(object: number) => R} makeRow
 * @param {(row: R, object: O) => void} fill
 */
export function showRows(rows, place, objects, makeRow, fill) {
  const numbers = new Set(objects.map(({ object }) => object));
  for (const [number, row] of rows) {
    if (numbers.has(number)) continue;
    row.root.remove();
    rows.delete(number);
  }
  for (const object of objects) {
    let row = rows.get(object.object);
    if (!row) {
      row = makeRow(object.object);
      rows.set(object.object, row);
      place.append(row.root);
    }
    fill(row, object);
  }
}
