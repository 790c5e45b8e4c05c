  // ---- Changes, as far as this page has seen them ----
  const MAX_CHANGES = 50; // listed, newest first

  const openedTime = Date.now();
  const changed = new Set(); // keys of entries that changed since they were drawn
  const lastChanges = new Map(); // of each entry in the map that has changed: its time and the old value
  const drawChangeRows = rowsOf(byId("changes"), (change) => change.id, makeChange, fillChange);
  let recent = [];
  let changeCount = 0;

  // Records the differences of two maps.
  function record(old, news) {
    const at = Date.now();
    const found = [];
    const add = (key, before, after) => {
      changeCount += 1;
      if (found.length < MAX_CHANGES) found.push({ id: changeCount, at, key, before, after: sample(after) });
    };
    for (const [key, value] of news) {
      if (old.get(key) === value) continue;
      const before = sample(old.get(key));
      changed.add(key);
      lastChanges.set(key, { at, old: before });
      add(key, before, value);
    }
    for (const [key, value] of old) {
      if (news.has(key)) continue;
      lastChanges.delete(key);
      add(key, sample(value), undefined);
    }
    recent = [...found, ...recent].slice(0, MAX_CHANGES);
  }

  function makeChange({ at, key, before, after }) {
    const value = (of) => {
      const shown = element("bdi", { dir: "auto" });
      writeValue(shown, of, 60);
      return shown;
    };
    const name = element("bdi", { dir: "auto" }, ...breakable(key));
    const arrow = () => element("span", { class: "arrow" }, " → ");
    const what = [name, " "];
    if (!before) what.push("added: ", value(after));
    else if (!after) what.push("removed: ", value(before));
    else what.push(value(before), arrow(), value(after));
    return element("li", {}, element("time", { title: exact.format(at) }), element("span", {}, ...what));
  }

  // A change of yesterday has its date.
  function fillChange(row, { at }) {
    write(row.firstChild, moment(at));
  }

  function drawChanges() {
    drawChangeRows(recent);
    const since = `since this page was opened at ${moment(openedTime)}`;
    if (changeCount === 0) return say("changes-note", `No change ${since}.`);
    const some = changeCount > recent.length ? `the last ${whole.format(recent.length)} of ` : "";
    say("changes-note", `${some}${count(changeCount, "change")} ${since}`);
  }
