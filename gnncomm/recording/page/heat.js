// Numbers as rows of small coloured cells. Offers heat(values, scale, what) -> element: a picture that says in words
// what it is, and the numbers themselves to open.

const HEAT_COLUMNS = 32;
const MOST_NUMBERS = 512;

function heat(values, scale, what) {
  const count = Math.min(values.length, MOST_NUMBERS);
  const columns = Math.min(count, HEAT_COLUMNS) || 1;
  const rows = Math.ceil(count / columns) || 1;
  const [width, height] = [10, rows > 1 ? 10 : 16];
  const canvas = element("canvas", { class: "heat", role: "img" });
  canvas.setAttribute("aria-label", `${what}: ${values.length} numbers from ${short(least(values))} to ${short(most(values))}`);
  [canvas.width, canvas.height] = [2 * width * columns, 2 * height * rows];
  canvas.style.width = `${width * columns}px`;
  const paint = canvas.getContext("2d");
  const colours = theme();
  for (let i = 0; i < count; i++) {
    const [x, y] = [2 * width * (i % columns), 2 * height * Math.floor(i / columns)];
    paint.fillStyle = diverging(values[i] / scale, colours);
    paint.fillRect(x + 1, y + 1, 2 * width - 2, 2 * height - 2);
    paint.strokeStyle = colours.hair;
    paint.lineWidth = 1;
    paint.strokeRect(x + 1.5, y + 1.5, 2 * width - 3, 2 * height - 3);
  }
  const more = values.length > count ? ` ... and ${values.length - count} more` : "";
  const numbers = element("details", { class: "numbers", "data-what": what }, element("summary", {}, "numbers"));
  numbers.addEventListener("toggle", () => {
    if (numbers.childElementCount > 1) return;
    numbers.append(element("code", {}, Array.from(values.slice(0, count), short).join("  ") + more));
  });
  return element("div", { class: "heat-row" }, canvas, numbers);
}

function least(values) {
  return values.reduce((one, other) => Math.min(one, other), Infinity);
}

function most(values) {
  return values.reduce((one, other) => Math.max(one, other), -Infinity);
}
