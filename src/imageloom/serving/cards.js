// A card for each picture: what is on it, why, and what is wrong with that.

import { ask } from "./server.js";

const SHOWN = 5; // bars for each picture

const classes = Number(document.body.dataset.classes);
const corrects = document.body.dataset.corrects === "true";
const maxBytes = Number(document.body.dataset.maxBytes);
const status = document.getElementById("status");

export function announce(text) {
  status.textContent = text;
}

// A picture is { name, file } or { name, url }.
export function newCard(picture) {
  const card = document.getElementById("card").content.cloneNode(true).querySelector(".card");
  const image = card.querySelector("img");
  image.alt = `Preview of ${picture.name}`;
  if (picture.file) showBlob(image, picture.file);
  const caption = card.querySelector(".file");
  caption.textContent = caption.title = picture.name;
  card.querySelector(".why").ariaLabel = `Why? ${picture.name}`;
  card.querySelector(".wrong").ariaLabel = `This is wrong: ${picture.name}`;
  card.classList.add("waiting");
  say(card, "Waiting…");
  return card;
}

export async function fill(card, picture) {
  say(card, "Looking…");
  try {
    if (picture.file?.size > maxBytes) throw new Error(`larger than the ${Math.floor(maxBytes / 2 ** 20)} MB that the server takes`);
    const query = `top_k=${Math.min(SHOWN, classes)}${picture.url ? "&preview=true" : ""}`;
    const started = performance.now();
    const reply = await ask(`predict?${query}`, picture);
    const answer = await reply.json();
    showTime(card, performance.now() - started, reply.headers.get("Server-Timing"));
    if (answer.preview) showBlob(card.querySelector("img"), fromBase64(answer.preview));
    show(card, answer);
    offerReason(card, picture, answer.predictions[0]);
    if (corrects) offerCorrection(card, picture, answer);
    const first = `${answer.label}, ${percent(answer.predictions[0].probability)}`;
    announce(`${picture.name}: ${answer.known === false ? `unknown; nearest is ${first}` : first}`);
  } catch (fault) {
    card.classList.add("failed");
    if (!picture.file) replaceByText(card.querySelector("img"));
    say(card, `No answer: ${fault.message}`);
    announce(`${picture.name}: ${fault.message}`);
  } finally {
    card.classList.remove("waiting");
  }
}

function show(card, answer) {
  const unknown = answer.known === false;
  card.querySelector(".state").hidden = !unknown;
  card.classList.toggle("unknown", unknown);
  say(card, "Unknown");
  card.querySelector(".reason").hidden = !unknown;
  const bars = card.querySelector(".bars");
  for (const one of answer.predictions) {
    const row = document.getElementById("row").content.cloneNode(true).querySelector("li");
    row.querySelector(".label").textContent = one.label;
    row.querySelector(".share").textContent = percent(one.probability);
    bars.append(row);
    const bar = row.querySelector(".fill");
    bar.getBoundingClientRect(); // settles the width of 0, from which the bar grows
    bar.style.width = `${100 * one.probability}%`;
  }
}

function showTime(card, milliseconds, timing) {
  const time = card.querySelector(".time");
  const inside = /dur=([\d.]+)/.exec(timing ?? "");
  time.textContent = `${whole(milliseconds)} ms`;
  time.title = "from sending the picture to having the answer";
  if (inside) time.title += `; the server worked ${whole(Number(inside[1]))} ms of it`;
}

// The button puts in the picture's place one on which is coloured what speaks for the first class, and back.
function offerReason(card, picture, first) {
  const button = card.querySelector(".why");
  const frame = card.querySelector(".frame");
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      if (!frame.querySelector(".map")) frame.append(await explanation(picture, first));
      const shown = frame.classList.toggle("explained");
      button.setAttribute("aria-pressed", String(shown));
      announce(shown ? frame.querySelector(".map").alt : `Preview of ${picture.name}`);
    } catch (fault) {
      announce(`${picture.name}: ${fault.message}`);
    } finally {
      button.disabled = false;
      button.focus();
    }
  });
}

async function explanation(picture, first) {
  const reply = await ask(`heatmap?class=${encodeURIComponent(first.name)}`, picture);
  const map = new Image();
  map.className = "map";
  map.alt = `${picture.name}, with what speaks for ${first.label} coloured`;
  map.src = URL.createObjectURL(await reply.blob());
  await map.decode();
  URL.revokeObjectURL(map.src);
  return map;
}

let labels = null;

// The classes, asked for once, when somebody first says that an answer is wrong.
function allClasses() {
  labels ??= ask("labels").then((reply) => reply.json()).then((content) => content.classes);
  labels.catch(() => { labels = null; });
  return labels;
}

function offerCorrection(card, picture, answer) {
  const button = card.querySelector(".wrong");
  const form = card.querySelector(".correction");
  const choice = form.querySelector("select");
  button.hidden = false;

  function open(isOpen) {
    form.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
    (isOpen ? choice : button).focus();
  }

  button.addEventListener("click", async () => {
    if (!form.hidden) return open(false);
    try {
      if (!choice.options.length) choice.replaceChildren(...options(await allClasses(), answer));
      open(true);
    } catch (fault) {
      announce(fault.message);
    }
  });
  form.querySelector(".cancel").addEventListener("click", () => open(false));
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = choice.value.slice(1); // "=" stands before it, since an empty value would be no choice
    const shown = choice.selectedOptions[0].textContent;
    form.querySelector(".main").disabled = true;
    try {
      await ask(`corrections?label=${encodeURIComponent(name)}`, picture);
      form.hidden = button.hidden = true;
      thank(card, `Thank you. Kept for review: ${shown}.`);
    } catch (fault) {
      thank(card, `Not kept: ${fault.message}`);
    } finally {
      form.querySelector(".main").disabled = false;
    }
  });
}

function options(known, answer) {
  const others = known.filter((one) => one.name !== answer.predictions[0].name);
  return [
    new Option("choose…", "", true, true),
    ...others.map((one) => new Option(one.label, `=${one.name}`)),
    new Option("none of these", "="),
  ];
}

function thank(card, text) {
  const line = card.querySelector(".thanks");
  line.hidden = false;
  line.textContent = text;
  announce(text);
}

function say(card, text) {
  card.querySelector(".state").textContent = text;
}

function showBlob(image, blob) {
  const address = URL.createObjectURL(blob);
  image.onload = () => URL.revokeObjectURL(address);
  // Some pictures that the server reads, such as TIFF, are ones that the browser cannot show.
  image.onerror = () => {
    URL.revokeObjectURL(address);
    replaceByText(image);
  };
  image.src = address;
}

function replaceByText(image) {
  image.parentElement.classList.add("blank");
  image.replaceWith("no preview");
}

function fromBase64(text) {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

function whole(milliseconds) {
  return Math.max(1, Math.round(milliseconds));
}
