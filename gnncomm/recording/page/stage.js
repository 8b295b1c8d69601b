// The world of one episode on a canvas. Offers class Stage: draw(view), agentAt(x, y). A view is
// {step, part, agent, round, messages, trails}: part 0 is a state at rest, 0 to 1 the way to the next one.

const MESSAGE_PART = 0.62; // of a step, while messages flow; then agents move

class Stage {
  constructor(canvas, recording) {
    this.canvas = canvas;
    this.recording = recording;
    this.sparks = sparksOf(recording);
    this.seats = new Map();
    this.note = "";
  }

  resize(width, height) {
    const ratio = Math.min(globalThis.devicePixelRatio || 1, 3);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const { rows, columns } = this.recording;
    const margin = 14;
    const overhead = rows === 1 ? 2 : 0; // messages bend over a single row
    this.cell = Math.min((width - 2 * margin) / columns, (height - 2 * margin) / (rows + overhead));
    this.left = (width - this.cell * columns) / 2;
    this.top = (height - this.cell * rows) / 2;
    const { isGrid, agents } = this.recording; // without cells, as large as there is room for all
    const room = isGrid ? 0.31 * this.cell : (0.16 * Math.min(width, height)) / Math.sqrt(agents + 20);
    this.radius = Math.max(2.2, Math.min(room, 21));
    this.ratio = ratio;
    this.seats.clear();
    this.shade = null;
  }

  x(column) {
    return this.left + (column + 0.5) * this.cell;
  }

  y(row) {
    return this.top + (row + 0.5) * this.cell;
  }

  seatsAt(state) {
    if (!this.seats.has(state)) {
      if (this.seats.size > 64) this.seats.clear();
      this.seats.set(state, seatsOf(this.recording, state, this.radius / this.cell));
    }
    return this.seats.get(state);
  }

  draw(view) {
    const paint = this.canvas.getContext("2d");
    const colours = theme();
    paint.reset(); // a picture depends on nothing that was drawn before
    paint.scale(this.ratio, this.ratio);
    const step = Math.min(view.step, this.recording.steps);
    const over = step === this.recording.steps;
    const part = over ? 0 : view.part;
    this.note = "";
    this.moving = Math.max(0, (part - MESSAGE_PART) / (1 - MESSAGE_PART));
    this.spots = this.spotsAt(step, smooth(this.moving));
    drawGround(paint, colours, this, step);
    if (view.trails) drawTrails(paint, colours, this, view, step);
    this.drawEntities(paint, colours, step);
    if (view.messages && !over) drawMessages(paint, colours, this, view, step, Math.min(1, part / MESSAGE_PART));
    this.drawGone(paint, colours, step);
    this.drawAgents(paint, colours, view, step);
    if (!over) this.drawSparks(paint, colours, step, part);
    if (over && this.recording.success) this.drawSuccess(paint, colours);
  }

  // Where each agent is now, in pixels: {x, y, size, there}.
  spotsAt(step, share) {
    const { recording } = this;
    const [now, next] = [this.seatsAt(step), this.seatsAt(Math.min(step + 1, recording.steps))];
    const spots = [];
    for (let agent = 0; agent < recording.agents; agent++) {
      const jump = Math.hypot(next.x[agent] - now.x[agent], next.y[agent] - now.y[agent]) > 3.5;
      const stays = recording.alive(Math.min(step + 1, recording.steps), agent) && !jump;
      const along = stays ? share : 0;
      const between = (from, to) => from[agent] + (to[agent] - from[agent]) * along;
      spots.push({
        x: this.x(between(now.x, next.x)),
        y: this.y(between(now.y, next.y)),
        size: this.radius * between(now.size, next.size),
        there: recording.alive(step, agent) ? (stays ? 1 : 1 - share) : 0,
      });
    }
    return spots;
  }

  drawEntities(paint, colours, step) {
    const radius = Math.max(2.2, Math.min(0.24 * this.cell, 17));
    this.recording.entities.forEach((_, kind) => {
      const places = this.recording.row(`entity:${kind}`, step);
      const active = this.recording.row(`active:${kind}`, step);
      active?.forEach((there, number) => {
        const [x, y] = [this.x(places[2 * number + 1]), this.y(places[2 * number])];
        const path = shapePath(ENTITY_SHAPES[kind % ENTITY_SHAPES.length], x, y, radius);
        paint.fillStyle = there ? colours.ink : colours.gold;
        paint.strokeStyle = there ? colours.stage : colours.ink;
        paint.lineWidth = Math.max(0.8, radius / 9);
        paint.fill(path);
        paint.stroke(path);
      });
    });
  }

  // A small cross where an agent fell, for good or for a few steps.
  drawGone(paint, colours, step) {
    paint.strokeStyle = colours.muted;
    paint.lineWidth = Math.max(1, this.radius / 6);
    for (const { agent, last } of this.goneAt(step)) {
      const [column, row] = this.recording.place(last, agent);
      const [x, y, reach] = [this.x(column), this.y(row), 0.45 * this.radius];
      paint.globalAlpha = Math.max(0.35, 1 - 0.2 * (step - last));
      paint.beginPath();
      paint.moveTo(x - reach, y - reach);
      paint.lineTo(x + reach, y + reach);
      paint.moveTo(x - reach, y + reach);
      paint.lineTo(x + reach, y - reach);
      paint.stroke();
    }
    paint.globalAlpha = 1;
  }

  // Who is out after having been there: {agent, last state}.
  goneAt(step) {
    if (this.gone?.step === step) return this.gone.found;
    const { recording } = this;
    const found = [];
    for (let agent = 0; agent < recording.agents; agent++) {
      let last = step;
      while (last >= 0 && !recording.alive(last, agent)) last--;
      if (last >= 0 && last < step) found.push({ agent, last });
    }
    this.gone = { step, found };
    return found;
  }

  drawAgents(paint, colours, view, step) {
    const order = this.spots.map((_, agent) => agent);
    if (view.agent >= 0) order.push(...order.splice(view.agent, 1)); // the chosen one on top
    paint.textAlign = "center";
    paint.textBaseline = "middle";
    for (const agent of order) {
      const { x, y, size, there } = this.spots[agent];
      if (!there) continue;
      paint.globalAlpha = there;
      const colour = agentColour(agent);
      const path = shapePath(agentShape(agent), x, y, size);
      if (agent === view.agent) this.drawRing(paint, x, y, (this.recording.finished(step, agent) ? 1.32 : 1) * size + 5, colours.ink, 2.5);
      paint.fillStyle = colour;
      paint.fill(path);
      paint.lineWidth = Math.max(0.8, size / 8);
      paint.strokeStyle = mix(colour, "#101418", 0.45);
      paint.stroke(path);
      if (this.recording.finished(step, agent)) this.drawRing(paint, x, y, 1.32 * size, colours.gold, Math.max(1.2, size / 6));
      if (size >= 6.5) {
        paint.fillStyle = textOn(colour);
        paint.font = `600 ${Math.round(size * (agent > 99 ? 0.78 : 1.02))}px system-ui, sans-serif`;
        paint.fillText(String(agent), x, y + 0.06 * size);
      }
      if (this.recording.marks.length) this.drawMarks(paint, colours, step, agent, this.spots[agent]);
      if (this.recording.gated && size >= 5 && this.silent(view, step, agent)) this.drawSilence(paint, colours, x, y, size);
    }
    paint.globalAlpha = 1;
  }

  drawMarks(paint, colours, step, agent, { x, y, size }) {
    const marks = this.recording.marksAt(step, agent);
    if (!marks.length || size < 5) return;
    const text = marks.map(([name, number]) => (this.cell > 72 ? `${plain(name)} ${number}` : number)).join(" \u00b7 ");
    paint.font = `600 ${Math.round(Math.max(9, 0.62 * size))}px system-ui, sans-serif`;
    const [width, height] = [paint.measureText(text).width + 0.7 * size, 1.05 * size];
    const top = y + 1.25 * size;
    paint.fillStyle = paint.strokeStyle = colours.card;
    paint.beginPath();
    paint.roundRect(x - width / 2, top, width, height, height / 2);
    paint.fill();
    paint.strokeStyle = agentColour(agent);
    paint.lineWidth = 1.4;
    paint.stroke();
    paint.fillStyle = colours.ink;
    paint.fillText(text, x, top + 0.54 * height);
  }

  silent(view, step, agent) {
    const { rounds, steps } = this.recording;
    if (step >= steps || !view.messages) return false;
    const all = Array.from({ length: rounds }, (_, round) => round).filter((round) => view.round < 0 || view.round === round);
    return all.every((round) => !this.recording.open(step, round, agent));
  }

  drawRing(paint, x, y, radius, colour, width) {
    paint.strokeStyle = colour;
    paint.lineWidth = width;
    paint.beginPath();
    paint.arc(x, y, radius, 0, 2 * Math.PI);
    paint.stroke();
  }

  // A closed gate: a small disc with a bar.
  drawSilence(paint, colours, x, y, size) {
    const [cx, cy, radius] = [x + 0.85 * size, y - 0.85 * size, Math.max(3.5, 0.38 * size)];
    paint.fillStyle = colours.card;
    paint.beginPath();
    paint.arc(cx, cy, radius, 0, 2 * Math.PI);
    paint.fill();
    this.drawRing(paint, cx, cy, radius, colours.muted, 1.3);
    paint.beginPath();
    paint.moveTo(cx - 0.55 * radius, cy);
    paint.lineTo(cx + 0.55 * radius, cy);
    paint.stroke();
  }

  drawSparks(paint, colours, step, part) {
    const rise = part > MESSAGE_PART ? this.moving : part ? -1 : 0;
    if (rise < 0) return;
    const earned = this.sparks.get(part ? step : step - 1) ?? [];
    if (earned.length > 40) return;
    paint.font = `700 ${Math.max(11, Math.min(15, 0.8 * this.radius))}px system-ui, sans-serif`;
    paint.textAlign = "center";
    paint.lineWidth = 3.5;
    paint.lineJoin = "round";
    for (const { agent, reward } of earned) {
      const { x, y, size } = this.spots[agent];
      const text = `${reward > 0 ? "+" : "\u2212"}${short(Math.abs(reward))}`;
      paint.globalAlpha = part ? Math.min(1, 2 * rise) : 0.95;
      const top = y - size - 8 - 4 * (part ? rise : 1);
      paint.strokeStyle = colours.stage;
      paint.strokeText(text, x, top);
      paint.fillStyle = reward > 0 ? colours.said : colours.lost;
      paint.fillText(text, x, top);
    }
    paint.globalAlpha = 1;
  }

  drawSuccess(paint, colours) {
    const { rows, columns } = this.recording;
    paint.strokeStyle = colours.gold;
    paint.lineWidth = 3;
    paint.beginPath();
    paint.roundRect(this.left - 4, this.top - 4, columns * this.cell + 8, rows * this.cell + 8, 8);
    paint.stroke();
  }

  // The agent whose mark is at this pixel, or -1.
  agentAt(x, y) {
    let [nearest, least] = [-1, Infinity];
    this.spots.forEach((spot, agent) => {
      const distance = Math.hypot(spot.x - x, spot.y - y);
      if (spot.there && distance < least && distance < Math.max(14, 1.4 * spot.size)) [nearest, least] = [agent, distance];
    });
    return nearest;
  }
}

function smooth(share) {
  return share * share * (3 - 2 * share);
}
