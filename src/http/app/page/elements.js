  // ---- Elements ----
  const byId = (id) => document.getElementById(id);
  const COPIED_MS = 1500; // how long a button says that it has copied

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function say(id, text) {
    write(byId(id), text);
  }

  // Writes only changed text: browsers lay out again what is written, even if it is equal.
  function write(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // Writes a time as `text`, with the date and the time zone in its title.
  function writeTime(element, ms, text) {
    write(element, text);
    const title = exact.format(ms);
    if (element.title !== title) element.title = title;
  }

  // Writes the sample of a value as one line of at most `limit` characters. Text has quotes, from the style sheet.
  function writeValue(element, { isText, text, length }, limit) {
    write(element, visible(text, length, limit) || "empty string");
    element.className = text === "" ? "faint" : isText ? "text" : "json";
  }

  // Returns the parts of a key: a line may break after / . _ - and between other characters only if nothing else fits.
  function breakable(key) {
    if (key === "") return ["empty key"];
    return visible(key).split(/(?<=[/._-])/).flatMap((part, index) => (index === 0 ? [part] : [element("wbr", {}), part]));
  }

  // Returns a button that copies what `text` returns.
  function copyButton(label, text) {
    const button = element("button", { type: "button", class: "push" }, label);
    button.addEventListener("click", () => copy(button, text()));
    return button;
  }

  async function copy(button, text) {
    const label = button.dataset.label || button.textContent;
    button.dataset.label = label;
    write(button, (await intoClipboard(text)) ? "Copied" : "Cannot copy");
    setTimeout(() => write(button, label), COPIED_MS);
  }

  // Browsers permit the clipboard's own interface only on loopback and over TLS.
  async function intoClipboard(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = element("textarea", { class: "clipboard", readonly: "", "aria-hidden": "true" });
      const focused = document.activeElement;
      area.value = text;
      document.body.append(area);
      area.focus({ preventScroll: true });
      area.select();
      const isCopied = document.execCommand("copy");
      area.remove();
      if (focused) focused.focus({ preventScroll: true });
      return isCopied;
    }
  }

  // ---- Drawing: each changed part once a frame, for any number of events ----
  const due = new Set();

  function drawSoon(part) {
    if (due.size === 0) requestAnimationFrame(drawDue);
    due.add(part);
  }

  function drawDue() {
    const parts = [...due];
    due.clear();
    for (const part of parts) part();
  }

  // Returns a function that draws `items` as the rows of `body`, in order. An item with a known key keeps its row with its
  // selection and highlight; rows move only if the order has changed.
  function rowsOf(body, keyOf, make, fill) {
    const rows = new Map();
    return (items) => {
      const focused = document.activeElement;
      const keys = new Set(items.map(keyOf));
      for (const [key, row] of rows) {
        if (keys.has(key)) continue;
        row.remove();
        rows.delete(key);
      }
      let next = body.firstChild;
      for (const item of items) {
        const key = keyOf(item);
        if (!rows.has(key)) rows.set(key, make(item));
        const row = rows.get(key);
        fill(row, item);
        if (row === next) next = row.nextSibling;
        else body.insertBefore(row, next);
      }
      // A row that has moved has lost the focus.
      if (focused !== document.activeElement && body.contains(focused)) focused.focus({ preventScroll: true });
    };
  }

  // Marks the column that a table is sorted by.
  function markSorted(heads, { column, ascends }) {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", ascends ? "ascending" : "descending");
  }
