// Shows what the page knows. All that comes from pictures, labels and addresses is put in as text, never as markup.

const byId = (id) => document.getElementById(id);

const CHECKS = {
  label_issues: "label issue", near_duplicates: "near duplicate", two_classes: "under two classes", outliers: "outlier",
  placeholders: "placeholder", odd_aspect: "odd proportions", odd_size: "odd size", low_information: "little to see",
};
const DONE = {
  label: "labelled", relabel: "relabelled", drop: "dropped", keep: "kept", skip: "skipped",
};
export const MOST_KEYS = 9;

// An element with properties and children; text children become text.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function key(text) {
  return element("kbd", {}, String(text));
}

export function say(text) {
  byId("status").textContent = text;
}

export function done(decision) {
  return DONE[decision] || decision;
}

// --- queues

export function showQueues(queues, current, open) {
  const items = queues.filter((queue) => queue.total > 0 || queue.name === current).map((queue) => {
    const left = queue.total - queue.done;
    const meter = element("progress", { max: Math.max(1, queue.total), value: queue.done, ariaHidden: "true" });
    const button = element("button", { type: "button", onclick: () => open(queue.name) },
      element("span", { className: "name" }, queue.title),
      element("span", { className: "left" }, left.toLocaleString("en")),
      queue.name === "decided" ? null : meter);
    button.dataset.queue = queue.name;
    if (queue.name === current) button.setAttribute("aria-current", "page");
    if (left === 0) button.classList.add("finished");
    return element("li", {}, button);
  });
  byId("queues").replaceChildren(...items);
  const options = queues.filter((queue) => queue.total > 0 || queue.name === current).map((queue) =>
    new Option(`${queue.title}: ${(queue.total - queue.done).toLocaleString("en")}`, queue.name, false, queue.name === current));
  byId("choose").replaceChildren(...options);
}

export function showEmpty(title, text, next) {
  for (const id of ["stage", "side", "coming"]) byId(id).hidden = true;
  const empty = byId("empty");
  empty.hidden = false;
  empty.querySelector("h2").textContent = title;
  empty.querySelector("p").textContent = text;
  byId("onward").hidden = !next;
  byId("onward").textContent = next ? `Go on with: ${next.title}` : "";
}

// --- one entry

export function showEntry(entry, queue, state, act) {
  byId("empty").hidden = true;
  for (const id of ["stage", "side"]) byId(id).hidden = false;
  const [first] = entry.members;
  byId("question").textContent = queue.question || "What was decided";
  showNow(first, queue);
  byId("flags").replaceChildren(...(queue.grouped ? [] : first.flags.map((one) => flag(one, state.labelOf))));
  byId("choices").hidden = queue.grouped;
  byId("alike").hidden = true;
  byId("keep").querySelector("span").textContent = queue.grouped ? "Keep all" : "Keep";
  byId("keep").disabled = !queue.grouped && !first.class;
  byId("drop").querySelector("span").textContent = queue.grouped ? "Drop all" : "Drop";
  byId("facts").replaceChildren(...(queue.grouped ? [] : facts(first)));
  if (queue.grouped) {
    showGroup(entry, state.best, act);
  } else {
    showPicture(first, act);
    showChoices(first, state, act);
  }
  showAccept(entry, queue, state);
}

function showNow(picture, queue) {
  const now = byId("now");
  now.replaceChildren();
  if (queue.grouped) {
    now.append("The others are dropped; no file is deleted.");
  } else if (picture.class) {
    now.append("Now: ", element("strong", { dir: "auto" }, picture.className));
  } else {
    now.append("Not labelled yet");
  }
  if (picture.decided && !queue.grouped) {
    now.append(` · ${done(picture.decided.decision)} by `, element("bdi", {}, picture.decided.who || "someone"));
  }
}

function flag(found, labelOf) {
  const name = CHECKS[found.check] || found.check.replaceAll("_", " ");
  const isPicture = /^[0-9a-f]{64}$/.test(found.detail); // the root of a group, which says nothing to people
  const detail = found.detail && !isPicture ? `: ${labelOf(found.detail)}` : "";
  return element("li", { title: `score ${found.score.toFixed(2)}, where 0 is worst` }, element("bdi", {}, name + detail));
}

function showPicture(picture, act) {
  const image = element("img", { alt: picture.title || "the picture to decide about", src: `pictures/${picture.id}.jpg` });
  image.onerror = () => image.replaceWith(element("p", { className: "notice" }, "This picture cannot be shown."));
  const frame = element("button", { type: "button", className: "frame", title: "large (Z)", onclick: () => act.large(picture) }, image);
  byId("stage").replaceChildren(frame);
}

function showGroup(entry, best, act) {
  const members = entry.members.map((picture, number) => {
    const image = element("img", { alt: "", src: `pictures/${picture.id}.jpg` });
    const pixels = picture.width ? `${picture.width} × ${picture.height}` : "";
    const button = element("button", { type: "button", className: "member", onclick: () => act.best(number) },
      element("span", { className: "frame" }, image),
      element("span", { className: "about" }, number < MOST_KEYS ? key(number + 1) : null,
        element("bdi", {}, picture.className || "not labelled"), element("span", { className: "soft" }, pixels),
        element("span", { className: "fate" }, number === best ? "stays" : "dropped")));
    button.setAttribute("aria-pressed", String(number === best));
    return button;
  });
  byId("stage").replaceChildren(element("div", { className: "group" }, ...members));
}

// A button for each class, with the model's probability as a bar behind it.
export function showChoices(picture, state, act) {
  const find = byId("find");
  const text = find.value.trim();
  find.hidden = state.classes.length <= MOST_KEYS && !state.openClasses && !text && document.activeElement !== find;
  find.placeholder = state.openClasses ? "find or name a class ( / )" : "find a class ( / )";
  const wanted = text.toLocaleLowerCase();
  const isIt = ({ name, label }) => [name, label].includes(text);
  const listed = state.classes.filter(({ name, label }) => `${name} ${label}`.toLocaleLowerCase().includes(wanted));
  listed.sort((one, other) => isIt(other) - isIt(one));
  const buttons = listed.map(({ name, label }, number) => {
    const share = picture.probabilities[name];
    const fill = element("span", { className: "fill", ariaHidden: "true" });
    fill.style.width = `${100 * (share || 0)}%`;
    const button = element("button", { type: "button", onclick: () => act.choose(name) }, fill,
      keyOf(number, text),
      element("span", { className: "label", dir: "auto" }, label),
      element("span", { className: "share" }, share === undefined ? "" : `${(100 * share).toFixed(0)} %`));
    button.dataset.name = name;
    button.classList.toggle("is-now", name === picture.class);
    button.classList.toggle("is-suggested", name === state.suggestion);
    button.setAttribute("aria-label", `${label}${share === undefined ? "" : `, ${(100 * share).toFixed(0)} percent`}`);
    return element("li", {}, button);
  });
  if (state.openClasses && text && !listed.some(isIt)) {
    const label = element("span", { className: "label" }, "new class: ", element("bdi", {}, text));
    const button = element("button", { type: "button", onclick: () => act.choose(text) }, keyOf(listed.length, text), label);
    buttons.push(element("li", {}, button));
  }
  byId("classes").replaceChildren(...buttons);
}

// What chooses a class: its digit or, while its name is typed, Enter.
function keyOf(number, text) {
  if (text) return number === 0 ? key("↵") : element("span", { className: "no-key" });
  return number < MOST_KEYS ? key(number + 1) : element("span", { className: "no-key" });
}

function showAccept(entry, queue, state) {
  const accept = byId("accept");
  const text = accept.querySelector("span");
  const [first] = entry.members;
  accept.hidden = !queue.grouped && !state.suggestion;
  if (queue.grouped) {
    text.textContent = `Keep ${state.best + 1}, drop the ${entry.members.length === 2 ? "other" : "rest"}`;
  } else if (state.suggestion === first.class) {
    text.textContent = "Keep as it is";
  } else {
    text.textContent = `It shows: ${state.labelOf(state.suggestion)}`;
  }
}

function facts(picture) {
  const rows = [["Title", picture.title], ["Size", size(picture)], ["Found on", link(picture.page)], ["Address", link(picture.url)],
    ["Author", picture.author], ["Licence", link(picture.licence)], ["Copies", picture.copies > 1 ? picture.copies : ""],
    ["SHA-256", element("code", {}, picture.id.slice(0, 20))]];
  return rows.filter(([, value]) => value).flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, typeof value === "object" ? value : element("bdi", {}, String(value)))]);
}

function size({ width, height, format, bytes }) {
  if (!width) return "";
  const much = bytes ? `, ${bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`}` : "";
  return `${width} × ${height} ${format || ""}${much}`;
}

// What is no address of the web, such as javascript:, is shown as text and leads nowhere.
function link(text) {
  if (!text) return "";
  const file = text.startsWith("file:") ? text.slice("file:".length) : text;
  if (!/^https?:\/\//i.test(text)) return element("bdi", {}, file);
  const made = element("a", { rel: "noopener noreferrer", target: "_blank", title: text }, text.replace(/^https?:\/\//i, ""));
  made.href = text;
  return made;
}

// --- around the entry

export function showAlike(neighbours, classNames, act) {
  const items = neighbours.map((one) => {
    const label = one.class ? classNames(one.class) : "not labelled";
    const image = element("img", { alt: "", src: `thumbnails/${one.id}.jpg`, loading: "lazy" });
    const told = element("span", {}, element("bdi", {}, label));
    const picture = { id: one.id, title: `${label}, similarity ${one.similarity.toFixed(2)}` };
    return element("li", {}, element("button", { type: "button", title: picture.title, onclick: () => act.large(picture) }, image, told));
  });
  byId("alike").hidden = items.length === 0;
  byId("alike").querySelector("ul").replaceChildren(...items);
}

export function showComing(entries, jump) {
  const items = entries.map((entry, number) => {
    const image = element("img", { alt: `entry ${number + 1} from here`, src: `thumbnails/${entry.members[0].id}.jpg` });
    const count = entry.members.length > 1 ? element("span", { className: "count" }, String(entry.members.length)) : null;
    return element("li", {}, element("button", { type: "button", onclick: () => jump(entry) }, image, count));
  });
  byId("coming").hidden = items.length === 0;
  byId("coming").querySelector("ol").replaceChildren(...items);
}

export function showLarge(picture) {
  const dialog = byId("large");
  dialog.querySelector("img").src = `pictures/${picture.id}.jpg`;
  dialog.querySelector("p").textContent = picture.title || "";
  dialog.showModal();
}

export function showUnsent(text) {
  byId("unsent").textContent = text;
  byId("unsent").hidden = !text;
}
