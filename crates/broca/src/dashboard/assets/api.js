// The server: who is there, and the operations. Rights are the server's to decide; what is known here only saves people
// from pressing what will be refused.

const RANKS = ["read", "operate", "admin"];
export const session = { csrf: "", who: null, version: "" };

/** What the server said no with. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.hint = error?.hint ?? "";
    this.code = error?.code ?? "failure";
  }
}

const lost = () => new Refused(0, { code: "unavailable", message: "the dashboard's server does not answer", hint: "is `broca dashboard` still running?" });

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.error);
  return body;
}

async function post(path, body, signal) {
  const headers = { "content-type": "application/json", "x-broca-csrf": session.csrf };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }).catch((error) => {
    throw error.name === "AbortError" ? error : lost();
  });
  return answer(response);
}

export async function who() {
  const response = await fetch("/api/session").catch(() => { throw lost(); });
  return Object.assign(session, await answer(response));
}

export const login = async (token) => Object.assign(session, await post("/api/login", { token }));
export const logout = () => post("/api/logout", {});

let away = () => {};
/** What is done when nobody is logged in any more. */
export const whenLoggedOut = (then) => { away = then; };

async function call(name, body, signal) {
  try {
    return await post(`/api/operations/${name}`, body, signal);
  } catch (error) {
    if (error.status === 401) away();
    throw error;
  }
}

/** Asks something. */
export const ask = async (name, request = {}, signal = undefined) => (await call(name, { request }, signal)).answer;

/** Does something that takes one step, or says what it would do: `{answer}` or `{proposal}`. */
export const act = (name, request) => call(name, { request });

/** Does what was proposed. */
export const confirmed = async (name, request, proposal) => (await call(name, { request, confirm: proposal.confirm })).answer;

export const may = (access) => RANKS.indexOf(session.who?.access) >= RANKS.indexOf(access);
export const mayRead = () => Boolean(session.who?.contents);
