//! Changes of the map on the page.

use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Visit;

const TOKEN: &str = "a-token-of-some-length";

/// A page whose map can be changed, which has the entries of `map`. The directory has the token and the state.
#[track_caller]
fn writable(map: &str) -> Option<(Visit, TempDir)> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut token = fs::File::create(path("token")).unwrap();
    write!(token, "{TOKEN}").unwrap();
    fs::write(path("state.json"), map).unwrap();
    let visit = Visit::start(&["--http-token-file", &path("token"), "--state", &path("state.json")])?;
    visit.browser.wait("document.getElementById('about').textContent.startsWith('version ')");
    visit.browser.wait("!document.getElementById('add').hidden");
    Some((visit, directory))
}

impl Visit {
    /// Changes an entry as another program does; `None` deletes it.
    #[track_caller]
    fn change(&self, key: &str, value: Option<&str>) {
        let method = if value.is_some() { "PUT" } else { "DELETE" };
        let headers = format!("Authorization: Bearer {TOKEN}\r\n");
        let response = self.site.ask(&format!("{method} /map/{key}"), &headers, value.unwrap_or_default());
        assert_eq!(response.code, 200, "{response:?}");
    }

    #[track_caller]
    fn click(&self, id: &str) {
        self.browser.run(&format!("document.getElementById('{id}').click()"));
    }

    /// Clicks a button of an entry, which it opens first.
    #[track_caller]
    fn click_in(&self, key: &str, class: &str) {
        let opened = format!(
            "[...document.querySelectorAll('#entries th button')].find((button) => button.textContent === {})",
            json!(key)
        );
        // The response to a change may come before the event that shows it.
        self.browser.wait(&opened);
        self.browser.run(&format!("const head = {opened}; if (head.ariaExpanded !== 'true') head.click();"));
        let button = format!("{opened}.closest('tr').nextSibling?.querySelector('.{class}')");
        self.browser.wait(&button);
        self.browser.run(&format!("{button}.click()"));
    }

    #[track_caller]
    fn unlock(&self, token: &str) {
        self.browser.wait("!document.getElementById('unlock').hidden");
        self.browser.run(&format!(
            "document.getElementById('token').value = {};
             document.getElementById('unlock').requestSubmit();",
            json!(token)
        ));
    }

    /// Types into the open editor. A key is typed only into that of a new entry.
    #[track_caller]
    fn type_in(&self, key: Option<&str>, kind: &str, value: &str) {
        self.browser.wait("!document.getElementById('editor').hidden");
        self.browser.run(&format!(
            "const [key, kind, value] = {};
             if (key !== null) document.getElementById('editor-key').value = key;
             document.getElementById('editor-kind').value = kind;
             document.getElementById('editor-value').value = value;",
            json!([key, kind, value])
        ));
    }

    #[track_caller]
    fn save(&self) {
        self.browser.run("document.getElementById('editor').requestSubmit()");
    }

    #[track_caller]
    fn wait_conflict(&self, title: &str) {
        self.browser.wait(&format!(
            "!document.getElementById('conflict').hidden && document.getElementById('conflict-title').textContent === {}",
            json!(title)
        ));
    }

    #[track_caller]
    fn wait_done(&self, text: &str) {
        self.browser.wait(&format!(
            "!document.getElementById('done').hidden && document.getElementById('done-text').textContent === {}",
            json!(text)
        ));
    }

    #[track_caller]
    fn map(&self) -> Value {
        self.site.json("/map")
    }
}

#[test]
fn entries_are_added_changed_and_deleted_and_each_is_undone() {
    let Some((visit, _directory)) = writable(r#"{"n": 12345678901234567, "t": "a b"}"#) else { return };
    visit.click("add");
    visit.unlock(TOKEN);
    visit.type_in(Some("new/ñ'?"), "json", r#"{ "b": [1, 2] , "a": null }"#);
    visit.save();
    visit.wait_done(r#"Added new/ñ'?: {"a":null,"b":[1,2]}."#);
    assert_eq!(visit.browser.run("return document.getElementById('editor').hidden"), true);

    visit.click_in("t", "edit");
    visit.browser.wait("document.getElementById('editor-kind').value === 'text'");
    assert_eq!(visit.browser.run("return document.getElementById('editor-value').value"), "a b");
    visit.type_in(None, "text", "5");
    visit.save();
    visit.wait_done("Changed t from a b to 5.");

    visit.click_in("n", "remove");
    visit.wait_done("Deleted n, which was 12345678901234567.");
    assert_eq!(visit.map(), json!({ "new/ñ'?": { "a": null, "b": [1, 2] }, "t": "5" }));
    assert_eq!(visit.text("undo"), "Undo (3)");

    for done in
        ["Undone: n is 12345678901234567 again.", "Undone: t is a b again.", "Undone: new/ñ'? is removed again."]
    {
        visit.click("undo");
        visit.wait_done(done);
    }
    assert_eq!(visit.map(), json!({ "n": 12_345_678_901_234_567_i64, "t": "a b" }));
    assert_eq!(visit.browser.run("return document.getElementById('undo').hidden"), true);
}

#[test]
fn the_last_50_changes_can_be_undone() {
    let Some((visit, _directory)) = writable(r#"{"n": 0}"#) else { return };
    visit.click_in("n", "edit");
    visit.unlock(TOKEN);
    for number in 1..=52 {
        if number > 1 {
            visit.click_in("n", "edit");
        }
        visit.type_in(None, "json", &number.to_string());
        visit.save();
        visit.wait_done(&format!("Changed n from {} to {number}.", number - 1));
        // The next edit begins with the new value.
        let is_shown = format!("document.querySelector('#entries td').textContent.startsWith('{number}')");
        visit.browser.wait(&is_shown);
    }
    assert_eq!(visit.text("undo"), "Undo (50)");
}

#[test]
fn a_wrong_token_changes_nothing_and_no_token_is_stored() {
    let Some((visit, _directory)) = writable(r#"{"n": 1}"#) else { return };
    visit.click("add");
    visit.unlock("another-token");
    visit
        .browser
        .wait("document.getElementById('unlock-problem').textContent === 'The server does not accept this token.'");
    visit.unlock(TOKEN);
    visit.type_in(Some("m"), "json", "not JSON");
    visit.save();
    visit.browser.wait("document.getElementById('editor-problem').textContent.startsWith('This is not JSON: ')");
    assert_eq!(visit.map(), json!({ "n": 1 }));
    let stored = visit.browser.run(
        "return [localStorage.length, sessionStorage.length, document.cookie, location.href.includes('token'),
           document.getElementById('token').value]",
    );
    assert_eq!(stored, json!([0, 0, "", false, ""]));
    visit.click("editor-cancel");
    visit.click("lock");
    visit.click("add");
    visit.browser.wait("!document.getElementById('unlock').hidden && document.getElementById('editor').hidden");
}

#[test]
fn a_concurrent_change_is_shown_and_nothing_is_lost() {
    let Some((visit, _directory)) = writable(r#"{"n": 1, "other": 1}"#) else { return };
    visit.click_in("n", "edit");
    visit.unlock(TOKEN);
    visit.type_in(None, "json", "10");
    visit.change("n", Some("2"));
    visit.wait_conflict("The entry has been changed. It is now:");
    assert_eq!(visit.text("conflict-value"), "2");
    visit.save();
    assert_eq!(visit.browser.run("return document.getElementById('editor-value').value"), "10", "what was typed");
    visit.click("take-theirs");
    visit.browser.wait("document.getElementById('editor-value').value === '2'");
    visit.type_in(None, "json", "20");
    visit.change("n", None);
    visit.wait_conflict("The entry has been removed.");
    visit.click("keep-mine");
    visit.wait_done("Added n: 20.");
    assert_eq!(visit.map()["n"], 20);

    // A change of another entry is not a conflict: its ETag is replaced without a question.
    visit.click_in("n", "edit");
    visit.type_in(None, "json", "30");
    visit.change("other", Some("2"));
    visit.save();
    visit.wait_done("Changed n from 20 to 30.");

    // Between the page's look at the entry and its request: If-Match refuses the request.
    visit.browser.run(
        "const send = fetch;
         window.fetch = (path, init) => {
           if (init.method !== 'PUT' || !window.held) return send(path, init);
           window.isSending = true;
           return window.held.then(() => send(path, init));
         };",
    );
    visit.click_in("n", "edit");
    visit.type_in(None, "json", "40");
    visit.browser.run("window.held = new Promise((go) => { window.go = go; });");
    visit.save();
    visit.browser.wait("window.isSending");
    visit.change("n", Some("31"));
    visit.browser.run("window.go(); window.held = null;");
    visit.wait_conflict("The entry has been changed. It is now:");
    assert_eq!((visit.text("conflict-value").as_str(), visit.map()["n"].clone()), ("31", json!(31)));
}

#[test]
fn an_entry_that_exists_is_not_overwritten_by_a_new_one() {
    let Some((visit, _directory)) = writable(r#"{"n": "<b>"}"#) else { return };
    visit.click("add");
    visit.unlock(TOKEN);
    visit.type_in(Some("n"), "json", "5");
    visit.save();
    visit.wait_conflict("The map has this entry already:");
    assert_eq!(visit.text("conflict-value"), "<b>");
    assert_eq!(visit.map(), json!({ "n": "<b>" }));
}

#[test]
fn an_undo_after_a_change_by_others_asks_first() {
    let Some((visit, _directory)) = writable(r#"{"n": 1}"#) else { return };
    visit.click_in("n", "edit");
    visit.unlock(TOKEN);
    visit.type_in(None, "json", "2");
    visit.save();
    visit.wait_done("Changed n from 1 to 2.");
    visit.change("n", Some("3"));
    visit.click("undo");
    visit.wait_conflict("The entry has been changed. It is now:");
    assert_eq!((visit.text("conflict-value").as_str(), visit.map()), ("3", json!({ "n": 3 })));
    visit.click("keep-mine");
    visit.wait_done("Changed n from 3 to 1.");
    assert_eq!(visit.map(), json!({ "n": 1 }));
}

#[test]
fn a_map_with_a_source_cannot_be_edited() {
    let Some((visit, _source)) = Visit::fed(r#"{"n": 1}"#) else { return };
    visit.browser.run("document.querySelector('#entries th button').click()");
    visit.browser.wait("document.querySelector('.detail pre')");
    assert_eq!(visit.browser.run("return document.querySelectorAll('.edit, .remove').length"), 0);
    assert_eq!(visit.browser.run("return document.getElementById('add').hidden"), true);
}

#[test]
fn another_edit_does_not_replace_what_is_typed() {
    let Some((visit, _directory)) = writable(r#"{"n": 1, "m": 2}"#) else { return };
    visit.click_in("n", "edit");
    visit.unlock(TOKEN);
    visit.type_in(None, "json", "10");
    visit.click_in("m", "edit");
    visit.click("add");
    let typed = ["editor-key", "editor-value"]
        .map(|id| visit.browser.run(&format!("return document.getElementById('{id}').value")));
    assert_eq!(typed, ["n", "10"]);
    assert_eq!(visit.browser.run("return document.activeElement.id"), "editor-value");
    visit.save();
    visit.wait_done("Changed n from 1 to 10.");
}

#[test]
fn a_token_that_was_cancelled_while_it_is_checked_is_forgotten() {
    let Some((visit, _directory)) = writable(r#"{"n": 1}"#) else { return };
    visit.browser.run(
        "const send = fetch;
         window.fetch = (path, init) => {
           window.isSending = true;
           return new Promise((go) => { window.go = go; }).then(() => send(path, init)).finally(() => { window.isOver = true; });
         };",
    );
    visit.click("add");
    visit.unlock(TOKEN);
    visit.browser.wait("window.isSending");
    visit.click("unlock-cancel");
    visit.browser.run("window.go()");
    visit.browser.wait("window.isOver");
    visit.click("add");
    visit.browser.wait("!document.getElementById('unlock').hidden && document.getElementById('lock').hidden");
    assert_eq!(visit.browser.run("return document.getElementById('editor').hidden"), true);
}
