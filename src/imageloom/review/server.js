// Asks the server, and sees to it that no decision is lost: what could not be sent is kept and sent again, in order.

const UNSENT = "imageloom-unsent";
const SECONDS_BETWEEN_TRIES = 1;

let csrf = "";

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
  const Kind = answer.status < 500 ? Refused : Error;
  throw new Kind(found.detail || `the server answered ${answer.status}`);
}

function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
  return reached(path, { method: "POST", headers, body: JSON.stringify(body) });
}

// --- decisions, which stay in the tab's storage until the server has them

let unsent = JSON.parse(sessionStorage.getItem(UNSENT) || "[]");
let sending = null;

export function send(decision, heard) {
  unsent.push(decision);
  remember();
  return sendAll(heard);
}

// Resolves when nothing is left to be sent.
export function sendAll(heard) {
  sending ??= work(heard).finally(() => { sending = null; });
  return sending;
}

export function waiting() {
  return unsent.length;
}

function remember() {
  sessionStorage.setItem(UNSENT, JSON.stringify(unsent));
}

async function work(heard) {
  while (unsent.length > 0) {
    try {
      const told = await sent(unsent[0]);
      unsent.shift();
      remember();
      heard.taken(told);
    } catch (fault) {
      if (fault instanceof Refused) {
        heard.refused(fault.message, unsent.shift());
        remember();
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
