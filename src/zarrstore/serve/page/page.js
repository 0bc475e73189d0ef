// The page: a tree of the hierarchy on one side, and on the other the node that the address names.
import { node, urlOf } from "./?asset=server.js";
import { element, message } from "./?asset=element.js";
import { Tree } from "./?asset=tree.js";
import { attributesOf, factsOf, uses } from "./?asset=facts.js";
import { viewOf } from "./?asset=view.js";

const main = document.getElementById("node");
const tree = new Tree(document.getElementById("tree"));
let shown = 0; // counts what was asked for, so that an answer that comes late isn't shown

/** The path behind the address's hash: "#/a/b" is "a/b". */
function pathHere() {
  return decodeURIComponent(location.hash).replace(/^#\/?/, "").replace(/\/+$/, "");
}

async function show() {
  const path = pathHere();
  const number = ++shown;
  tree.mark(path);
  document.getElementById("links").hidden = path !== ""; // they are those of the root
  document.title = path || "zarrstore";
  const content = [element("h1", {}, path || urlOf(""))];
  try {
    const facts = await node(path);
    content.push(factsOf(path, facts), viewOf(path, facts), attributesOf(facts), uses(path, facts));
  } catch (error) {
    content.push(message(error));
  }
  if (number === shown) main.replaceChildren(...content);
}

addEventListener("hashchange", async () => {
  await show();
  main.focus(); // so that a keyboard goes on where something changed
});
document.getElementById("tree").hidden = main.hidden = false;
await Promise.all([tree.start(), show()]);
