// The panel beside a world. Offers class Inspector: agents as buttons, and what the chosen one saw, heard, said, did.

const MOST_ROWS = 16; // messages of one list

class Inspector {
  constructor(panel, recording, choose) {
    this.recording = recording;
    this.choose = choose;
    panel.querySelector(".whose").textContent = plain(recording.title);
    this.names = panel.querySelector(".agents");
    this.body = panel.querySelector(".agent");
    this.buttons = Array.from({ length: recording.agents }, (_, agent) => this.button(agent));
    this.names.append(...this.buttons.map((button) => element("li", {}, button)));
  }

  button(agent, label = `Agent ${agent}`) {
    const button = element("button", { type: "button", class: "chip", "aria-label": label }, String(agent));
    button.style.setProperty("--chip", agentColour(agent));
    button.style.color = textOn(agentColour(agent));
    button.addEventListener("click", () => this.choose(agent));
    return button;
  }

  show(view) {
    const step = Math.min(view.step, this.recording.steps);
    this.buttons.forEach((button, agent) => {
      button.setAttribute("aria-pressed", String(agent === view.agent));
      button.classList.toggle("gone", !this.recording.alive(step, agent));
    });
    const found = view.agent >= 0 && view.agent < this.recording.agents ? this.agent(view, step) : this.team(step);
    const open = new Set([...this.body.querySelectorAll("details[open]")].map((each) => each.dataset.what));
    this.body.replaceChildren(...found);
    for (const each of this.body.querySelectorAll("details")) each.open = open.has(each.dataset.what);
  }

  team(step) {
    const { recording } = this;
    const rows = [];
    const end = step >= recording.steps;
    for (let agent = 0; agent < Math.min(recording.agents, 60); agent++) {
      const alive = recording.alive(step, agent);
      const act = !alive ? "out" : end ? (recording.finished(step, agent) ? "done" : "at the end") : actionWord(recording, step, agent);
      rows.push(
        element("tr", {}, element("th", { scope: "row" }, `Agent ${agent}`), element("td", {}, act), element("td", { class: "number" }, short(this.earned(step, agent)))),
      );
    }
    const head = element("tr", {}, ...["Agent", end ? "State" : "Action", "Return"].map((word) => element("th", { scope: "col" }, word)));
    const table = element("table", { class: "team" }, element("thead", {}, head), element("tbody", {}, ...rows));
    const hint = element("p", { class: "hint" }, "Choose an agent, here or in the picture, to see what it observes, hears, says and does.");
    return recording.agents > 60 ? [hint, table, element("p", { class: "hint" }, `and ${recording.agents - 60} more`)] : [hint, table];
  }

  // Rewards of an agent before a state.
  earned(state, agent) {
    if (!this.recording.has("rewards")) return undefined;
    let sum = 0;
    for (let step = 0; step < state; step++) sum += this.recording.reward(step, agent);
    return sum;
  }

  agent(view, step) {
    const { recording } = this;
    const { agent } = view;
    const [x, y] = recording.place(step, agent);
    const state = !recording.alive(step, agent) ? "out" : recording.finished(step, agent) ? "done" : "";
    const facts = [
      ...recording.marksAt(step, agent).map(([name, number]) => [`${name[0].toUpperCase()}${name.slice(1)}`, number]),
      ["Place", `row ${short(y)}, column ${short(x)}`],
      ["Return so far", short(this.earned(step, agent))],
      ["Value", recording.has("values") && step < recording.steps ? short(recording.row("values", step)[agent]) : undefined],
      ["Reward now", step < recording.steps ? short(recording.reward(step, agent)) : undefined],
    ].filter(([, value]) => value !== undefined);
    const mark = element("span", { class: "mark", "aria-hidden": "true" }, String(agent));
    mark.style.setProperty("--chip", agentColour(agent));
    mark.style.color = textOn(agentColour(agent));
    const all = element("button", { type: "button", class: "back", "aria-label": "All agents" }, "All");
    all.addEventListener("click", () => this.choose(-1));
    const head = element("header", {}, mark, element("h3", {}, `Agent ${agent}`), state ? element("span", { class: "state" }, state) : "", all);
    const list = element("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    if (step >= recording.steps) return [head, list, element("p", { class: "hint" }, "The episode is over: nobody decides here.")];
    return [head, list, ...this.decision(step, agent), ...this.heard(view, step), ...this.spoken(view, step), ...this.observed(step, agent)];
  }

  decision(step, agent) {
    const { recording } = this;
    const chances = recording.row("chances", step, agent);
    const parts = [heading("Does", actionWord(recording, step, agent))];
    if (!chances) return parts;
    const taken = recording.row("actions", step)[agent];
    const order = Array.from(chances.keys());
    if (order.length > 12) order.sort((one, other) => chances[other] - chances[one]).splice(12);
    const rows = order.map((code) => {
      const bar = element("span", { class: "bar" });
      bar.style.setProperty("--share", Number.isFinite(chances[code]) ? chances[code] : 0);
      const name = element("span", { class: "name" }, nameOfAction(recording, code));
      const share = element("span", { class: "number" }, Number.isNaN(chances[code]) ? "\u2013" : `${(100 * chances[code]).toFixed(1)} %`);
      return element("li", code === taken ? { class: "taken" } : {}, name, bar, share);
    });
    return [...parts, element("ul", { class: "chances", "aria-label": "Probabilities of actions" }, ...rows)];
  }

  heard(view, step) {
    const { recording } = this;
    const { messages, lost } = recording;
    const mine = recording.messagesAt(step, view.round).filter((number) => messages.receiver[number] === view.agent);
    const gone = recording.lostAt(step, view.round).filter((number) => lost.receiver[number] === view.agent);
    mine.sort((one, other) => messages.round[one] - messages.round[other] || Math.abs(messages.weight[other]) - Math.abs(messages.weight[one]));
    const rows = mine.slice(0, MOST_ROWS).map((number) => this.message(number, messages.sender[number], true));
    rows.push(
      ...gone.slice(0, MOST_ROWS).map((number) => {
        const sender = lost.sender[number];
        const badge = element("span", { class: "badge lost" }, "lost");
        return element("li", {}, element("div", { class: "from" }, this.button(sender, `From agent ${sender}`), this.roundOf(lost.round[number]), badge));
      }),
    );
    const rest = mine.length + gone.length - rows.length;
    if (rest > 0) rows.push(element("li", { class: "hint" }, `and ${rest} more`));
    const some = recording.messagesAt(step).length < recording.countAt(step) ? " of the heaviest" : "";
    const count = plural(mine.length, "message") + some;
    return rows.length ? [heading("Hears", count), element("ul", { class: "heard" }, ...rows)] : [heading("Hears", "nothing")];
  }

  message(number, other, weighed) {
    const { recording } = this;
    const { messages } = recording;
    const age = messages.age[number];
    const badges = [];
    if (age > 0) badges.push(element("span", { class: "badge late" }, age === 1 ? "1 step late" : `${age} steps late`));
    if (age < 0) badges.push(element("span", { class: "badge echo" }, "not sent now"));
    const line = element("div", { class: "from" }, this.button(other, `${weighed ? "From" : "To"} agent ${other}`), this.roundOf(messages.round[number]), ...badges);
    if (weighed) {
      const weight = messages.weight[number];
      const bar = element("span", { class: "bar" });
      bar.style.setProperty("--share", recording.share(number));
      line.append(bar, element("span", { class: "number" }, recording.attention ? `${Math.round(100 * weight)} %` : short(weight)));
      line.title = recording.attention ? "attention" : "weight";
    }
    return element("li", {}, line, ...this.contents(number, `Message of agent ${messages.sender[number]}`));
  }

  roundOf(round) {
    return this.recording.rounds > 1 ? element("span", { class: "round" }, `round ${round + 1}`) : "";
  }

  // What a message says: symbols where the codec has some, and the numbers that are read.
  contents(number, what) {
    const { recording } = this;
    const row = recording.said?.[number];
    if (row === undefined) return [];
    const found = [];
    const symbols = recording.row("symbols", row);
    if (symbols?.length) {
      const shown = Array.from(symbols.slice(0, 64), (symbol) => element("span", { class: "symbol" }, String(symbol)));
      found.push(element("div", { class: "symbols", role: "group", "aria-label": `${what}: symbols` }, ...shown));
    }
    const vector = recording.row("vectors", row);
    if (vector?.length) found.push(heat(vector, recording.scale("vectors"), what));
    return found;
  }

  spoken(view, step) {
    const { recording } = this;
    const { messages } = recording;
    const rows = [];
    for (let round = 0; round < recording.rounds; round++) {
      if (view.round >= 0 && view.round !== round) continue;
      const mine = recording.messagesAt(step, round).filter((number) => messages.sender[number] === view.agent && !(messages.age[number] > 0));
      const lost = recording.lostAt(step, round).filter((number) => recording.lost.sender[number] === view.agent).length;
      const bits = recording.row("bits", step, round)?.[view.agent];
      const facts = [];
      if (recording.has("spoke")) facts.push(recording.open(step, round, view.agent) ? "gate open" : "gate closed");
      if (bits !== undefined) facts.push(plural(Math.round(bits), "bit"));
      facts.push(mine.length ? `read by ${mine.length <= 8 ? mine.map((number) => messages.receiver[number]).join(", ") : plural(mine.length, "agent")}` : "read by nobody");
      if (lost) facts.push(`${lost} lost`);
      const line = element("div", { class: "from" }, this.roundOf(round), element("span", {}, facts.join(" \u00b7 ")));
      const distinct = [...new Map(mine.map((number) => [recording.said?.[number], number])).values()];
      rows.push(element("li", {}, line, ...distinct.slice(0, 4).flatMap((number) => this.contents(number, `Message of agent ${view.agent}`))));
    }
    return rows.length ? [heading("Says", ""), element("ul", { class: "heard" }, ...rows)] : [heading("Says", "nothing")];
  }

  observed(step, agent) {
    const seen = this.recording.row("observations", step, agent);
    if (!seen) return [];
    return [heading("Observes", plural(seen.length, "number")), heat(seen, this.recording.scale("observations"), "Observation")];
  }
}

function heading(word, rest) {
  return element("h4", {}, word, " ", element("span", {}, rest));
}
