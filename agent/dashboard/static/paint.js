// Colours and markers of the clusters, as in the figures (agent/reporting/figures/style.py), and canvas drawing.

const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000", "#7A1F5C", "#9EF0C8"];
const ON_DARK = { "#000000": "#FFFFFF", "#7A1F5C": "#B0479A", "#0072B2": "#2C94D8" };  // too dark for a dark background

export const isDark = () => document.documentElement.dataset.theme === "dark";
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function colour(cluster, dark = isDark()) {
  if (cluster < 0) return "#9aa3ab";
  const c = COLOURS[cluster % COLOURS.length];
  return dark ? ON_DARK[c] ?? c : c;
}

function polygon(corners, start) {
  return Array.from({ length: corners }, (_, i) => {
    const a = start + (2 * Math.PI * i) / corners;
    return [Math.cos(a), Math.sin(a)];
  });
}

const plus = [[-1, -0.35], [-0.35, -0.35], [-0.35, -1], [0.35, -1], [0.35, -0.35], [1, -0.35], [1, 0.35], [0.35, 0.35], [0.35, 1], [-0.35, 1], [-0.35, 0.35], [-1, 0.35]];
const saltire = plus.map(([x, y]) => [(x - y) * 0.75, (x + y) * 0.75]);
const UP = -Math.PI / 2;
// Circle, square, triangle up, diamond, triangle down, plus, x, pentagon, triangle left, hexagon.
const SHAPES = [null, polygon(4, Math.PI / 4), polygon(3, UP), polygon(4, UP), polygon(3, -UP), plus, saltire, polygon(5, UP), polygon(3, Math.PI), polygon(6, UP)];

// Adds a cluster's marker to the current path.
export function marker(context, cluster, x, y, r) {
  const shape = cluster < 0 ? null : SHAPES[(cluster + Math.floor(cluster / COLOURS.length)) % SHAPES.length];
  if (shape === null) {
    context.moveTo(x + r, y);
    context.arc(x, y, r, 0, 2 * Math.PI);
    return;
  }
  shape.forEach(([px, py], i) => (i ? context.lineTo(x + px * r * 1.15, y + py * r * 1.15) : context.moveTo(x + px * r * 1.15, y + py * r * 1.15)));
  context.closePath();
}

// A small canvas with a cluster's marker.
export function mark(cluster) {
  const canvas = document.createElement("canvas");
  const ratio = 2;
  canvas.width = canvas.height = 15 * ratio;
  canvas.className = "mark";
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  c.beginPath();
  marker(c, cluster, 7.5, 7.5, 5);
  c.fillStyle = colour(cluster);
  c.fill();
  c.lineWidth = 0.7;
  c.strokeStyle = css("--dim");
  c.stroke();
  return canvas;
}

// Fits a canvas to its box; returns {context, width, height} in CSS pixels.
export function fit(canvas) {
  const box = canvas.parentElement.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(box.width)), height = Math.max(1, Math.round(box.height));
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// Grey image of float values: `low` black, `high` white, NaN bluish; row 0 at the bottom.
export function greyPicture(values, rows, cols, low, high) {
  const image = new ImageData(cols, rows);
  const out = new Uint32Array(image.data.buffer);
  const scale = 255 / (high - low || 1);
  for (let r = 0; r < rows; r++) {
    const from = r * cols, to = (rows - 1 - r) * cols;
    for (let c = 0; c < cols; c++) {
      const v = values[from + c];
      const g = v !== v ? -1 : Math.max(0, Math.min(255, (v - low) * scale)) | 0;
      out[to + c] = g < 0 ? 0xff3a2d22 : 0xff000000 | (g << 16) | (g << 8) | g;
    }
  }
  const canvas = document.createElement("canvas");
  canvas.width = cols;
  canvas.height = rows;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Draws a small square image into a canvas.
export function drawSmall(canvas, values, side, low, high) {
  const picture = greyPicture(values, side, side, low, high);
  canvas.width = canvas.height = side;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}

export function clearSmall(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}
