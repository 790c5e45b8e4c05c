  // ---- The clients ----
  const COLUMNS = [
    { show: (client) => String(client.id), order: (a, b) => a.id - b.id },
    { show: (client) => client.peer, order: (a, b) => byText.compare(a.peer, b.peer), ascends: true },
    { show: (client) => moment(client.since_ms), order: (a, b) => a.since_ms - b.since_ms },
    { show: (client) => whole.format(client.frames), order: (a, b) => a.frames - b.frames },
    { show: (client) => size(client.bytes), order: (a, b) => a.bytes - b.bytes },
    { show: (client) => (client.skipped > 0 ? whole.format(client.skipped) : ""), order: (a, b) => a.skipped - b.skipped },
    { show: (client) => (client.slow ? "slow" : ""), order: (a, b) => a.slow - b.slow },
  ];
  const heads = [...byId("clients").tHead.rows[0].cells];
  const drawRows = rowsOf(byId("rows"), (client) => client.id, makeClient, fillClient);
  let sorted = { column: 0, ascends: false }; // newest first

  function makeClient() {
    return element("tr", { role: "row" }, ...COLUMNS.map(() => element("td", { role: "cell" })));
  }

  function fillClient(row, client) {
    COLUMNS.forEach(({ show }, index) => write(row.cells[index], show(client)));
    row.cells[2].title = exact.format(client.since_ms);
    row.cells[COLUMNS.length - 1].classList.toggle("caution", client.slow);
  }

  function drawClients() {
    const { order } = COLUMNS[sorted.column];
    drawRows([...clients.clients].sort((a, b) => (sorted.ascends ? order(a, b) : order(b, a))));
    byId("clients").classList.toggle("prompt", !clients.clients.some(({ slow, skipped }) => slow || skipped > 0));
    const [listed, total] = [clients.clients.length, clients.total];
    if (total === 0) say("total", "");
    else say("total", listed < total ? `the newest ${whole.format(listed)} of ${whole.format(total)}` : `${whole.format(listed)} connected`);
    byId("clients-scroll").hidden = total === 0;
  }

  // Sorts in descending order first: the most, the latest, the slow; addresses in ascending order.
  function sortBy(column) {
    const ascends = column === sorted.column ? !sorted.ascends : Boolean(COLUMNS[column].ascends);
    sorted = { column, ascends };
    markSorted(heads, sorted);
    drawSoon(drawClients);
  }

  // How to connect a client to the map's own port.
  function drawConnect() {
    const port = status && status.map_ports && status.map_ports[0];
    byId("connect").hidden = !port;
    if (!port) return;
    const format = port.format === "bincode" ? "" : ` -f ${port.format}`;
    say("connect-text", clients.total === 0 ? "No client is connected. Connect one:" : "Connect another:");
    say("command", `mapcast-client ${clientAddress(port.addr)}${format}${port.tls ? " --tls" : ""}`);
    byId("connect").title = status.map_ports.map(({ addr, format }) => `${addr}: ${format}`).join("\n");
  }
