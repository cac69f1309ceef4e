// Converts between scan pixels, stage metres and screen pixels; must agree with instrument_adapters/geometry.py.

export function toPixels(frame, x, y) {
  const c = Math.cos(frame.angle_rad), s = Math.sin(frame.angle_rad);
  const dx = x - frame.x_offset_m, dy = y - frame.y_offset_m;
  const fast = dx * c - dy * s, slow = dx * s + dy * c;
  return [
    ((slow + frame.size_slow_m / 2) / frame.size_slow_m) * (frame.rows - 1),
    ((fast + frame.size_fast_m / 2) / frame.size_fast_m) * (frame.cols - 1),
  ];
}

export function toMetres(frame, row, col) {
  const c = Math.cos(frame.angle_rad), s = Math.sin(frame.angle_rad);
  const slow = (row / (frame.rows - 1)) * frame.size_slow_m - frame.size_slow_m / 2;
  const fast = (col / (frame.cols - 1)) * frame.size_fast_m - frame.size_fast_m / 2;
  return [fast * c + slow * s + frame.x_offset_m, -fast * s + slow * c + frame.y_offset_m];
}

// Layout of a frame in a box: as large as fits, at its physical aspect ratio, row 0 at the bottom.
export function layout(frame, width, height) {
  const scale = Math.min(width / frame.size_fast_m, height / frame.size_slow_m);
  const w = frame.size_fast_m * scale, h = frame.size_slow_m * scale;
  const left = (width - w) / 2, top = (height - h) / 2;
  return {
    left, top, w, h,
    perCol: w / frame.cols,
    perRow: h / frame.rows,
    x: (col) => left + ((col + 0.5) / frame.cols) * w,
    y: (row) => top + h - ((row + 0.5) / frame.rows) * h,
    col: (x) => ((x - left) / w) * frame.cols - 0.5,
    row: (y) => ((top + h - y) / h) * frame.rows - 0.5,
  };
}

// Round length for a scale bar, at most `max` metres.
export function roundLength(max) {
  const power = 10 ** Math.floor(Math.log10(max));
  return [5, 2, 1].map((n) => n * power).find((n) => n <= max * 1.0001) ?? power;
}
