// An array drawn: its last two dimensions as a picture, a slider for each of the others.
import { open, get, slice } from "./?asset=zarrita.js";
import { storeAt } from "./?asset=server.js";
import { element, message } from "./?asset=element.js";
import { curve, numbers, percentile, picture, ramp, SCALES } from "./?asset=draw.js";

const WINDOW = 1024; // how many elements are drawn along a dimension, at most
const WORDS = 100; // how many values are shown as text, at most

/** The view of an array, or of the smallest level of an OME-NGFF image; empty for other nodes. */
export function viewOf(path, facts) {
  if (facts.shape) return arrayView(path, facts.dimension_names);
  const image = (facts.attributes?.ome?.multiscales ?? facts.attributes?.multiscales)?.[0];
  return Array.isArray(image?.datasets) ? levelsView(path, facts, image) : "";
}

function levelsView(path, facts, image) {
  const levels = image.datasets
    .map(({ path: name }) => ({ name, shape: facts.children.find((child) => child.name === name)?.shape }))
    .sort((one, other) => product(one.shape) - product(other.shape));
  const names = image.axes?.map((axis) => axis.name ?? axis);
  const place = element("div");
  const show = (name) => place.replaceChildren(arrayView(path ? `${path}/${name}` : name, names));
  const choice = element("select", { change: (event) => show(event.target.value) },
    ...levels.map(({ name, shape }) =>
      element("option", { value: name }, shape ? `${name}: ${shape.join(" × ")}` : name)));
  show(levels[0].name);
  return element("div", {}, element("div", { class: "row" }, element("label", {}, "Level", choice)), place);
}

const product = (shape) => (shape ? shape.reduce((all, size) => all * size, 1) : Infinity);

function arrayView(path, names) {
  const place = element("div", {}, element("p", { class: "faint" }, "Reading…"));
  open(storeAt(path), { kind: "array" })
    .then((array) => place.replaceChildren(...new View(array, names).parts))
    .catch((error) => place.replaceChildren(refusal(error)));
  return element("div", {}, element("h2", {}, "Values"), place);
}

const refusal = (error) => message(new Error("It can't be shown here.", { cause: error.cause ?? error }));

class View {
  constructor(array, names) {
    this.array = array;
    this.name = (at) => names?.[at] ?? array.dimensionNames?.[at] ?? `dimension ${at}`;
    this.at = array.shape.map(() => 0); // the index, or for what is drawn the first one
    this.plain = Math.max(0, array.shape.length - 2); // the first dimension that is drawn
    this.canvas = element("canvas", {
      tabindex: 0, role: "img", keydown: (event) => this.step(event), pointermove: (event) => this.point(event),
    });
    this.readout = element("output", { "aria-live": "polite" });
    this.range = element("output");
    this.place = element("div", {}, this.canvas);
    this.cursor = null;
    this.controls = this.colours();
    this.parts = [...this.sliders(), this.controls, this.place, element("p", {}, this.readout)];
    this.read();
  }

  sliders() {
    return this.array.shape.map((size, at) => {
      const last = at < this.plain ? size - 1 : size - WINDOW;
      if (last <= 0) return null;
      const told = element("output", {}, "0");
      const input = (event) => {
        this.at[at] = Number(event.target.value);
        told.textContent = event.target.value;
        this.read();
      };
      const text = at < this.plain ? this.name(at) : `${this.name(at)} from`;
      return element("div", { class: "row" },
        element("label", {}, text, element("input", { type: "range", min: 0, max: last, value: 0, input }), told));
    }).filter(Boolean);
  }

  colours() {
    const bound = (name, value) => {
      this[name] = value;
      const input = (event) => {
        this[name] = Number(event.target.value);
        this.draw();
      };
      return element("input", { type: "number", min: 0, max: 100, step: 0.5, value, input });
    };
    this.scale = "viridis";
    const choose = (event) => {
      this.scale = event.target.value;
      this.draw();
    };
    this.ramp = element("canvas", { class: "ramp", width: 256, height: 1, role: "presentation" });
    return element("div", { class: "row" },
      element("label", {}, "From percentile", bound("low", 1)),
      element("label", {}, "to", bound("high", 99)),
      element("label", {}, "Colours", element("select", { change: choose },
        ...Object.keys(SCALES).map((name) => element("option", { selected: name === this.scale }, name)))),
      element("span", {}, this.ramp, " ", this.range));
  }

  selection() {
    return this.array.shape.map((size, at) =>
      at < this.plain ? this.at[at] : slice(this.at[at], Math.min(size, this.at[at] + WINDOW)));
  }

  /** Read what is to be drawn; an answer that was overtaken by the next one is dropped. */
  async read() {
    this.reading?.abort();
    const reading = (this.reading = new AbortController());
    this.canvas.setAttribute("aria-busy", "true");
    try {
      const found = await get(this.array, this.selection(), { signal: reading.signal });
      if (reading.signal.aborted) return;
      this.take(found);
    } catch (error) {
      if (!reading.signal.aborted) this.place.replaceChildren(refusal(error));
    }
  }

  take(found) {
    const { data, shape } = found?.data ? found : { data: [found], shape: [] };
    const values = numbers(data);
    if (!values || !shape.length) {
      const words = Array.from(data).slice(0, WORDS).map(String).join("\n");
      this.controls.hidden = true;
      this.place.replaceChildren(element("pre", { tabindex: 0 }, words));
      return;
    }
    this.values = values;
    [this.height, this.width] = shape.length === 1 ? [1, shape[0]] : shape;
    this.place.replaceChildren(this.canvas);
    this.draw();
    this.canvas.setAttribute("aria-busy", "false");
  }

  draw() {
    if (!this.values) return;
    const [low, high] = percentile(this.values, [this.low, this.high]);
    this.range.textContent = `${short(low)} to ${short(high)}`;
    this.canvas.setAttribute("aria-label", `${this.height} × ${this.width} values from ${short(low)} to ${short(high)}`);
    ramp(this.ramp, SCALES[this.scale]);
    this.controls.hidden = this.height === 1;
    if (this.height === 1) curve(this.canvas, this.values);
    else picture(this.canvas, this.values, this.width, this.height, low, high, SCALES[this.scale]);
  }

  /** Tell the value below the pointer. */
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (at, start, size, count) => Math.min(count - 1, Math.max(0, Math.floor(((at - start) / size) * count)));
    this.tell(part(event.clientY, box.top, box.height, this.height), part(event.clientX, box.left, box.width, this.width));
  }

  /** Go from value to value by the arrow keys. */
  step(event) {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
    if (down === undefined || !this.values) return;
    event.preventDefault();
    const [row, column] = this.cursor ?? [0, 0];
    this.tell(Math.min(this.height - 1, Math.max(0, row + down)), Math.min(this.width - 1, Math.max(0, column + right)));
  }

  tell(row, column) {
    if (!this.values) return;
    this.cursor = [row, column];
    const inside = this.array.shape.length === 1 ? [column] : [row, column];
    const place = this.at.map((first, at) => (at < this.plain ? first : first + inside[at - this.plain]));
    this.readout.textContent = `[${place.join(", ")}] = ${this.values[row * this.width + column]}`;
  }
}

const short = (number) => String(Number(number.toPrecision(5)));
