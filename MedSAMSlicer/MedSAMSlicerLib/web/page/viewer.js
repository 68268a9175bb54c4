// The page: views, tools, objects, progress and downloads on one session of the server.

import { Api } from "./api.js";
import { AXES, columnAxis, rowAxis } from "./geometry.js";
import { SliceView } from "./slice_view.js";
import { ConfidenceStrip } from "./strip.js";
import { SurfaceView } from "./surface_view.js";
import { TEMPLATE } from "./template.js";

const TOOLS = {
  box: "Drag a box around the object.",
  plus: "Click on what belongs to the object.",
  minus: "Click on what does not belong to it.",
  lasso: "Draw around the object with the button held down.",
  move: "Click or drag to move the other views there.",
};
const KEYS = { b: "box", p: "plus", n: "minus", l: "lasso", m: "move" };

export function start(element, options) {
  const root = element.querySelector(".medsamslicer") || element;
  if (root.dataset.started) return;
  root.dataset.started = "yes";
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("./style.css", import.meta.url).href;
  document.head.append(style);
  window.medsamslicer = new Page(root, options);
}

class Page {
  constructor(root, options) {
    this.root = root;
    this.options = options;
    this.api = new Api(new URL("..", import.meta.url));
    this.state = null;
    this.cursor = [0, 0, 0];
    this.hidden = new Set();
    this.opacity = 80;
    this.tool = "box";
    this.window = null;
    this.generation = 0;
    this.seenMessage = 0;
    this.busyCalls = 0;
    root.innerHTML = TEMPLATE;
    this.views = [0, 1, 2].map((axis) => new SliceView(axis, this));
    this.surface = new SurfaceView(this);
    this.strip = new ConfidenceStrip(this);
    this.one(".views").append(...this.views.map((view) => view.root), this.surface.root);
    this.one(".strip-place").append(this.strip.root);
    this.looked = this.views[0];
    this.wire();
    this.setTheme(localStorage.getItem("medsamslicer-theme"));
    this.setTool("box");
    this.showTab("k");
    this.begin();
  }

  one(selector) { return this.root.querySelector(selector); }
  all(selector) { return [...this.root.querySelectorAll(selector)]; }

  wire() {
    const on = (selector, action) => this.all(selector).forEach((each) => each.addEventListener("click", () => action(each)));
    on("[data-tool]", (button) => this.setTool(button.dataset.tool));
    on("[data-tab]", (button) => this.showTab(button.dataset.tab));
    on("[data-open]", () => this.one("#msl-file").click());
    on("[data-sample]", () => this.openSample());
    on("[data-theme-toggle]", () => this.setTheme(document.body.classList.contains("dark") ? "light" : "dark"));
    on("[data-add]", () => this.act("add_object", "", ""));
    on("[data-undo]", () => this.act("undo"));
    on("[data-redo]", () => this.act("redo"));
    on("[data-propagate]", () => this.act("begin_propagation", "", false));
    on("[data-propagate-all]", () => this.act("begin_propagation", "", true));
    on("[data-cancel]", () => this.act("cancel"));
    on("[data-accept]", () => this.acceptSlice());
    on("[data-doubtful]", () => this.goToDoubtful());
    on("[data-range]", (button) => this.setRange(button.dataset.range));
    on("[data-format]", (button) => this.download(button));
    on("[data-mask]", () => this.one("#msl-mask").click());
    on("[data-offer]", () => this.act("take_offer"));
    on("[data-api]", () => document.querySelector("footer .show-api").click()); // Gradio's own pages about its endpoints
    on("[data-not-choosing]", () => this.root.classList.remove("choosing"));
    on("[data-restart]", () => this.restart());
    on("[data-panel]", () => this.root.classList.toggle("panel-open"));
    this.one("#msl-file").addEventListener("change", (event) => { this.openFile(event.target.files[0]); event.target.value = ""; });
    this.one("#msl-mask").addEventListener("change", (event) => { this.useMask(event.target.files[0]); event.target.value = ""; });
    this.one("#msl-preset").addEventListener("change", (event) => this.choosePreset(event.target.value));
    this.one("#msl-opacity").addEventListener("input", (event) => { this.opacity = Number(event.target.value); this.repaintMasks(); });
    for (const side of ["first", "last"]) this.one(`#msl-${side}`).addEventListener("change", () => this.setRange("typed"));
    for (const name of ["dragover", "drop"]) {
      document.addEventListener(name, (event) => {
        if (!event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
        event.preventDefault();
        this.root.classList.toggle("dropping", name === "dragover");
        if (name === "drop") this.openFile(event.dataTransfer.files[0]);
      });
    }
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) this.root.classList.remove("dropping"); });
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keyup", (event) => { if (event.key === " ") this.space = false; });
  }

  // ------------------------------------------------------------------------------------------------ the session

  async begin() {
    if (this.api.session) {
      try {
        this.take(await this.api.state(-1));
        this.follow();
        return;
      } catch (error) {
        if (error.status) this.api.use("");
      }
    }
    if (this.options.sample) this.openSample();
    else this.showWelcome(true);
  }

  restart() {
    this.api.use("");
    location.reload();
  }

  async openSample() {
    await this.opening("Making a CT of an abdomen …", () => this.api.call("open_sample", this.api.session));
  }

  async openFile(file) {
    if (!file) return;
    await this.opening(`Sending ${file.name} …`, async () => {
      const sent = await this.api.upload(file, (share) => this.showBusy(`Sending ${file.name} … ${Math.round(100 * share)} %`));
      this.showBusy(`Reading ${file.name} …`);
      const state = await this.api.call("open", sent, "", this.api.session);
      if (state.series.length) this.askForSeries(sent, state.series);
      return state;
    });
  }

  // An archive holds several DICOM series: the user chooses one.
  askForSeries(sent, series) {
    const list = this.one(".choice div div");
    list.replaceChildren(...series.map(({ uid, text }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text.split(", UID ")[0];
      button.title = uid;
      button.addEventListener("click", () => {
        this.root.classList.remove("choosing");
        this.opening("Reading the series …", () => this.api.call("open", sent, uid, this.api.session));
      });
      return button;
    }));
    this.root.classList.add("choosing");
  }

  async opening(text, act) {
    this.root.classList.remove("dropping");
    this.showBusy(text);
    this.following = null;
    try {
      const state = await act();
      this.api.use(state.session);
      this.take(state, true);
    } catch (error) {
      if (error.status === 410) this.api.use("");
      this.failed(error);
    } finally {
      this.showBusy("");
    }
    if (this.api.session) this.follow();
    this.showWelcome(!this.state || !this.state.volume);
  }

  // Takes every change of the session over, until another volume is opened.
  async follow() {
    const token = (this.following = {});
    while (this.following === token) {
      try {
        const state = await this.api.state(this.state ? this.state.revision : -1);
        this.offline(false);
        if (this.following === token) this.take(state);
        await new Promise((done) => setTimeout(done, state.run.busy ? 120 : 20));
      } catch (error) {
        if (error.status === 410) return this.ended(error.message);
        this.offline(true);
        await new Promise((done) => setTimeout(done, 1000));
      }
    }
  }

  ended(text) {
    this.following = null;
    this.api.use("");
    this.one(".ended p").textContent = text;
    this.root.classList.add("has-ended");
  }

  offline(is) {
    this.root.classList.toggle("offline", is);
  }

  // Calls an endpoint of this session and takes its answer over.
  async act(name, ...data) {
    this.root.classList.add("acting");
    this.busyCalls += 1;
    try {
      const answer = await this.api.call(name, this.api.session, ...data);
      if (answer && answer.session) this.take(answer);
      return answer;
    } catch (error) {
      this.failed(error);
      return null;
    } finally {
      this.busyCalls -= 1;
      this.root.classList.toggle("acting", this.busyCalls > 0);
    }
  }

  failed(error) {
    if (error.status === 410) this.ended(error.message);
    else if (error.status === 0) this.offline(true);
    else this.say(error.message, "error");
  }

  // ------------------------------------------------------------------------------------------------- the state

  take(state, opened = false) {
    const before = this.state;
    if (before && before.session === state.session && state.revision < before.revision && !opened) return;
    this.state = state;
    const other = opened || !before || !before.volume !== !state.volume || before.session !== state.session;
    if (other && state.volume) this.openVolume();
    if (state.volume && !this.window && state.window) this.useWindow(state.window.lower, state.window.upper, state.window.name);
    this.showObjects();
    this.showRun();
    this.showButtons();
    if (state.message.number > this.seenMessage && state.message.text) this.say(state.message.text, state.message.level, state.message.offer);
    else if (state.note && (!before || before.note !== state.note)) this.say(state.note, "warning");
    this.seenMessage = state.message.number;
    if (other || before.masks_revision !== state.masks_revision) {
      this.views.forEach((view) => view.refreshMasks());
      clearTimeout(this.surfaceTimer);
      this.surfaceTimer = setTimeout(() => this.surface.refresh(), 350);
    } else {
      this.views.forEach((view) => view.shape && view.draw());
    }
    if (before && before.run.busy && !state.run.busy) {
      this.surface.refresh();
      if (state.message.number === before.message.number) this.hint("Wrong somewhere? Add or Exclude there with a click, then propagate again. Or download the result.");
    }
    this.strip.draw();
  }

  openVolume() {
    const { volume } = this.state;
    this.generation += 1;
    this.window = null;
    this.hidden.clear();
    this.surface.clear();
    this.one(".volume").textContent = volume.name;
    const [k, j, i] = volume.shape_kji;
    this.one(".volume").title = `${i} × ${j} × ${k} voxels of ${volume.spacing_ijk_mm.map((mm) => mm.toFixed(2)).join(" × ")} mm`;
    const preset = this.one("#msl-preset");
    preset.innerHTML = '<option value="auto">Automatic</option><option value="full">Whole range</option><option value="custom" hidden>Custom</option>';
    for (const name of Object.keys(volume.presets)) {
      const label = name[0].toUpperCase() + name.slice(1).replace("-", " ");
      preset.append(new Option(label, name));
    }
    if (this.state.window) this.useWindow(this.state.window.lower, this.state.window.upper, this.state.window.name);
    this.cursor = volume.shape_kji.map((count) => Math.floor(count / 2));
    this.views.forEach((view) => view.open(volume.axes[view.name], this.generation));
    for (const [name, { orientation }] of Object.entries(volume.axes)) this.one(`[data-tab="${name}"]`).textContent = orientation[0].toUpperCase() + orientation.slice(1);
    this.root.classList.toggle("video", volume.is_video);
    this.one(".views").dataset.large = "";
    this.all(".view").forEach((each) => each.classList.remove("large"));
    if (volume.is_video) {
      this.enlarge("k");
      this.showTab("k");
    }
    this.all('[data-format="zip"]').forEach((each) => { each.hidden = !volume.is_video; });
    this.all('[data-format="dcm"]').forEach((each) => { each.hidden = !volume.is_dicom; });
    this.showWelcome(false);
    for (const sentence of volume.warnings) this.say(sentence, "warning");
    if (!volume.warnings.length) this.hint(TOOLS[this.tool]);
  }

  object(id) { return this.state && this.state.objects.find((each) => each.id === id); }
  selectedObject() { return this.state && this.object(this.state.selected); }
  indexOf(name) { return this.cursor[AXES.indexOf(name)]; }

  showObjects() {
    const list = this.one(".objects"), focused = list.contains(document.activeElement) ? document.activeElement : null;
    if (focused && focused.matches("input[type=text]")) return this.markSelected(list);
    const signature = JSON.stringify([this.state.objects.map((o) => [o.id, o.name, o.color, o.milliliters, o.text]), this.state.selected, [...this.hidden]]);
    if (signature === this.shownObjects) return;
    this.shownObjects = signature;
    list.replaceChildren(...this.state.objects.map((object) => this.objectRow(object)));
    this.one(".no-objects").hidden = this.state.objects.length > 0;
    this.markSelected(list);
  }

  markSelected(list) {
    for (const row of list.children) row.classList.toggle("selected", row.dataset.id === this.state.selected);
  }

  objectRow(object) {
    const row = document.createElement("li");
    row.dataset.id = object.id;
    row.innerHTML = `<input type="color" title="Color" aria-label="Color"><input type="text" aria-label="Name" maxlength="60">
      <span class="ml"></span><button type="button" class="eye" title="Show or hide"></button><button type="button" class="remove" title="Remove (undo brings it back)" aria-label="Remove">✕</button>`;
    const [color, name] = row.querySelectorAll("input"), eye = row.querySelector(".eye");
    color.value = object.color;
    name.value = object.name;
    row.title = object.text;
    row.querySelector(".ml").textContent = object.milliliters && !this.state.volume.is_video ? `${object.volume} mL` : "";
    eye.textContent = this.hidden.has(object.id) ? "○" : "●";
    eye.setAttribute("aria-label", this.hidden.has(object.id) ? "Show" : "Hide");
    row.addEventListener("click", () => this.state.selected !== object.id && this.act("select_object", object.id));
    color.addEventListener("change", () => this.act("change_object", object.id, "", color.value));
    name.addEventListener("change", () => this.act("change_object", object.id, name.value, ""));
    name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
    eye.addEventListener("click", (event) => {
      event.stopPropagation();
      if (!this.hidden.delete(object.id)) this.hidden.add(object.id);
      this.showObjects();
      this.repaintMasks();
    });
    row.querySelector(".remove").addEventListener("click", (event) => { event.stopPropagation(); this.act("remove_object", object.id); });
    return row;
  }

  showRun() {
    const { run } = this.state, active = run.busy || run.waiting !== null;
    this.root.classList.toggle("running", active);
    const share = run.total ? run.done / run.total : 0;
    this.one(".progress i").style.width = `${100 * share}%`;
    let text = run.text;
    if (run.waiting !== null) text = run.waiting ? `Waiting: ${run.waiting} before you` : "Waiting for the next free place";
    else if (run.seconds_left !== null) text += `, ${duration(run.seconds_left)} left`;
    this.one(".progress span").textContent = text;
  }

  showButtons() {
    const { reasons, undo, redo, volume, network } = this.state;
    const set = (selector, why, title = "") => this.all(selector).forEach((each) => {
      each.disabled = Boolean(why);
      each.title = why || title;
    });
    set("[data-propagate]", reasons.propagate, "Carry the mask through the slices (Enter)");
    set("[data-propagate-all]", reasons.propagate_all, "Every object that has something to compute");
    set("[data-undo]", undo ? "" : reasons.undo, undo ? `Undo: ${undo} (Ctrl+Z)` : "");
    set("[data-redo]", redo ? "" : reasons.redo, redo ? `Redo: ${redo} (Ctrl+Y)` : "");
    set("[data-doubtful]", reasons.next_doubtful, "Show the slice that is the least certain");
    for (const tool of ["plus", "minus", "lasso"]) set(`[data-tool="${tool}"]`, tool === "lasso" ? "" : reasons.point, TOOLS[tool]);
    const ready = this.state.objects.some((object) => object.milliliters > 0);
    set("[data-format]", ready ? "" : "There is no mask yet.");
    set("[data-add]", volume ? "" : "Open a volume first.");
    const object = this.selectedObject(), axis = object && object.axis;
    this.all("[data-range], #msl-first, #msl-last").forEach((each) => { each.disabled = !axis; });
    const count = axis ? volume.axes[axis].count : 0, [first, last] = (object && object.range) || [0, count - 1];
    if (document.activeElement !== this.one("#msl-first")) this.one("#msl-first").value = axis ? first + 1 : "";
    if (document.activeElement !== this.one("#msl-last")) this.one("#msl-last").value = axis ? last + 1 : "";
    const found = axis ? this.state.strip[this.indexOf(axis)] : null;
    this.one("[data-accept]").disabled = !found || !["predicted", "prompted", "accepted"].includes(found[2]) || found[1] === null;
    this.one("[data-accept]").textContent = found && found[2] === "accepted" ? "Release slice" : "Accept slice";
    this.one(".network").textContent = network.state === "ready" ? (network.device || "") : network.state === "failed" ? network.failure : "network is being loaded …";
    this.root.classList.toggle("has-prompt", Boolean(object && object.prompts.length));
  }

  // ----------------------------------------------------------------------------------------------- the actions

  setTool(tool) {
    this.tool = tool;
    this.all("[data-tool]").forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.tool === tool)));
    this.root.dataset.currentTool = tool;
    if (this.state && this.state.volume) this.hint(TOOLS[tool]);
  }

  // A prompt was drawn: positions are those of the stored slice.
  async drawn(view, kind, places, positive) {
    if (!this.state || !this.state.volume) return;
    const object = this.selectedObject();
    if (object && object.axis && object.axis !== view.name) {
      const name = this.state.volume.axes[object.axis].orientation;
      this.say(`“${object.name}” is drawn on ${name} slices: draw there, or add another object.`, "warning");
      return;
    }
    const middle = [0, 1].map((n) => places.reduce((sum, place) => sum + place[n], 0) / places.length);
    this.cursorAt(view, Math.round(middle[0]), Math.round(middle[1]), true);
    const answer = await this.act("prompt", kind, view.index, places, view.name, this.state.selected || "", positive, 0);
    if (answer) this.hint(this.state.strip.some(([, , mark]) => mark === "pending") ? "Propagate carries the mask through the other slices (Enter)." : "");
  }

  async useMask(file) {
    if (!file) return;
    this.showBusy(`Sending ${file.name} …`);
    try {
      const sent = await this.api.upload(file, () => undefined);
      await this.act("prompt_mask", sent, this.looked.index, this.looked.name, this.state.selected || "", "", 0);
    } catch (error) {
      this.failed(error);
    } finally {
      this.showBusy("");
    }
  }

  setRange(how) {
    const object = this.selectedObject();
    if (!object || !object.axis) return;
    const last = this.state.volume.axes[object.axis].count - 1, here = this.indexOf(object.axis);
    const [low, high] = object.range || [0, last];
    const typed = (side) => Math.max(0, Math.min(last, Number(this.one(`#msl-${side}`).value) - 1 || 0));
    const ranges = { all: [-1, -1], first: [here, Math.max(here, high)], last: [Math.min(low, here), here], typed: [typed("first"), typed("last")] };
    this.act("set_range", ...ranges[how], object.id);
  }

  acceptSlice() {
    const object = this.selectedObject();
    if (!object || !object.axis) return;
    const index = this.indexOf(object.axis), found = this.state.strip[index];
    this.act("accept", index, object.id, !(found && found[2] === "accepted"));
  }

  async goToDoubtful() {
    const index = await this.act("next_doubtful", "");
    if (index !== null) this.showObjectSlice(index);
  }

  showObjectSlice(index) {
    const object = this.selectedObject();
    if (object && object.axis) this.moved(AXES.indexOf(object.axis), index);
  }

  async download(button) {
    button.classList.add("working");
    const file = await this.act("export", button.dataset.format);
    button.classList.remove("working");
    if (!file) return;
    const link = document.createElement("a");
    link.href = this.api.url(`gradio_api/file=${file.path}`);
    link.download = file.orig_name || "";
    document.body.append(link);
    link.click();
    link.remove();
    this.hint(`${link.download} is being downloaded.`);
  }

  // -------------------------------------------------------------------------------------------------- the views

  moved(axis, index) {
    if (!this.state || !this.state.volume) return;
    const last = this.state.volume.shape_kji[axis] - 1, wanted = Math.max(0, Math.min(last, index));
    if (wanted === this.cursor[axis] && this.views[axis].index === wanted) return;
    this.cursor[axis] = wanted;
    this.views[axis].show(wanted);
    this.views.forEach((view) => view.axis !== axis && view.draw());
    this.strip.draw();
    this.showButtons();
  }

  // The place (x, y) of a view is where the other views are to be.
  cursorAt(view, x, y) {
    this.moved(columnAxis(view.axis), x);
    this.moved(rowAxis(view.axis), y);
  }

  looksAt(view) { this.looked = view; }

  hovered(view, [u, v]) {
    const values = view.values.get(view.index), { rows, columns } = view.shape;
    const c = Math.floor(u), r = Math.floor(v), inside = values && c >= 0 && r >= 0 && c < columns && r < rows;
    const { lowest, highest, modality, is_video } = this.state.volume;
    const value = inside && !is_video ? lowest + (values[r * columns + c] / 65535) * (highest - lowest) : null;
    this.one(".value").textContent = value === null ? "" : `${Math.abs(value) < 10 && !Number.isInteger(value) && highest - lowest < 100 ? value.toFixed(2) : Math.round(value)}${modality === "CT" ? " HU" : ""}`;
  }

  enlarge(name) {
    const views = this.one(".views");
    const larger = views.dataset.large === name ? "" : name;
    views.dataset.large = larger;
    this.all(".view").forEach((each) => each.classList.toggle("large", each.dataset.axis === larger));
  }

  showTab(name) {
    this.all("[data-tab]").forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.tab === name)));
    this.all(".view").forEach((each) => each.classList.toggle("current", each.dataset.axis === name));
    const view = this.views.find((each) => each.name === name);
    if (view) this.looked = view;
  }

  // ------------------------------------------------------------------------------------------------- the window

  grayTable() {
    if (this.table) return this.table;
    const { lowest, highest } = this.state.volume, table = (this.table = new Uint32Array(4096)), [lower, upper] = this.window || [lowest, highest];
    for (let n = 0; n < 4096; n++) {
      const value = lowest + ((n + 0.5) / 4096) * (highest - lowest);
      const gray = Math.max(0, Math.min(255, Math.round((255 * (value - lower)) / (upper - lower))));
      table[n] = 0xff000000 | (gray << 16) | (gray << 8) | gray;
    }
    return table;
  }

  useWindow(lower, upper, name) {
    this.window = [lower, upper];
    this.table = null;
    const preset = this.one("#msl-preset"), known = [...preset.options].some((option) => option.value === name);
    preset.value = name === "custom" ? "custom" : known ? name : "auto";
    this.one(".levels").textContent = `${Math.round(lower)} to ${Math.round(upper)}`;
    this.views.forEach((view) => { if (view.shape) { view.drawGray(); view.draw(); } });
  }

  // The network sees what the user sees, as long as it has drawn nothing.
  async choosePreset(name) {
    const { volume, objects } = this.state;
    const free = !objects.some((object) => object.prompts.length || object.milliliters);
    if (volume.presets[name]) this.useWindow(...volume.presets[name], name);
    else if (name === "full") this.useWindow(volume.lowest, volume.highest, name);
    if (free) {
      this.window = name === "auto" ? null : this.window;
      await this.act("window", name);
    } else if (name === "auto") {
      this.useWindow(this.state.window.lower, this.state.window.upper, name);
    }
  }

  // Drag with the right button: to the right wider, up brighter.
  windowed(dx, dy) {
    const [lower, upper] = this.window, span = (this.state.volume.highest - this.state.volume.lowest) / 1500;
    const width = Math.max(span, upper - lower + dx * span), level = (upper + lower) / 2 + dy * span;
    this.useWindow(level - width / 2, level + width / 2, "custom");
  }

  repaintMasks() {
    this.views.forEach((view) => { if (view.shape) { view.drawMasks(); view.draw(); } });
    this.surface.draw();
  }

  // ---------------------------------------------------------------------------------------------- words and keys

  say(text, level = "info", offer = null) {
    const line = this.one(".message");
    line.dataset.level = level;
    line.querySelector("span").textContent = text;
    const button = line.querySelector("button");
    button.hidden = !offer;
    button.textContent = offer || "";
  }

  hint(text) { if (text) this.say(text, "info"); }

  showBusy(text) {
    this.one(".busy").hidden = !text;
    this.one(".busy span").textContent = text;
  }

  showWelcome(is) { this.root.classList.toggle("welcoming", is); }

  setTheme(name) {
    if (!name) return;
    document.body.classList.toggle("dark", name === "dark");
    localStorage.setItem("medsamslicer-theme", name);
    this.strip.draw();
    this.surface.draw();
  }

  key(event) {
    if (event.target.matches && event.target.matches("input[type=text], input[type=number], select, textarea")) return;
    if (!this.state || !this.state.volume) return;
    const control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
    if (control && key === "z") this.act(event.shiftKey ? "redo" : "undo");
    else if (control && key === "y") this.act("redo");
    else if (control || event.altKey) return;
    else if (KEYS[key]) this.setTool(KEYS[key]);
    else if (key === "enter" && !(event.target.matches && event.target.matches("button"))) this.act("begin_propagation", "", false);
    else if (key === "a") this.acceptSlice();
    else if (key === "escape") { this.views.forEach((view) => view.abandon()); if (this.state.run.busy) this.act("cancel"); }
    else if (key === "arrowup" || key === "pageup") this.moved(this.looked.axis, this.looked.index + (key === "pageup" ? 5 : 1));
    else if (key === "arrowdown" || key === "pagedown") this.moved(this.looked.axis, this.looked.index - (key === "pagedown" ? 5 : 1));
    else if (key === "0") this.views.forEach((view) => view.resetView());
    else if (key === " ") this.space = true;
    else return;
    event.preventDefault();
  }
}

function duration(seconds) {
  if (seconds < 1) return "less than a second";
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
