// Nearest-point search on a grid of cells, fast enough for hovering over tens of thousands of points.

export class Nearest {
  constructor(x, y, cells = 64) {
    this.x = x;
    this.y = y;
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < x.length; i++) {
      x0 = Math.min(x0, x[i]); x1 = Math.max(x1, x[i]);
      y0 = Math.min(y0, y[i]); y1 = Math.max(y1, y[i]);
    }
    this.x0 = x0;
    this.y0 = y0;
    this.size = Math.max(x1 - x0, y1 - y0, 1e-9) / cells;
    this.cells = new Map();
    for (let i = 0; i < x.length; i++) {
      const key = this.#key(x[i], y[i]);
      if (!this.cells.has(key)) this.cells.set(key, []);
      this.cells.get(key).push(i);
    }
  }

  #key(x, y, dx = 0, dy = 0) {
    return (Math.floor((x - this.x0) / this.size) + dx) * 4096 + Math.floor((y - this.y0) / this.size) + dy;
  }

  // Index of the nearest point within `reach` that satisfies `wanted(i)`, or null.
  find(x, y, reach, wanted = () => true) {
    const around = Math.ceil(reach / this.size);
    let best = null, least = reach * reach;
    for (let dx = -around; dx <= around; dx++) {
      for (let dy = -around; dy <= around; dy++) {
        for (const i of this.cells.get(this.#key(x, y, dx, dy)) ?? []) {
          const d = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
          if (d <= least && wanted(i)) {
            least = d;
            best = i;
          }
        }
      }
    }
    return best;
  }
}
