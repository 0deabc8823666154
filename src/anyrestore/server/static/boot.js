// Before Gradio's own scripts: what they look for in the window, which the page carries as data (see gate.py).
window.__gradio_mode__ = "app";
for (const data of document.querySelectorAll("script[data-name]")) {
  window[data.dataset.name] = JSON.parse(data.textContent);
}
// Where the page really is: the service behind a proxy knows neither its name nor that it speaks TLS.
window.gradio_config.root = new URL(".", document.baseURI).href.replace(/\/$/, "");
