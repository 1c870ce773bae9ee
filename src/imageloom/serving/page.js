"use strict";

// Pictures are asked about two at a time: one is under way to the server while it works on the other.
const AT_ONCE = 2;
const SHOWN = 5; // bars per picture

const classes = Number(document.body.dataset.classes);
const maxBytes = Number(document.body.dataset.maxBytes);
const input = document.getElementById("files");
const results = document.getElementById("results");
const list = document.getElementById("list");
const status = document.getElementById("status");

const waiting = [];
let running = 0;

function add(files) {
  const pictures = Array.from(files);
  if (pictures.length === 0) return;
  results.hidden = false;
  document.body.classList.add("answered");
  // Newest first; pictures that came together keep their order.
  const cards = pictures.map(newCard);
  list.prepend(...cards);
  pictures.forEach((file, i) => waiting.push({ file, card: cards[i] }));
  announce(pictures.length === 1 ? `Looking at ${nameOf(pictures[0])}` : `Looking at ${pictures.length} pictures`);
  next();
}

function newCard(file) {
  const card = document.getElementById("card").content.cloneNode(true).querySelector(".card");
  const picture = card.querySelector("img");
  const address = URL.createObjectURL(file);
  // Some pictures that the server reads, such as TIFF, are ones that the browser cannot show.
  picture.onerror = () => {
    picture.parentElement.classList.add("blank");
    picture.replaceWith("no preview");
  };
  picture.onload = () => URL.revokeObjectURL(address);
  picture.src = address;
  picture.alt = `Preview of ${nameOf(file)}`;
  const caption = card.querySelector(".file");
  caption.textContent = caption.title = nameOf(file);
  card.classList.add("waiting");
  card.querySelector(".state").textContent = "Waiting…";
  return card;
}

function nameOf(file) {
  return file.name || "pasted picture";
}

function next() {
  while (running < AT_ONCE && waiting.length > 0) {
    const { file, card } = waiting.shift();
    running += 1;
    predict(file, card).finally(() => { running -= 1; next(); });
  }
}

async function predict(file, card) {
  card.querySelector(".state").textContent = "Looking…";
  try {
    if (file.size > maxBytes) throw new Error(`larger than the ${Math.floor(maxBytes / 2 ** 20)} MB that the server takes`);
    const started = performance.now();
    const answer = await ask(file);
    show(card, answer, performance.now() - started);
    const first = `${answer.label}, ${percent(answer.predictions[0].probability)}`;
    announce(`${nameOf(file)}: ${answer.known ? first : `unknown; nearest is ${first}`}`);
  } catch (fault) {
    showFault(card, fault.message);
    announce(`${nameOf(file)}: ${fault.message}`);
  } finally {
    card.classList.remove("waiting");
  }
}

async function ask(file) {
  let reply;
  try {
    reply = await fetch(`predict?top_k=${Math.min(SHOWN, classes)}`, { method: "POST", body: file });
  } catch {
    throw new Error("the server does not answer, or the file cannot be read");
  }
  const content = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(content.detail || `the server answered ${reply.status}`);
  return content;
}

function show(card, answer, milliseconds) {
  card.querySelector(".state").hidden = answer.known;
  card.classList.toggle("unknown", !answer.known);
  card.querySelector(".state").textContent = "Unknown";
  card.querySelector(".reason").hidden = answer.known;
  card.querySelector(".time").textContent = `${Math.max(1, Math.round(milliseconds))} ms`;
  card.querySelector(".time").title = "from sending the picture to having the answer";
  const bars = card.querySelector(".bars");
  for (const one of answer.predictions) {
    const row = document.getElementById("row").content.cloneNode(true).querySelector("li");
    row.querySelector(".label").textContent = one.label;
    row.querySelector(".share").textContent = percent(one.probability);
    bars.append(row);
    const fill = row.querySelector(".fill");
    fill.getBoundingClientRect(); // settles the width of 0, from which the bar grows
    fill.style.width = `${100 * one.probability}%`;
  }
}

function showFault(card, message) {
  card.classList.add("failed");
  card.querySelector(".state").textContent = `No answer: ${message}`;
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

function announce(text) {
  status.textContent = text;
}

input.addEventListener("change", () => { add(input.files); input.value = ""; });

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
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => add(event.clipboardData.files));
