  // ---- The map ----
  const MAX_ENTRIES = 500; // rows of the map: browsers lay out this many without stutter
  const LIT_MS = 2400; // duration of the highlight of a changed entry
  const TREND = 30; // numbers that a line beside a changing number shows
  const ADDRESS_MS = 250; // after this time without typing, the filter is put into the page's address

  const stillness = matchMedia("(prefers-reduced-motion: reduce)");
  const opened = new Set(); // keys of the entries whose whole value is shown
  const mapHeads = [...byId("map").tHead.rows[0].cells];
  const drawEntries = rowsOf(byId("entries"), (item) => (item.isDetail ? 1 : 0) + item.key, makeRow, fillRow);
  let mapSorted = { column: 0, ascends: true };
  let current = null; // the key of the entry that the Tab key reaches

  function makeRow({ key, isDetail }) {
    if (isDetail) return element("tr", { class: "detail" }, element("td", { colspan: "3" }));
    const name = element("bdi", { dir: "auto" }, ...breakable(key));
    if (key === "") name.className = "faint";
    const button = element("button", { type: "button", tabindex: "-1", "aria-expanded": "false" }, name);
    if (key.length > MAX_CHARACTERS) button.title = key.slice(0, MAX_KEPT);
    button.addEventListener("click", () => toggle(key));
    button.addEventListener("focus", () => reach(key));
    const value = element("td", {}, element("bdi", { dir: "auto" }));
    value.addEventListener("click", () => getSelection().isCollapsed && toggle(key));
    return element("tr", {}, element("th", { scope: "row" }, button), value, element("td", {}));
  }

  function fillRow(row, { key, value, isDetail }) {
    if (isDetail) return fillDetail(row, key, value);
    const button = row.cells[0].firstChild;
    row.key = key;
    row.classList.toggle("open", opened.has(key));
    button.setAttribute("aria-expanded", opened.has(key));
    button.tabIndex = key === current ? 0 : -1;
    drawAgeOf(row);
    if (row.shown === value) return;
    row.shown = value;
    writeValue(row.cells[1].lastChild, sample(value));
    drawTrend(row, value);
  }

  // Draws the last numbers of a row, as far as it has shown them. The value is beside it as text.
  function drawTrend(row, value) {
    row.trend = typeOf(value) === "number" ? [...(row.trend || []), Number(value)].slice(-TREND) : [];
    const line = row.cells[1].querySelector("path");
    if (row.trend.length < 2) return line && line.parentNode.remove();
    const [least, most] = [Math.min(...row.trend), Math.max(...row.trend)];
    const y = (number) => 100 - ((number - least) / (most - least || 1)) * 100;
    const points = row.trend.map((number, index) => `${((index / (row.trend.length - 1)) * 100).toFixed(1)} ${y(number).toFixed(1)}`);
    if (!line) row.cells[1].prepend(byId("trend").content.firstElementChild.cloneNode(true));
    row.cells[1].querySelector("path").setAttribute("d", `M${points.join("L")}`);
  }

  function drawAgeOf(row) {
    const change = lastChanges.get(row.key);
    write(row.cells[2], change ? age(Date.now() - change.at) : "");
    if (row.change === change) return;
    row.change = change;
    row.cells[2].title = change ? exact.format(change.at) : "";
  }

  function toggle(key) {
    if (!opened.delete(key)) opened.add(key);
    current = key;
    drawSoon(drawMap);
  }

  // One entry is reached with the Tab key, the others with the arrow keys.
  function reach(key) {
    if (current === key) return;
    current = key;
    for (const row of byId("entries").rows) if (row.key !== undefined) row.cells[0].firstChild.tabIndex = row.key === key ? 0 : -1;
  }

  function moveFocus(event) {
    const buttons = [...byId("entries").querySelectorAll("th button")];
    const from = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (from < 0 || to === undefined || !buttons[to]) return;
    event.preventDefault();
    buttons[to].focus();
  }

  // ---- An opened entry ----
  function fillDetail(row, key, value) {
    const change = lastChanges.get(key);
    const isWritable = Boolean(status && status.writable);
    const cell = row.cells[0];
    // The buttons stay when the value changes, and keep the focus.
    if (row.isWritable !== isWritable) {
      Object.assign(row, { isWritable, shown: null });
      cell.replaceChildren(element("div", {}), actionsOf(key, isWritable));
    }
    if (row.shown === value && row.change === change) return;
    Object.assign(row, { shown: value, change });
    cell.firstChild.replaceChildren(...detailOf(key, value, change));
  }

  function textOf(value) {
    return value.startsWith('"') ? JSON.parse(value) : value;
  }

  // A key of dots is a directory to URLs: neither the browser nor curl must resolve it.
  function curlLine(key) {
    const isDots = key === "." || key === "..";
    const href = isDots ? new URL("map/", document.baseURI).href + key : new URL(entryPath(key), document.baseURI).href;
    return `curl ${isDots ? "--path-as-is " : ""}${shellWord(href)}`;
  }

  function detailOf(key, value, change) {
    const text = textOf(value);
    const isText = value.startsWith('"');
    const parts = [element("pre", { dir: "auto", class: isText ? "" : "json" }, readable(isText ? text : pretty(value)))];
    parts.push(element("p", { class: "note" }, describeValue(value, text), ...describeChange(change)));
    parts.push(element("p", {}, element("code", {}, curlLine(key))));
    return parts;
  }

  // Returns the buttons of an opened entry, for its value at the time of the click.
  function actionsOf(key, isWritable) {
    const buttons = [copyButton("Copy value", () => textOf(values.get(key))), copyButton("Copy curl line", () => curlLine(key))];
    if (isWritable) {
      const edit = element("button", { type: "button", class: "push edit" }, "Edit");
      const remove = element("button", { type: "button", class: "push remove" }, "Delete");
      edit.addEventListener("click", () => unlocked(() => openEditor(key)));
      remove.addEventListener("click", () => unlocked(() => removeEntry(key, values.get(key))));
      buttons.unshift(edit, remove);
    }
    return element("p", { class: "actions" }, ...buttons);
  }

  // Returns `word` in single quotes, for a shell.
  function shellWord(word) {
    return `'${word.replace(/'/g, "%27")}'`;
  }

  function describeValue(value, text) {
    const type = typeOf(value);
    return type === "text" ? `${type}, ${count(text.length, "character")}` : type;
  }

  function describeChange(change) {
    if (!change) return [`, not changed since this page was opened at ${moment(openedTime)}`];
    const time = element("time", { title: exact.format(change.at) }, moment(change.at));
    if (!change.old) return [", added ", time];
    const old = element("bdi", { dir: "auto" });
    writeValue(old, change.old, MAX_KEPT);
    return [", changed ", time, ", before: ", old];
  }

  // ---- Filter and order ----
  // Returns the entries that the filter admits, in the server's order.
  function matchingEntries(wanted) {
    const holds = (text) => text.toLowerCase().includes(wanted);
    return map ? map.entries.filter(([key, value]) => wanted === "" || holds(key) || holds(value)) : [];
  }

  // Returns the entries that the filter admits as one JSON object. Numbers keep all their digits.
  function shownJson() {
    const entries = matchingEntries(wantedText()).map(([key, value]) => `  ${JSON.stringify(key)}: ${value}`);
    return entries.length === 0 ? "{}\n" : `{\n${entries.join(",\n")}\n}\n`;
  }

  function wantedText() {
    return byId("filter").value.toLowerCase();
  }

  function drawMap() {
    const wanted = wantedText();
    const entries = matchingEntries(wanted);
    const drawn = inOrder(entries).slice(0, MAX_ENTRIES);
    for (const key of opened) if (!values.has(key)) opened.delete(key);
    if (current === null || !drawn.some(([key]) => key === current)) current = drawn.length > 0 ? drawn[0][0] : null;
    const items = drawn.flatMap(([key, value]) => {
      const item = { key, value, isDetail: false };
      return opened.has(key) ? [item, { key, value, isDetail: true }] : [item];
    });
    const longest = Math.min(60, drawn.reduce((most, [key]) => Math.max(most, key.length), 0));
    byId("map").style.setProperty("--longest-key", `${longest + 3}ch`);
    drawEntries(items);
    for (const row of byId("entries").rows) if (changed.has(row.key)) light(row);
    changed.clear();
    markHits(wanted);
    const isVain = map !== null && wanted !== "" && entries.length === 0;
    say("more-entries", describeRest(entries.length - drawn.length, isVain));
    say("about", map ? `version ${whole.format(map.version)}, ${matching(entries.length)}, ${size(map.bytes)}` : "none yet");
    say("hits", map && wanted !== "" ? count(entries.length, "hit") : "");
    byId("map").hidden = entries.length === 0;
    say("empty-map", describeEmpty());
    byId("empty-map").hidden = byId("empty-map").textContent === "";
    byId("add").hidden = !status || !status.writable;
    byId("take").hidden = !map;
    drawMapAge();
  }

  // Marks the hits of the filter in keys and closed values, without elements: a key is several texts.
  function markHits(wanted) {
    if (!window.Highlight) return;
    const hits = new Highlight();
    const cells = wanted === "" ? [] : byId("entries").querySelectorAll("tr:not(.detail) bdi:not(.faint)");
    for (const cell of cells) markIn(cell, wanted, hits);
    CSS.highlights.set("hit", hits);
  }

  function markIn(cell, wanted, hits) {
    const text = cell.textContent.toLowerCase();
    // A few letters are longer in lower case: positions would be wrong.
    if (text.length !== cell.textContent.length) return;
    const texts = [...cell.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    // The first text that has this position, at its end only for the end of a hit.
    const place = (at, isEnd) => {
      let before = 0;
      for (const node of texts) {
        if (at - before < node.length + isEnd) return [node, at - before];
        before += node.length;
      }
    };
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      const range = new Range();
      range.setStart(...place(at, 0));
      range.setEnd(...place(at + wanted.length, 1));
      hits.add(range);
    }
  }

  // Returns the entries in the chosen order. The server's order is that of the keys.
  function inOrder(entries) {
    const { column, ascends } = mapSorted;
    const at = ([key]) => (lastChanges.has(key) ? lastChanges.get(key).at : 0);
    if (column === 0) return ascends ? entries : [...entries].reverse();
    const order = column === 1 ? (a, b) => byText.compare(a[1].slice(0, MAX_CHARACTERS), b[1].slice(0, MAX_CHARACTERS)) : (a, b) => at(a) - at(b);
    return [...entries].sort((a, b) => (ascends ? order(a, b) : order(b, a)));
  }

  // Sorts by change in descending order first, by key and value in ascending order.
  function sortMapBy(column) {
    const ascends = column === mapSorted.column ? !mapSorted.ascends : column !== 2;
    mapSorted = { column, ascends };
    markSorted(mapHeads, mapSorted);
    keepAddress();
    drawSoon(drawMap);
  }

  function describeRest(more, isVain) {
    if (isVain) return "nothing that matches";
    return more > 0 ? `… ${whole.format(more)} more; filter to see them` : "";
  }

  function describeEmpty() {
    if (!status || (map && map.entries.length > 0)) return "";
    if (map) return status.writable ? "The map is empty: add an entry." : "The map is empty.";
    return "The source has not delivered a map yet. The map appears here as soon as it does; connected clients wait for it, too.";
  }

  function matching(found) {
    const all = count(map.entries.length, "entry", "entries");
    return found === map.entries.length ? all : `${whole.format(found)} of ${all}`;
  }

  // With reduced motion the highlight ends at once instead of fading.
  function light(row) {
    if (row.light) row.light.cancel();
    const easing = stillness.matches ? "steps(1, end)" : "ease-in";
    row.light = row.animate({ backgroundColor: ["var(--lit)", "transparent"] }, { duration: LIT_MS, easing });
  }

  // A browser keeps the colours in which a highlight began, also in a dark page.
  function endLights() {
    for (const light of document.getAnimations()) light.cancel();
  }

  function drawMapAge() {
    if (!map) return say("age", "");
    const ms = map.age_ms + performance.now() - mapAt;
    writeTime(byId("age"), Date.now() - ms, `, changed ${duration(ms)} ago`);
  }

  function drawAges() {
    drawMapAge();
    drawChangeRows(recent);
    for (const row of byId("entries").rows) if (row.key !== undefined) drawAgeOf(row);
  }

  // ---- The filter and the order in the page's address, behind the #: the server accepts no parameter ----
  let addressTimer = 0;

  function keepAddress() {
    clearTimeout(addressTimer);
    addressTimer = setTimeout(() => {
      const wanted = new URLSearchParams();
      if (byId("filter").value !== "") wanted.set("filter", byId("filter").value);
      const { column, ascends } = mapSorted;
      if (column !== 0 || !ascends) wanted.set("sort", `${ascends ? "" : "-"}${["key", "value", "changed"][column]}`);
      const text = wanted.toString();
      history.replaceState(null, "", text === "" ? location.pathname : `#${text}`);
    }, ADDRESS_MS);
  }

  function readAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    byId("filter").value = wanted.get("filter") || "";
    const [, minus, name] = (wanted.get("sort") || "key").match(/^(-?)(.*)$/);
    const column = ["key", "value", "changed"].indexOf(name);
    mapSorted = column < 0 ? { column: 0, ascends: true } : { column, ascends: minus === "" };
    markSorted(mapHeads, mapSorted);
    drawSoon(drawMap);
  }
