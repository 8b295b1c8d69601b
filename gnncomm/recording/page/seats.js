// Where agents are drawn. Offers seatsOf(recording, state, radius) -> {x, y, size} per agent, in cells, and
// size as a share of the usual one. Agents in one cell stand in a ring, so that none hides another.

function seatsOf(recording, state, radius) {
  const count = recording.agents;
  const seats = { x: new Float32Array(count), y: new Float32Array(count), size: new Float32Array(count).fill(1) };
  const cells = new Map();
  for (let agent = 0; agent < count; agent++) {
    [seats.x[agent], seats.y[agent]] = recording.place(state, agent);
    if (!recording.isGrid || !recording.alive(state, agent)) continue;
    const cell = `${seats.x[agent]},${seats.y[agent]}`;
    if (!cells.has(cell)) cells.set(cell, []);
    cells.get(cell).push(agent);
  }
  const taken = entityCells(recording, state);
  for (const [cell, members] of cells) {
    const busy = taken.has(cell);
    if (members.length === 1 && !busy) continue;
    const sine = Math.sin(Math.PI / Math.max(members.length, 2));
    const ring = Math.min(0.3, Math.max(busy ? 0.28 : 0, (1.1 * radius) / sine));
    const size = Math.min(busy ? 0.8 : 1, members.length === 1 ? 1 : (0.95 * ring * sine) / radius);
    members.forEach((agent, place) => {
      const angle = -0.75 * Math.PI + (2 * Math.PI * place) / members.length;
      seats.x[agent] += ring * Math.cos(angle);
      seats.y[agent] += ring * Math.sin(angle);
      seats.size[agent] = size;
    });
  }
  return seats;
}

function entityCells(recording, state) {
  const cells = new Set();
  recording.entities.forEach((_, kind) => {
    const places = recording.row(`entity:${kind}`, state) ?? [];
    for (let i = 0; i < places.length; i += 2) cells.add(`${places[i + 1]},${places[i]}`);
  });
  return cells;
}
