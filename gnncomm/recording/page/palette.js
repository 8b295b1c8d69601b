// Colours and shapes. Offers theme() (the colours of page.css), agentColour, textOn, shapePath, mix, diverging.

// Okabe and Ito 2008: told apart by all kinds of sight. Beyond eight agents the shape changes, too.
const AGENT_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8A8F98"];
const AGENT_SHAPES = ["disc", "square", "diamond", "hexagon", "triangle"];
const ENTITY_SHAPES = ["star", "diamond", "plus", "triangle"];
const THEME_NAMES = ["paper", "card", "stage", "grid", "ink", "muted", "hair", "said", "late", "lost", "echo", "gold", "low", "high", "field"];

function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(THEME_NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function agentColour(agent) {
  return AGENT_COLOURS[agent % AGENT_COLOURS.length];
}

function agentShape(agent) {
  return AGENT_SHAPES[Math.floor(agent / AGENT_COLOURS.length) % AGENT_SHAPES.length];
}

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function luminance(colour) {
  const [red, green, blue] = channels(colour).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Black or white, whichever stands out more from a colour.
function textOn(colour) {
  return luminance(colour) > 0.179 ? "#101418" : "#FFFFFF";
}

function mix(colour, other, share) {
  const [one, two] = [channels(colour), channels(other)];
  const parts = one.map((value, i) => Math.round(value * (1 - share) + two[i] * share));
  return `#${parts.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

// A number from -1 to 1 as a colour: low, the card's own at zero, high.
function diverging(value, colours) {
  if (Number.isNaN(value)) return colours.hair;
  const share = Math.min(1, Math.abs(value)) ** 0.75;
  return mix(colours.card, value < 0 ? colours.low : colours.high, share);
}

function polygon(path, x, y, radius, corners, turn) {
  for (let corner = 0; corner < corners; corner++) {
    const angle = turn + (2 * Math.PI * corner) / corners;
    path.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  path.closePath();
}

// A shape of about the area of a disc of this radius.
function shapePath(shape, x, y, radius) {
  const path = new Path2D();
  if (shape === "square") path.roundRect(x - 0.9 * radius, y - 0.9 * radius, 1.8 * radius, 1.8 * radius, 0.3 * radius);
  else if (shape === "diamond") polygon(path, x, y, 1.22 * radius, 4, 0);
  else if (shape === "hexagon") polygon(path, x, y, 1.1 * radius, 6, 0);
  else if (shape === "triangle") polygon(path, x, y + 0.12 * radius, 1.3 * radius, 3, -Math.PI / 2);
  else if (shape === "star") {
    for (let corner = 0; corner < 10; corner++) {
      const reach = (corner % 2 ? 0.52 : 1.25) * radius;
      const angle = -Math.PI / 2 + (Math.PI * corner) / 5;
      path.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
    }
    path.closePath();
  } else if (shape === "plus") {
    const [arm, half] = [1.05 * radius, 0.36 * radius];
    path.rect(x - arm, y - half, 2 * arm, 2 * half);
    path.rect(x - half, y - arm, 2 * half, 2 * arm);
  } else if (shape === "cross") {
    for (const side of [-radius, radius]) {
      path.moveTo(x - radius, y + side);
      path.lineTo(x + radius, y - side);
    }
  } else path.arc(x, y, radius, 0, 2 * Math.PI);
  return path;
}
