// One orthogonal view: gray values through a window, masks, prompts, and the mouse on them.

import { AXES, columnAxis, outline, rgb, rowAxis, toShown, toStored, unpackBits } from "./geometry.js";

const KEPT_SLICES = 160;
const LINE_COLORS = { k: "#ef6b6b", j: "#6bd08f", i: "#f2c14e" };

export class SliceView {
  // `page` is told: moved(axis, index), drawn(view, kind, places, positive), cursorAt(view, x, y), windowed(dx, dy).
  constructor(axis, page) {
    this.axis = axis;
    this.name = AXES[axis];
    this.page = page;
    this.index = 0;
    this.zoom = 1;
    this.pan = [0, 0];
    this.values = new Map();
    this.masks = new Map();
    this.pending = new Map();
    this.layers = [];
    this.drag = null;
    this.hover = null;
    this.build();
  }

  build() {
    this.root = document.createElement("section");
    this.root.className = "view";
    this.root.dataset.axis = this.name;
    this.root.innerHTML = `
      <div class="stage"><canvas tabindex="0" role="img"></canvas>
        <span class="title"></span><span class="where"></span>
        <span class="letter left"></span><span class="letter right"></span>
        <span class="letter top"></span><span class="letter bottom"></span>
        <button class="enlarge" type="button" title="Enlarge this view (double-click)" aria-label="Enlarge this view">⤢</button>
      </div>
      <input class="slider" type="range" min="0" max="0" value="0" aria-label="Slice">`;
    this.canvas = this.root.querySelector("canvas");
    this.slider = this.root.querySelector(".slider");
    this.context = this.canvas.getContext("2d");
    this.gray = document.createElement("canvas");
    this.fill = document.createElement("canvas");
    this.slider.addEventListener("input", () => this.page.moved(this.axis, Number(this.slider.value)));
    this.root.querySelector(".enlarge").addEventListener("click", () => this.page.enlarge(this.name));
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.abandon());
    canvas.addEventListener("pointerleave", () => { this.hover = null; this.draw(); });
    canvas.addEventListener("dblclick", () => this.page.tool === "move" && this.page.enlarge(this.name));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.root.querySelector(".stage"));
  }

  // A volume was opened: `shape` says how its slices across this axis are shown.
  open(shape, generation) {
    this.shape = shape;
    this.generation = generation;
    this.values.clear();
    this.masks.clear();
    this.pending.clear();
    this.zoom = 1;
    this.pan = [0, 0];
    this.slider.max = shape.count - 1;
    const [left, right, top, bottom] = shape.letters;
    for (const [side, letter] of Object.entries({ left, right, top, bottom })) {
      this.root.querySelector(`.letter.${side}`).textContent = letter;
    }
    const title = shape.orientation[0].toUpperCase() + shape.orientation.slice(1);
    this.root.querySelector(".title").textContent = title;
    this.canvas.setAttribute("aria-label", `${title} slices`);
    this.show(Math.floor(shape.count / 2));
  }

  show(index) {
    if (!this.shape) return;
    this.index = Math.max(0, Math.min(this.shape.count - 1, index));
    this.slider.value = this.index;
    this.root.querySelector(".where").textContent = `${this.index + 1} / ${this.shape.count}`;
    this.drawGray();
    this.drawMasks();
    this.draw();
    this.fetchValues(this.index).then((fetched) => {
      if (fetched) for (const step of [1, -1, 2, -2, 3, -3]) this.fetchValues(this.index + step);
    });
    this.fetchMasks(this.index);
  }

  async fetchValues(index) {
    if (index < 0 || index >= this.shape.count || this.values.has(index)) return this.values.has(index);
    const key = `v${index}`;
    if (this.pending.has(key)) return this.pending.get(key);
    const generation = this.generation;
    const work = this.page.api.bytes(`slice/${this.name}/${index}`).then(({ buffer }) => {
      if (generation !== this.generation) return false;
      this.values.set(index, this.page.state.volume.is_video ? new Uint8Array(buffer) : new Uint16Array(buffer));
      while (this.values.size > KEPT_SLICES) this.values.delete(this.values.keys().next().value);
      if (index === this.index) { this.drawGray(); this.draw(); }
      return true;
    }).catch((error) => { this.page.failed(error); return false; }).finally(() => this.pending.delete(key));
    this.pending.set(key, work);
    return work;
  }

  // The masks of the slice shown, once for each revision.
  async fetchMasks(index) {
    const revision = this.page.state ? this.page.state.masks_revision : 0;
    const known = this.masks.get(index);
    const key = `m${index}-${revision}`;
    if ((known && known.revision >= revision) || this.pending.has(key)) return;
    const generation = this.generation;
    this.pending.set(key, true);
    try {
      const { response, buffer } = await this.page.api.bytes(`masks/${this.name}/${index}`);
      if (generation !== this.generation) return;
      const ids = (response.headers.get("X-Objects") || "").split(",").filter(Boolean);
      const { rows, columns } = this.shape, length = Math.ceil((rows * columns) / 8);
      const layers = ids.map((id, n) => {
        const bits = unpackBits(new Uint8Array(buffer, n * length, length), rows * columns);
        return { id, bits, path: outline(bits, rows, columns) };
      });
      const newest = this.masks.get(index);
      if (!newest || newest.revision <= revision) this.masks.set(index, { revision, layers });
      while (this.masks.size > KEPT_SLICES) this.masks.delete(this.masks.keys().next().value);
      if (index === this.index) { this.drawMasks(); this.draw(); }
    } catch (error) {
      this.page.failed(error);
    } finally {
      this.pending.delete(key);
    }
  }

  refreshMasks() {
    if (this.shape) { this.fetchMasks(this.index); this.drawMasks(); this.draw(); }
  }

  // The gray picture of the slice, one pixel a voxel, through the window of the page.
  drawGray() {
    const values = this.values.get(this.index);
    this.grayIndex = values ? this.index : -1;
    if (!values) return;
    const { rows, columns } = this.shape, table = this.page.grayTable();
    this.gray.width = columns;
    this.gray.height = rows;
    const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
    if (this.page.state.volume.is_video) {
      for (let n = 0; n < pixels.length; n++) pixels[n] = 0xff000000 | (values[3 * n + 2] << 16) | (values[3 * n + 1] << 8) | values[3 * n];
    } else {
      for (let n = 0; n < values.length; n++) pixels[n] = table[values[n] >> 4];
    }
    this.gray.getContext("2d").putImageData(image, 0, 0);
  }

  drawMasks() {
    const known = this.masks.get(this.index), { rows, columns } = this.shape;
    this.layers = [];
    this.fill.width = columns;
    this.fill.height = rows;
    if (!known) return;
    const image = new ImageData(columns, rows);
    for (const layer of known.layers) {
      const object = this.page.object(layer.id);
      if (!object || this.page.hidden.has(layer.id)) continue;
      const [r, g, b] = rgb(object.color);
      for (let n = 0; n < layer.bits.length; n++) {
        if (layer.bits[n]) image.data.set([r, g, b, this.page.opacity], 4 * n);
      }
      this.layers.push({ color: object.color, path: layer.path, selected: layer.id === this.page.state.selected });
    }
    this.fill.getContext("2d").putImageData(image, 0, 0);
  }

  // Where the slice lies on the canvas: pixels of the canvas = origin + scale * edge coordinate.
  place() {
    const { width, height } = this.canvas, { rows, columns, mm_per_row: h, mm_per_column: w } = this.shape;
    const fit = Math.min(width / (columns * w), height / (rows * h)) * 0.96 * this.zoom;
    const sx = fit * w, sy = fit * h, ratio = devicePixelRatio || 1;
    return { sx, sy, x: (width - sx * columns) / 2 + this.pan[0] * ratio, y: (height - sy * rows) / 2 + this.pan[1] * ratio };
  }

  draw() {
    if (!this.queued) {
      this.queued = true;
      requestAnimationFrame(() => { this.queued = false; this.paint(); });
    }
  }

  paint() {
    const box = this.canvas.parentElement.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const c = this.context;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = "#000";
    c.fillRect(0, 0, width, height);
    if (!this.shape) return;
    const p = this.place(), { rows, columns } = this.shape;
    c.setTransform(p.sx, 0, 0, p.sy, p.x, p.y);
    if (this.gray.width === columns && this.grayIndex >= 0) {
      c.imageSmoothingEnabled = true;
      c.imageSmoothingQuality = "high";
      c.drawImage(this.gray, 0, 0);
    }
    c.imageSmoothingEnabled = false;
    c.drawImage(this.fill, 0, 0);
    c.setTransform(1, 0, 0, 1, 0, 0);
    for (const layer of this.layers) {
      const path = new Path2D();
      path.addPath(layer.path, new DOMMatrix([p.sx, 0, 0, p.sy, p.x, p.y]));
      c.strokeStyle = layer.color;
      c.lineWidth = (layer.selected ? 1.8 : 1.1) * ratio;
      c.stroke(path);
    }
    this.paintCross(c, p, ratio);
    this.paintPrompts(c, p, ratio);
    this.paintDrag(c, p, ratio);
  }

  paintCross(c, p, ratio) {
    const cursor = this.page.cursor, ra = rowAxis(this.axis), ca = columnAxis(this.axis);
    const [u, v] = toShown(this.shape, [cursor[ca] + 0.5, cursor[ra] + 0.5]);
    const lines = this.shape.transposed ? [[ra, "x"], [ca, "y"]] : [[ca, "x"], [ra, "y"]];
    c.lineWidth = ratio;
    c.globalAlpha = 0.45;
    for (const [axis, side] of lines) {
      c.strokeStyle = LINE_COLORS[AXES[axis]];
      c.beginPath();
      if (side === "x") { c.moveTo(p.x + u * p.sx, p.y); c.lineTo(p.x + u * p.sx, p.y + this.shape.rows * p.sy); }
      else { c.moveTo(p.x, p.y + v * p.sy); c.lineTo(p.x + this.shape.columns * p.sx, p.y + v * p.sy); }
      c.stroke();
    }
    c.globalAlpha = 1;
  }

  paintPrompts(c, p, ratio) {
    for (const object of this.page.state ? this.page.state.objects : []) {
      if (this.page.hidden.has(object.id)) continue;
      const selected = object.id === this.page.state.selected;
      for (const prompt of object.prompts) {
        if (prompt.axis !== this.name || prompt.slice !== this.index || !prompt.xy.length) continue;
        const places = prompt.xy.map(([x, y]) => {
          const [u, v] = toShown(this.shape, [x + 0.5, y + 0.5]);
          return [p.x + u * p.sx, p.y + v * p.sy];
        });
        c.globalAlpha = selected ? 1 : 0.55;
        if (prompt.kind === "point") this.paintPoint(c, places[0], prompt.positive, ratio);
        else this.paintLine(c, places, prompt, object.color, ratio);
        c.globalAlpha = 1;
      }
    }
  }

  paintPoint(c, [x, y], positive, ratio) {
    const size = 6.5 * ratio;
    c.beginPath();
    c.arc(x, y, size, 0, 2 * Math.PI);
    c.fillStyle = positive ? "#22c55e" : "#ef4444";
    c.fill();
    c.lineWidth = 1.5 * ratio;
    c.strokeStyle = "#fff";
    c.stroke();
    c.beginPath();
    c.moveTo(x - size / 2, y); c.lineTo(x + size / 2, y);
    if (positive) { c.moveTo(x, y - size / 2); c.lineTo(x, y + size / 2); }
    c.stroke();
  }

  paintLine(c, places, prompt, color, ratio) {
    c.beginPath();
    if (prompt.kind === "box") {
      const [[x0, y0], [x1, y1]] = places;
      c.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    } else {
      places.forEach(([x, y], n) => (n ? c.lineTo(x, y) : c.moveTo(x, y)));
      if (prompt.kind === "lasso") c.closePath();
    }
    c.lineWidth = 3 * ratio;
    c.strokeStyle = "rgba(0,0,0,.55)";
    c.stroke();
    c.lineWidth = 1.5 * ratio;
    c.setLineDash(prompt.kind === "lasso" && !prompt.positive ? [4 * ratio, 3 * ratio] : []);
    c.strokeStyle = prompt.positive ? "#fff" : "#fca5a5";
    c.stroke();
    c.setLineDash([]);
  }

  paintDrag(c, p, ratio) {
    const drag = this.drag, tool = this.page.tool;
    if (drag && drag.draws) {
      const places = drag.path.map(([u, v]) => [p.x + u * p.sx, p.y + v * p.sy]);
      c.lineWidth = 1.5 * ratio;
      c.strokeStyle = "#fff";
      c.fillStyle = "rgba(255,255,255,.10)";
      c.beginPath();
      if (tool === "box") {
        const [x0, y0] = places[0], [x1, y1] = places[places.length - 1];
        c.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
      } else {
        places.forEach(([x, y], n) => (n ? c.lineTo(x, y) : c.moveTo(x, y)));
      }
      c.fill();
      c.setLineDash([5 * ratio, 4 * ratio]);
      c.stroke();
      c.setLineDash([]);
    } else if (this.hover && (tool === "plus" || tool === "minus")) {
      c.globalAlpha = 0.6;
      this.paintPoint(c, this.hover.map((n) => n * ratio), tool === "plus", ratio);
      c.globalAlpha = 1;
    }
  }

  // ------------------------------------------------------------------------------------------------- the mouse

  // Edge coordinates as shown, kept within the slice when `inside`.
  at(event, inside = true) {
    const box = this.canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1, p = this.place();
    const u = ((event.clientX - box.left) * ratio - p.x) / p.sx, v = ((event.clientY - box.top) * ratio - p.y) / p.sy;
    if (!inside) return [u, v];
    return [Math.max(0, Math.min(this.shape.columns, u)), Math.max(0, Math.min(this.shape.rows, v))];
  }

  isOver([u, v]) {
    return u >= 0 && v >= 0 && u <= this.shape.columns && v <= this.shape.rows;
  }

  down(event) {
    if (!this.shape) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.page.looksAt(this);
    const kind = event.button === 2 ? "window" : event.button === 1 || this.page.space ? "pan" : event.shiftKey ? "move" : this.page.tool;
    const draws = kind === "box" || kind === "lasso";
    if (draws && !this.isOver(this.at(event, false))) return;
    this.drag = { kind, draws, path: [this.at(event)], last: [event.clientX, event.clientY] };
    if (kind === "move") this.point(event);
    event.preventDefault();
  }

  move(event) {
    if (!this.shape) return;
    const box = this.canvas.getBoundingClientRect(), drag = this.drag;
    this.hover = [event.clientX - box.left, event.clientY - box.top];
    if (!drag) {
      this.page.hovered(this, this.at(event, false));
      this.draw();
      return;
    }
    const dx = event.clientX - drag.last[0], dy = event.clientY - drag.last[1];
    if (drag.kind === "pan") this.pan = [this.pan[0] + dx, this.pan[1] + dy];
    else if (drag.kind === "window") this.page.windowed(dx, dy);
    else if (drag.kind === "move") this.point(event);
    else if (drag.kind === "box") drag.path[1] = this.at(event);
    else if (drag.kind === "lasso") drag.path.push(this.at(event));
    drag.last = [event.clientX, event.clientY];
    this.draw();
  }

  up(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag || !this.shape) return;
    const stored = (place) => toStored(this.shape, place);
    if (drag.kind === "box") {
      const [a, b] = [drag.path[0], this.at(event)].map(stored);
      const low = [0, 1].map((n) => Math.floor(Math.min(a[n], b[n]))), high = [0, 1].map((n) => Math.ceil(Math.max(a[n], b[n])));
      if (Math.abs(a[0] - b[0]) < 1 || Math.abs(a[1] - b[1]) < 1) this.page.hint("Hold the button down and drag from one corner of the box to the opposite one.");
      else this.page.drawn(this, "box", [low, high], true);
    } else if (drag.kind === "lasso") {
      const places = drag.path.map(stored).map(([x, y]) => [x - 0.5, y - 0.5]);
      if (places.length < 3) this.page.hint("Hold the button down and draw around the object.");
      else this.page.drawn(this, "lasso", places, true);
    } else if (drag.kind === "plus" || drag.kind === "minus") {
      const place = this.at(event, false);
      if (this.isOver(place)) {
        const [x, y] = stored(place);
        this.page.drawn(this, "point", [[x - 0.5, y - 0.5]], drag.kind === "plus");
      }
    }
    this.draw();
  }

  abandon() {
    this.drag = null;
    this.draw();
  }

  // Moves the other views to the place under the mouse.
  point(event) {
    const [x, y] = toStored(this.shape, this.at(event));
    this.page.cursorAt(this, Math.floor(x - 1e-6), Math.floor(y - 1e-6));
  }

  wheel(event) {
    if (!this.shape) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) {
      const box = this.canvas.getBoundingClientRect(), before = this.zoom;
      this.zoom = Math.max(0.5, Math.min(12, this.zoom * Math.exp(-event.deltaY / 300)));
      const share = this.zoom / before, cx = event.clientX - box.left - box.width / 2, cy = event.clientY - box.top - box.height / 2;
      this.pan = [cx - (cx - this.pan[0]) * share, cy - (cy - this.pan[1]) * share];
      this.draw();
      return;
    }
    this.turned = (this.turned || 0) + event.deltaY * (event.deltaMode === 1 ? 33 : 1);
    const steps = Math.trunc(this.turned / 33);
    if (steps) {
      this.turned -= steps * 33;
      this.page.moved(this.axis, this.index - Math.sign(steps) * Math.min(Math.abs(steps), 3));
    }
  }

  resetView() {
    this.zoom = 1;
    this.pan = [0, 0];
    this.draw();
  }
}
