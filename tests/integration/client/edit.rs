//! `edit`, with scripts as editors.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;

use super::written::Written;
use crate::http::path;
use crate::support::eventually;
use crate::support::program::{CLIENT, Program};

/// A server, and a directory for the scripts and the edited files.
struct Desk {
    server: Written,
    directory: TempDir,
}

impl Desk {
    #[track_caller]
    fn new() -> Self {
        Self { server: Written::start(), directory: tempfile::tempdir().unwrap() }
    }

    /// Starts `edit` with a shell script as its editor: `$1` is the file, `$run` the number of its runs so far, and
    /// `client` runs the client over HTTP.
    #[track_caller]
    fn start(&self, args: &[&str], script: &str) -> Program {
        let (http, token) = (self.server.site.page.to_string(), path(&self.server.token));
        let client = format!("client() {{ {CLIENT} \"$1\" -q --http {http} --token-file {token} \"$2\"; }}");
        let count = "run=$(cat runs 2>/dev/null || echo 0); echo $((run + 1)) >runs";
        let editor = self.directory.path().join("editor.sh");
        fs::write(&editor, format!("{client}\n{count}\n{script}\n")).unwrap();
        let args = [&["edit", "--http", &http, "--token-file", token], args].concat();
        Program::client_with(&args, |command| {
            command.current_dir(&self.directory).env("TMPDIR", self.directory.path()).stdin(Stdio::piped());
            command.env_remove("VISUAL").env("EDITOR", format!("sh {}", editor.display()))
        })
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// The files that are left for the user.
    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path());
        let directories = entries.filter(|path| path.to_string_lossy().contains("mapcast-edit-"));
        directories.flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())).collect()
    }
}

#[test]
fn an_edited_map_is_written_and_its_changes_are_printed() {
    let desk = Desk::new();
    let client =
        desk.start(&[], "stat -c %a \"$1\" >mode; sed -i 's/Hola/Hello/; /Al/d; s/^{/{\"a\": 1,/' \"$1\"").finish();
    client.assert_exit(0).assert_stdout("~ 1 \"Hola\" -> \"Hello\"\n- 3\n+ a 1\n").assert_stderr("changed: version 2");
    assert_eq!(desk.server.map(), r#"{"1":"Hello","2":"Bienvenido","4":"Servidor","a":1}"#);
    assert_eq!(desk.text("mode"), "600\n");
    assert_eq!(desk.kept(), [] as [PathBuf; 0]);
}

#[test]
fn an_edited_entry_is_written_alone() {
    let desk = Desk::new();
    desk.server.run(&["set", "a/b ñ={\"c\":[1,2]}"]).assert_exit(0);
    // Another entry changes meanwhile: that is not a conflict.
    let client = desk.start(&["a/b ñ"], "client set 1=x; cp \"$1\" shown; sed -i 's/2/null/' \"$1\"").finish();
    client.assert_exit(0).assert_stdout("~ \"a/b ñ\" {\"c\":[1,2]} -> {\"c\":[1,null]}\n");
    assert!(desk.text("shown").contains("\n{\n  \"c\": [\n"), "{}", desk.text("shown"));
    let map = desk.server.map();
    assert!(map.contains(r#""1":"x""#) && map.contains(r#""a/b ñ":{"c":[1,null]}"#), "{map}");
    desk.start(&["nothing"], "true").finish().assert_exit(5).assert_stderr("the map has no entry \"nothing\"");
}

#[test]
fn an_unchanged_or_empty_text_writes_nothing() {
    let desk = Desk::new();
    for script in ["true", "echo >>\"$1\"", ": >\"$1\""] {
        let client = desk.start(&[], script).finish();
        client.assert_exit(0).assert_stdout("").assert_stderr("unchanged: nothing is written");
    }
    assert!(desk.server.run(&["status"]).stdout.windows(10).any(|text| text == b" version 1"));
    assert_eq!(desk.kept(), [] as [PathBuf; 0]);
}

#[test]
fn a_syntax_error_opens_the_editor_with_the_message() {
    let desk = Desk::new();
    // The second run sees the message, which names the line in the file that it is in.
    let script = "cp \"$1\" \"shown$run\"
        if [ $run = 0 ]; then sed -i 's/\"Hola\",/\"Hello\"/' \"$1\"; else sed -i 's/\"Hello\"/\"Hello\",/' \"$1\"; fi";
    let client = desk.start(&[], script).finish();
    client.assert_exit(0).assert_stdout("~ 1 \"Hola\" -> \"Hello\"\n");
    let shown = desk.text("shown1");
    let message = shown.lines().find(|line| line.contains("line ")).unwrap_or_default();
    let number: usize = message.split("line ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(shown.lines().nth(number - 1).unwrap().contains("\"2\": \"Bienvenido\""), "{shown}");
}

#[test]
fn a_syntax_error_that_stays_keeps_the_text() {
    let desk = Desk::new();
    let client = desk.start(&[], "sed -i 's/Hola\"/Hello/' \"$1\"").finish();
    client.assert_exit(1).assert_stderr("the text is not valid: ");
    let kept = desk.kept();
    client.assert_stderr(&format!("the edited text is kept in {}\n", kept[0].display()));
    assert!(fs::read_to_string(&kept[0]).unwrap().contains("\"1\": \"Hello"));
    // What only the server refuses is a message, too.
    let desk = Desk::new();
    let client = desk.start(&[], "[ $run = 1 ] || sed -i 's/^{/{\"a\": 1, \"a\": 2,/' \"$1\"").finish();
    client.assert_exit(1).assert_stderr("the text is not valid: ").assert_stderr("\"a\"");
}

/// Changes `limit` meanwhile, in the first run only, and edits another entry and `limit`.
const CONFLICT: &str = "cp \"$1\" \"shown$run\"
    [ $run = 0 ] && { client set limit=12; client set new=true; client del 2; }
    sed -i 's/\"limit\": 10/\"limit\": 11/; s/Hola/Hello/' \"$1\"";

#[test]
fn a_concurrent_change_is_shown_and_edited_together() {
    let desk = Desk::new();
    desk.server.run(&["set", "limit=10"]).assert_exit(0);
    let client = {
        let mut command = desk.start(&[], CONFLICT);
        command.stdin().write_all(b"y\n").unwrap();
        command.finish()
    };
    client.assert_exit(0).assert_stdout("~ 1 \"Hola\" -> \"Hello\"\n~ limit 12 -> 11\n");
    client.assert_stderr("another writer has changed the map meanwhile").assert_stderr("  ~ limit 10 -> 12\n");
    client.assert_stderr("  - 2\n").assert_stderr("your text has other values for limit\n");
    assert!(desk.text("shown1").contains("#   ~ limit 10 -> 12\n"), "{}", desk.text("shown1"));
    assert_eq!(desk.server.map(), r#"{"1":"Hello","3":"Al","4":"Servidor","limit":11,"new":true}"#);
}

#[test]
fn a_concurrent_change_is_never_overwritten_unasked() {
    let desk = Desk::new();
    desk.server.run(&["set", "limit=10"]).assert_exit(0);
    for answer in ["n\n", ""] {
        let _ = fs::remove_file(desk.directory.path().join("runs"));
        let mut command = desk.start(&[], CONFLICT);
        command.stdin().write_all(answer.as_bytes()).unwrap();
        let client = command.finish();
        client.assert_exit(1).assert_stdout("").assert_stderr("412: another writer has changed the map");
        client.assert_stderr("the edited text is kept in ");
        let map = desk.server.map();
        assert!(map.contains("\"limit\":12") && map.contains("Hola"), "{map}");
        desk.server.run(&["set", "limit=10", "2=x"]).assert_exit(0);
    }
    let kept = desk.kept();
    assert_eq!(kept.len(), 2);
    assert!(fs::read_to_string(&kept[0]).unwrap().contains("\"limit\": 11"));
}

#[test]
fn an_edited_text_is_kept_if_the_server_refuses_it() {
    let desk = Desk::new();
    let client = desk.start(&[], WAIT);
    eventually("the editor", || desk.text("began") == "began\n");
    // The server reads its token for each request.
    fs::write(desk.server.token.path(), "another-token-altogether\n").unwrap();
    fs::write(desk.directory.path().join("go"), "").unwrap();
    let client = client.finish();
    client.assert_exit(1).assert_stderr("401: the server refuses the token").assert_stderr("is kept in ");
    assert_eq!(desk.kept().len(), 1);
}

#[test]
fn an_editor_that_fails_writes_nothing() {
    let desk = Desk::new();
    let client = desk.start(&[], "sed -i 's/Hola/Hello/' \"$1\"; exit 3").finish();
    client.assert_exit(1).assert_stderr(" failed (exit status: 3)").assert_stderr("is kept in ");
    assert!(desk.server.map().contains("Hola"));
    let args = ["edit", "--http", &desk.server.site.page.to_string()];
    let client = Program::client_with(&args, |command| command.env_remove("VISUAL").env("EDITOR", "/nowhere/editor"));
    client.finish().assert_exit(1).assert_stderr("cannot be found; set VISUAL or EDITOR");
}

/// Waits for the test before it edits.
const WAIT: &str = "echo began >began; while [ ! -e go ]; do sleep 0.05; done; sed -i 's/Hola/Hello/' \"$1\"";

#[test]
fn an_interrupt_is_the_editors_while_it_runs() {
    let desk = Desk::new();
    let client = desk.start(&[], WAIT);
    eventually("the editor", || desk.text("began") == "began\n");
    client.signal(Signal::INT);
    fs::write(desk.directory.path().join("go"), "").unwrap();
    client.finish().assert_exit(0).assert_stdout("~ 1 \"Hola\" -> \"Hello\"\n");
}
