// What of the page is hard to read or to touch; run in the page by test_page_real.py. Gives a sentence for each.
() => {
  const parts = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    if (colour.startsWith("color(srgb")) return [...found.slice(0, 3).map((v) => v * 255), found[3] ?? 1];
    return [...found.slice(0, 3), found[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const contrast = (element, style) => {
    const [a, b] = [light(over(parts(style.color), ground(element))), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const flaws = [];
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !seen(element) || element.closest(".unseen, script, style")) continue;
    const found = contrast(element, getComputedStyle(element));
    if (found < 4.5) flaws.push(`${found.toFixed(2)}:1 ${element.textContent.trim().slice(0, 40)}`);
  }
  for (const element of document.querySelectorAll("button, a[href], label[for], #model .wrap-inner, textarea")) {
    const box = element.getBoundingClientRect();
    if (!seen(element) || !box.width || element.closest(".unseen")) continue;
    if (box.height < 40 || box.width < 40) flaws.push(`${box.width} x ${box.height} ${element.id || element.textContent}`);
  }
  return flaws;
};
