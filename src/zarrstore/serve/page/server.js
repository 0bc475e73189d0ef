// Requests to the server that this page came from, and the store that zarrita.js reads from it.

const base = new URL("./", location.href);
const remembered = "zarrstore-token";
export const token = takeToken();

/** Take the token from the address, where it would be seen, and remember it until the tab is closed. */
function takeToken() {
  const found = /^#token=([^&]*)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem(remembered, decodeURIComponent(found[1]));
    history.replaceState(null, "", base);
  }
  return sessionStorage.getItem(remembered);
}

/** The URL of a key or a directory. */
export function urlOf(path) {
  return base.href + path.split("/").map(encodeURIComponent).join("/");
}

async function ask(url, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(url, { ...options, headers });
  if (answer.ok || answer.status === 404) return answer;
  if (answer.status === 401) {
    throw new Error("This server wants a token: open the address that was printed when it was started.");
  }
  throw new Error(`The server answered ${answer.status} ${answer.statusText}.`);
}

async function json(path, question) {
  const answer = await ask(`${urlOf(path)}${path ? "/" : ""}?${question}`);
  if (!answer.ok) throw new Error("Nothing is here.");
  return answer.json();
}

/** What a group or an array is, and what is one level below it. */
export const node = (path) => json(path, "node");

/** How many chunks of an array are stored, in how many bytes. */
export const stored = (path) => json(path, "stored");

/** What zarrita.js reads a directory from, any name in its path included: its keys begin with a slash. */
export function storeAt(path) {
  async function get(key, options) {
    const answer = await ask(urlOf(path ? path + key : key.slice(1)), options);
    return answer.ok ? new Uint8Array(await answer.arrayBuffer()) : undefined;
  }
  function getRange(key, range, options = {}) {
    const asked = "suffixLength" in range
      ? `-${range.suffixLength}`
      : `${range.offset}-${range.offset + range.length - 1}`;
    return get(key, { ...options, headers: { ...options.headers, Range: `bytes=${asked}` } });
  }
  return { get, getRange };
}
