  // ---- The start ----
  // True if and only if a key press belongs to what has the focus.
  function isTyping({ target, ctrlKey, metaKey, altKey }) {
    return ctrlKey || metaKey || altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
  }

  // Shows the colours that are chosen, and stores the choice in the browser; the head of the page reads it.
  function chooseTheme() {
    const theme = byId("theme").value;
    document.documentElement.dataset.theme = theme;
    endLights();
    try {
      if (theme === "system") localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch { } // the browser permits no storage
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !isTyping(event)) {
      event.preventDefault();
      byId("filter").select();
      byId("filter").focus();
    } else if (event.key === "Escape" && byId("unlock").contains(event.target)) {
      cancelUnlock();
    }
  });
  byId("filter").addEventListener("input", () => {
    keepAddress();
    drawSoon(drawMap);
  });
  addEventListener("hashchange", readAddress);
  // A half-written change is not lost by accident.
  addEventListener("beforeunload", (event) => editor && byId("editor-value").value !== "" && event.preventDefault());
  const onClick = (id, act) => byId(id).addEventListener("click", () => act());
  onClick("add", () => unlocked(() => openEditor(null)));
  onClick("lock", forgetToken);
  onClick("unlock-cancel", cancelUnlock);
  onClick("editor-cancel", endEdit);
  onClick("keep-mine", keepMine);
  onClick("take-theirs", takeTheirs);
  onClick("undo", undo);
  onClick("done-close", () => { byId("done").hidden = true; });
  onClick("copy-command", () => copy(byId("copy-command"), byId("command").textContent));
  onClick("copy-map", () => copy(byId("copy-map"), shownJson()));
  byId("theme").addEventListener("change", chooseTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", endLights);
  byId("unlock").addEventListener("submit", unlock);
  byId("editor").addEventListener("submit", save);
  byId("editor-key").addEventListener("input", drawConflict);
  byId("entries").addEventListener("keydown", moveFocus);
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => sortBy(column)));
  mapHeads.forEach((head, column) => head.firstChild.addEventListener("click", () => sortMapBy(column)));
  for (const name of ["pointermove", "pointerdown", "pointerleave", "blur"]) byId("plot").addEventListener(name, point);
  byId("plot").addEventListener("keydown", pointByKey);
  document.addEventListener("visibilitychange", pauseOrResume);
  byId("theme").value = document.documentElement.dataset.theme || "system";
  readAddress();
  pauseOrResume();
  [drawChanges, drawClients].forEach(drawSoon);
  setInterval(watch, WATCH_MS);
