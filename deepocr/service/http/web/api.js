// Asks the service: says who we are and makes problems errors.

export const API = "/api/v1/ocr";

// a random token keeps our list apart from others', a key is kept until the tab ends
const token = localStorage.getItem("deepocr-token") || newToken();
let key = sessionStorage.getItem("deepocr-key") || "";

function newToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const made = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  localStorage.setItem("deepocr-token", made);
  return made;
}

export const hasKey = () => Boolean(key);

export function useKey(given) {
  if (!given) return;
  key = given;
  sessionStorage.setItem("deepocr-key", key);
}

// `waitS` is set where the service asks to come again later
export class Refused extends Error {
  constructor(message, status, waitS) {
    super(message);
    this.status = status;
    this.waitS = waitS;
  }
}

export async function request(path, options = {}) {
  const own = { "X-Client-Token": token, ...(key ? { "X-API-Key": key } : {}) };
  const answer = await fetch(path, { ...options, headers: { ...options.headers, ...own } });
  if (answer.status === 401) throw new Refused("This service asks for an API key.", 401);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    const busy = answer.status === 429 || answer.status === 503;
    const waitS = busy ? Number(answer.headers.get("retry-after")) || 5 : undefined;
    throw new Refused(problem.detail || `The service answered ${answer.status}.`, answer.status, waitS);
  }
  return answer;
}

export const getJson = async (path, options) => (await request(path, options)).json();
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
