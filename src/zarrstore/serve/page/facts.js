// What is said of a node: its facts, its attributes, and how else it can be opened.
import { stored, token, urlOf } from "./?asset=server.js";
import { element, message, sizeText } from "./?asset=element.js";

/** A list of facts. */
export function factsOf(path, facts) {
  const lines = [];
  const line = (name, ...value) => lines.push(element("dt", {}, name), element("dd", {}, ...value));
  const kind = facts.shape ? "array" : facts.node;
  line("kind", kind ? `${kind} of Zarr ${facts.format}` : "directory without a document of Zarr");
  if (facts.shape) {
    line("shape", sizes(facts.shape, facts.dimension_names));
    line("type", `${facts.dtype}, filled with ${JSON.stringify(facts.fill_value)}`);
    line("chunks", sizes(facts.chunks));
    if (facts.shards) line("shards", sizes(facts.shards));
    line("codecs", facts.codecs.join(", ") || "none");
    const count = element("output", {}, "counting…");
    line("stored", count);
    tellStored(path, facts, count);
  } else if (facts.children.length) {
    line("below", `${facts.children.length + facts.more}`);
  }
  return element("dl", {}, ...lines);
}

/** The attributes, if there are any. */
export function attributesOf({ attributes }) {
  if (!Object.keys(attributes ?? {}).length) return "";
  const text = JSON.stringify(attributes, null, 2);
  return element("div", {}, element("h2", {}, "Attributes"), element("pre", { tabindex: 0 }, text));
}

function sizes(numbers, names) {
  return numbers.map((size, at) => (names?.[at] ? `${names[at]} ${size}` : size)).join(" × ") || "scalar";
}

async function tellStored(path, facts, place) {
  try {
    const found = await stored(path);
    const [count, all] = [found.chunks_stored, facts.chunks_in_all ?? "?"];
    place.textContent =
      `${count} of ${all} ${facts.shards ? "shards" : "chunks"}, ${sizeText(found.bytes_stored)}` +
      (facts.bytes_in_all === null ? "" : ` of ${sizeText(facts.bytes_in_all)}`);
  } catch (error) {
    place.replaceChildren(message(error));
  }
}

/** How the node is opened elsewhere: lines of Python, and viewers that read from here. */
export function uses(path, facts) {
  const url = urlOf(path);
  const headers = token ? ', storage_options={"headers": {"Authorization": "Bearer ..."}}' : "";
  const lines = [
    facts.shape ? `zarr.open_array("${url}", mode="r"${headers})` : `xarray.open_zarr("${url}"${headers})`,
  ];
  const viewers = token ? [] : [
    element("a", { href: neuroglancer(url, path), target: "_blank", rel: "noopener" }, "Open in neuroglancer"),
    element("a", { href: vizarr(url), target: "_blank", rel: "noopener" }, "Open in vizarr"),
    element("a", { href: path ? `${url}/` : url }, "Keys of this directory"),
  ];
  return element("div", {},
    element("h2", {}, "Use elsewhere"),
    ...lines.map((line) => element("div", { class: "copy" }, element("code", {}, line), copyButton(line))),
    element("div", { class: "row" }, ...viewers));
}

function copyButton(text) {
  return element("button", {
    type: "button",
    async click(event) {
      await navigator.clipboard.writeText(text);
      event.target.textContent = "Copied";
    },
  }, "Copy");
}

function neuroglancer(url, path) {
  const layer = { type: "auto", source: `${url}/|zarr:`, name: path.split("/").at(-1) || "data" };
  return `https://neuroglancer-demo.appspot.com/#!${encodeURIComponent(JSON.stringify({ layers: [layer] }))}`;
}

function vizarr(url) {
  return `https://hms-dbmi.github.io/vizarr/?source=${encodeURIComponent(url)}`;
}
