// Files that were chosen or dropped, folders too, handed in a few at a time.

import { API, getJson, pause } from "./api.js";

const AT_ONCE = 3;
const MAX_WAIT_S = 60;
const DOCUMENT = /\.(pdf|png|jpe?g|jfif|webp|bmp|gif|tiff?)$/i;

// what can be a document: a folder holds other things too
export const areDocuments = (files) =>
  files.filter((file) => DOCUMENT.test(file.name) || file.type.startsWith("image/") || file.type === "application/pdf");

// all files of what was dropped; folders are gone through
export async function droppedFiles(transfer) {
  // entries must be taken before the first pause: the browser empties the list then
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  while (entries.length) {
    const entry = entries.shift();
    if (entry.isFile) files.push(await new Promise((done, failed) => entry.file(done, failed)));
    else entries.push(...(await entriesOf(entry.createReader())));
  }
  return files;
}

async function entriesOf(reader) {
  const found = [];
  for (;;) {
    // it tells at most a hundred at a time
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    found.push(...some);
  }
}

// `list` holds what is not accepted yet: {name, state: "waiting" | "sending" | "failed", error}
export class Uploads {
  constructor(accepted, refused, changed) {
    this.list = [];
    this.accepted = accepted;
    this.refused = refused;
    this.changed = changed;
    this.sending = 0;
  }

  add(files, fields) {
    // the same key twice is the same task: an answer that was lost costs no second reading
    const made = files.map((file) => ({ name: file.name, file, fields, state: "waiting", error: "", key: crypto.randomUUID?.() ?? `${Math.random()}${performance.now()}` }));
    this.list.push(...made);
    this.start();
  }

  retry(upload) {
    upload.state = "waiting";
    this.start();
  }

  drop() {
    this.list = this.list.filter((upload) => upload.state === "sending");
    this.changed();
  }

  start() {
    for (; this.sending < AT_ONCE && this.next(); this.sending++) this.work();
    this.changed();
  }

  next() {
    return this.list.find((upload) => upload.state === "waiting");
  }

  async work() {
    for (let upload = this.next(); upload; upload = this.next()) {
      upload.state = "sending";
      this.changed();
      try {
        const task = await this.send(upload);
        this.list.splice(this.list.indexOf(upload), 1);
        this.accepted(task.task_id);
      } catch (error) {
        upload.state = "failed";
        upload.error = error.message;
        this.refused(upload, error);
      }
      this.changed();
    }
    this.sending--;
  }

  async send(upload) {
    for (;;) {
      const form = new FormData();
      for (const [name, value] of upload.fields) form.set(name, value);
      form.set("file", upload.file, upload.file.name);
      try {
        return await getJson(`${API}/process`, { method: "POST", body: form, headers: { "Idempotency-Key": upload.key } });
      } catch (error) {
        // as many documents as one may have, or a full queue: there is room later
        if (!error.waitS || !this.list.includes(upload)) throw error;
        upload.error = error.message;
        this.changed();
        await pause(1000 * Math.min(error.waitS, MAX_WAIT_S));
        upload.error = "";
      }
    }
  }
}
