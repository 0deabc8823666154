"use strict";
// Every slider shows two versions of a picture: the left one is cut where the range input says.
for (const slider of document.querySelectorAll(".slider")) {
  const range = slider.querySelector("input");
  const [left, right] = slider.querySelectorAll("select");
  const images = [...slider.querySelectorAll("img")];
  const button = slider.querySelector("button");
  const show = () => {
    const label = (choice) => choice.options[choice.selectedIndex].text;
    slider.style.setProperty("--at", range.value + "%");
    images.forEach((image, index) => {
      const above = index === Number(left.value);
      const below = index === Number(right.value);
      image.hidden = !(above || below);
      image.classList.toggle("left", above && !below);
    });
    range.setAttribute("aria-valuetext", `${range.value} % ${label(left)}, then ${label(right)}`);
  };
  slider.addEventListener("input", show);
  button.addEventListener("click", () => {
    const wide = slider.classList.toggle("wide");
    button.setAttribute("aria-pressed", String(wide));
  });
  show();
}
