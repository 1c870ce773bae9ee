// Asks the server, and sees to it that no decision is lost: what could not be sent is kept and sent again, in order.

const UNSENT = "imageloom-unsent";
const SECONDS_BETWEEN_TRIES = 1;
const CONFLICT = 409; // another project is reviewed at this address now

let csrf = "";
let project = "";

export class Refused extends Error {}

// Answers with JSON. Waits for the token where one is needed.
export async function get(path) {
  for (;;) {
    const answer = await reached(path, {});
    if (answer.status !== 401) return content(answer);
    await askForToken();
  }
}

export async function session() {
  const found = await get("session");
  csrf = found.csrf;
  if (!project) takeOver(found.project);
  return found;
}

async function reached(path, options) {
  try {
    return await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Error("the server does not answer");
  }
}

async function content(answer) {
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  const Kind = answer.status < 500 && answer.status !== CONFLICT ? Refused : Error;
  throw new Kind(found.detail || `the server answered ${answer.status}`);
}

function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
  return reached(path, { method: "POST", headers, body: JSON.stringify(body) });
}

// --- decisions, which stay in the browser's storage until the server has them, even when the tab is closed

// Each has an entry of its own, so that two tabs do not overwrite each other's.
const unsent = [];
let sending = null;

export function send(decision, heard) {
  const at = Date.now();
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const one = { key: `${prefix()}${String(at).padStart(15, "0")}/${id}`, at, decision: { ...decision, id, project } };
  unsent.push(one);
  try {
    localStorage.setItem(one.key, JSON.stringify(one));
  } catch { /* it is full: this one lives as long as the tab, which asks before it is closed */ }
  return sendAll(heard);
}

function prefix() {
  return `${UNSENT}/${project}/`;
}

// What earlier tabs could not send. Tabs that are still open may send it as well: the server knows it by its id.
function takeOver(name) {
  project = name;
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix())).sort();
  const found = keys.map((key) => JSON.parse(localStorage.getItem(key))).filter((one) => one !== null);
  unsent.push(...found.map((one) => ({ ...one, isTakenOver: true })));
}

// Resolves when nothing is left to be sent.
export function sendAll(heard) {
  sending ??= work(heard).finally(() => { sending = null; });
  return sending;
}

export function waiting() {
  return unsent.length;
}

function forget(one) {
  unsent.splice(unsent.indexOf(one), 1);
  localStorage.removeItem(one.key);
}

async function work(heard) {
  while (unsent.length > 0) {
    const [one] = unsent;
    if (one.isTakenOver && localStorage.getItem(one.key) === null) { // its own tab has sent it
      forget(one);
      continue;
    }
    try {
      const told = await sent({ ...one.decision, ago: (Date.now() - one.at) / 1000 });
      forget(one);
      heard.taken(told);
    } catch (fault) {
      if (fault instanceof Refused) {
        forget(one);
        heard.refused(fault.message);
      } else {
        heard.stuck(fault.message);
        await new Promise((resolve) => setTimeout(resolve, 1000 * SECONDS_BETWEEN_TRIES));
      }
    }
  }
}

// A server that was started anew knows neither cookie nor CSRF token: they are fetched, and it is asked once more.
async function sent(decision) {
  let answer = await post("decisions", decision);
  if (answer.status === 401 || answer.status === 403) {
    await session();
    answer = await post("decisions", decision);
  }
  return content(answer);
}

// --- the token

let asking = null;

function askForToken() {
  asking ??= asked().finally(() => { asking = null; });
  return asking;
}

function asked() {
  const dialog = document.getElementById("asks-token");
  const form = dialog.querySelector("form");
  const field = form.querySelector("input");
  return new Promise((resolve) => {
    dialog.oncancel = (event) => event.preventDefault();
    form.onsubmit = async (event) => {
      event.preventDefault();
      const answer = await post("session", { token: field.value.trim() }).catch(() => null);
      form.reset();
      if (!answer?.ok) return field.focus();
      dialog.close();
      resolve();
    };
    dialog.showModal();
  });
}
