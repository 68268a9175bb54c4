// The confidence of each slice of the selected object; a click goes there.

const GAP = 2;

export class ConfidenceStrip {
  constructor(page) {
    this.page = page;
    this.root = document.createElement("div");
    this.root.className = "strip";
    this.root.innerHTML = `<canvas role="img" tabindex="0" aria-label="Confidence of each slice"></canvas><span class="tip" hidden></span>`;
    this.canvas = this.root.querySelector("canvas");
    this.tip = this.root.querySelector(".tip");
    this.canvas.addEventListener("pointerdown", (event) => { this.held = true; this.canvas.setPointerCapture(event.pointerId); this.go(event); });
    this.canvas.addEventListener("pointermove", (event) => { this.show(event); if (this.held) this.go(event); });
    this.canvas.addEventListener("pointerup", () => { this.held = false; });
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  get slices() { return this.page.state ? this.page.state.strip : []; }

  index(event) {
    const box = this.canvas.getBoundingClientRect(), count = this.slices.length;
    return Math.max(0, Math.min(count - 1, Math.floor(((event.clientX - box.left) / box.width) * count)));
  }

  go(event) {
    if (this.slices.length) this.page.showObjectSlice(this.index(event));
  }

  show(event) {
    const found = this.slices[this.index(event)];
    this.tip.hidden = !found;
    if (!found) return;
    const [index, confidence, mark] = found;
    const words = { none: "no mask", pending: "to be computed", prompted: "has prompts", predicted: "computed", accepted: "accepted", edited: "drawn by you", started: "as it was" };
    this.tip.textContent = `Slice ${index + 1}: ${words[mark] || mark}${confidence === null ? "" : `, ${Math.round(100 * confidence)} % certain`}`;
    const box = this.root.getBoundingClientRect();
    this.tip.style.left = `${Math.max(70, Math.min(box.width - 70, event.clientX - box.left))}px`;
  }

  draw() {
    const box = this.root.getBoundingClientRect(), ratio = devicePixelRatio || 1, c = this.canvas.getContext("2d");
    const width = (this.canvas.width = Math.max(1, Math.round(box.width * ratio))), height = (this.canvas.height = Math.max(1, Math.round(box.height * ratio)));
    c.clearRect(0, 0, width, height);
    const slices = this.slices, style = getComputedStyle(this.root), faint = style.getPropertyValue("--line"), ink = style.getPropertyValue("--ink");
    if (!slices.length) {
      c.fillStyle = style.getPropertyValue("--faint");
      c.font = `${12 * ratio}px ui-sans-serif, system-ui, sans-serif`;
      c.textBaseline = "middle";
      c.fillText("Confidence of each slice: after the first prompt", 10 * ratio, height / 2);
      return;
    }
    const step = width / slices.length, base = height - 7 * ratio, room = base - 4 * ratio, gap = step > 5 * ratio ? GAP * ratio : 0;
    slices.forEach(([index, confidence, mark], n) => {
      const x = n * step + gap / 2, w = Math.max(1, step - gap);
      if (confidence !== null) {
        c.fillStyle = mark === "accepted" ? "#3b82f6" : confidence > 0.85 ? "#22c55e" : confidence > 0.6 ? "#eab308" : "#ef4444";
        c.fillRect(x, base - room * Math.max(0.06, confidence), w, room * Math.max(0.06, confidence));
      } else {
        c.fillStyle = mark === "pending" ? "rgba(148,163,184,.35)" : mark === "edited" || mark === "accepted" ? "#3b82f6" : faint;
        const part = mark === "pending" ? 0.35 : mark === "none" ? 0.06 : 1;
        c.fillRect(x, base - room * part, w, room * part);
      }
      if (mark === "prompted") {
        c.fillStyle = ink;
        c.beginPath();
        c.arc(x + w / 2, height - 3 * ratio, Math.min(3 * ratio, Math.max(1.5 * ratio, w / 2)), 0, 2 * Math.PI);
        c.fill();
      }
    });
    const object = this.page.selectedObject(), shown = object && object.axis ? this.page.indexOf(object.axis) : -1;
    if (shown >= 0) {
      c.strokeStyle = ink;
      c.lineWidth = 1.5 * ratio;
      c.strokeRect(shown * step + 0.75 * ratio, 1 * ratio, Math.max(2, step - 1.5 * ratio), height - 2 * ratio);
    }
  }
}
