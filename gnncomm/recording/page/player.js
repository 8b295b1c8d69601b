// Time, choice and keys. Offers class Player: a view that changes, and who is told so.

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256]; // steps per second
const LONGEST = 60; // seconds an episode takes at first

class Player {
  constructor({ steps, agents, rounds }, changed) {
    Object.assign(this, { steps, agents, rounds, changed });
    this.view = { step: 0, part: 0, agent: -1, round: -1, messages: true, trails: true };
    this.playing = false;
    this.speed = SPEEDS.find((speed) => speed >= Math.max(1, steps / LONGEST)) ?? SPEEDS.at(-1);
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.before = 0;
  }

  set(changes) {
    Object.assign(this.view, changes);
    this.changed(this);
  }

  seek(step) {
    this.set({ step: Math.max(0, Math.min(this.steps, Math.round(step))), part: 0 });
  }

  choose(agent) {
    this.set({ agent: agent === this.view.agent ? -1 : Math.max(-1, Math.min(this.agents - 1, agent)) });
  }

  faster(by) {
    const place = SPEEDS.indexOf(this.speed) + by;
    this.speed = SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, place))];
    this.changed(this);
  }

  play(on = !this.playing) {
    if (on && this.view.step >= this.steps) Object.assign(this.view, { step: 0, part: 0 });
    this.playing = on;
    this.before = performance.now();
    if (on) requestAnimationFrame((now) => this.frame(now));
    else this.view.part = 0;
    this.changed(this);
  }

  frame(now) {
    if (!this.playing) return;
    const time = Math.max(0, now - this.before) / 1000;
    if (this.still.matches && time * this.speed < 1) {
      requestAnimationFrame((next) => this.frame(next)); // without motion: state after state
      return;
    }
    this.before = Math.max(now, this.before);
    const at = Math.min(this.steps, this.view.step + this.view.part + Math.min(time, 1) * this.speed);
    const step = this.still.matches ? Math.round(at) : Math.floor(at);
    this.view.step = step;
    this.view.part = this.still.matches ? 0 : at - step;
    if (step >= this.steps) this.play(false);
    else {
      this.changed(this);
      requestAnimationFrame((next) => this.frame(next));
    }
  }

  key(event) {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest?.("select, textarea")) return;
    if ((event.key === " " || event.key === "Enter") && target.closest?.("button, summary, a")) return;
    const stride = event.shiftKey ? 10 : 1;
    const acts = {
      " ": () => this.play(),
      ArrowLeft: () => this.seek(this.view.step - stride),
      ArrowRight: () => this.seek(this.view.step + stride),
      Home: () => this.seek(0),
      End: () => this.seek(this.steps),
      ArrowUp: () => this.choose(this.view.agent > 0 ? this.view.agent - 1 : this.agents - 1),
      ArrowDown: () => this.choose(this.view.agent < this.agents - 1 ? this.view.agent + 1 : 0),
      Escape: () => this.choose(-1),
      "+": () => this.faster(1),
      "=": () => this.faster(1),
      "-": () => this.faster(-1),
      r: () => this.set({ round: this.view.round + 1 < this.rounds ? this.view.round + 1 : -1 }),
      m: () => this.set({ messages: !this.view.messages }),
      t: () => this.set({ trails: !this.view.trails }),
    };
    if (!Object.hasOwn(acts, event.key)) return;
    event.preventDefault();
    acts[event.key]();
  }

  // "#t=17&a=2&r=0": a place in the episode that can be linked to.
  get hash() {
    const { step, agent, round } = this.view;
    const parts = [`t=${step}`, ...(agent >= 0 ? [`a=${agent}`] : []), ...(round >= 0 ? [`r=${round}`] : [])];
    return `#${parts.join("&")}`;
  }

  goTo(hash) {
    const words = new URLSearchParams(hash.replace(/^#/, ""));
    const number = (name, below, otherwise) => {
      const text = words.get(name);
      return text !== null && /^\d{1,9}$/.test(text) && Number(text) < below ? Number(text) : otherwise;
    };
    this.set({
      step: number("t", this.steps + 1, this.view.step),
      part: 0,
      agent: number("a", this.agents, -1),
      round: number("r", this.rounds, -1),
    });
  }
}
