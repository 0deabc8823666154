// The page's view: a drop zone, a slider over before and after, buttons, sentences. See page.py for how it talks.
//
// Whatever comes from a file or the service is set as text, never as HTML: there is no innerHTML in here.
// The file's name never leaves this machine; the result is fetched once, for the eye and for the download.

const known = JSON.parse(document.getElementById("known").textContent);
const POLL_MS = 80;
const SILENT_MS = 4000; // the service tells of an order every second; after so long it is asked whether it is there...
const LOST_MS = 20000; // ...and after so long it is not waited for
// What is wrong with the file itself: another try would end the same way.
const HOPELESS = new Set([
  "truncated", "corrupt", "not_an_image", "too_many_pixels", "unsupported_format", "multi_page", "non_finite",
  "bad_input", "decoder_crashed", "format_needs_extra", "empty_file", "file_too_large", "too_large",
]);
const PLAINLY = {
  busy: "All places are taken at this moment.",
  not_an_image: "This file is not a picture that can be read here: it should be PNG, JPEG, TIFF, WebP or AVIF.",
};

const ENDINGS = {
  png: ["png"],
  jpeg: ["jpg", "jpeg", "jpe", "jfif"],
  tiff: ["tif", "tiff"],
  webp: ["webp"],
  avif: ["avif"],
};
const EXAMPLES = [
  ["rain", "Rain"],
  ["haze", "Haze"],
  ["dark", "Darkness"],
  ["noise", "Noise"],
];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// ------------------------------------------------------------------------------------------ elements

const chooser = make("input", {
  type: "file",
  id: "file",
  class: "unseen",
  accept: "image/png,image/jpeg,image/tiff,image/webp,image/avif,.png,.jpg,.jpeg,.tif,.tiff,.webp,.avif",
  onchange: () => chooser.files.length && choose(...chooser.files),
});
const largest = Math.round(known.maxBytes / 2 ** 20);
const zone = make(
  "div",
  { id: "zone" },
  chooser,
  make(
    "label",
    { for: "file", id: "drop" },
    make("img", { src: "page/icon.svg", alt: "", width: "56", height: "56" }),
    make("strong", {}, "Drop a photo here"),
    make("span", {}, "or choose one from your device"),
    make("small", {}, `PNG, JPEG, TIFF, WebP or AVIF, up to ${largest} MiB`),
  ),
  make(
    "div",
    { id: "examples", role: "group", "aria-label": "Examples" },
    make("span", {}, "No photo at hand? Try one of these:"),
    ...EXAMPLES.map(([file, title]) =>
      make(
        "button",
        { type: "button", onclick: () => chooseExample(file) },
        make("img", { src: `page/${file}.jpg`, alt: "", loading: "lazy" }),
        title,
      ),
    ),
  ),
);

const before = make("img", { class: "before", alt: "Before: your photo", draggable: "false" });
const after = make("img", { class: "after", alt: "After: the restored photo", draggable: "false" });
const grip = make("input", {
  type: "range",
  min: "0",
  max: "100",
  value: "50",
  step: "1",
  "aria-label": "Slider between before and after",
  oninput: () => cut(grip.valueAsNumber),
});
const figure = make(
  "figure",
  { id: "compare" },
  after,
  before,
  grip,
  make("span", { class: "line", "aria-hidden": "true" }, make("span", { class: "knob" })),
  make("span", { class: "tag left", "aria-hidden": "true" }, "Before"),
  make("span", { class: "tag right", "aria-hidden": "true" }, "After"),
);
const blind = make("p", { id: "blind", hidden: true });
const scroller = make("div", { id: "scroller" }, figure, blind);
const zoom = make(
  "button",
  { type: "button", id: "zoom", class: "quiet", "aria-pressed": "false", onclick: () => zoomed(!isZoomed()) },
  "Actual size",
);
const another = make(
  "button",
  { type: "button", id: "another", class: "quiet", onclick: () => chooser.click() },
  "Another photo",
);
const viewer = make("div", { id: "viewer", hidden: true }, scroller, make("div", { class: "under" }, another, zoom));

const title = make("p", { id: "name", hidden: true });
const restoreButton = make("button", { type: "button", id: "restore", class: "main", onclick: () => restore() }, "Restore");
const cancelButton = make("button", { type: "button", id: "cancel", onclick: (event) => event.detail < 2 && cancel() }, "Cancel");
const download = make("a", { id: "download", class: "button main" }, "Download");
const lookButton = make("button", { type: "button", id: "look", onclick: () => look() }, "Where it did what");
const bar = make("progress", { max: "1", value: "0", "aria-labelledby": "status" });
const status = make("p", { id: "status" });
const told = make("p", { id: "told", class: "unseen", role: "status" }); // read aloud: not every percent
const alarm = make("p", { id: "alarm", role: "alert" });
const notes = make("ul", { id: "notes", hidden: true });
const looked = make(
  "figure",
  { id: "looked", hidden: true },
  make("img", { alt: "Map of how the model treated each place of the photo" }),
  make(
    "figcaption",
    {},
    "Where it did what: places of the same colour went the same way through the model. The map shows its choices, not a fault.",
  ),
);
const controls = make(
  "div",
  { id: "work" },
  title,
  make("div", { class: "row" }, download, restoreButton, lookButton, cancelButton),
  bar,
  status,
  told,
  alarm,
  notes,
  looked,
);
const heading = make(
  "header",
  {},
  make("h1", {}, "Restore a photo"),
  make("p", {}, "Rain, haze, snow, noise, darkness, blur, JPEG blocks: drop the photo, then pull the slider."),
);
const about = make(
  "footer",
  { id: "about" },
  make(
    "p",
    {},
    "Your photo is worked on in memory and dropped with the answer; nothing is stored, and nothing is fetched from " +
      "elsewhere. The result has the size, the depth and the format of your file.",
  ),
  make(
    "p",
    {},
    "It does not do everything well: what the photo does not show, it cannot bring back; strong blur stays, faint texture " +
      "may get smoother. Compare before you keep a result.",
  ),
);

// ------------------------------------------------------------------------------------------ state

const photo = { file: null, url: null, shown: false, result: null };
let request = null; // an upload under way
let current = null; // the order that is being done, as it was told
let turn = 0; // grows with every photo and every order: what belongs to an older one is not shown

function mode(name) {
  document.body.dataset.mode = name; // empty, ready, busy, done
  const canLook = known.looking.includes(model());
  document.body.dataset.telling = known.telling.includes(model());
  document.body.dataset.several = known.models.length > 1;
  restoreButton.hidden = name === "empty" || name === "busy";
  restoreButton.textContent = name === "done" ? "Restore again" : "Restore";
  restoreButton.classList.toggle("main", name !== "done");
  cancelButton.hidden = bar.hidden = name !== "busy";
  download.hidden = name !== "done";
  lookButton.hidden = !canLook || name === "empty" || name === "busy";
  zone.hidden = name !== "empty";
  viewer.hidden = name === "empty";
  figure.classList.toggle("busy", name === "busy");
}

function model() {
  const chosen = box("model")?.value;
  return known.models.includes(chosen) ? chosen : (known.models[0] ?? null);
}

function say(text, aloud = text) {
  status.textContent = text;
  if (told.textContent !== aloud) told.textContent = aloud;
}

function complain(text) {
  alarm.textContent = text;
  if (text) reveal(alarm);
}

/** On a phone, what is said may stand below the picture, out of sight. */
function reveal(element) {
  element.scrollIntoView({ block: "nearest" });
}

function note(lines) {
  notes.replaceChildren(...lines.map((line) => make("li", {}, line)));
  notes.hidden = !lines.length;
}

function lines() {
  return [...notes.children].map((line) => line.textContent).filter((line) => line.startsWith("Only the first"));
}

function cut(share) {
  figure.style.setProperty("--cut", `${share}%`);
  grip.value = share;
  grip.setAttribute("aria-valuetext", `${Math.round(share)} % before, ${100 - Math.round(share)} % after`);
}

function isZoomed() {
  return scroller.classList.contains("zoomed");
}

function zoomed(on) {
  scroller.classList.toggle("zoomed", on);
  zoom.setAttribute("aria-pressed", String(on));
  zoom.textContent = on ? "Fit the screen" : "Actual size";
}

// ------------------------------------------------------------------------------------------ pictures

async function choose(file, ...others) {
  if (zone.inert) return;
  if (document.body.dataset.mode === "busy") cancel();
  chooser.value = ""; // the same file may be chosen again
  forget();
  if (others.length) note([`Only the first of ${others.length + 1} files was taken.`]);
  const mine = ++turn;
  if (!file.size) return refuse("This file is empty (0 bytes); choose another.");
  if (file.size > known.maxBytes) {
    return refuse(`This file is larger than ${largest} MiB, which is the limit here; choose a smaller one.`);
  }
  photo.file = file;
  photo.url = URL.createObjectURL(file);
  photo.shown = await shows(before, photo.url);
  if (mine !== turn) return;
  title.textContent = file.name;
  title.hidden = false;
  figure.hidden = !photo.shown;
  blind.hidden = photo.shown;
  blind.textContent = "This browser cannot show such a file by itself. It appears here when it is restored.";
  figure.classList.remove("two");
  mode("ready");
  await restore();
}

async function chooseExample(name) {
  const answer = await fetch(`page/${name}.jpg`);
  await choose(new File([await answer.blob()], `${name}.jpg`, { type: "image/jpeg" }));
}

function instruction() {
  return known.telling.includes(model()) ? box("instruction").value.trim() : "";
}

function forget() {
  for (const element of [before, after, looked.querySelector("img"), download]) {
    for (const name of ["src", "href"]) {
      if (element.getAttribute(name)?.startsWith("blob:")) {
        URL.revokeObjectURL(element.getAttribute(name));
        element.removeAttribute(name);
      }
    }
  }
  Object.assign(photo, { file: null, url: null, shown: false, result: null });
  looked.hidden = title.hidden = true;
  note([]);
  say("");
  complain("");
  zoomed(false);
}

/** Back to the start, with a sentence about the file that cannot be used. */
function refuse(sentence, name = "") {
  title.textContent = name;
  title.hidden = !name;
  mode("empty");
  complain(sentence);
  chooser.focus({ preventScroll: true });
}

async function shows(image, url) {
  image.src = url;
  try {
    await image.decode();
  } catch {
    return false;
  }
  figure.style.setProperty("--width", image.naturalWidth);
  figure.style.setProperty("--height", image.naturalHeight);
  return true;
}

function named(format) {
  const dot = photo.file.name.lastIndexOf(".");
  const ending = dot > 0 ? photo.file.name.slice(dot + 1) : "";
  const fits = ENDINGS[format].includes(ending.toLowerCase());
  const stem = dot > 0 ? photo.file.name.slice(0, dot) : photo.file.name;
  return `${stem || "photo"}-restored.${fits ? ending : ENDINGS[format][0]}`;
}

// ------------------------------------------------------------------------------------------ orders

/** Something that is said as it is. */
class Trouble extends Error {
  constructor(code, message, retryAfter) {
    super(sentence(PLAINLY[code] ?? message, retryAfter));
    this.code = code;
  }
}

async function restore() {
  if (known.telling.includes(model()) && !instruction()) {
    say("Say in a few words what should be done, then press Restore.");
    box("instruction").focus();
    return;
  }
  await work("restore", "Restoring", async (said) => {
    const blob = await fetched(said.result);
    const url = URL.createObjectURL(blob);
    if (photo.shown) await shows(after, url);
    else await views(said);
    photo.result = blob;
    download.href = url;
    download.download = named(said.format);
    download.textContent = `Download ${said.format.toUpperCase()}, ${size(blob.size)}`;
    figure.classList.add("two");
    cut(50);
    note([...lines(), ...said.warnings]);
    const depth = said.bit_depth === 32 ? "32-bit float" : `${said.bit_depth} bit`;
    say(`Done in ${said.seconds.toFixed(1)} s: ${said.width} × ${said.height} pixels, ${depth}, ${said.format.toUpperCase()}.`);
  });
}

async function views(said) {
  const [first, second] = await Promise.all([fetched(said.before_view), fetched(said.result_view)]);
  await shows(before, URL.createObjectURL(first));
  await shows(after, URL.createObjectURL(second));
  figure.hidden = false;
  blind.hidden = true;
}

async function look() {
  await work("look", "Looking into the model", async (said) => {
    const image = looked.querySelector("img");
    image.src = URL.createObjectURL(await fetched(said.result));
    looked.hidden = false;
    say("The map is below.");
    await image.decode();
    looked.scrollIntoView({ block: "nearest", behavior: "smooth" });
  });
}

/** Sends the photo, has it worked on, shows what came of it; whatever goes wrong becomes one sentence. */
async function work(wish, doing, show) {
  const mine = ++turn;
  const earlier = photo.result;
  complain("");
  bar.removeAttribute("value");
  say("Sending…");
  mode("busy");
  reveal(status);
  cancelButton.focus({ preventScroll: true });
  try {
    const name = await sent(photo.file, (share) => step("Sending", share));
    if (mine !== turn) return;
    const views = wish === "restore" && !photo.shown;
    const order = { picture: name, wish, views, model: model(), instruction: instruction() };
    const said = await done(order, mine, doing);
    if (mine !== turn) return;
    await show(said);
    mode(photo.result ? "done" : "ready");
    (wish === "restore" ? download : lookButton).focus({ preventScroll: true });
  } catch (error) {
    if (mine !== turn) return;
    say("");
    if (HOPELESS.has(error.code)) {
      const name = photo.file.name;
      forget();
      refuse(error.message, name);
      return;
    }
    mode(earlier ? "done" : "ready");
    if (error.code === "cancelled") say(error.message);
    else complain(error instanceof Trouble ? error.message : "The connection to the service was lost; please try again.");
    restoreButton.focus({ preventScroll: true });
  } finally {
    if (mine === turn) request = current = null;
  }
}

function step(doing, share) {
  bar.value = share;
  say(`${doing}… ${Math.floor(share * 100)} %`, `${doing}… ${Math.floor(share * 4) * 25} %`);
}

function queued() {
  bar.removeAttribute("value");
  say("Waiting for its turn…");
}

function sent(file, progress) {
  return new Promise((resolve, reject) => {
    request = new XMLHttpRequest();
    request.open("POST", known.pictures.slice(1));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new Error("lost"));
    request.onabort = () => reject(new Trouble("cancelled", "Cancelled."));
    request.onload = () => {
      const said = parsed(request.responseText);
      if (request.status === 201 && said) return resolve(said.picture);
      const after = Number(request.getResponseHeader("Retry-After")) || null;
      reject(new Trouble(said?.code, said?.message, after));
    };
    request.send(file);
  });
}

function sentence(message, retryAfter) {
  const said = message || "the service did not take the picture; please try again";
  const text = said[0].toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? "" : ".");
  return retryAfter && !/try again/i.test(text) ? `${text} Try again in about ${retryAfter} s.` : text;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Waits for the end of an order: Gradio puts what the service says of it into a hidden text box. */
function done(order, mine, doing) {
  current = order;
  tell("order", JSON.stringify(order));
  return new Promise((resolve, reject) => {
    let last = "";
    let heard = Date.now();
    let gone = false;
    const ask = setInterval(async () => {
      if (Date.now() - heard > SILENT_MS) gone ||= !(await fetch("page/known").catch(() => null))?.ok;
    }, SILENT_MS / 2);
    const timer = setInterval(() => {
      const text = box("state")?.value ?? "";
      const said = text === last ? null : parsed(text);
      const quiet = Date.now() - heard > LOST_MS && !document.hidden;
      let end = mine !== turn || quiet || gone;
      if (said?.of === order.picture) {
        last = text;
        heard = Date.now();
        end ||= Boolean(said.error || said.result);
        if (said.progress !== undefined && mine === turn) said.progress ? step(doing, said.progress) : queued();
      }
      if (!end) return;
      clearInterval(timer);
      clearInterval(ask);
      if (said?.result) resolve(said);
      else reject(said?.error ? new Trouble(said.error.code, said.error.message, said.error.retry_after) : new Error("lost"));
    }, POLL_MS);
  });
}

function cancel() {
  if (request && request.readyState !== XMLHttpRequest.DONE) request.abort();
  else if (current) tell("stopped", JSON.stringify(current));
}

async function fetched(name) {
  const answer = await fetch(`${known.pictures.slice(1)}/${name}`);
  if (!answer.ok) throw new Error("lost");
  return answer.blob();
}

function box(id) {
  return document.querySelector(`#${id} textarea, #${id} input`);
}

function tell(id, text) {
  const target = box(id);
  target.value = text;
  target.dispatchEvent(new Event("input", { bubbles: true }));
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// ------------------------------------------------------------------------------------------ pointer, drop, paste

function pulled(event) {
  const box = figure.getBoundingClientRect();
  cut(Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100)));
}

figure.addEventListener("pointerdown", (event) => {
  if (!figure.classList.contains("two") || event.button > 0) return;
  figure.setPointerCapture(event.pointerId);
  grip.focus({ preventScroll: true });
  pulled(event);
});
figure.addEventListener("pointermove", (event) => {
  if (figure.hasPointerCapture(event.pointerId)) pulled(event);
});

let over = 0;
const carries = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (carries(event)) document.body.classList.toggle("over", ++over > 0);
});
document.addEventListener("dragleave", (event) => {
  if (carries(event)) document.body.classList.toggle("over", --over > 0);
});
document.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  over = 0;
  document.body.classList.remove("over");
  const folder = event.dataTransfer.items[0]?.webkitGetAsEntry?.()?.isDirectory;
  if (folder && !zone.inert) {
    forget();
    turn++;
    refuse("This is a folder; open it and choose a photo in it.");
  } else if (event.dataTransfer.files.length) choose(...event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) choose(...event.clipboardData.files);
});
window.addEventListener("pagehide", () => cancel());

// Gradio draws the page when its own scripts are ready.
function settle() {
  const places = ["heading", "stage", "controls", "below"].map((id) => document.getElementById(id));
  if (places.includes(null) || !box("state")) return false;
  const [top, stage, panel, below] = places;
  top.replaceChildren(heading);
  stage.replaceChildren(zone, viewer);
  panel.replaceChildren(controls);
  below.replaceChildren(about);
  mode("empty");
  if (known.models.length) setInterval(follow, 200);
  else wait();
  return true;
}

/** Shows what belongs to the chosen model. Gradio tells of a choice to the service only. */
let followed = null;
function follow() {
  if (model() === followed) return;
  followed = model();
  mode(document.body.dataset.mode);
}

/** Nothing can be chosen while no model is loaded; the page comes anew when there is one. */
function wait() {
  zone.inert = true;
  say("The models are being loaded; this takes a moment…");
  const timer = setInterval(async () => {
    const answer = await fetch("page/known").catch(() => null);
    const now = answer?.ok ? await answer.json() : { models: [] };
    if (!now.models.length) return;
    clearInterval(timer);
    location.reload();
  }, 1500);
}

if (!settle()) {
  const watch = new MutationObserver(() => settle() && watch.disconnect());
  watch.observe(document.body, { childList: true, subtree: true });
}
