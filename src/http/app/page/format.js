  // ---- Text: numbers, times, values ----
  const MAX_CHARACTERS = 160; // of a key or value in a row, which may have megabytes
  const MAX_OPENED = 100000; // characters of an opened value
  const MAX_KEPT = 2000; // characters of an old value

  const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
  const precise = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" }); // with the time zone
  const byText = new Intl.Collator("en", { numeric: true }); // port 9 before port 10

  function count(number, one, several = `${one}s`) {
    return `${whole.format(number)} ${number === 1 ? one : several}`;
  }

  function size(bytes) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
    const number = bytes / 1024 ** power;
    return `${power === 0 || number >= 100 ? whole.format(number) : precise.format(number)} ${units[power]}`;
  }

  function duration(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
    return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
  }

  // Returns the age in its largest unit, for a narrow column.
  function age(ms) {
    return `${duration(ms).split(" ").slice(0, 2).join(" ")} ago`;
  }

  function interval(ms) {
    return ms % 1000 === 0 ? duration(ms).replace(/ 0 (s|min|h)$/, "") : `${whole.format(ms)} ms`;
  }

  // Returns the time of day, with the date unless it is today.
  function moment(ms) {
    const isToday = new Date(ms).toDateString() === new Date().toDateString();
    return (isToday ? clock : day).format(ms);
  }

  // Returns what is kept of a value in JSON: its type, and the start of its text; null without a value.
  function sample(json) {
    if (json === undefined) return null;
    const isText = json.startsWith('"');
    const text = isText ? JSON.parse(json) : json;
    return { isText, text: text.slice(0, MAX_KEPT), length: text.length };
  }

  // Returns `text` for one line: shortened, with line breaks as ↵ and other control characters as control pictures (U+2400 and
  // following).
  function visible(text, length = text.length, limit = MAX_CHARACTERS) {
    const head = text.slice(0, limit).replace(/[\ud800-\udbff]$/, ""); // half of a surrogate pair
    const shown = head.replace(/\r?\n/g, "↵").replace(/[\u0000-\u001f]/g, picture);
    return length > limit ? `${shown}… (${whole.format(length)} characters)` : shown;
  }

  // Returns `text` for an opened value: with its lines and tabs.
  function readable(text) {
    const shown = text.slice(0, MAX_OPENED).replace(/[\u0000-\u0008\u000b-\u001f]/g, picture);
    return text.length > MAX_OPENED ? `${shown}…\n(the first ${whole.format(MAX_OPENED)} of ${whole.format(text.length)} characters)` : shown;
  }

  function picture(control) {
    return String.fromCharCode(0x2400 + control.charCodeAt(0));
  }

  // Returns JSON without spaces with line breaks and indents. Works on the text: numbers keep all their digits.
  function pretty(json) {
    if (json.length > MAX_OPENED) return json;
    let indent = "\n";
    return json.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|\[\]|\{\}|[[\]{},:]/g, (token) => {
      if (token === "[" || token === "{") return token + (indent += "  ");
      if (token === "]" || token === "}") return (indent = indent.slice(0, -2)) + token;
      if (token === ",") return token + indent;
      return token === ":" ? ": " : token;
    });
  }

  // Returns the name of the type of a value in JSON.
  function typeOf(json) {
    const types = { '"': "text", "[": "list", "{": "object", t: "boolean", f: "boolean", n: "null" };
    return types[json[0]] || "number";
  }

  // Returns the path of an entry, relative to the page.
  function entryPath(key) {
    return `map/${encodeURIComponent(key).replace(/'/g, "%27")}`;
  }

  // Returns the address of the page's host and `port`, as a client writes it.
  function clientAddress(address) {
    const [, host, port] = address.match(/^(.*):(\d+)$/) || [null, address, ""];
    return `${host === "0.0.0.0" || host === "[::]" ? location.hostname : host}:${port}`;
  }
