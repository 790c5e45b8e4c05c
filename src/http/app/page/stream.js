  // ---- The stream ----
  const SILENCE_MS = 5000; // cut off after this silence: the server sends every second
  const REOPEN_MS = 15000; // reopen a silent stream after this, doubled each time: a large map takes long over a slow network
  const MAX_REOPEN_MS = 240000;
  const WATCH_MS = 1000; // period for updating ages and reopening closed streams
  const COUNTS = 900; // number of counts of clients, one a second: 15 minutes, as in the server
  const RATES_MS = 10000; // period of the mean rates: most clients get their repeat at the same moment

  // The newest data from the server.
  let status = null;
  let statuses = []; // of the last RATES_MS
  let counts = [];
  let clients = { total: 0, clients: [] };
  let map = null;
  let mapAt = 0; // the time of its arrival, by this page's clock
  let values = new Map(); // the map's entries

  let source = null;
  let openedAt = 0;
  let reopenAfter = REOPEN_MS;
  let heardAt = performance.now(); // the time of the last status, or of the page's start
  let heardTime = Date.now();
  let failed = false; // the stream has failed, and no status has arrived since
  let isPaused = document.hidden; // the page is or was hidden, and no status has arrived since

  // Closes the stream of a hidden page: a browser opens six connections to a host, and each tab would keep one.
  function pauseOrResume() {
    if (document.hidden) {
      if (source) source.close();
      source = null;
      isPaused = true;
      failed = false;
    } else if (!source) {
      open();
    }
    entitle();
    drawState(); // now: a hidden page is not drawn, and would first show old data when it becomes visible
  }

  function open() {
    if (source) source.close();
    openedAt = performance.now();
    source = new EventSource("live");
    const on = (name, take) => source.addEventListener(name, (event) => take(JSON.parse(event.data)));
    on("history", takeCounts);
    on("map", takeMap);
    on("status", takeStatus);
    on("clients", takeClients);
    source.addEventListener("error", fail);
  }

  // Reopens the stream where browsers do not reconnect: after a response that is not a stream, and after silence.
  function watch() {
    if (!source) return;
    const quiet = performance.now() - Math.max(heardAt, openedAt);
    if (source.readyState === EventSource.CLOSED) open();
    else if (quiet > reopenAfter) {
      reopenAfter = Math.min(2 * reopenAfter, MAX_REOPEN_MS);
      open();
    }
    entitle();
    [drawState, drawAges].forEach(drawSoon);
  }

  function fail() {
    failed = true;
    entitle();
    drawSoon(drawState);
  }

  function isCut() {
    if (!source) return false;
    return failed || performance.now() - (isPaused ? Math.max(heardAt, openedAt) : heardAt) > SILENCE_MS;
  }

  // True if and only if the page shows the present.
  function isLive() {
    return !isCut() && !isPaused && status !== null;
  }

  // Sets the title; not part of drawing, because browsers do not draw pages in the background.
  function entitle() {
    if (isCut()) document.title = "cut off · mapcast";
    else if (isPaused) document.title = "paused · mapcast";
    else if (status) document.title = `${whole.format(status.connections.active)} · mapcast`;
  }

  function takeCounts({ active }) {
    counts = active.slice(-COUNTS);
    statuses = [];
    drawSoon(drawLine);
  }

  function takeStatus(news) {
    if (statuses.length > 0 && statuses[0].started_ms !== news.started_ms) statuses = [];
    // The map may have come first, and be drawn without its buttons.
    if (!status || status.writable !== news.writable) drawSoon(drawMap);
    status = news;
    statuses = statuses.filter((old) => news.uptime_ms - old.uptime_ms <= RATES_MS);
    statuses.push(news);
    counts.push(news.connections.active);
    counts = counts.slice(-COUNTS);
    heardAt = performance.now();
    heardTime = Date.now();
    failed = false;
    isPaused = false;
    reopenAfter = REOPEN_MS;
    if (!news.map) forgetMap();
    entitle();
    [drawState, drawFigures, drawLine, drawConnect].forEach(drawSoon);
  }

  function takeClients(news) {
    clients = news;
    [drawClients, drawConnect].forEach(drawSoon);
  }

  function takeMap(news) {
    const old = values;
    values = new Map(news.entries);
    if (map) record(old, values);
    map = news;
    mapAt = performance.now();
    [drawMap, drawChanges, drawConflict].forEach(drawSoon);
  }

  // The current server has no map yet: the map of an earlier server is not valid.
  function forgetMap() {
    map = null;
    values = new Map();
    lastChanges.clear();
    drawSoon(drawMap);
  }
