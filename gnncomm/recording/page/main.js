// Puts the page together. `replay` holds its parts, for the console of the browser.

const by = (selector, root = document) => root.querySelector(selector);

function worldOf(recording, events, player) {
  const place = by("#world").content.cloneNode(true).firstElementChild;
  by("h2", place).textContent = plain(recording.title);
  const outcome = by(".outcome", place);
  outcome.textContent = recording.success ? "success" : "no success";
  outcome.classList.toggle("success", recording.success);
  const total = recording.values("curve:return").at(-1);
  by(".facts-line", place).textContent = [
    ...(recording.title === recording.env ? [] : [plain(recording.env)]),
    plural(recording.agents, "agent"),
    plural(recording.steps, "step"),
    `seed ${recording.seed}`,
    `return ${short(total)}`,
  ].join(" \u00b7 ");
  const canvas = by("canvas.stage", place);
  const stage = new Stage(canvas, recording);
  canvas.addEventListener("click", (event) => {
    const agent = stage.agentAt(event.offsetX, event.offsetY);
    player.choose(agent < 0 ? player.view.agent : agent);
  });
  canvas.addEventListener("pointermove", (event) => {
    canvas.style.cursor = stage.agentAt(event.offsetX, event.offsetY) < 0 ? "default" : "pointer";
  });
  const own = by("canvas.own", place);
  own.hidden = !recording.has("pictures");
  const picture = own.hidden ? null : new Picture(own, recording);
  place.classList.toggle("with-picture", !own.hidden);
  by(".worlds").append(place);
  const inspector = new Inspector(by(".inspector", place), recording, (agent) => player.choose(agent));
  return { place, canvas, stage, picture, inspector, words: by(".words", place), note: by(".note", place), recording, events };
}

function layOut(worlds, strip) {
  strip.resize(by(".strip").parentElement.clientWidth);
  const wide = matchMedia("(min-width: 860px)").matches;
  const around = by(".top").offsetHeight + by(".timeline").offsetHeight + by(".title").offsetHeight + 84;
  const tallest = Math.max(wide ? 300 : 240, innerHeight - around);
  for (const { canvas, stage, picture, place, recording } of worlds) {
    const width = canvas.clientWidth;
    const shape = (recording.rows + (recording.rows === 1 ? 2 : 0)) / recording.columns;
    const height = Math.round(Math.max(Math.min(200, width), Math.min(tallest, width * shape + 28)));
    stage.resize(width, height);
    picture?.resize(width, tallest);
    place.style.setProperty("--stage-height", `${Math.max(height, wide ? 300 : 0)}px`);
  }
}

function legendOf(recordings) {
  const any = (test) => recordings.some(test);
  const shown = {
    said: any(({ messages }) => messages.sender.length > 0),
    late: any(({ messages }) => messages.age.some((age) => age > 0)),
    echo: any(({ messages }) => messages.age.some((age) => age < 0)),
    lost: any(({ lost }) => lost.sender.length > 0),
    gate: any(({ gated }) => gated),
    done: any((recording) => recording.values("finished").includes(1)),
    out: any((recording) => recording.values("alive").includes(0)),
    width: any(({ attention }) => attention),
  };
  for (const item of document.querySelectorAll(".legend [data-for]")) item.hidden = !shown[item.dataset.for];
  const kinds = [...new Map(recordings.flatMap((recording) => recording.entities.map((name, kind) => [name, kind])))];
  const symbols = { star: "\u2605", diamond: "\u25c6", plus: "\u271a", triangle: "\u25b2" };
  by(".legend").append(
    ...kinds.map(([name, kind]) => element("li", {}, element("b", { class: "glyph", "aria-hidden": "true" }, symbols[ENTITY_SHAPES[kind % 4]]), name)),
  );
}

function tellMissing(recordings) {
  const unknown = ["observations", "chances", "values", "said", "bits", "spoke", "lost:count", "rewards"];
  const words = { said: "what messages say", chances: "probabilities of actions", spoke: "gates", "lost:count": "lost messages" };
  for (const recording of recordings) {
    const dropped = recording.missing.join("; ");
    const silent = !recording.messages.sender.length;
    const absent = unknown.filter((name) => !recording.has(name) && !(name === "said" && silent) && !dropped.includes(words[name] ?? name)).map((name) => words[name] ?? name);
    const texts = [...recording.missing, ...(absent.length ? [`not in this recording: ${absent.join(", ")}`] : [])];
    if (!texts.length) continue;
    const title = recordings.length > 1 ? `${recording.title}: ` : "";
    by(".missing ul").append(...texts.map((text) => element("li", {}, title + text)));
    by(".missing").hidden = false;
  }
}

function roundButtons(player) {
  const box = by(".rounds");
  box.hidden = player.rounds < 2;
  const choices = [["all", -1], ...Array.from({ length: player.rounds }, (_, round) => [String(round + 1), round])];
  return choices.map(([label, round]) => {
    const button = element("button", { type: "button", "aria-label": round < 0 ? "All rounds" : `Round ${label}` }, label);
    button.addEventListener("click", () => player.set({ round }));
    box.append(button);
    return { button, round };
  });
}

function connect(player, strip, rounds) {
  const act = (selector, what) => by(selector).addEventListener("click", what);
  act("#play", () => player.play());
  act("#first", () => player.seek(0));
  act("#back", () => player.seek(player.view.step - 1));
  act("#next", () => player.seek(player.view.step + 1));
  act("#last", () => player.seek(player.steps));
  act("#slower", () => player.faster(-1));
  act("#faster", () => player.faster(1));
  act("#messages", () => player.set({ messages: !player.view.messages }));
  act("#trails", () => player.set({ trails: !player.view.trails }));
  const slider = by("#time");
  slider.max = player.steps;
  slider.addEventListener("input", () => player.seek(Number(slider.value)));
  const lanes = by(".strip");
  const drag = (event) => event.buttons & 1 && player.seek(strip.stepAt(event.offsetX));
  lanes.addEventListener("pointerdown", (event) => {
    lanes.setPointerCapture(event.pointerId);
    drag(event);
  });
  lanes.addEventListener("pointermove", drag);
  document.addEventListener("keydown", (event) => player.key(event));
  addEventListener("hashchange", () => location.hash !== player.hash && player.goTo(location.hash));
  return rounds;
}

async function begin() {
  const recordings = (await readWorlds()).map((world) => new Recording(world));
  const largestOf = (name) => Math.max(...recordings.map((recording) => recording[name]));
  const sizes = { steps: largestOf("steps"), agents: largestOf("agents"), rounds: largestOf("rounds") };
  const events = recordings.map(eventsOf);
  let show = () => {};
  const player = new Player(sizes, () => show());
  document.body.classList.toggle("pair", recordings.length > 1);
  const worlds = recordings.map((recording, place) => worldOf(recording, events[place], player));
  const strip = new Strip(by(".strip"), by(".lanes"), recordings, events);
  const rounds = roundButtons(player);
  legendOf(recordings);
  tellMissing(recordings);
  if (recordings.length > 1) by("#steps .world-column").hidden = false;
  const fill = fillTable(by("#steps"), recordings, events, (step) => player.seek(step));
  connect(player, strip, rounds);
  show = shower(player, worlds, strip, rounds);
  const refresh = () => {
    layOut(worlds, strip);
    show(true);
  };
  const watchPixels = () => {
    const same = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    same.addEventListener("change", () => (refresh(), watchPixels()), { once: true });
  };
  watchPixels();
  addEventListener("resize", refresh);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("on-paper");
    if (!by("#steps tbody").childElementCount) fill();
    refresh();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("on-paper");
    refresh();
  });
  document.body.classList.remove("loading");
  layOut(worlds, strip);
  player.goTo(location.hash);
  globalThis.replay = { recordings, worlds, player, strip, events };
}

// Draws what has changed: the pictures always, texts when the step or the choice has.
function shower(player, worlds, strip, rounds) {
  let [before, told, later] = ["", 0, 0];
  const writeTexts = () => {
    const { view } = player;
    for (const { inspector, words, recording, events } of worlds) {
      inspector.show(view);
      const text = plain(describe(recording, events, Math.min(view.step, recording.steps)));
      if (words.textContent !== text) words.textContent = text;
    }
  };
  return (whole = false) => {
    const { view } = player;
    for (const { stage, picture, note } of worlds) {
      stage.draw(view);
      picture?.draw(Math.min(view.step, player.steps));
      if (note.textContent !== stage.note) note.textContent = stage.note;
    }
    const now = JSON.stringify([view.step, view.agent, view.round, view.messages, view.trails, player.playing, player.speed]);
    if (now === before && !whole) return;
    before = now;
    strip.draw(view.step);
    showControls(player, rounds);
    clearTimeout(later);
    if (!player.playing || performance.now() - told > 120) {
      told = performance.now();
      for (const { words } of worlds) words.setAttribute("aria-live", player.playing ? "off" : "polite");
      writeTexts();
    }
    if (!player.playing) later = setTimeout(remember, 150, player.hash);
  };
}

function remember(hash) {
  if (location.protocol !== "about:") history.replaceState(null, "", hash); // a frame of a notebook has no address
}

function showControls(player, rounds) {
  const { view } = player;
  by("#time").value = view.step;
  by("#time").setAttribute("aria-valuetext", `step ${view.step} of ${player.steps}`);
  by("#now").value = counted(view.step);
  by("#of").textContent = `/ ${counted(player.steps)}`;
  by("#speed").value = `${player.speed} / s`;
  by("#play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  by("#play").classList.toggle("playing", player.playing);
  for (const name of ["messages", "trails"]) by(`#${name}`).setAttribute("aria-pressed", String(view[name]));
  for (const { button, round } of rounds) button.setAttribute("aria-pressed", String(round === view.round));
}

begin().catch((error) => {
  document.body.classList.remove("loading");
  by("#trouble").textContent = `This page cannot be shown: ${error.message}`;
  by("#trouble").hidden = false;
  throw error;
});
