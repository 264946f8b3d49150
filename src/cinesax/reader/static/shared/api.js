// Requests to the server that this page came from, and their errors as one line for people.

/** A refusal by the server: a code to act on and a message to show. */
export class Refused extends Error {
  constructor(status, { code, message, ...rest }) {
    super(message);
    this.status = status;
    this.code = code;
    this.rest = rest;
  }
}

/** The server did not answer: it was stopped, or the connection broke. */
export class NoAnswer extends Error {
  constructor() {
    super("The server does not answer. Is cinesax view still running?");
    this.code = "no-answer";
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NoAnswer();
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const { error, ...rest } = body;
  throw new Refused(response.status, {
    code: error?.code ?? "refused",
    message: error?.message ?? `The server refused (${response.status}).`,
    ...rest,
  });
}

const AHEAD_MS = 5000;
let early = { path: null };

/** Ask for what will probably be wanted next; `get` takes the answer if it asks within some seconds. */
export function ahead(path) {
  if (early.path === path && performance.now() - early.at < AHEAD_MS) return;
  // An error is no matter here: `get` asks again, and says what is wrong.
  early = { path, at: performance.now(), answer: fetch(path, { cache: "no-store" }).catch(() => null) };
}

export async function get(path, options) {
  const { answer } = early.path === path && performance.now() - early.at < AHEAD_MS ? early : {};
  if (answer) early = { path: null };
  const response = await answer;
  return (response?.ok ? response : await ask(path, options)).json();
}

export async function post(path, body = {}, options = {}) {
  const headers = { "Content-Type": "application/json" };
  // What was asked for ahead, before or meanwhile, may be of the state before this change.
  early = { path: null };
  try {
    return await (await ask(path, { method: "POST", headers, body: JSON.stringify(body), ...options })).json();
  } finally {
    early = { path: null };
  }
}

/** Bytes to the server as they are: a zip, or one file of a folder. */
export async function send(method, path, bytes, type) {
  return (await ask(path, { method, headers: { "Content-Type": type }, body: bytes })).json();
}

/** uint16 values, little endian as every browser's machine is. */
export async function values(path, options) {
  return new Uint16Array(await (await ask(path, options)).arrayBuffer());
}
