// Slices as they are stored and as they are shown. Edge coordinates: pixel n reaches from n to n + 1.

export const AXES = ["k", "j", "i"];

// The array axes of rows and columns of a slice across an array axis: those of SliceAxis in core/geometry.py.
export const rowAxis = (axis) => (axis === 0 ? 1 : 0);
export const columnAxis = (axis) => (axis === 2 ? 1 : 2);

// From edge coordinates as shown to those as stored (x along the axis that varies faster in memory).
export function toStored(shape, [u, v]) {
  const x = shape.flipped_x ? shape.columns - u : u;
  const y = shape.flipped_y ? shape.rows - v : v;
  return shape.transposed ? [y, x] : [x, y];
}

// The way back.
export function toShown(shape, [x, y]) {
  const [a, b] = shape.transposed ? [y, x] : [x, y];
  return [shape.flipped_x ? shape.columns - a : a, shape.flipped_y ? shape.rows - b : b];
}

// The sides of filled pixels that have no filled neighbor, as a path in edge coordinates.
export function outline(bits, rows, columns) {
  const path = new Path2D();
  const at = (r, c) => r >= 0 && c >= 0 && r < rows && c < columns && bits[r * columns + c];
  for (let r = 0; r <= rows; r++) {
    let from = -1;
    for (let c = 0; c <= columns; c++) {
      const edge = c < columns && !!at(r, c) !== !!at(r - 1, c);
      if (edge && from < 0) from = c;
      if (!edge && from >= 0) {
        path.moveTo(from, r);
        path.lineTo(c, r);
        from = -1;
      }
    }
  }
  for (let c = 0; c <= columns; c++) {
    let from = -1;
    for (let r = 0; r <= rows; r++) {
      const edge = r < rows && !!at(r, c) !== !!at(r, c - 1);
      if (edge && from < 0) from = r;
      if (!edge && from >= 0) {
        path.moveTo(c, from);
        path.lineTo(c, r);
        from = -1;
      }
    }
  }
  return path;
}

export function unpackBits(bytes, count) {
  const bits = new Uint8Array(count);
  for (let n = 0; n < count; n++) bits[n] = (bytes[n >> 3] >> (7 - (n & 7))) & 1;
  return bits;
}

export function rgb(hex) {
  const n = parseInt(hex.slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}
