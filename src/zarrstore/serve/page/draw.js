// Drawing numbers: percentiles, colour scales, a picture of two dimensions, a curve of one.

const SAMPLE = 1 << 16; // how many values percentiles are taken from, at most

/** Colour scales by a few of their colours, from low to high. */
export const SCALES = {
  viridis: [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]],
  grey: [[0, 0, 0], [255, 255, 255]],
};

/** Values as numbers that can be drawn; null if they are none. */
export function numbers(data) {
  if (typeof data.get === "function") data = Array.from({ length: data.length }, (_, at) => data.get(at));
  const kind = typeof data[0];
  if (kind === "bigint" || kind === "boolean") return Float64Array.from(data, Number);
  return kind === "number" ? data : null;
}

/** The values below which so many percent of all lie. */
export function percentile(values, percents) {
  const step = Math.max(1, Math.floor(values.length / SAMPLE));
  const sample = [];
  for (let at = 0; at < values.length; at += step) if (Number.isFinite(values[at])) sample.push(values[at]);
  sample.sort((one, other) => one - other);
  return percents.map((percent) => sample[Math.round((Math.min(100, Math.max(0, percent)) / 100) * (sample.length - 1))] ?? 0);
}

/** The colours of a scale, 256 of them. */
function table(scale) {
  return Array.from({ length: 256 }, (_, number) => {
    const place = (number / 255) * (scale.length - 1);
    const at = Math.min(scale.length - 2, Math.floor(place));
    return scale[at].map((from, channel) => from + (scale[at + 1][channel] - from) * (place - at));
  });
}

/** Draw rows of values, each a pixel; what is no number stays transparent. */
export function picture(canvas, values, width, height, low, high, scale) {
  const colours = table(scale);
  const factor = high > low ? 255 / (high - low) : 0;
  const image = new ImageData(width, height);
  for (let at = 0; at < values.length; at++) {
    if (Number.isNaN(values[at])) continue;
    const colour = colours[Math.min(255, Math.max(0, Math.round((values[at] - low) * factor)))];
    image.data.set(colour, 4 * at);
    image.data[4 * at + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  enlarge(canvas);
}

/** Show few values large, and many as they are. */
function enlarge(canvas) {
  const factor = Math.max(1, Math.floor(512 / Math.max(canvas.width, canvas.height)));
  canvas.style.width = `${canvas.width * factor}px`;
}

/** Draw values as a curve. */
export function curve(canvas, values) {
  const [low, high] = percentile(values, [0, 100]);
  canvas.width = 640;
  canvas.height = 240;
  canvas.style.width = "640px";
  const context = canvas.getContext("2d");
  context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--link") || "blue";
  context.lineWidth = 1.5;
  context.beginPath();
  let drawing = false;
  for (let at = 0; at < values.length; at++) {
    const x = 4 + (632 * at) / Math.max(1, values.length - 1);
    const y = 236 - (high > low ? (232 * (values[at] - low)) / (high - low) : 116);
    if (Number.isFinite(y)) context[drawing ? "lineTo" : "moveTo"](x, y);
    drawing = Number.isFinite(y);
  }
  context.stroke();
}

/** Draw a colour scale. */
export function ramp(canvas, scale) {
  const all = Float32Array.from({ length: 256 }, (_, number) => number);
  const context = canvas.getContext("2d");
  const image = new ImageData(256, 1);
  const colours = table(scale);
  all.forEach((number) => image.data.set([...colours[number], 255], 4 * number));
  context.putImageData(image, 0, 0);
}
