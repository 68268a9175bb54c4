// The 3-D view: surfaces of the objects, turned by drag and enlarged by wheel. Plain WebGL.

import { rgb } from "./geometry.js";

const VERTEX = `
attribute vec3 place; attribute vec3 normal; uniform mat4 view; uniform mat3 turn; varying vec3 facing;
void main() { facing = turn * normal; gl_Position = view * vec4(place, 1.0); }`;
const FRAGMENT = `
precision mediump float; varying vec3 facing; uniform vec3 color;
void main() {
  vec3 n = normalize(facing); if (!gl_FrontFacing) n = -n;
  float key = max(dot(n, normalize(vec3(0.4, 0.6, 0.9))), 0.0), rim = pow(1.0 - abs(n.z), 2.5);
  float shine = pow(max(dot(n, normalize(vec3(0.25, 0.4, 1.2))), 0.0), 28.0);
  gl_FragColor = vec4(color * (0.42 + 0.66 * key) + 0.14 * shine + 0.10 * rim, 1.0);
}`;

export class SurfaceView {
  constructor(page) {
    this.page = page;
    this.meshes = new Map();
    this.yaw = 0.5;
    this.pitch = 0.22;
    this.zoom = 1;
    this.root = document.createElement("section");
    this.root.className = "view surface";
    this.root.dataset.axis = "3d";
    this.root.innerHTML = `<div class="stage"><canvas tabindex="0" role="img" aria-label="Surfaces of the objects"></canvas>
      <span class="title">3-D</span><span class="empty"></span>
      <button class="enlarge" type="button" title="Enlarge this view" aria-label="Enlarge this view">⤢</button></div>`;
    this.canvas = this.root.querySelector("canvas");
    this.empty = this.root.querySelector(".empty");
    this.root.querySelector(".enlarge").addEventListener("click", () => page.enlarge("3d"));
    this.gl = this.canvas.getContext("webgl", { antialias: true, preserveDrawingBuffer: true });
    if (this.gl && this.gl.getExtension("OES_element_index_uint")) this.compile();
    else this.gl = null;
    this.canvas.addEventListener("pointerdown", (event) => { this.canvas.setPointerCapture(event.pointerId); this.last = [event.clientX, event.clientY]; });
    this.canvas.addEventListener("pointermove", (event) => this.turn(event));
    this.canvas.addEventListener("pointerup", () => { this.last = null; });
    this.canvas.addEventListener("pointercancel", () => { this.last = null; });
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom = Math.max(0.4, Math.min(6, this.zoom * Math.exp(-event.deltaY / 500)));
      this.draw();
    }, { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.root.querySelector(".stage"));
  }

  compile() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.at = {
      place: gl.getAttribLocation(program, "place"), normal: gl.getAttribLocation(program, "normal"),
      view: gl.getUniformLocation(program, "view"), turn: gl.getUniformLocation(program, "turn"), color: gl.getUniformLocation(program, "color"),
    };
  }

  clear() {
    for (const id of [...this.meshes.keys()]) this.forget(id);
    this.draw();
  }

  forget(id) {
    const mesh = this.meshes.get(id);
    if (mesh && this.gl) for (const buffer of [mesh.places, mesh.normals, mesh.triangles]) this.gl.deleteBuffer(buffer);
    this.meshes.delete(id);
  }

  // Fetches what lacks. Masks that stream in are not followed: the surface is made once they are complete.
  async refresh() {
    const state = this.page.state;
    if (!this.gl || !state || !state.volume) return this.draw();
    const wanted = state.objects.filter((object) => object.milliliters > 0);
    for (const id of [...this.meshes.keys()]) if (!wanted.some((object) => object.id === id)) this.forget(id);
    this.draw();
    if (state.run.busy || this.fetching) return;
    this.fetching = true;
    try {
      for (const object of wanted) {
        const stamp = `${state.session} ${object.milliliters} ${object.text} ${state.masks_revision}`;
        const known = this.meshes.get(object.id);
        if (known && known.stamp === stamp) continue;
        const { buffer } = await this.page.api.bytes(`surface/${object.id}`);
        this.add(object.id, buffer, stamp);
        this.draw();
      }
    } catch (error) {
      this.page.failed(error);
    } finally {
      this.fetching = false;
    }
  }

  add(id, buffer, stamp) {
    const [vertices, triangles] = new Uint32Array(buffer, 0, 2);
    const places = new Float32Array(buffer, 8, 3 * vertices), corners = new Uint32Array(buffer, 8 + 12 * vertices, 3 * triangles);
    const normals = new Float32Array(3 * vertices), low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (let n = 0; n < corners.length; n += 3) {
      const [a, b, c] = [3 * corners[n], 3 * corners[n + 1], 3 * corners[n + 2]];
      const e = [0, 1, 2].map((i) => places[b + i] - places[a + i]), f = [0, 1, 2].map((i) => places[c + i] - places[a + i]);
      const across = [e[1] * f[2] - e[2] * f[1], e[2] * f[0] - e[0] * f[2], e[0] * f[1] - e[1] * f[0]];
      for (const corner of [a, b, c]) for (let i = 0; i < 3; i++) normals[corner + i] += across[i];
    }
    for (let n = 0; n < places.length; n++) {
      low[n % 3] = Math.min(low[n % 3], places[n]);
      high[n % 3] = Math.max(high[n % 3], places[n]);
    }
    this.forget(id);
    const gl = this.gl, store = (kind, data) => {
      const made = gl.createBuffer();
      gl.bindBuffer(kind, made);
      gl.bufferData(kind, data, gl.STATIC_DRAW);
      return made;
    };
    this.meshes.set(id, {
      stamp, low, high, count: corners.length, places: store(gl.ARRAY_BUFFER, places),
      normals: store(gl.ARRAY_BUFFER, normals), triangles: store(gl.ELEMENT_ARRAY_BUFFER, corners),
    });
  }

  turn(event) {
    if (!this.last) return;
    this.yaw += (event.clientX - this.last[0]) / 140;
    this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + (event.clientY - this.last[1]) / 140));
    this.last = [event.clientX, event.clientY];
    this.draw();
  }

  draw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => { this.queued = false; this.paint(); });
  }

  paint() {
    const gl = this.gl, box = this.canvas.parentElement.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    this.empty.textContent = gl ? (this.meshes.size ? "" : "The surface appears after the first mask.") : "This browser shows no 3-D graphics (WebGL).";
    if (!gl || !box.width) return;
    this.canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * ratio));
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    const shown = [...this.meshes].filter(([id]) => !this.page.hidden.has(id) && this.page.object(id));
    if (!shown.length) return;
    const low = [0, 1, 2].map((i) => Math.min(...shown.map(([, mesh]) => mesh.low[i])));
    const high = [0, 1, 2].map((i) => Math.max(...shown.map(([, mesh]) => mesh.high[i])));
    const center = low.map((value, i) => (value + high[i]) / 2), size = Math.hypot(...low.map((value, i) => high[i] - value)) || 1;
    // Patient right is on the left, head up: RAS (x, y, z) is seen from the front as (-x, z, y).
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const rows = [[-cy, sy, 0], [sp * -sy, sp * -cy, cp], [cp * sy, cp * cy, sp]];
    const scale = (1.75 * this.zoom) / size, aspect = this.canvas.width / this.canvas.height;
    const across = aspect > 1 ? scale / aspect : scale, up = aspect > 1 ? scale : scale * aspect, deep = -0.5 / size;
    const view = new Float32Array(16);
    [across, up, deep].forEach((factor, r) => {
      for (let i = 0; i < 3; i++) view[4 * i + r] = factor * rows[r][i];
      view[12 + r] = -factor * rows[r].reduce((sum, value, i) => sum + value * center[i], 0);
    });
    view[15] = 1;
    const turn = new Float32Array(9);
    for (let r = 0; r < 3; r++) for (let i = 0; i < 3; i++) turn[3 * i + r] = rows[r][i];
    gl.uniformMatrix4fv(this.at.view, false, view);
    gl.uniformMatrix3fv(this.at.turn, false, turn);
    for (const [id, mesh] of shown) {
      gl.uniform3fv(this.at.color, rgb(this.page.object(id).color).map((value) => value / 255));
      for (const name of ["place", "normal"]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, name === "place" ? mesh.places : mesh.normals);
        gl.enableVertexAttribArray(this.at[name]);
        gl.vertexAttribPointer(this.at[name], 3, gl.FLOAT, false, 0, 0);
      }
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, mesh.triangles);
      gl.drawElements(gl.TRIANGLES, mesh.count, gl.UNSIGNED_INT, 0);
    }
  }
}
