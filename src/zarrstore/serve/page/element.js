// Making elements: names and values of a store reach the page as text alone.

/** Make an element: `element("a", { href }, "text", other)`; a function among the properties listens. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Say what went wrong. */
export function message(error) {
  const cause = error.cause ? ` (${error.cause.message ?? error.cause})` : "";
  return element("p", { class: "error", role: "alert" }, `${error.message ?? error}${cause}`);
}

/** A number of bytes for people. */
export function sizeText(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const power = count < 1024 ? 0 : Math.min(5, Math.floor(Math.log2(count) / 10));
  return `${(count / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}
