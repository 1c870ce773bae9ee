// Asks the server: again where it is busy for a moment, and with a token where it wants one.

const TRIES = 4;
const LONGEST_WAIT = 10; // seconds

const dialog = document.getElementById("asks-token");
const KEY = "imageloom-token";

// A picture is { name, file } or { name, url }.
export async function ask(path, picture) {
  const asked = () => reply(path, picture);
  for (let attempt = 1; ; attempt += 1) {
    const answer = await asked();
    if (answer.ok) return answer;
    if (answer.status === 401 && attempt < TRIES) {
      await askForToken();
    } else if ((answer.status === 429 || answer.status === 503) && attempt < TRIES) {
      await pause(Math.min(LONGEST_WAIT, Number(answer.headers.get("Retry-After")) || 1));
    } else {
      const content = await answer.json().catch(() => ({}));
      throw new Error(content.detail || `the server answered ${answer.status}`);
    }
  }
}

async function reply(path, picture) {
  const headers = {};
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  let body;
  if (picture?.url) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify({ url: picture.url });
  } else if (picture) {
    body = picture.file;
  }
  try {
    return await fetch(path, { method: picture ? "POST" : "GET", headers, body });
  } catch {
    throw new Error(picture?.file ? "the server does not answer, or the file cannot be read" : "the server does not answer");
  }
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds * (1 + Math.random() / 2)));
}

let asking = null;

// Several pictures wait for the same token.
function askForToken() {
  asking ??= new Promise((resolve, reject) => {
    const form = dialog.querySelector("form");
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, form.querySelector("input").value.trim());
      form.reset();
      dialog.onclose = null;
      dialog.close();
      resolve();
    };
    dialog.onclose = () => reject(new Error("this server asks for a token"));
    dialog.showModal();
  }).finally(() => { asking = null; });
  return asking;
}
