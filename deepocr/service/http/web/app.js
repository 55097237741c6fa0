// The page: hands in documents, follows them page by page, and shows them with the shared viewer.

import { API, getJson, hasKey, pause, request, useKey } from "./api.js";
import { areDocuments, droppedFiles, Uploads } from "./uploads.js";

const FINAL = new Set(["SUCCESS", "FAILURE", "CANCELED"]);
const STATES = {
  PENDING: "waiting",
  STARTED: "reading",
  SUCCESS: "done",
  FAILURE: "not everything could be read",
  CANCELED: "stopped",
};
const LISTED = 50;
const MOST_LISTED = 1000;
const LOOK_MS = 2000;
const $ = (id) => document.getElementById(id);

let shown = null; // {id, pages: Set of page numbers on screen, abort}

// --- the form

async function fillForm() {
  const options = await getJson(`${API}/options`);
  const usable = options.can.length ? options.can : options.tasks;
  fill($("task"), options.tasks.filter((task) => usable.includes(task)));
  fill($("preset"), options.presets);
  $("forms").replaceChildren(...Object.entries(options.forms).map(downloadButton));
  showReference();
}

function downloadButton([name, title]) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: title });
  button.dataset.download = name;
  button.disabled = true;
  button.addEventListener("click", () => download(name, button));
  return button;
}

function fill(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
}

function showReference() {
  const needed = $("task").value.startsWith("Locate");
  $("reference-row").hidden = !needed;
  $("reference").required = needed;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// the choice is handed in when the button is pressed; what is dropped, at once
let chosen = [];

function choose(files) {
  chosen = areDocuments(files);
  const others = files.length - chosen.length;
  let text = chosen.length === 1 ? chosen[0].name : plural(chosen.length, "document");
  if (others) text += `; ${plural(others, "other file")} left out`;
  $("file-name").textContent = files.length ? text : "or choose them";
}

function send(event) {
  event?.preventDefault();
  useKey($("key").value);
  if (!chosen.length) {
    $("form-message").textContent = "Choose a picture or PDF first.";
    return;
  }
  $("form-message").textContent = "";
  const fields = [...new FormData($("form"))].filter(([, value]) => typeof value === "string");
  batch.clear();
  openNext = true;
  uploads.add(chosen, [...fields, ["live", chosen.length === 1]]);
  choose([]);
  $("form").querySelectorAll("[type=file]").forEach((input) => (input.value = ""));
}

async function tryExample() {
  const answer = await fetch("/static/example.pdf");
  choose([new File([await answer.blob()], "example.pdf", { type: "application/pdf" })]);
  send();
}

function accepted(id) {
  batch.add(id);
  $("key-row").hidden = true;
  if (!$("task").options.length) start();
  // the first of what was handed in is shown, the others when they are asked for
  if (openNext) show(id);
  openNext = false;
}

function refused(upload, error) {
  if (error.status === 401) $("key-row").hidden = false;
  $("form-message").textContent = `${upload.name}: ${error.message}`;
}

// --- one document

async function show(id) {
  if (shown) shown.abort.abort();
  const here = { id, pages: new Set(), abort: new AbortController() };
  shown = here;
  $("pictures").replaceChildren();
  $("texts").replaceChildren();
  $("nothing").hidden = true;
  $("document").hidden = false;
  $("document-error").hidden = true;
  if (matchMedia("(max-width: 800px)").matches) $("reading").scrollIntoView();
  try {
    await follow(here);
  } catch (error) {
    if (here !== shown) return;
    $("document-error").textContent = error.message;
    $("document-error").hidden = false;
  }
}

async function follow(here) {
  const where = `${API}/results/${here.id}?include_result=false`;
  const signal = here.abort.signal;
  let task = await getJson(where, { signal });
  showHistory();
  for (;;) {
    if (!FINAL.has(task.status)) showState(task);
    await addPages(here, task);
    if (here !== shown) return;
    showState(task); // "done" only when its pages are to be seen
    if (FINAL.has(task.status)) break;
    await showLive(here, task);
    // pages that arrive wake the request; text that is being written is looked at each second
    task = await getJson(`${where}&wait_s=1`, { signal });
  }
  showHistory();
}

function showState(task) {
  const { done, total } = task.progress;
  $("document-name").textContent = task.name;
  let text = `${STATES[task.status]}, ${done} of ${total} ${total === 1 ? "page" : "pages"}`;
  if (task.status === "PENDING" && task.position) text = `waiting, ${task.position} before it`;
  if ($("document-state").textContent !== text) $("document-state").textContent = text;
  $("progress").max = total;
  $("progress").value = done;
  $("progress").hidden = FINAL.has(task.status);
  $("page-count").textContent = total;
  $("go-row").hidden = total < 2;
  $("document-error").textContent = task.error || "";
  $("document-error").hidden = !task.error;
  const final = FINAL.has(task.status);
  $("cancel").hidden = final;
  for (const button of document.querySelectorAll("[data-download]")) {
    button.disabled = !final || task.status === "CANCELED";
  }
}

async function addPages(here, task) {
  for (const number of Object.keys(task.progress.statuses).map(Number)) {
    if (here.pages.has(number)) continue;
    const page = await getJson(`${API}/results/${here.id}/pages/${number}`, { signal: here.abort.signal });
    if (here !== shown) return;
    here.pages.add(number);
    removeLive(number);
    await addPage(page, here);
  }
}

async function addPage(page, here) {
  // a template's pictures are not loaded, so their addresses can still change
  const halves = document.createElement("template");
  halves.innerHTML = page.picture_html;
  const image = halves.content.querySelector("img");
  if (image && hasKey()) {
    const answer = await request(image.getAttribute("src"));
    image.src = URL.createObjectURL(await answer.blob());
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  }
  if (here !== shown) return;
  insert($("pictures"), halves.content.firstElementChild, page.number);
  halves.innerHTML = page.text_html;
  insert($("texts"), halves.content.firstElementChild, page.number);
}

// pages arrive in any order and stand in theirs
function insert(pane, part, number) {
  if (!part) return;
  const after = [...pane.children].find((other) => Number(other.dataset.page) > number);
  pane.insertBefore(part, after || null);
}

// text of the first page that is still being written
async function showLive(here, task) {
  const settled = Object.keys(task.progress.statuses).length;
  if (task.status !== "STARTED" || task.progress.total !== 1 || settled) return;
  const number = task.numbers[0];
  const page = await getJson(`${API}/results/${here.id}/pages/${number}`, { signal: here.abort.signal });
  if (here !== shown || !page.raw || page.status !== "waiting") return;
  let live = $("texts").querySelector(".live");
  if (!live) {
    live = document.createElement("p");
    live.className = "live";
    live.dataset.page = number;
    $("texts").append(live);
  }
  live.textContent = page.raw.replace(/<\|(ref|det)\|>.*?(<\|\/\1\|>|$)/gs, "");
}

function removeLive(number) {
  const live = $("texts").querySelector(".live");
  if (live && Number(live.dataset.page) === number) live.remove();
}

// --- what can be done with it

// what a button does, its error told beside the document
const told = (action) => () => action().catch((error) => say(error.message));

const cancel = () => request(`${API}/tasks/${shown.id}/cancel`, { method: "POST" });

async function copyText() {
  const task = await getJson(`${API}/results/${shown.id}`);
  const text = task.result ? task.result.markdown : "";
  try {
    await navigator.clipboard.writeText(text);
    say("The text is copied.");
  } catch {
    say("The browser did not allow copying; use the Markdown download.");
  }
}

async function download(kind, button) {
  const here = shown;
  button.disabled = true;
  say("The file is being made.");
  try {
    for (;;) {
      const answer = await request(`${API}/results/${here.id}/download?format=${kind}`);
      if (answer.status === 202) {
        await pause(3000);
        continue;
      }
      save(await answer.blob(), nameOf(answer) || `document.${kind}`);
      say("The file is saved.");
      break;
    }
  } catch (error) {
    say(error.message);
  } finally {
    button.disabled = false;
  }
}

function nameOf(answer) {
  const found = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") || "");
  return found && decodeURIComponent(found[1]);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function removeDocument() {
  const here = shown;
  await request(`${API}/results/${here.id}`, { method: "DELETE" });
  here.abort.abort();
  shown = null;
  $("document").hidden = true;
  $("nothing").hidden = false;
  $("reading").focus();
  showHistory();
}

function say(text) {
  $("document-state").textContent = text;
}

// --- the list: what waits to be handed in, then the tasks, the newest first

let batch = new Set(); // ids of what was handed in last
let openNext = false;
let tasks = [];
let drawn = false;
let looking = false;
const uploads = new Uploads(accepted, refused, drawList);
const entries = new Map(); // by key: {item, button, name, state, bar}

async function showHistory() {
  const limit = Math.min(MOST_LISTED, LISTED + batch.size);
  tasks = (await getJson(`${API}/tasks?limit=${limit}`)).tasks;
  drawList();
  followList();
}

// while anything goes on, the list is looked at now and then
async function followList() {
  if (looking) return;
  looking = true;
  while (uploads.list.some((one) => one.state !== "failed") || tasks.some((task) => !FINAL.has(task.status))) {
    await pause(LOOK_MS);
    await showHistory().catch(() => {});
  }
  looking = false;
}

// however much changes at once, the list is drawn once a frame
function drawList() {
  if (drawn) return;
  drawn = true;
  setTimeout(() => {
    drawn = false;
    const rows = [...uploads.list.map(uploadRow), ...tasks.map(taskRow)];
    const keys = new Set(rows.map((row) => row.key));
    const parts = rows.map(entryOf);
    for (const key of [...entries.keys()]) if (!keys.has(key)) entries.delete(key);
    const items = parts.map((part) => part.item);
    if (items.length !== $("history").children.length || items.some((item, at) => $("history").children[at] !== item)) {
      const focused = document.activeElement;
      $("history").replaceChildren(...items);
      if ($("history").contains(focused)) focused.focus();
    }
    drawBatch();
    if (uploads.list.length) followList();
  }, 50);
}

function uploadRow(upload) {
  const texts = { waiting: "to be sent", sending: upload.error || "being sent", failed: `${upload.error} Press to try again.` };
  return { key: upload.key, name: upload.name, state: texts[upload.state], bad: upload.state === "failed", press: () => upload.state === "failed" && uploads.retry(upload) };
}

function taskRow(task) {
  const { done, total } = task.progress;
  const when = new Date(task.created_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const state = `${when} · ${done}/${total} · ${STATES[task.status]}`;
  const share = task.status === "STARTED" ? done / total : undefined;
  return { key: task.task_id, task: task.task_id, name: task.name, state, share, bad: task.status === "FAILURE", press: () => show(task.task_id) };
}

// elements are kept: whoever stands in the list with the keyboard stays where they are
function entryOf(row) {
  let entry = entries.get(row.key);
  if (!entry) {
    const made = (tag, className) => Object.assign(document.createElement(tag), { className });
    entry = { item: made("li", ""), button: made("button", ""), name: made("span", "name"), state: made("span", "state"), bar: made("progress", "") };
    entry.button.type = "button";
    entry.bar.setAttribute("aria-label", "Pages read");
    entry.button.append(entry.name, entry.state, entry.bar);
    entry.item.append(entry.button);
    entry.button.addEventListener("click", () => entry.press());
    entries.set(row.key, entry);
  }
  entry.press = row.press;
  if (row.task) entry.button.dataset.task = row.task;
  if (entry.name.textContent !== row.name) entry.name.textContent = row.name;
  if (entry.state.textContent !== row.state) entry.state.textContent = row.state;
  entry.state.classList.toggle("bad", row.bad);
  entry.bar.hidden = row.share === undefined;
  entry.bar.value = row.share || 0;
  entry.button.setAttribute("aria-current", Boolean(shown && shown.id === row.task));
  return entry;
}

// of many documents at once: how far they are together
function drawBatch() {
  const waiting = uploads.list.filter((one) => one.state !== "failed").length;
  const failed = uploads.list.length - waiting;
  const total = batch.size + uploads.list.length;
  const mine = tasks.filter((task) => batch.has(task.task_id) && FINAL.has(task.status));
  const bad = mine.filter((task) => task.status === "FAILURE").length + failed;
  $("batch").hidden = total < 2;
  $("batch-bar").max = total || 1;
  $("batch-bar").value = mine.length;
  let text = `${mine.length} of ${total} done`;
  if (waiting) text += `, ${waiting} to be sent`;
  if (bad) text += `, ${bad} with errors`;
  if ($("batch-state").textContent !== text) $("batch-state").textContent = text;
  $("batch-stop").hidden = !waiting;
}

async function showService() {
  const health = await fetch("/health").then((answer) => answer.json()).catch(() => null);
  let text = "The service does not answer.";
  if (health) text = health.ready ? "" : "No worker is ready; documents wait until one is.";
  if ($("service-state").textContent !== text) $("service-state").textContent = text;
}

function start() {
  fillForm()
    .then(showHistory)
    .catch((error) => {
      $("key-row").hidden = error.status !== 401;
      $("form-message").textContent = error.message;
    });
}

$("form").addEventListener("submit", send);
for (const name of ["file", "folder"]) $(name).addEventListener("change", () => choose([...$(name).files]));
$("choose-folder").addEventListener("click", () => $("folder").click());
$("example").addEventListener("click", () => tryExample().catch((error) => ($("form-message").textContent = error.message)));
$("task").addEventListener("change", showReference);
$("copy").addEventListener("click", told(copyText));
$("cancel").addEventListener("click", told(cancel));
$("delete").addEventListener("click", told(removeDocument));
$("batch-stop").addEventListener("click", () => uploads.drop());
for (const kind of ["dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, async (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind !== "drop") return;
    choose(await droppedFiles(event.dataTransfer));
    if (chosen.length && $("form").reportValidity()) send();
  });
}
start();
showService();
setInterval(showService, 15000);
