// The API of the server: its named endpoints, its bytes, and the session of this tab.

const KEY = "medsamslicer-session";

export class ApiError extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

export class Api {
  constructor(base) {
    this.base = base;
    this.session = sessionStorage.getItem(KEY) || "";
  }

  url(path) {
    return new URL(path, this.base).href;
  }

  use(session) {
    this.session = session;
    if (session) sessionStorage.setItem(KEY, session);
    else sessionStorage.removeItem(KEY);
  }

  // Calls an endpoint with all of its arguments in their order; returns its answer.
  async call(name, ...data) {
    const response = await this.fetch(`gradio_api/run/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ data }),
    });
    return (await response.json()).data[0];
  }

  async bytes(path) {
    const response = await this.fetch(`data/${encodeURIComponent(this.session)}/${path}`);
    return { response, buffer: await response.arrayBuffer() };
  }

  async state(after) {
    const response = await this.fetch(`data/${encodeURIComponent(this.session)}/state?after=${after}`);
    return response.json();
  }

  async fetch(path, options) {
    let response;
    try {
      response = await fetch(this.url(path), options);
    } catch {
      throw new ApiError("The server does not answer.", 0);
    }
    if (!response.ok) {
      const found = await response.json().catch(() => ({}));
      throw new ApiError(found.error || found.detail || `The server answers with error ${response.status}.`, response.status);
    }
    return response;
  }

  // Uploads a file; `progress` is called with the share that is sent, 0 to 1.
  upload(file, progress) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const form = new FormData();
      form.append("files", file, file.name);
      request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
      request.onerror = () => reject(new ApiError("The server does not answer.", 0));
      request.onload = () => {
        if (request.status === 413) reject(new ApiError(`${file.name} is larger than the files that this server takes.`, 413));
        else if (request.status !== 200) reject(new ApiError(`${file.name} could not be sent (error ${request.status}).`, request.status));
        else resolve({ path: JSON.parse(request.responseText)[0], orig_name: file.name, meta: { _type: "gradio.FileData" } });
      };
      request.open("POST", this.url("gradio_api/upload"));
      request.send(form);
    });
  }
}
