// All steps as a table, for those who would rather read. Offers fillTable(details, recordings, events, seek).

const ROWS_AT_ONCE = 200;

function fillTable(details, recordings, events, seek) {
  const steps = Math.max(...recordings.map((recording) => recording.steps));
  const table = details.querySelector("tbody");
  const more = details.querySelector("button.more");
  let next = 0;
  const add = () => {
    const end = Math.min(steps + 1, next + ROWS_AT_ONCE);
    for (; next < end; next++) table.append(...rowsOf(recordings, events, next, seek));
    more.hidden = next > steps;
  };
  more.addEventListener("click", add);
  details.addEventListener("toggle", () => details.open && next === 0 && add());
  return add;
}

function rowsOf(recordings, events, state, seek) {
  return recordings.map((recording, world) => {
    const go = element("button", { type: "button", class: "link" }, String(state));
    go.addEventListener("click", () => seek(state));
    const curve = (name) => recording.values(`curve:${name}`)?.[state];
    const earned = state ? recording.values("curve:return")[state - 1] : 0;
    const happened = events[world].filter((event) => event.state === state).map((event) => event.text);
    const cells = [short(earned), short(curve("messages")), short(curve("lost")), short(curve("bits")), short(curve("entropy"))];
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, go),
      ...(recordings.length > 1 ? [element("td", {}, recording.title)] : []),
      ...(state > recording.steps ? [element("td", { colspan: "6" }, "over")] : [...cells.map((cell) => element("td", { class: "number" }, cell)), element("td", {}, happened.join(", "))]),
    );
  });
}
