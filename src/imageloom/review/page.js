// The review page: one entry of a queue at a time, decided by key, click or touch.

import * as server from "./server.js";
import * as view from "./view.js";

const BATCH = 24;
const ENOUGH = 12; // entries at hand; below this the next batch is fetched
const SHOWN = 12; // of those that come next
const READY = 4; // large pictures that are fetched before their turn
const REMEMBERED = 200; // decisions that can be taken back
const HISTORY = "imageloom-history";
const WHO = "imageloom-who";

const byId = (id) => document.getElementById(id);

const state = {
  classes: [], openClasses: false, queues: [], queue: null, who: "",
  entries: [], next: 0, edition: 0, decided: new Set(), suggestion: "", best: 0, isStuck: false,
  labelOf: (name) => state.classes.find((one) => one.name === name)?.label ?? name,
};
let history = JSON.parse(sessionStorage.getItem(HISTORY) || "[]");

// --- coming and going

async function begin() {
  await server.session().then(takeSession);
  const late = server.waiting();
  if (late > 0) view.say(`Sends ${late === 1 ? "a decision" : `${late} decisions`} that waited here while the page was closed`);
  await server.sendAll(heard);
  const first = state.queues.find((queue) => queue.total > queue.done) || state.queues[0];
  const { name } = queueOf(asked()) || first;
  window.history.replaceState(null, "", `#${name}`);
  await open(name);
}

// The queue in the address, so that Back and Forward go from queue to queue.
function asked() {
  return location.hash.slice(1);
}

function takeSession(told) {
  state.openClasses = told.open_classes;
  state.classes = told.classes;
  state.queues = told.queues;
  state.who = localStorage.getItem(WHO) || told.who;
  byId("who").value = state.who;
}

async function open(name) {
  Object.assign(state, { queue: queueOf(name), entries: [], next: 0, decided: new Set() });
  if (asked() !== name) location.hash = name;
  byId("find").value = "";
  fetching = null;
  await more();
  show();
}

function queueOf(name) {
  return state.queues.find((queue) => queue.name === name);
}

let fetching = null;

function more() {
  if (state.next === null) return Promise.resolve();
  fetching ??= batch(state.queue.name).catch((fault) => view.say(fault.message)).finally(() => { fetching = null; });
  return fetching;
}

async function batch(name) {
  const told = await server.get(`queues/${name}?from=${state.next}&count=${BATCH}&edition=${state.edition || ""}`);
  if (state.queue.name !== name) return;
  const known = new Set(state.entries.map((entry) => entry.key));
  state.entries.push(...told.entries.filter(({ key }) => !known.has(key) && !state.decided.has(key)).map(named));
  Object.assign(state, { next: told.next, edition: told.edition });
  takeProgress(told.queues);
}

function named(entry) {
  for (const picture of entry.members) picture.className = picture.class && state.labelOf(picture.class);
  return entry;
}

function takeProgress(queues) {
  state.queues = queues;
  state.queue = queueOf(state.queue.name);
  view.showQueues(queues, state.queue.name, open);
}

// --- showing

let lastShown = null;

function show() {
  const [entry] = state.entries;
  view.showQueues(state.queues, state.queue.name, open);
  byId("undo").disabled = history.length === 0;
  if (!entry) return showNothing();
  if (entry !== lastShown) {
    state.best = 0;
    byId("find").value = "";
    lastShown = entry;
  }
  const [first] = entry.members;
  state.suggestion = entry.suggestion;
  view.showEntry(entry, state.queue, state, act);
  const coming = state.entries.slice(1, 1 + SHOWN);
  view.showComing(coming, jump);
  for (const { members } of coming.slice(0, READY)) new Image().src = `pictures/${members[0].id}.jpg`;
  if (!state.queue.grouped) showNeighbours(first.id);
  return undefined;
}

function showNothing() {
  const { name, total } = state.queue;
  const left = state.queues.filter((queue) => ![name, "decided"].includes(queue.name) && queue.total > queue.done);
  const skipped = history.filter((one) => one.queue === name && one.decisions[0].decision === "skip").length;
  const title = name === "decided" ? "That is all that was decided" : "All of this queue is done";
  const text = [
    skipped > 0 ? `You skipped ${skipped} of it; U goes back to what you did last.` : "",
    "What you decided is written down.",
    left.length > 0 || name === "decided" ? "" : "`dvc repro` learns from it.",
  ].join(" ").trim();
  view.showEmpty(total > 0 ? title : "Nothing is in this queue", text, left[0]);
  byId("onward").onclick = () => open(left[0].name);
}

// Only for an entry that is looked at for a moment.
let pause = 0;

function showNeighbours(id) {
  clearTimeout(pause);
  pause = setTimeout(async () => {
    const { neighbours } = await server.get(`neighbours/${id}`).catch(() => ({ neighbours: [] }));
    if (state.entries[0]?.members[0].id === id) view.showAlike(neighbours, state.labelOf, act);
  }, 200);
}

function jump(entry) {
  state.entries = [entry, ...state.entries.filter((one) => one !== entry)];
  show();
}

// --- deciding

const act = {
  large: view.showLarge,
  best(number) {
    if (number >= state.entries[0].members.length) return;
    state.best = number;
    show();
  },
  choose(name) {
    const [picture] = state.entries[0].members;
    if (picture.class === name) return act.keep();
    return decide([{ picture, decision: picture.class ? "relabel" : "label", to: name }]);
  },
  accept() {
    const { members } = state.entries[0];
    if (!state.queue.grouped) return state.suggestion && act.choose(state.suggestion);
    return decide(members.filter((_, number) => number !== state.best).map((picture) => ({ picture, decision: "drop" })));
  },
  keep() {
    const entry = state.entries[0];
    if (state.queue.grouped) return decide(entry.members.map((picture) => ({ picture, decision: "keep" })));
    return entry.members[0].class && decide([{ picture: entry.members[0], decision: "keep" }]);
  },
  drop() {
    return decide(state.entries[0].members.map((picture) => ({ picture, decision: "drop" })));
  },
  skip() {
    const { key, members } = state.entries[0];
    if (state.queue.name === "decided") return pass();
    // A group is known by its root, which may be none of its members any more.
    return decide([{ picture: { ...members[0], id: key }, decision: "skip" }]);
  },
  undo,
};

function pass() {
  state.entries.shift();
  advance("");
}

// What is shown moves on at once; the server hears of it meanwhile.
function decide(wanted) {
  const entry = state.entries.shift();
  const queue = state.queue.name;
  const decisions = wanted.map(({ picture, decision, to = "" }) =>
    ({ sha256: picture.id, decision, from: picture.class, to }));
  history.push({ queue, entry, decisions });
  history = history.slice(-REMEMBERED);
  state.decided.add(entry.key);
  send(queue, decisions);
  const [{ decision, to }] = decisions;
  advance(`${decisions.length > 1 ? `${decisions.length} pictures ` : ""}${view.done(decision)}${to ? `: ${state.labelOf(to)}` : ""}`);
}

function undo() {
  const last = history.pop();
  if (!last) return view.say("Nothing was decided in this tab; what was decided before is in queue Decided");
  const decisions = last.decisions.map(({ sha256, decision, to }) => ({ sha256, decision: "undo", from: decision, to }));
  send(last.queue, decisions);
  state.decided.delete(last.entry.key);
  return back(last);
}

async function back({ queue, entry }) {
  if (state.queue.name !== queue && queueOf(queue)) await open(queue);
  state.entries = [entry, ...state.entries.filter((one) => one.key !== entry.key)];
  advance("Taken back");
}

function advance(text) {
  sessionStorage.setItem(HISTORY, JSON.stringify(history));
  view.say(text);
  show();
  byId("stage").focus({ preventScroll: true }); // no button stays the one that Enter presses
  if (state.entries.length < ENOUGH) more().then(() => (lastShown === state.entries[0] ? refill() : show()));
}

function refill() {
  view.showComing(state.entries.slice(1, 1 + SHOWN), jump);
}

function send(queue, decisions) {
  server.send({ queue, who: state.who, decisions }, heard);
}

const heard = {
  taken(told) {
    view.showUnsent(server.waiting() > 1 ? `${server.waiting()} decisions are being sent` : "");
    if (state.isStuck) {
      state.isStuck = false;
      show(); // its picture could not be fetched meanwhile
    }
    const named = told.classes.filter((name) => !state.classes.some((one) => one.name === name));
    state.classes.push(...named.map((name) => ({ name, label: name })));
    for (const { decided, class: other } of told.overtaken) {
      view.say(`Someone else had made it ${state.labelOf(other) || "unlabelled"} meanwhile; yours stands (${decided?.decision}).`);
    }
    if (!state.queue) return;
    takeProgress(told.queues);
    if (named.length > 0 && state.entries[0]) view.showChoices(state.entries[0].members[0], state, act);
  },
  refused(message) {
    view.say(`Not taken: ${message}`);
  },
  stuck(message) {
    const count = server.waiting();
    state.isStuck = true;
    view.showUnsent(`${message}: ${count} ${count === 1 ? "decision waits" : "decisions wait"} to be sent`);
  },
};

// --- keys and clicks

const KEYS = {
  k: act.keep, d: act.drop, delete: act.drop, s: act.skip, arrowright: act.skip,
  z: () => act.large(state.entries[0].members[state.best]), enter: act.accept,
};
const ALWAYS = {
  u: act.undo, arrowleft: act.undo, backspace: act.undo,
  "?": () => byId("help").showModal(), n: () => step(1), p: () => step(-1),
};

function step(by) {
  const shown = state.queues.filter((queue) => queue.total > 0 || queue === state.queue);
  const place = shown.indexOf(state.queue) + by;
  open(shown[(place + shown.length) % shown.length].name);
}

function pressed(event) {
  if (event.isComposing || event.altKey || document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z" && event.target.tagName !== "INPUT") take(event, act.undo);
    return;
  }
  if (event.target.matches("input, select")) return;
  if (key === "enter" && event.target.closest("button, a")) return; // it is pressed by itself
  if (ALWAYS[key]) return void take(event, ALWAYS[key]);
  if (!state.entries[0]) return;
  if (key === "/") return void take(event, seek);
  if (/^[1-9]$/.test(key)) return void take(event, () => digit(Number(key) - 1));
  if (KEYS[key]) take(event, KEYS[key]);
}

function take(event, work) {
  event.preventDefault();
  if (!event.repeat || work === act.undo) work();
}

function seek() {
  if (state.queue.grouped) return view.say("A group is given no class");
  byId("find").hidden = false;
  return byId("find").focus();
}

function digit(number) {
  if (state.queue.grouped) return act.best(number);
  return byId("classes").querySelectorAll("button")[number]?.click();
}

addEventListener("keydown", pressed);
for (const name of ["accept", "keep", "drop", "skip", "undo"]) byId(name).addEventListener("click", () => act[name]());
byId("asks-help").addEventListener("click", () => byId("help").showModal());
byId("choose").addEventListener("change", (event) => open(event.target.value));
byId("large").addEventListener("click", () => byId("large").close());
byId("who").addEventListener("change", (event) => {
  state.who = event.target.value.trim();
  localStorage.setItem(WHO, state.who);
});

const find = byId("find");
find.addEventListener("input", () => view.showChoices(state.entries[0].members[0], state, act));
find.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    find.value = "";
    byId("stage").focus();
    return view.showChoices(state.entries[0].members[0], state, act);
  }
  if (event.key !== "Enter" || event.isComposing) return undefined;
  event.preventDefault();
  if (!find.value.trim()) return view.say("Type the name of a class");
  return byId("classes").querySelector("button")?.click();
});

addEventListener("hashchange", () => {
  if (!state.queue || asked() === state.queue.name) return;
  if (queueOf(asked())) open(asked());
  else window.history.replaceState(null, "", `#${state.queue.name}`);
});
addEventListener("beforeunload", (event) => { if (server.waiting()) event.preventDefault(); });
addEventListener("visibilitychange", () => {
  if (!document.hidden && state.queue) server.session().then((told) => takeProgress(told.queues)).catch(() => {});
});

begin().catch((fault) => view.showEmpty("The page cannot be shown", fault.message, null));
