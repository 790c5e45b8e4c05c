  // ---- Changes of the map by this page ----
  // A change is made only if the entry still has the value that the user has seen. The server compares the whole map's ETag,
  // so a change of another entry is answered with 412: the page then looks at the entry again.
  const MAX_ATTEMPTS = 10; // of one change, while other entries change
  const ANSWER_MS = 15000; // longest wait for a response: the server waits 10 s for its disk

  let token = null; // in memory only
  let afterUnlock = null; // what to do with the token
  let editor = null; // the entry that is edited: its key, and its value when it was last looked at
  const MAX_UNDO = 50; // changes that can be undone: each has an old and a new value, which may have megabytes
  let done = []; // these changes, the last one at the end

  class Refused extends Error {}

  // Sends one request for the path of the map or an entry. Returns its status, its ETag and its text.
  async function request(method, path, { tag, body } = {}) {
    const headers = {};
    if (method !== "GET" && method !== "HEAD") headers.Authorization = `Bearer ${token}`;
    if (tag) headers["If-Match"] = tag;
    try {
      const signal = AbortSignal.timeout(ANSWER_MS);
      const response = await fetch(path, { method, headers, body, cache: "no-store", signal });
      return { code: response.status, tag: response.headers.get("ETag"), text: await response.text() };
    } catch {
      throw new Refused("The server does not answer: it is not known whether the change was made. Look at the map, then try again.");
    }
  }

  function refusal({ code, text }) {
    if (code === 401) forgetToken();
    return new Refused(code === 401 ? "The token is not valid any more: unlock editing again." : `Not changed (${code}): ${text.trim()}`);
  }

  // Sets the entry to `body`, or deletes it if that is undefined, if its value is still `base` (undefined: no entry).
  // Returns the ETag of the new map, or the value that came first.
  async function change(key, body, base) {
    if (key === "." || key === "..") throw new Refused("A browser cannot address this key: change it with PATCH of /map.");
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      // Before the entry: if it is added in between, the tag is old.
      const whole = base === undefined ? await request("HEAD", "map") : null;
      const entry = await request("GET", entryPath(key));
      if (entry.code !== 200 && entry.code !== 404) throw refusal(entry);
      const value = entry.code === 200 ? entry.text.trimEnd() : undefined;
      if (value !== base) return { isConflict: true, value };
      const tag = (whole || entry).tag;
      const response = await request(body === undefined ? "DELETE" : "PUT", entryPath(key), { tag, body });
      if (response.code === 200) return { isConflict: false, tag: response.tag };
      if (response.code !== 412 && response.code !== 404) throw refusal(response);
    }
    throw new Refused("Not changed: the map changes faster than this page can follow. Try again.");
  }

  // Makes a change that can be undone.
  async function changeAndKeep(key, body, base) {
    const result = await change(key, body, base);
    if (result.isConflict) return result;
    // The server may write the value differently, with other spaces or digits.
    const entry = body === undefined ? null : await request("GET", entryPath(key));
    const isOurs = entry && entry.code === 200 && entry.tag === result.tag;
    const after = isOurs ? entry.text.trimEnd() : body;
    if (after !== base) done = [...done, { key, before: base, after }].slice(-MAX_UNDO);
    return { ...result, after };
  }

  // ---- The token ----
  // Runs `action` with a token, which the user types first if the page has none.
  function unlocked(action) {
    if (token !== null) return action();
    afterUnlock = action;
    say("unlock-problem", "");
    show("unlock", "token");
  }

  async function unlock(event) {
    event.preventDefault();
    const typed = byId("token").value.trim();
    if (!/^[\x21-\x7e]+$/.test(typed)) return say("unlock-problem", "Type or paste the token: letters, digits and signs, without spaces.");
    token = typed;
    try {
      // No map has this ETag: the request checks the token and changes nothing.
      const { code, text } = await request("PATCH", "map", { tag: '"-"', body: "{}" });
      if (code === 401) throw new Refused("The server does not accept this token.");
      if (code !== 412) throw new Refused(`The token cannot be checked (${code}): ${text.trim()}`);
    } catch (error) {
      forgetToken();
      return say("unlock-problem", error.message);
    }
    // Cancelled while the server checked it.
    if (byId("unlock").hidden) return forgetToken();
    byId("unlock").hidden = true;
    byId("token").value = "";
    byId("lock").hidden = false;
    if (afterUnlock) afterUnlock();
    afterUnlock = null;
  }

  function forgetToken() {
    token = null;
    byId("lock").hidden = true;
  }

  function cancelUnlock() {
    byId("token").value = "";
    byId("unlock").hidden = true;
    afterUnlock = null;
  }

  function show(panel, focused) {
    byId(panel).hidden = false;
    byId(panel).scrollIntoView({ block: "nearest" });
    byId(focused).focus();
  }

  // ---- The editor ----
  // Edits the entry with this key, or a new one without a key, unless the editor is open: nothing typed is lost.
  function openEditor(key) {
    if (editor) return show("editor", "editor-value");
    beginEdit(key, key === null ? undefined : values.get(key));
  }

  // Edits the value of an entry, or adds one without a key. `value` is typed in already; `base` is what the user has seen.
  function beginEdit(key, value, base = value) {
    editor = { key, base, isNew: key === null };
    say("editor-title", editor.isNew ? "Add an entry" : "Edit");
    byId("editor-key").value = editor.isNew ? "" : key;
    byId("editor-key").readOnly = !editor.isNew;
    typeIn(value);
    say("editor-problem", "");
    drawConflict();
    show("editor", editor.isNew ? "editor-key" : "editor-value");
  }

  function typeIn(value) {
    const text = value !== undefined && value.startsWith('"') ? JSON.parse(value) : null;
    // A text field changes carriage returns, and hides other control characters: these are shown escaped, as JSON.
    const isText = text !== null && !/[\u0000-\u0008\u000b-\u001f]/.test(text);
    byId("editor-kind").value = isText ? "text" : "json";
    byId("editor-value").value = isText ? text : value === undefined ? "" : pretty(value);
  }

  // Returns the typed value in JSON.
  function typedValue() {
    const typed = byId("editor-value").value;
    if (byId("editor-kind").value === "text") return JSON.stringify(typed);
    try {
      JSON.parse(typed);
    } catch (error) {
      throw new Refused(`This is not JSON: ${error.message}. For text without quotes, choose the type text.`);
    }
    return typed.trim();
  }

  // The editor shows that the entry has changed, as soon as the page knows.
  function drawConflict() {
    if (!editor) return;
    const key = editor.isNew ? byId("editor-key").value : editor.key;
    const value = values.get(key);
    if (!editor.isSaving && value !== editor.base) showConflict(value);
    else if (!editor.isSaving) hideConflict();
  }

  function hideConflict() {
    byId("conflict").hidden = true;
    delete editor.theirs;
    byId("save").disabled = false;
  }

  function showConflict(value) {
    editor.theirs = { value };
    const what = value === undefined ? "The entry has been removed." : editor.isNew ? "The map has this entry already:" : "The entry has been changed. It is now:";
    say("conflict-title", what);
    const text = value === undefined ? "" : value.startsWith('"') ? JSON.parse(value) : pretty(value);
    say("conflict-value", readable(text));
    byId("conflict-value").className = value !== undefined && value.startsWith('"') ? "text" : "json";
    byId("conflict-value").hidden = value === undefined;
    byId("conflict").hidden = false;
    byId("save").disabled = true;
  }

  function keepMine() {
    if (!editor || !editor.theirs) return;
    if (editor.isNew) Object.assign(editor, { isNew: false, key: byId("editor-key").value });
    byId("editor-key").readOnly = true;
    editor.base = editor.theirs.value;
    hideConflict();
    save();
  }

  function takeTheirs() {
    if (!editor || !editor.theirs) return;
    const { value } = editor.theirs;
    if (value === undefined) return endEdit();
    beginEdit(editor.isNew ? byId("editor-key").value : editor.key, value);
  }

  function endEdit() {
    editor = null;
    byId("editor").hidden = true;
    say("editor-problem", "");
  }

  async function save(event) {
    if (event) event.preventDefault();
    const edited = editor;
    if (!edited || edited.isSaving || edited.theirs) return;
    const key = edited.isNew ? byId("editor-key").value : edited.key;
    say("editor-problem", "");
    try {
      const body = typedValue();
      edited.isSaving = true;
      byId("save").disabled = true;
      const result = await changeAndKeep(key, body, edited.base);
      if (result.isConflict) {
        if (editor === edited) showConflict(result.value);
      } else {
        if (editor === edited) endEdit();
        tell(key, edited.base, result.after);
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (editor === edited) say("editor-problem", error.message);
      if (token === null) unlocked(() => save());
    } finally {
      edited.isSaving = false;
      byId("save").disabled = Boolean(edited.theirs);
    }
  }

  async function removeEntry(key, base) {
    try {
      const result = await changeAndKeep(key, undefined, base);
      if (!result.isConflict) tell(key, base, undefined);
      else report(result.value === undefined ? `${visible(key)} was already removed.` : `Not deleted: ${visible(key)} has been changed to ${short(result.value)}.`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      report(error.message);
    }
  }

  // ---- Undo ----
  function short(json) {
    const { text, length } = sample(json);
    return visible(text, length, 60) || "the empty string";
  }

  function tell(key, before, after) {
    const name = visible(key) || "the empty key";
    if (after === undefined) report(`Deleted ${name}, which was ${short(before)}.`);
    else if (before === undefined) report(`Added ${name}: ${short(after)}.`);
    else report(before === after ? `${name} is unchanged.` : `Changed ${name} from ${short(before)} to ${short(after)}.`);
  }

  function report(text) {
    say("done-text", text);
    byId("undo").hidden = done.length === 0;
    write(byId("undo"), done.length > 1 ? `Undo (${done.length})` : "Undo");
    byId("done").hidden = false;
  }

  function undo() {
    const last = done[done.length - 1];
    // The editor may have to show a conflict.
    if (editor) return show("editor", "editor-value");
    if (last) unlocked(() => undoChange(last));
  }

  // Restores the old value; if the entry has been changed since, the editor shows both.
  async function undoChange(last) {
    if (!done.includes(last)) return;
    byId("undo").disabled = true;
    try {
      const result = await change(last.key, last.before, last.after);
      done = done.filter((kept) => kept !== last);
      if (!result.isConflict) {
        const name = visible(last.key) || "the empty key";
        report(last.before === undefined ? `Undone: ${name} is removed again.` : `Undone: ${name} is ${short(last.before)} again.`);
      } else if (last.before === undefined) {
        report(`Not undone: ${visible(last.key)} has been ${result.value === undefined ? "removed" : `changed to ${short(result.value)}`}.`);
      } else {
        beginEdit(last.key, last.before, last.after);
        showConflict(result.value);
        report("Not undone: the entry has been changed since.");
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      report(error.message);
    } finally {
      byId("undo").disabled = false;
    }
  }
