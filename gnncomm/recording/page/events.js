// What happens in an episode. Offers eventsOf(recording) -> [{state, kind, agent?, text}] in order of time, and
// sparksOf(recording) -> step -> [{agent, reward}]: rewards larger than the usual one.

const KINDS_OF_EVENTS = { done: "arrival", out: "death", entity: "entity", success: "success", end: "end" };

function eventsOf(recording) {
  const found = [];
  for (let agent = 0; agent < recording.agents; agent++) {
    for (let state = 1; state <= recording.steps; state++) {
      if (recording.finished(state, agent) && !recording.finished(state - 1, agent)) {
        found.push({ state, kind: "done", agent, text: `agent ${agent} is done` });
      }
      if (!recording.alive(state, agent) && recording.alive(state - 1, agent) && state < recording.steps) {
        found.push({ state, kind: "out", agent, text: `agent ${agent} is out` });
      }
    }
  }
  recording.entities.forEach((name, kind) => {
    const { values = [], shape: [, count = 0] = [] } = recording.arrays.get(`active:${kind}`) ?? {};
    for (let i = count; i < values.length; i++) {
      if (values[i] || !values[i - count]) continue;
      const text = count === 1 ? `${name} is done` : `${name} ${i % count} is done`;
      found.push({ state: Math.floor(i / count), kind: "entity", text });
    }
  });
  const end = recording.success ? ["success", "the episode ends in success"] : ["end", "the episode ends without success"];
  found.push({ state: recording.steps, kind: end[0], text: end[1] });
  return found.sort((one, other) => one.state - other.state);
}

function sparksOf(recording) {
  const rewards = recording.values("rewards") ?? [];
  const counts = new Map();
  for (const reward of rewards) counts.set(reward, (counts.get(reward) ?? 0) + 1);
  const [usual, times] = [...counts].reduce((most, one) => (one[1] > most[1] ? one : most), [0, 0]);
  const found = new Map();
  if (times < 0.6 * rewards.length) return found; // every step has its own reward: nothing stands out
  rewards.forEach((reward, i) => {
    if (Math.abs(reward) <= Math.abs(usual)) return;
    const step = Math.floor(i / recording.agents);
    if (!found.has(step)) found.set(step, []);
    found.get(step).push({ agent: i % recording.agents, reward });
  });
  return found;
}
