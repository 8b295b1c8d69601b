// Curves and events below the time axis. Offers class Strip: draw(step), stepAt(x).

const LANES = [
  { name: "return", word: "Return", line: true },
  { name: "bits", word: "Bits" },
  { name: "messages", word: "Messages", unless: "bits" },
  { name: "entropy", word: "entropy", of: "Attention ", line: true },
];
const LANE_HEIGHT = 34;
const EVENT_HEIGHT = 18;
const EDGE = 9; // half of the slider's thumb: so the curves stand exactly below it

class Strip {
  constructor(canvas, labels, recordings, events) {
    this.canvas = canvas;
    this.recordings = recordings;
    this.events = events;
    this.steps = Math.max(...recordings.map((recording) => recording.steps));
    const known = (name) => recordings.some((recording) => recording.has(`curve:${name}`));
    this.lanes = LANES.filter((lane) => known(lane.name) && !(lane.unless && known(lane.unless)));
    this.ranges = this.lanes.map((lane) => rangeOf(this.curves(lane)));
    this.values = this.lanes.map((lane) => {
      const values = recordings.map(() => element("output", {}));
      const word = element("span", {}, element("span", { class: "of" }, lane.of ?? ""), lane.word);
      labels.append(element("div", { class: "lane" }, word, element("div", { class: "values" }, ...values)));
      return values;
    });
    this.height = EVENT_HEIGHT + LANE_HEIGHT * this.lanes.length;
  }

  curves(lane) {
    return this.recordings.map((recording) => recording.values(`curve:${lane.name}`) ?? []);
  }

  resize(width) {
    this.width = width;
    this.ratio = Math.min(globalThis.devicePixelRatio || 1, 3);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    this.canvas.style.height = `${this.height}px`;
    this.still = null;
  }

  x(state) {
    return EDGE + (state / this.steps) * (this.width - 2 * EDGE);
  }

  stepAt(x) {
    const share = (x - EDGE) / (this.width - 2 * EDGE);
    return Math.max(0, Math.min(this.steps, Math.round(share * this.steps)));
  }

  draw(step) {
    const paint = this.canvas.getContext("2d");
    const colours = theme();
    paint.reset();
    if (this.still?.key !== colours.paper) this.still = { key: colours.paper, picture: this.drawStill(colours) };
    paint.drawImage(this.still.picture, 0, 0);
    paint.scale(this.ratio, this.ratio);
    paint.strokeStyle = colours.ink;
    paint.lineWidth = 1.5;
    paint.beginPath();
    paint.moveTo(this.x(step), 0);
    paint.lineTo(this.x(step), this.height);
    paint.stroke();
    this.lanes.forEach((lane, place) => {
      this.curves(lane).forEach((curve, world) => {
        const at = lane.name === "return" ? Math.min(step, curve.length) - 1 : step;
        this.values[place][world].value = at < 0 ? "0" : short(curve[at]);
      });
    });
  }

  // All but the mark of the present: drawn once.
  drawStill(colours) {
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [this.canvas.width, this.canvas.height];
    const paint = picture.getContext("2d");
    paint.scale(this.ratio, this.ratio);
    this.lanes.forEach((lane, place) => {
      const top = EVENT_HEIGHT + place * LANE_HEIGHT;
      paint.fillStyle = colours.stage;
      paint.beginPath();
      paint.roundRect(EDGE - 4, top + 2, this.width - 2 * EDGE + 8, LANE_HEIGHT - 4, 4);
      paint.fill();
      const curves = this.curves(lane);
      curves.forEach((curve, world) => this.drawCurve(paint, colours, lane, curve, this.ranges[place], top, world, curves.length));
    });
    this.events.forEach((events, world) => {
      for (const event of thinned(events, this.x.bind(this))) drawEvent(paint, colours, event, this.x(event.state), 9, world);
    });
    return picture;
  }

  drawCurve(paint, colours, lane, curve, [low, high], top, world, worlds) {
    const y = (value) => top + LANE_HEIGHT - 6 - ((value - low) / (high - low || 1)) * (LANE_HEIGHT - 12);
    const colour = world ? colours.late : colours.said;
    paint.strokeStyle = paint.fillStyle = colour;
    if (lane.line) {
      paint.lineWidth = 1.8;
      paint.setLineDash(world ? [5, 3] : []);
      paint.beginPath();
      const stride = Math.max(1, Math.floor(curve.length / (2 * this.width)));
      let pen = false;
      const shift = lane.name === "return" ? 1 : 0;
      if (shift) paint.moveTo(this.x(0), y(0));
      pen = shift === 1;
      for (let step = 0; step < curve.length; step += stride) {
        if (Number.isNaN(curve[step])) pen = false;
        else if (pen) paint.lineTo(this.x(step + shift), y(curve[step]));
        else paint.moveTo(this.x(step), y(curve[step])), paint.lineTo(this.x(Math.min(step + 0.5, this.steps)), y(curve[step])), (pen = true);
      }
      paint.stroke();
      paint.setLineDash([]);
      return;
    }
    const slot = (this.width - 2 * EDGE) / this.steps;
    const gap = slot > 6 ? 1.5 : 0;
    paint.globalAlpha = 0.85;
    for (let pixel = 0; pixel < curve.length; pixel += Math.max(1, 1 / slot)) {
      const step = Math.floor(pixel);
      let value = 0;
      for (let i = step; i < Math.min(curve.length, Math.floor(pixel + Math.max(1, 1 / slot))); i++) value = Math.max(value, curve[i]);
      const wide = Math.max(1, slot - gap) / worlds;
      paint.fillRect(this.x(step) + gap / 2 + world * wide, y(value), wide, y(0) - y(value) + 1);
    }
    paint.globalAlpha = 1;
  }
}

function rangeOf(curves) {
  let [low, high] = [0, 0];
  for (const curve of curves) {
    for (const value of curve) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return [low, high];
}

// No more than one event of a kind for every six pixels.
function thinned(events, x) {
  const last = new Map();
  return events.filter((event) => {
    const place = x(event.state);
    if (place - (last.get(event.kind) ?? -Infinity) < 6) return false;
    last.set(event.kind, place);
    return true;
  });
}

function drawEvent(paint, colours, event, x, y, world) {
  const radius = 4.6;
  paint.lineWidth = 1.8;
  paint.strokeStyle = paint.fillStyle = event.agent === undefined ? colours.ink : mix(agentColour(event.agent), colours.ink, 0.2);
  y += world ? 3 : 0;
  if (event.kind === "out") {
    paint.stroke(shapePath("cross", x, y, 3.5));
  } else if (event.kind === "done") {
    paint.beginPath();
    paint.arc(x, y, radius - 0.6, 0, 2 * Math.PI);
    paint.fill();
  } else if (event.kind === "entity" || event.kind === "success") {
    paint.fillStyle = colours.gold;
    paint.strokeStyle = colours.ink;
    paint.lineWidth = 0.9;
    const path = event.kind === "entity" ? shapePath("diamond", x, y, radius) : shapePath("star", x, y, radius + 1);
    paint.fill(path);
    paint.stroke(path);
  } else {
    paint.fillRect(x - 1.5, y - 5, 3, 10);
  }
}
