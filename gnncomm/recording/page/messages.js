// Messages as lines from sender to receiver. Offers drawMessages(paint, colours, stage, view, step, flow):
// flow 0 shows all at rest, between 0 and 1 they travel, round after round.

const MOST_LINES = 1500; // of one picture; the heaviest
const MOST_COMETS = 400;

function drawMessages(paint, colours, stage, view, step, flow) {
  const { recording } = stage;
  const lines = linesOf(recording, view, step);
  const shown = heaviest(lines, view.agent);
  if (shown.length < lines.length) stage.note = `${counted(shown.length)} of ${plural(lines.length, "message")} drawn`;
  paint.lineCap = "round";
  const fine = Math.max(0.4, Math.min(1, stage.radius / 11)); // lines suit the agents that they join
  for (const line of shown) {
    const path = curve(stage, line, recording.rounds > 1 ? line.round : 0);
    if (path) drawLine(paint, colours, line, path, lit(line, recording, view, flow), shown.length, view, fine);
  }
  paint.setLineDash([]);
  paint.globalAlpha = 1;
}

function linesOf(recording, view, step) {
  const { messages, lost } = recording;
  const lines = recording.messagesAt(step, view.round).map((number) => ({
    kind: kindOf(messages.age[number]),
    round: messages.round[number],
    sender: messages.sender[number],
    receiver: messages.receiver[number],
    share: recording.share(number),
  }));
  const gone = recording.lostAt(step, view.round).map((number) => ({
    kind: "lost",
    round: lost.round[number],
    sender: lost.sender[number],
    receiver: lost.receiver[number],
    share: 0.25,
  }));
  return [...lines, ...gone];
}

// In time, late, or an echo (a repetition or an invention of the channel).
function kindOf(age) {
  return age === undefined || age === 0 ? "said" : age > 0 ? "late" : "echo";
}

function heaviest(lines, agent) {
  if (lines.length <= MOST_LINES) return lines;
  const own = (line) => (line.sender === agent || line.receiver === agent ? 2 : 0);
  return [...lines].sort((one, other) => own(other) + other.share - own(one) - one.share).slice(0, MOST_LINES);
}

// How far a message has come: {brightness, head}; head is null at rest.
function lit(line, recording, view, flow) {
  if (!flow) return { bright: 1, head: null };
  const rounds = view.round < 0 ? recording.rounds : 1;
  const own = flow * rounds - (view.round < 0 ? line.round : 0);
  if (own <= 0) return { bright: 0.1, head: null };
  if (own >= 1) return { bright: flow >= 1 ? 0.4 : 0.75, head: null };
  return { bright: 0.25 + 0.5 * own, head: own };
}

// A quadratic curve in pixels: [x0, y0, cx, cy, x1, y1], bent more in later rounds; null where there is no room.
function curve(stage, { sender, receiver }, round) {
  const [from, to] = [stage.spots[sender], stage.spots[receiver]];
  if (!from.there && !to.there) return null;
  if (sender === receiver) {
    const [x, y, reach] = [from.x, from.y - from.size, 1.5 * from.size];
    return [x - 0.5 * from.size, y, x, y - 2 * reach, x + 0.5 * from.size, y];
  }
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const distance = Math.hypot(dx, dy);
  if (distance < 1) return null;
  const near = distance < 3 * stage.radius;
  const bend = near ? 0.75 : 0.16 + 0.11 * round;
  const [cx, cy] = [(from.x + to.x) / 2 - bend * dy, (from.y + to.y) / 2 + bend * dx];
  const start = towards(from, cx, cy, from.size + 1);
  const end = towards(to, cx, cy, to.size + 3);
  return [...start, cx, cy, ...end];
}

function towards({ x, y }, tx, ty, reach) {
  const distance = Math.hypot(tx - x, ty - y) || 1;
  return [x + ((tx - x) * reach) / distance, y + ((ty - y) * reach) / distance];
}

function pointOn([x0, y0, cx, cy, x1, y1], at) {
  const rest = 1 - at;
  return [rest * rest * x0 + 2 * rest * at * cx + at * at * x1, rest * rest * y0 + 2 * rest * at * cy + at * at * y1];
}

function drawLine(paint, colours, line, path, { bright, head }, crowd, view, fine) {
  const [x0, y0, cx, cy, x1, y1] = path;
  const chosen = view.agent < 0 || line.sender === view.agent || line.receiver === view.agent;
  const thin = Math.min(1, Math.sqrt(30 / crowd));
  const faded = !chosen ? 0.13 : view.agent >= 0 ? 1 : 0.12 + 0.88 * thin;
  const strength = (0.22 + 0.78 * Math.sqrt(line.share)) * faded;
  const width = (0.9 + 4.6 * line.share) * fine * (chosen && view.agent >= 0 ? 1 : 0.2 + 0.8 * thin);
  const colour = colours[line.kind];
  paint.globalAlpha = strength * bright;
  paint.strokeStyle = colour;
  paint.lineWidth = width;
  paint.setLineDash({ said: [], late: [7, 6], echo: [1, 5], lost: [3, 5] }[line.kind]);
  paint.beginPath();
  paint.moveTo(x0, y0);
  paint.quadraticCurveTo(cx, cy, x1, y1);
  paint.stroke();
  paint.setLineDash([]);
  if (line.kind === "lost") drawCross(paint, pointOn(path, 0.5), colour, strength);
  else if (head === null && crowd <= 600) drawTip(paint, path, colour, width);
  if (head !== null && crowd <= MOST_COMETS && !(line.kind === "lost" && head > 0.5)) {
    drawComet(paint, line, path, head, width, strength);
  }
}

function drawTip(paint, [, , cx, cy, x1, y1], colour, width) {
  const angle = Math.atan2(y1 - cy, x1 - cx);
  const reach = 4 + 1.6 * width;
  paint.fillStyle = colour;
  paint.beginPath();
  paint.moveTo(x1 + 1.5 * Math.cos(angle), y1 + 1.5 * Math.sin(angle));
  for (const side of [-0.42, 0.42]) paint.lineTo(x1 - reach * Math.cos(angle + side), y1 - reach * Math.sin(angle + side));
  paint.closePath();
  paint.fill();
}

function drawCross(paint, [x, y], colour, strength) {
  paint.globalAlpha = Math.min(1, 2 * strength);
  paint.strokeStyle = colour;
  paint.lineWidth = 2;
  paint.stroke(shapePath("cross", x, y, 4));
}

// A light in the sender's colour, with a tail.
function drawComet(paint, line, path, head, width, strength) {
  const colour = agentColour(line.sender);
  paint.strokeStyle = colour;
  for (let piece = 6; piece > 0; piece--) {
    const [start, end] = [Math.max(0, head - 0.055 * piece), Math.max(0, head - 0.055 * (piece - 1))];
    paint.globalAlpha = strength * (1 - piece / 7);
    paint.lineWidth = width * (1.25 - 0.12 * piece) + 0.6;
    paint.beginPath();
    paint.moveTo(...pointOn(path, start));
    paint.lineTo(...pointOn(path, end));
    paint.stroke();
  }
  const [x, y] = pointOn(path, head);
  paint.globalAlpha = Math.min(1, 1.4 * strength);
  paint.fillStyle = colour;
  paint.beginPath();
  paint.arc(x, y, 2.2 + 0.75 * width, 0, 2 * Math.PI);
  paint.fill();
}
