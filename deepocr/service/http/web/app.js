// Hands in documents, follows them page by page, and shows them with the shared viewer.
(() => {
  "use strict";

  const API = "/api/v1/ocr";
  const FINAL = new Set(["SUCCESS", "FAILURE", "CANCELED"]);
  const STATES = {
    PENDING: "waiting",
    STARTED: "reading",
    SUCCESS: "done",
    FAILURE: "not everything could be read",
    CANCELED: "stopped",
  };
  const $ = (id) => document.getElementById(id);

  // who we are: a random token keeps our list apart from others', a key is kept until the tab ends
  const token = localStorage.getItem("deepocr-token") || newToken();
  let key = sessionStorage.getItem("deepocr-key") || "";
  let shown = null; // {id, pages: Set of page numbers on screen, abort}

  function newToken() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const made = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    localStorage.setItem("deepocr-token", made);
    return made;
  }

  async function request(path, options = {}) {
    const headers = { "X-Client-Token": token, ...(key ? { "X-API-Key": key } : {}) };
    const answer = await fetch(path, { ...options, headers });
    if (answer.status === 401) {
      $("key-row").hidden = false;
      throw new Error("This service asks for an API key.");
    }
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Error(problem.detail || `The service answered ${answer.status}.`);
    }
    return answer;
  }

  const getJson = async (path, options) => (await request(path, options)).json();
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  // --- the form

  async function fillForm() {
    const options = await getJson(`${API}/options`);
    const usable = options.can.length ? options.can : options.tasks;
    fill($("task"), options.tasks.filter((task) => usable.includes(task)));
    fill($("preset"), options.presets);
    showReference();
  }

  function fill(select, names) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }

  function showReference() {
    const needed = $("task").value.startsWith("Locate");
    $("reference-row").hidden = !needed;
    $("reference").required = needed;
  }

  function showChosen() {
    const file = $("file").files[0];
    $("file-name").textContent = file ? file.name : "or choose one";
  }

  async function send(event) {
    event.preventDefault();
    $("form-message").textContent = "";
    key = $("key").value || key;
    if (key) sessionStorage.setItem("deepocr-key", key);
    if (!$("file").files.length) return;
    const form = new FormData($("form"));
    form.set("live", "true");
    $("send").disabled = true;
    try {
      const accepted = await getJson(`${API}/process`, { method: "POST", body: form });
      $("key-row").hidden = true;
      show(accepted.task_id);
    } catch (error) {
      $("form-message").textContent = error.message;
    } finally {
      $("send").disabled = false;
    }
    if (!$("task").options.length) start();
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
    if (image && key) {
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

  // --- the list

  async function showHistory() {
    const { tasks } = await getJson(`${API}/tasks`);
    // the list is made anew; whoever stands in it with the keyboard stays where they are
    const focused = document.activeElement.dataset.task;
    $("history").replaceChildren(...tasks.map(historyEntry));
    if (focused) $("history").querySelector(`[data-task="${focused}"]`)?.focus();
  }

  function historyEntry(task) {
    const entry = document.createElement("li");
    const button = document.createElement("button");
    const name = document.createElement("span");
    const state = document.createElement("span");
    name.className = "name";
    name.textContent = task.name;
    state.className = task.status === "FAILURE" ? "state bad" : "state";
    const when = new Date(task.created_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    state.textContent = `${when} · ${task.progress.done}/${task.progress.total} · ${STATES[task.status]}`;
    button.type = "button";
    button.dataset.task = task.task_id;
    button.append(name, state);
    if (shown && shown.id === task.task_id) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => show(task.task_id));
    entry.append(button);
    return entry;
  }

  async function showService() {
    const health = await fetch("/health").then((answer) => answer.json()).catch(() => null);
    let text = "The service does not answer.";
    if (health) text = health.ready ? "" : "No worker is ready; documents wait until one is.";
    if ($("service-state").textContent !== text) $("service-state").textContent = text;
  }

  function start() {
    fillForm().then(showHistory).catch((error) => ($("form-message").textContent = error.message));
  }

  $("form").addEventListener("submit", send);
  $("file").addEventListener("change", showChosen);
  $("task").addEventListener("change", showReference);
  $("copy").addEventListener("click", told(copyText));
  $("cancel").addEventListener("click", told(cancel));
  $("delete").addEventListener("click", told(removeDocument));
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => download(button.dataset.download, button));
  }
  for (const kind of ["dragover", "dragleave", "drop"]) {
    window.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        $("file").files = event.dataTransfer.files;
        showChosen();
        if ($("form").reportValidity()) $("form").requestSubmit();
      }
    });
  }
  start();
  showService();
  setInterval(showService, 15000);
})();
