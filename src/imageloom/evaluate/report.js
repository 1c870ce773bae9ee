// Pictures behind the confusion matrix, and their evidence. All else is in the page itself.
const { labels, pictures } = JSON.parse(document.getElementById("pictures").textContent);
const gallery = document.getElementById("gallery");
const viewer = document.getElementById("viewer");
const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)}\u202f%`;

function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

// Colours and strength of imageloom.heatmap: from weak to strong evidence for the class.
const RAMP = [[87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const OPACITY = 0.65;

function colour(strength) {
  const place = strength * (RAMP.length - 1), from = Math.min(Math.floor(place), RAMP.length - 2), part = place - from;
  return RAMP[from].map((low, channel) => low + (RAMP[from + 1][channel] - low) * part);
}

// Bilinear between the middles of the places, which the browser then enlarges.
function heat(evidence, index) {
  const [height, width] = evidence.shape;
  const bytes = Uint8Array.from(atob(evidence.values), (letter) => letter.charCodeAt(0));
  const values = new Int8Array(bytes.buffer, index * height * width, height * width);
  const fine = 16, canvas = make("canvas", { width: width * fine, height: height * fine, "aria-hidden": "true" });
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  const at = (row, column) => Math.max(values[row * width + column], 0) / 127;
  const place = (pixel, size) => Math.min(Math.max((pixel + 0.5) / fine - 0.5, 0), size - 1);
  for (let y = 0; y < canvas.height; y++) {
    const row = place(y, height), top = Math.floor(row), below = Math.min(top + 1, height - 1), down = row - top;
    for (let x = 0; x < canvas.width; x++) {
      const column = place(x, width), left = Math.floor(column), right = Math.min(left + 1, width - 1), over = column - left;
      const strength = (at(top, left) * (1 - over) + at(top, right) * over) * (1 - down)
        + (at(below, left) * (1 - over) + at(below, right) * over) * down;
      image.data.set([...colour(strength), 255 * OPACITY * strength], 4 * (y * canvas.width + x));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function view(picture, index = null) {
  const [answer] = picture.shares;
  const alt = `Test picture of ${labels[picture.actual]}, answered ${labels[answer[0]]}`;
  const frame = make("span", { class: "view" }, make("img", { src: `data:image/jpeg;base64,${picture.image}`, alt }));
  if (index !== null && picture.evidence) frame.append(heat(picture.evidence, index));
  return frame;
}

const isRight = (picture) => picture.shares[0][0] === picture.actual;

function thumb(number, among, views) {
  const picture = pictures[number], [answer, share] = picture.shares[0], right = isRight(picture);
  const said = right ? "right" : `is ${labels[picture.actual]}`;
  const more = `${said}${picture.known ? "" : " · unknown"}`;
  const caption = make("span", { class: right ? "caption" : "caption wrong" },
    `${labels[answer]} ${percent(share)}`, make("br"), make("span", { class: "soft" }, more));
  const button = make("button", { type: "button", class: "picture", "data-id": picture.id },
    make("span", { class: "views" }, ...views.map((index) => view(picture, index))), caption);
  button.addEventListener("click", () => show(number, among));
  return make("li", {}, button);
}

let among = [], current = 0;

function show(number, list) {
  [among, current] = [list, list.indexOf(number)];
  const picture = pictures[number], [answer] = picture.shares[0], right = isRight(picture);
  document.querySelector("#viewer .stage").replaceChildren(...explained(picture));
  const verdict = right ? make("p", { class: "good" }, "right") : make("p", { class: "wrong" }, `wrong: it is ${labels[picture.actual]}`);
  const shares = picture.shares.map(([index, share]) => make("li", {}, make("span", {}, labels[index]),
    make("span", {}, percent(share, 1)), make("span", { class: "fill", style: `--at:${share}` })));
  document.querySelector("#viewer .facts").replaceChildren(make("h3", {}, labels[answer]), verdict,
    make("ul", { class: "shares" }, ...shares), facts(picture));
  document.getElementById("previous").disabled = current === 0;
  document.getElementById("next").disabled = current === among.length - 1;
  if (!viewer.open) viewer.showModal();
}

function explained(picture) {
  const holder = make("div", {}, view(picture, picture.evidence ? 0 : null));
  if (!picture.evidence) return [holder];
  const choices = [["picture alone", null], ...picture.evidence.classes.map((index, place) => [labels[index], place])];
  const buttons = choices.map(([name, index]) => {
    const button = make("button", { type: "button", "aria-pressed": String(index === 0) }, name);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      holder.replaceChildren(view(picture, index));
    });
    return button;
  });
  return [holder, make("div", { class: "choices" }, make("span", { class: "soft" }, "evidence for"), ...buttons.slice(1), buttons[0])];
}

function facts(picture) {
  const list = make("dl", {}), known = picture.known ? "yes" : "no";
  const rows = { known, distance: picture.distance.toFixed(2), title: picture.title, author: picture.author, licence: picture.licence };
  for (const [name, value] of Object.entries(rows)) if (value) list.append(make("dt", {}, name), make("dd", {}, value));
  if (picture.page) {
    const link = make("a", { href: picture.page, rel: "noopener noreferrer", target: "_blank" }, picture.page);
    list.append(make("dt", {}, "found at"), make("dd", {}, link));
  }
  list.append(make("dt", {}, "SHA-256"), make("dd", {}, make("code", {}, picture.id)));
  return list;
}

function open(button) {
  const [actual, predicted, count] = ["actual", "predicted", "count"].map((name) => Number(button.dataset[name]));
  const found = [...pictures.keys()].filter((n) => pictures[n].actual === actual && pictures[n].shares[0][0] === predicted);
  if (actual !== predicted) found.sort((a, b) => pictures[b].shares[0][1] - pictures[a].shares[0][1]); // the surest first
  const said = actual === predicted ? `${labels[actual]}, named rightly` : `${labels[actual]} taken for ${labels[predicted]}`;
  const number = found.length < count ? `${found.length} of ${count} pictures` : `${count} picture${count === 1 ? "" : "s"}`;
  const grid = make("ul", { class: "thumbs" }), box = make("input", { type: "checkbox", id: "evidence" });
  const fill = () => grid.replaceChildren(...found.map((n) => thumb(n, found, [box.checked ? 0 : null])));
  box.addEventListener("change", fill);
  fill();
  const head = make("div", { class: "gallery-head" },
    make("h3", {}, said, " ", make("span", { class: "soft" }, number)), make("label", { for: "evidence" }, box, " show the evidence"));
  gallery.replaceChildren(head, grid);
  for (const other of document.querySelectorAll("button[data-actual]")) {
    const same = other.dataset.actual === button.dataset.actual && other.dataset.predicted === button.dataset.predicted;
    other.setAttribute("aria-pressed", String(same));
  }
}

for (const button of document.querySelectorAll("button[data-actual]")) {
  button.addEventListener("click", () => {
    open(button);
    if (button.closest(".mistakes")) gallery.scrollIntoView({ block: "nearest" });
  });
}
document.getElementById("without-script").remove();
for (const list of document.querySelectorAll("[data-pictures]")) {
  const numbers = list.dataset.pictures.split(" ").filter(Boolean).map(Number);
  const views = (number) => (list.classList.contains("pairs") && pictures[number].evidence ? [null, 0] : [null]);
  list.append(...numbers.map((number) => thumb(number, numbers, views(number))));
}

document.getElementById("close").addEventListener("click", () => viewer.close());
document.getElementById("previous").addEventListener("click", () => show(among[current - 1], among));
document.getElementById("next").addEventListener("click", () => show(among[current + 1], among));
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (viewer.open && step && among[current + step] !== undefined) show(among[current + step], among);
});
