// The ways in: pictures are chosen, photographed, dropped, pasted, or named by their address.

import { announce, fill, newCard } from "./cards.js";

// Pictures are asked about two at a time: one is under way to the server while it works on the other.
const AT_ONCE = 2;

const fetches = document.body.dataset.fetches === "true";
const input = document.getElementById("files");
const camera = document.getElementById("camera");
const web = document.getElementById("web");
const results = document.getElementById("results");
const list = document.getElementById("list");

const waiting = [];
let running = 0;

function add(pictures) {
  if (pictures.length === 0) return;
  results.hidden = false;
  document.body.classList.add("answered");
  // Newest first; pictures that came together keep their order.
  const cards = pictures.map(newCard);
  list.prepend(...cards);
  pictures.forEach((picture, i) => waiting.push({ picture, card: cards[i] }));
  announce(pictures.length === 1 ? `Looking at ${pictures[0].name}` : `Looking at ${pictures.length} pictures`);
  next();
}

function addFiles(files) {
  add(Array.from(files, (file) => ({ name: file.name || "pasted picture", file })));
}

function addAddress(text) {
  const name = text.split(/[?#]/)[0].split("/").pop();
  add([{ name: decoded(name) || text, url: text }]);
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function next() {
  while (running < AT_ONCE && waiting.length > 0) {
    const { picture, card } = waiting.shift();
    running += 1;
    fill(card, picture).finally(() => { running -= 1; next(); });
  }
}

for (const chooser of [input, camera]) {
  chooser.addEventListener("change", () => { addFiles(chooser.files); chooser.value = ""; });
}

web.hidden = !fetches;
web.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = web.querySelector("input").value.trim();
  if (text === "") return;
  // As in the browser's own field. What is no address is the server's to tell.
  addAddress(/^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `https://${text}`);
  web.reset();
});

document.getElementById("clear").addEventListener("click", () => {
  waiting.length = 0;
  list.replaceChildren();
  results.hidden = true;
  document.body.classList.remove("answered");
  announce("Cleared");
  input.focus();
});

// Entering a child of the page leaves its parent, so depth is counted.
let depth = 0;
function drag(delta) {
  depth = Math.max(0, depth + delta);
  document.body.classList.toggle("dragging", depth > 0);
}
addEventListener("dragenter", (event) => { event.preventDefault(); drag(1); });
addEventListener("dragleave", () => drag(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  drag(-depth);
  take(event.dataTransfer, "text/uri-list");
});
addEventListener("paste", (event) => {
  if (!event.target.closest?.("input")) take(event.clipboardData, "text/plain");
});

// Files go before addresses: a picture that is dragged out of another page comes as both.
function take(transfer, kind) {
  if (transfer.files.length > 0) {
    addFiles(transfer.files);
    return;
  }
  const text = transfer.getData(kind).split("\n")[0].trim();
  if (fetches && /^https?:\/\/\S+$/i.test(text)) addAddress(text);
}
