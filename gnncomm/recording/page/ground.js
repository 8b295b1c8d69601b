// What lies below agents. Offers drawGround(paint, colours, stage, step): cells and the background, and
// drawTrails(paint, colours, stage, view, step): the ways that agents came.

const TRAIL = 14; // states

function drawGround(paint, colours, stage, step) {
  const { rows, columns, isGrid } = stage.recording;
  const [width, height] = [columns * stage.cell, rows * stage.cell];
  paint.fillStyle = colours.stage;
  paint.beginPath();
  paint.roundRect(stage.left - 4, stage.top - 4, width + 8, height + 8, 8);
  paint.fill();
  if (stage.recording.has("field")) drawField(paint, colours, stage, step, width, height);
  if (!isGrid || stage.cell < 7) return;
  paint.strokeStyle = colours.grid;
  paint.lineWidth = stage.cell > 24 ? 1.5 : 1;
  paint.beginPath();
  for (let column = 1; column < columns; column++) {
    paint.moveTo(stage.left + column * stage.cell, stage.top);
    paint.lineTo(stage.left + column * stage.cell, stage.top + height);
  }
  for (let row = 1; row < rows; row++) {
    paint.moveTo(stage.left, stage.top + row * stage.cell);
    paint.lineTo(stage.left + width, stage.top + row * stage.cell);
  }
  paint.stroke();
}

function drawField(paint, colours, stage, step, width, height) {
  const { values, shape } = stage.recording.arrays.get("field");
  const state = Math.min(step, shape[0] - 1);
  const key = `${state} ${colours.field}`;
  if (stage.shade?.key !== key) {
    const picture = document.createElement("canvas");
    [picture.height, picture.width] = [shape[1], shape[2]];
    const brush = picture.getContext("2d");
    const image = brush.createImageData(shape[2], shape[1]);
    const most = stage.recording.scale("field");
    const tint = channels(colours.field);
    const row = shape[1] * shape[2];
    for (let i = 0; i < row; i++) {
      const share = Math.sqrt(Math.max(0, values[state * row + i]) / most);
      image.data.set([...tint, Math.round(210 * share)], 4 * i);
    }
    brush.putImageData(image, 0, 0);
    stage.shade = { key, picture };
  }
  paint.imageSmoothingEnabled = true;
  paint.drawImage(stage.shade.picture, stage.left, stage.top, width, height);
}

function drawTrails(paint, colours, stage, view, step) {
  const { recording } = stage;
  const length = recording.agents <= 24 ? TRAIL : recording.agents <= 120 ? 6 : 3;
  const onField = recording.has("field");
  paint.lineCap = onField ? "butt" : "round";
  for (let agent = 0; agent < recording.agents; agent++) {
    const own = view.agent === agent;
    const first = own ? Math.max(0, step - 60) : Math.max(0, step - length);
    for (let state = first; state <= step; state++) {
      if (!recording.alive(state, agent)) continue;
      const seats = stage.seatsAt(state);
      const start = [stage.x(seats.x[agent]), stage.y(seats.y[agent])];
      let end = [stage.spots[agent].x, stage.spots[agent].y];
      if (state < step) {
        const next = stage.seatsAt(state + 1);
        if (!recording.alive(state + 1, agent)) continue;
        end = [stage.x(next.x[agent]), stage.y(next.y[agent])];
      }
      if (Math.hypot(end[0] - start[0], end[1] - start[1]) > 3.5 * stage.cell) continue;
      const age = (state - first + 1) / (step - first + 1);
      const strength = own ? 0.85 : view.agent >= 0 ? 0.28 : 0.6;
      // Over a plain ground mixed colours, whose joints do not show.
      paint.strokeStyle = onField ? agentColour(agent) : mix(colours.stage, agentColour(agent), strength * age);
      paint.globalAlpha = onField ? strength * age : 1;
      paint.lineWidth = stage.radius * (0.14 + 0.22 * age);
      paint.beginPath();
      paint.moveTo(...start);
      paint.lineTo(...end);
      paint.stroke();
    }
  }
  paint.globalAlpha = 1;
}
