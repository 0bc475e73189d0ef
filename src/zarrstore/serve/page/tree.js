// The hierarchy as a tree of links: a group is asked for what is below it when it is opened.
import { node } from "./?asset=server.js";
import { element, message } from "./?asset=element.js";

export class Tree {
  constructor(place) {
    this.place = place;
    this.current = "";
  }

  /** Show the root and what is one level below it. */
  async start() {
    this.place.replaceChildren(element("ul", {}, await this.branch("", "(root)", undefined, true)));
    this.mark(this.current);
  }

  /** Mark the node that is shown, and open the groups that it is in. */
  mark(path) {
    this.current = path;
    for (const link of this.place.querySelectorAll("a")) {
      if (link.dataset.path === path) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (path.startsWith(`${link.dataset.path}/`)) link.closest("details").open = true;
    }
  }

  link(path, name, facts) {
    const link = element("a", { href: `#/${encodeURIComponent(path).replaceAll("%2F", "/")}` }, name);
    link.dataset.path = path;
    return [link, facts?.shape ? element("span", { class: "faint" }, ` ${facts.shape.join(" × ")}`) : null];
  }

  async branch(path, name, facts, open) {
    const below = element("ul");
    const details = element("details", {}, element("summary", {}, ...this.link(path, name, facts)), below);
    let filled; // once only: what was opened in it stays as it is
    const fill = async () => {
      below.replaceChildren(...(await this.children(path)));
      this.mark(this.current);
    };
    details.addEventListener("toggle", () => (filled ??= fill()));
    if (open) {
      filled = fill();
      details.open = true;
      await filled;
    }
    return element("li", {}, details);
  }

  async children(path) {
    try {
      const { children, more } = await node(path);
      const items = children.map((child) => this.item(path ? `${path}/${child.name}` : child.name, child));
      if (more) items.push(element("li", { class: "leaf faint" }, `and ${more} more`));
      return await Promise.all(items.length ? items : [element("li", { class: "leaf faint" }, "nothing below")]);
    } catch (error) {
      return [element("li", {}, message(error))];
    }
  }

  item(path, facts) {
    return facts.shape
      ? element("li", { class: "leaf" }, ...this.link(path, facts.name, facts))
      : this.branch(path, facts.name, facts, false);
  }
}
