// One recorded episode. Offers class Recording: states 0 ... T, decisions 0 ... T - 1, agents, messages by step.

class Recording {
  constructor({ head, arrays }) {
    Object.assign(this, head);
    this.arrays = arrays;
    this.rows = head.size[0];
    this.columns = head.size[1];
    this.places = this.values("places");
    this.isGrid = this.places.every(Number.isInteger);
    this.said = this.values("said");
    this.messages = this.byStep(["round", "sender", "receiver", "weight", "age"], "");
    this.lost = this.byStep(["round", "sender", "receiver"], "lost:");
    this.heaviest = largest(this.messages.weight);
    this.gated = this.values("spoke")?.includes(0) ?? false;
    this.scales = new Map();
  }

  has(name) {
    return this.arrays.has(name);
  }

  values(name) {
    return this.arrays.get(name)?.values;
  }

  // Row `index` of an array, along all of its axes but the last.
  row(name, ...index) {
    const found = this.arrays.get(name);
    if (!found) return undefined;
    const axes = found.shape.slice(0, index.length);
    const width = found.shape.slice(index.length).reduce((product, size) => product * size, 1);
    const at = index.reduce((sum, place, axis) => sum * axes[axis] + place, 0) * width;
    return found.values.subarray(at, at + width);
  }

  byStep(names, prefix) {
    const counts = this.values(`${prefix}count`);
    const start = new Uint32Array(this.steps + 1);
    if (counts) counts.forEach((count, step) => (start[step + 1] = start[step] + count));
    return { start, ...Object.fromEntries(names.map((name) => [name, this.values(prefix + name) ?? []])) };
  }

  // Numbers of the messages of a step, of all rounds (-1) or one.
  messagesAt(step, round = -1) {
    return numbersAt(this.messages, step, round);
  }

  // How many messages were read in a step, also where only the heaviest are kept.
  countAt(step) {
    return this.values("curve:messages")[step] ?? 0;
  }

  lostAt(step, round = -1) {
    return numbersAt(this.lost, step, round);
  }

  place(state, agent) {
    const at = 2 * (state * this.agents + agent);
    return [this.places[at + 1], this.places[at]]; // x before y
  }

  alive(state, agent) {
    return this.values("alive")[state * this.agents + agent] === 1;
  }

  finished(state, agent) {
    return this.values("finished")[state * this.agents + agent] === 1;
  }

  // Numbers at an agent: [[name, number]], for example what it was told.
  marksAt(state, agent) {
    return this.marks
      .map((name, kind) => [name, this.row(`mark:${kind}`, state)[agent]])
      .filter(([, number]) => number >= 0);
  }

  reward(step, agent) {
    return this.values("rewards")?.[step * this.agents + agent];
  }

  open(step, round, agent) {
    return this.row("spoke", step, round)?.[agent] !== 0;
  }

  // Width of a message's line, from 0 to 1: attention as it is, other weights beside the heaviest.
  share(number) {
    const weight = Math.abs(this.messages.weight[number] ?? 1);
    return Math.min(1, this.attention ? weight : this.heaviest ? (0.4 * weight) / this.heaviest : 0.4);
  }

  // What is drawn darkest among all numbers of an array.
  scale(name) {
    if (!this.scales.has(name)) this.scales.set(name, largest(this.values(name) ?? []) || 1);
    return this.scales.get(name);
  }
}

function numbersAt(rows, step, round) {
  const found = [];
  for (let i = rows.start[step] ?? 0; i < (rows.start[step + 1] ?? 0); i++) {
    if (round < 0 || rows.round[i] === round) found.push(i);
  }
  return found;
}

function largest(values) {
  let most = 0;
  for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
  return most;
}
