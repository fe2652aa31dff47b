"use strict";
// Pictures as files of their own, in the colours of the page as it is seen.
const colours = (svg) => {
  const style = getComputedStyle(document.documentElement);
  return svg.replace(/var\((--\w+)\)/g, (_, name) => style.getPropertyValue(name).trim());
};
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
/** A figure with its title and legend as one SVG. */
const standalone = (figure) => {
  const svg = figure.querySelector("svg").cloneNode(true);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const title = figure.querySelector("figcaption").firstChild.textContent.trim();
  let x = 12, y = 40, above = "";
  for (const item of figure.querySelectorAll(".legend li")) {
    const swatch = item.firstChild.style, words = item.textContent.trim();
    const wide = 30 + 6.6 * words.length;
    if (x > 12 && x + wide > width) (x = 12), (y += 18);
    above +=
      `<rect x="${x}" y="${y - 9}" width="10" height="10" fill="${swatch.background}" opacity="${swatch.opacity || 1}"/>` +
      `<text x="${x + 15}" y="${y}" fill="var(--ink)">${escaped(words)}</text>`;
    x += wide;
  }
  const top = above ? y + 12 : 34;
  svg.setAttribute("viewBox", `0 0 ${width} ${height + top}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height + top);
  svg.innerHTML =
    `<rect width="100%" height="100%" fill="var(--paper)"/><text x="12" y="22" font-size="14" font-weight="600" ` +
    `fill="var(--ink)">${escaped(title)}</text>${above}<g transform="translate(0 ${top})">${svg.innerHTML}</g>`;
  return { title, width, height: height + top, text: colours(svg.outerHTML) };
};
const save = (name, blob) => {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(blob);
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
};
/** The drawing as a PNG of twice its size. */
const raster = async (picture) => {
  const image = new Image();
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(picture.text);
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * picture.width, 2 * picture.height];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
};
/** Puts the buttons below every figure of a place. */
const offer = (place) => {
  for (const figure of place.querySelectorAll("figure")) {
    const box = document.createElement("div");
    box.className = "save";
    for (const kind of ["SVG", "PNG"]) {
      const b = document.createElement("button");
      b.type = "button";
      b.textContent = kind;
      b.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent.trim()} as ${kind}`);
      box.append(b);
    }
    figure.append(box);
  }
};
byId("results").addEventListener("click", async (e) => {
  const button = e.target.closest(".save button");
  if (!button) return;
  const picture = standalone(button.closest("figure"));
  const name = picture.title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  if (button.textContent === "SVG") save(name + ".svg", new Blob([picture.text], { type: "image/svg+xml" }));
  else save(name + ".png", await raster(picture));
});
