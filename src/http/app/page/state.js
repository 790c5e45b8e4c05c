  // ---- The state of the connection, of the source, and the counters ----
  function drawState() {
    const cut = isCut();
    const live = isLive();
    const isStopping = live && status.stopping;
    const problem = live && !isStopping && status.source ? status.source.problem : null;
    const slow = live && !isStopping && !problem ? status.connections.slow : 0;
    const classes = byId("state").classList;
    document.body.classList.toggle("cut", cut);
    document.body.classList.toggle("stale", cut || (isPaused && status !== null));
    classes.toggle("live", live && !isStopping && !problem && slow === 0);
    classes.toggle("slow", slow > 0);
    classes.toggle("down", Boolean(problem));
    byId("banner").classList.toggle("down", Boolean(problem));
    byId("banner").hidden = !cut && !isStopping && !problem;
    if (cut) {
      say("state", "cut off");
      say("trouble", `Cut off since ${moment(heardTime)}.`);
      say("remedy", status ? "The page shows the data of that time. Reconnecting…" : "The server does not respond. Reconnecting…");
      say("lasting", `(${duration(performance.now() - heardAt)})`);
    } else if (isStopping) {
      say("state", "stopping");
      say("trouble", "The server is stopping.");
      say("remedy", `It waits for ${count(status.connections.active, "client")} to receive their last map.`);
      say("lasting", "");
    } else if (isPaused) {
      say("state", source ? "connecting" : "paused");
    } else if (problem) {
      say("state", "source down");
      say("trouble", `The source has been down since ${moment(status.source.down_since_ms)}.`);
      say("remedy", `${problem}. ${status.map ? "Clients keep the last good map." : "There is no map yet: clients wait."}`);
      say("lasting", `(${duration(status.now_ms - status.source.down_since_ms)})`);
    } else if (status) {
      say("state", slow > 0 ? `live, ${count(slow, "slow client")}` : `live, up ${duration(status.uptime_ms)}`);
    }
    if (status) byId("state").title = `The server runs since ${exact.format(status.started_ms)}`;
    drawSource(live);
  }

  // The source of the map. Its health is shown only if it is known now.
  function drawSource(live) {
    if (!status) return;
    const { source, writable } = status;
    const line = byId("source");
    line.className = `note ${live && source ? (source.problem ? "down" : source.up ? "up" : "") : ""}`.trim();
    line.title = "";
    if (!source) return say("source", `Source: ${writable ? "changes over HTTP" : "built in, never changes"}`);
    const last = source.last_success_ms;
    if (last) line.title = `Last data: ${exact.format(last)}`;
    const named = `Source: ${source.name === "-" ? "standard input" : source.name}`;
    if (!live) return say("source", named);
    if (source.problem) return say("source", `${named}, down since ${moment(source.down_since_ms)}`);
    say("source", source.up ? `${named}, ok, last data ${moment(last)}` : `${named}, no data yet`);
  }

  function drawFigures() {
    const { connections, sent } = status;
    const [first, last] = [statuses[0], statuses[statuses.length - 1]];
    const seconds = (last.uptime_ms - first.uptime_ms) / 1000;
    const rate = (of) => (seconds > 0 ? (last.sent[of] - first.sent[of]) / seconds : 0);
    say("server", location.host);
    say("active", whole.format(connections.active));
    const refused = connections.refused > 0 ? `, ${whole.format(connections.refused)} refused` : "";
    say("served", `${whole.format(connections.served)} served${refused}`);
    byId("served").title = `Connections since the server's start, whether they still last or not; at most ${whole.format(connections.max)} at once`;
    say("frames", rate("frames") < 100 ? precise.format(rate("frames")) : whole.format(rate("frames")));
    say("frames-note", `${whole.format(sent.frames)} in all`);
    say("bytes", size(rate("bytes")));
    say("bytes-note", `${size(sent.bytes)} in all`);
    say("slow", connections.slow > 0 ? whole.format(connections.slow) : "none");
    say("skipped", sent.skipped > 0 ? `${count(sent.skipped, "change")} skipped` : "");
    byId("slow").classList.toggle("caution", connections.slow > 0);
    say("program", `mapcast ${status.program}, pid ${status.pid}, since ${moment(status.started_ms)}; ${describeCast()}.`);
  }

  function describeCast() {
    const writable = status.writable ? ", writable with a token" : "";
    return `the map as ${status.format} at least every ${interval(status.interval_ms)}${writable}`;
  }

  // ---- The line ----
  const SPANS = [60, 300, COUNTS]; // possible widths of the line in seconds: shorter for a young server
  let pointed = null; // the position of the pointer or the keyboard as a fraction of the plot's width

  function spanOf() {
    return SPANS.find((seconds) => counts.length <= seconds) || COUNTS;
  }

  function drawLine() {
    const span = spanOf();
    const step = tickStep(Math.max(...counts, 0));
    const top = Math.max(...counts, step);
    // The newest count is at the right edge, each older one a second further left.
    const x = (index) => 100 - ((counts.length - 1 - index) / (span - 1)) * 100;
    const y = (active) => 100 - (active / top) * 100;
    const line = counts.map((active, index) => `${x(index).toFixed(2)} ${y(active).toFixed(2)}`).join("L");
    const ticks = Array.from({ length: Math.floor(top / step) + 1 }, (_, index) => index * step);
    byId("line").setAttribute("d", line && `M${line}`);
    byId("area").setAttribute("d", line && `M${x(0).toFixed(2)} 100L${line}V100Z`);
    byId("grid").setAttribute("d", ticks.map((tick) => `M0 ${y(tick)}H100`).join(""));
    drawTicks(ticks, top);
    say("begin", span === 60 ? "60 s ago" : `${span / 60} min ago`);
    drawReadout(span);
  }

  // Returns the smallest of 1, 2, 5, 10, 20, … that fits into `most` at most twice.
  function tickStep(most) {
    const rough = Math.max(1, most / 2);
    const unit = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((times) => times * unit).find((step) => step >= rough);
  }

  function drawTicks(ticks, top) {
    const labels = byId("ticks");
    while (labels.children.length > ticks.length) labels.lastChild.remove();
    while (labels.children.length < ticks.length) labels.append(document.createElement("span"));
    ticks.forEach((tick, index) => {
      labels.children[index].style.bottom = `${(tick / top) * 100}%`;
      write(labels.children[index], whole.format(tick));
    });
  }

  function drawReadout(span) {
    const ago = pointed === null ? null : Math.round((1 - pointed) * (span - 1));
    const index = counts.length - 1 - ago;
    const isShown = ago !== null && index >= 0 && index < counts.length;
    byId("mark").hidden = !isShown;
    if (isShown) byId("mark").style.left = `${(1 - ago / (span - 1)) * 100}%`;
    say("readout", describeCounts(isShown ? index : null, ago));
    const slider = { valuemin: 1 - span, valuemax: 0, valuenow: isShown ? -ago : 0, valuetext: byId("readout").textContent };
    for (const [name, value] of Object.entries(slider)) byId("plot").setAttribute(`aria-${name}`, value);
  }

  function describeCounts(index, ago) {
    if (index !== null) return `${count(counts[index], "client")} at ${clock.format(heardTime - ago * 1000)}`;
    return counts.length === 0 ? "" : `least ${whole.format(Math.min(...counts))}, most ${whole.format(Math.max(...counts))}`;
  }

  function point(event) {
    const { left, width } = byId("plot").getBoundingClientRect();
    const isAway = event.type === "pointerleave" || event.type === "blur";
    pointed = isAway ? null : Math.min(1, Math.max(0, (event.clientX - left) / width));
    drawSoon(drawLine);
  }

  // Moves by a second; with Page Up and Page Down by a tenth of the line. Home is the oldest count, End the newest.
  function pointByKey(event) {
    const span = spanOf();
    const oldest = 1 - Math.min(counts.length, span);
    const from = pointed === null ? 0 : Math.round((pointed - 1) * (span - 1));
    const tenth = Math.round(span / 10);
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -tenth, PageUp: tenth, Home: -span, End: span };
    const step = steps[event.key];
    if (step === undefined || counts.length === 0) return;
    event.preventDefault();
    pointed = 1 + Math.min(0, Math.max(oldest, from + step)) / (span - 1);
    drawSoon(drawLine);
  }
