// Texts and elements. Offers element, short, counted, plural, actionWord, describe. Texts become nodes of text, never markup.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (child instanceof Node ? child : plain(child))));
  return made;
}

// Line separators and characters that turn the direction of a line have no business in a name.
function plain(text) {
  return String(text).replace(/[\u2028\u2029\u202a-\u202e\u2066-\u2069\u0000-\u001f]/g, " ");
}

function short(value) {
  if (value === undefined || Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en").replace("-", "\u2212");
  const digits = Number.isInteger(value) ? 0 : size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.095 ? 2 : 3;
  return value.toFixed(digits).replace("-", "\u2212");
}

function counted(count) {
  return count.toLocaleString("en");
}

function plural(count, one, many = `${one}s`) {
  return `${counted(count)} ${count === 1 ? one : many}`;
}

function actionWord(recording, step, agent) {
  const row = recording.row("actions", step);
  if (!row) return "\u2013";
  const width = row.length / recording.agents;
  if (recording.arrays.get("actions").shape.length === 3) {
    return Array.from(row.slice(agent * width, (agent + 1) * width), short).join(", ");
  }
  return nameOfAction(recording, row[agent]);
}

function nameOfAction(recording, code) {
  return recording.actionNames[code] ?? `action ${code}`;
}

// One step in a sentence or three.
function describe(recording, events, state) {
  const parts = [`Step ${counted(Math.min(state, recording.steps))} of ${counted(recording.steps)}.`];
  if (state < recording.steps) {
    const count = recording.countAt(state);
    parts.push(count ? `${plural(count, "message")} read.` : "No message is read.");
    const lost = recording.lostAt(state).length;
    if (lost) parts.push(`${plural(lost, "message")} lost.`);
    const bits = recording.values("curve:bits")?.[state];
    if (bits) parts.push(`${plural(Math.round(bits), "bit")} on the wire.`);
    if (recording.agents <= 6 && recording.has("actions")) {
      const acts = [];
      for (let agent = 0; agent < recording.agents; agent++) {
        if (recording.alive(state, agent)) acts.push(`${agent}: ${actionWord(recording, state, agent)}`);
      }
      if (acts.length) parts.push(`Actions ${acts.join(", ")}.`);
    }
  }
  const now = events.filter((event) => event.state === state).map((event) => event.text);
  if (now.length) {
    const said = now.slice(0, 4).join(", ") + (now.length > 4 ? ` and ${now.length - 4} more` : "");
    parts.push(`${said[0].toUpperCase()}${said.slice(1)}.`);
  }
  return parts.join(" ");
}
