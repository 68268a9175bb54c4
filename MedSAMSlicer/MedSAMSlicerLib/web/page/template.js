// The markup of the page; every text here is fixed.

const icon = (path) => `<svg viewBox="0 0 20 20" aria-hidden="true">${path}</svg>`;
const ICONS = {
  box: icon('<rect x="3.5" y="4.5" width="13" height="11" rx="1" stroke-dasharray="3 2"/>'),
  plus: icon('<circle cx="10" cy="10" r="6.5"/><path d="M10 7v6M7 10h6"/>'),
  minus: icon('<circle cx="10" cy="10" r="6.5"/><path d="M7 10h6"/>'),
  lasso: icon('<path d="M16 8c0 3-3 4.5-6 4.5S4 11 4 8s3-4.5 6-4.5S16 5 16 8zM6 12c-1 1.5-.5 3.5 1.5 4.5"/>'),
  move: icon('<path d="M10 3v14M3 10h14M8 5l2-2 2 2M8 15l2 2 2-2M5 8l-2 2 2 2M15 8l2 2-2 2"/>'),
  undo: icon('<path d="M7 5 3.5 8.5 7 12M4 8.5h7.5a4.5 4 0 0 1 0 8H8"/>'),
  redo: icon('<path d="m13 5 3.5 3.5L13 12M16 8.5H8.5a4.5 4 0 0 0 0 8H12"/>'),
  theme: icon('<circle cx="10" cy="10" r="6"/><path d="M10 4a6 6 0 0 1 0 12z" fill="currentColor"/>'),
  logo: '<svg class="logo" viewBox="0 0 32 32" aria-hidden="true"><rect x="2" y="2" width="28" height="28" rx="8" class="tile"/><path d="M7.5 17.5c0-5.5 3.5-9 8-9s9 3 9 7.5-3 8-8 8-9-2.5-9-6.5z" class="shape"/><path d="M7 12V7h5M25 20v5h-5" class="corner"/></svg>',
};

const tool = (name, label, key) =>
  `<button type="button" data-tool="${name}" aria-pressed="false" title="${label} (${key})">${ICONS[name]}<span>${label}</span></button>`;

export const TEMPLATE = `
<header>
  ${ICONS.logo}<strong>MedSAMSlicer</strong><span class="volume"></span><span class="network"></span>
  <span class="grow"></span>
  <button type="button" data-open class="quiet">Open volume</button>
  <button type="button" data-sample class="quiet wide-only">Generated CT</button>
  <button type="button" data-api class="quiet wide-only" title="The same actions for scripts">API</button>
  <button type="button" data-theme-toggle class="quiet square" title="Light or dark" aria-label="Light or dark">${ICONS.theme}</button>
</header>
<main>
  <aside>
    <div class="tools" role="toolbar" aria-label="Tools">
      ${tool("box", "Box", "B")}${tool("plus", "Add", "P")}${tool("minus", "Exclude", "N")}${tool("lasso", "Lasso", "L")}${tool("move", "Move", "M")}
    </div>
    <section>
      <h2>Objects <button type="button" data-add class="small">+ Add</button></h2>
      <ul class="objects"></ul>
      <p class="no-objects">Draw a box around an object: it becomes the first object.</p>
    </section>
    <section>
      <div class="pair"><button type="button" data-propagate class="primary">Propagate</button><button type="button" data-propagate-all>All</button></div>
      <div class="progress" role="status"><div><i></i></div><span></span><button type="button" data-cancel class="small">Cancel</button></div>
      <div class="pair"><button type="button" data-undo>${ICONS.undo} Undo</button><button type="button" data-redo>${ICONS.redo} Redo</button></div>
    </section>
    <section>
      <h2>Slices to propagate over</h2>
      <div class="range"><input id="msl-first" type="number" min="1" aria-label="First slice"><span>to</span><input id="msl-last" type="number" min="1" aria-label="Last slice"></div>
      <div class="triple"><button type="button" data-range="first">From here</button><button type="button" data-range="last">To here</button><button type="button" data-range="all">All</button></div>
    </section>
    <section>
      <h2>Check</h2>
      <div class="pair"><button type="button" data-doubtful>Least certain</button><button type="button" data-accept title="Accepted slices are not computed again (A)">Accept slice</button></div>
      <button type="button" data-mask class="full" title="A picture of the slice shown, or a label volume">Use a mask file on this slice</button>
    </section>
    <section>
      <h2>Download</h2>
      <button type="button" data-format="seg.nrrd" class="full accent">Segmentation (.seg.nrrd)</button>
      <div class="formats"><button type="button" data-format="nii.gz">NIfTI</button><button type="button" data-format="dcm">DICOM SEG</button><button type="button" data-format="zip" title="Masks as PNG, COCO annotations, overlay as MP4">Video</button><button type="button" data-format="json">Prompts</button><button type="button" data-format="png">Picture</button></div>
    </section>
  </aside>
  <div class="work">
    <nav class="tabs" aria-label="Views"><button type="button" data-tab="k">1</button><button type="button" data-tab="j">2</button><button type="button" data-tab="i">3</button><button type="button" data-tab="3d">3-D</button></nav>
    <div class="bar"><label>Window <select id="msl-preset"></select></label><span class="levels"></span><span class="grow"></span><label>Masks <input id="msl-opacity" type="range" min="0" max="200" value="80"></label></div>
    <div class="views"></div>
    <div class="strip-place"></div>
    <div class="message" data-level="info" role="status"><i></i><span>Open a volume to begin.</span><button type="button" data-offer class="small" hidden></button><b class="value"></b></div>
  </div>
</main>
<div class="welcome"><div>
  ${ICONS.logo}<h1>From one box to a 3-D mask</h1>
  <p>Drop a CT or MR volume here: NIfTI, NRRD, MetaImage, or a zip of a DICOM series. Videos too: MP4, or a zip of frames.</p>
  <div class="pair"><button type="button" data-open class="primary">Open a volume</button><button type="button" data-sample>Try a generated CT</button></div>
  <p class="fine">Research software, not a medical device. The volume stays on the computer that runs this page.</p>
</div></div>
<div class="busy" hidden role="status"><i></i><span></span></div>
<div class="lost" role="alert">The server does not answer. Trying again …</div>
<div class="ended"><div><h1>The session has ended</h1><p></p><button type="button" data-restart class="primary">Begin a new one</button></div></div>
<div class="choice"><div><h1>Which series?</h1><div></div><button type="button" data-not-choosing class="quiet">None of them</button></div></div>
<div class="drop">Drop the volume to open it</div>
<input id="msl-file" type="file" hidden accept=".nii,.gz,.nrrd,.nhdr,.mha,.mhd,.zip,.dcm,.mp4,.mov,.avi,.mkv,.webm">
<input id="msl-mask" type="file" hidden>`;
