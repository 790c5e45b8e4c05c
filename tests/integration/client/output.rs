//! Printed maps.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime};

use mapcast::{Format, Map, Value, builtin_map};

use super::peer::{BUILTIN_LINE, builtin_frame, frame, numbered_frame, serve, serve_bytes};
use crate::support::program::Program;

fn printed(server: &str, args: &[&str]) -> String {
    let client = Program::client(&[args, &[server]].concat()).finish();
    client.assert_exit(0);
    String::from_utf8(client.stdout).unwrap()
}

#[test]
fn each_output_has_its_own_form() {
    let server = serve_bytes(builtin_frame());
    let pretty = "{\n  \"1\": \"Hola\",\n  \"2\": \"Bienvenido\",\n  \"3\": \"Al\",\n  \"4\": \"Servidor\"\n}\n";
    let text = "1=Hola\n2=Bienvenido\n3=Al\n4=Servidor\n";
    let (value, diff) =
        ("Hola\nBienvenido\nAl\nServidor\n", "+ 1 \"Hola\"\n+ 2 \"Bienvenido\"\n+ 3 \"Al\"\n+ 4 \"Servidor\"\n");
    let all =
        [("json", BUILTIN_LINE), ("pretty", pretty), ("text", text), ("value", value), ("diff", diff), ("none", "")];
    for (output, wanted) in all {
        assert_eq!(printed(&server, &["-n", "1", "-o", output]), wanted, "{output}");
    }
}

#[test]
fn raw_is_the_payload_and_nothing_else() {
    let payload = [&[0, 159, 146, 150, b'\n'][..], &[7; 5000]].concat();
    let client = Program::client(&["-n", "2", "-o", "raw", &serve_bytes(frame(&payload).repeat(2))]).finish();
    client.assert_exit(0);
    assert!(client.stdout == payload.repeat(2));
}

#[test]
fn every_format_is_read_with_and_without_its_name() {
    for format in Format::ALL {
        let server = serve_bytes(frame(&format.encode_map(&builtin_map()).unwrap()));
        for args in [&["-n", "1", "-f", format.name()][..], &["-n", "1", "-f", "auto"], &["-n", "1"]] {
            assert_eq!(printed(&server, args), BUILTIN_LINE, "{format}, {args:?}");
        }
        let check = Program::client(&["check", &server]).finish();
        check.assert_exit(0).assert_stderr(&format!("good: {format}, 4 entries"));
    }
}

#[test]
fn the_environment_sets_missing_options() {
    let server = serve_bytes(frame(br#"{"n":1,"m":2}"#));
    let client = Program::client_with(&["-o", "json"], |command| {
        let twins = [
            ("MAPCAST_ADDRESS", server.as_str()),
            ("MAPCAST_FORMAT", "json"),
            ("MAPCAST_OUTPUT", "pretty"),
            ("MAPCAST_KEY", "n"),
            ("MAPCAST_COUNT", "1"),
            ("MAPCAST_NO_RECONNECT", "yes"),
            ("MAPCAST_QUIET", "1"),
        ];
        command.envs(twins)
    });
    let client = client.finish();
    client.assert_exit(0).assert_stdout("{\"n\":1}\n");
    assert_eq!(client.stderr, "");
}

#[test]
fn only_changes_are_printed_and_counted_when_asked() {
    let maps = [1, 1, 2, 2, 1].map(numbered_frame).concat();
    let lines = printed(&serve_bytes(maps), &["--changes-only", "-n", "3"]);
    assert_eq!(lines, "{\"n\":1}\n{\"n\":2}\n{\"n\":1}\n");
}

#[test]
fn the_same_map_after_a_reconnection_is_not_a_change() {
    let server = serve(|number, mut stream| {
        let map = numbered_frame(i64::try_from(number / 2).unwrap());
        let _ = stream.write_all(&map);
    });
    assert_eq!(printed(&server, &["--changes-only", "-n", "2"]), "{\"n\":0}\n{\"n\":1}\n");
}

#[test]
fn entries_are_selected_by_number_and_by_string() {
    assert_eq!(
        printed(&serve_bytes(builtin_frame()), &["-n", "1", "-k", "3", "-k", "1"]),
        "{\"1\":\"Hola\",\"3\":\"Al\"}\n"
    );
    assert_eq!(printed(&serve_bytes(numbered_frame(7)), &["-n", "1", "-k", "n"]), "{\"n\":7}\n");
}

#[test]
fn a_prefix_stands_before_each_line() {
    let server = serve_bytes(numbered_frame(1));
    assert_eq!(printed(&server, &["-n", "1", "--prefix", "a: "]), "a: {\"n\":1}\n");
    assert_eq!(printed(&server, &["-n", "1", "--prefix", "a: ", "-o", "pretty"]), "a: {\na:   \"n\": 1\na: }\n");
}

#[test]
fn diff_prints_and_counts_changes_across_connections() {
    let server = serve(|number, mut stream| {
        let maps = [1, 1, 2].map(|map| numbered_frame(map + i64::try_from(number).unwrap()));
        let _ = stream.write_all(&maps.concat());
    });
    assert_eq!(printed(&server, &["-o", "diff", "-n", "3"]), "+ n 1\n~ n 1 -> 2\n~ n 2 -> 3\n");
}

#[test]
fn a_line_format_defines_the_lines() {
    let server = serve_bytes([1, 2].map(numbered_frame).concat());
    assert_eq!(printed(&server, &["-n", "2", "-F", "%n\\t%k=%j"]), "1\tn=1\n2\tn=2\n");
    assert_eq!(printed(&server, &["-n", "2", "-o", "diff", "-F", "%c %o"]), "+ \n~ 1\n");
}

#[test]
fn once_prints_one_map() {
    let server = serve_bytes([1, 2].map(numbered_frame).concat());
    assert_eq!(printed(&server, &["--once"]), "{\"n\":1}\n");
}

#[test]
fn timestamps_are_the_time_of_the_output() {
    let before = SystemTime::now() - Duration::from_millis(1);
    let lines = printed(&serve_bytes(numbered_frame(1)), &["--once", "--timestamps"]);
    let (time, line) = lines.split_once(' ').unwrap();
    let time = humantime::parse_rfc3339(time).unwrap();
    assert!(before <= time && time <= SystemTime::now(), "{lines}");
    assert_eq!(line, "{\"n\":1}\n");
}

#[test]
fn colours_are_for_terminals_or_on_request() {
    let server = serve_bytes(numbered_frame(1));
    assert_eq!(printed(&server, &["--once", "--color", "always"]), "{\x1b[36m\"n\"\x1b[0m:1}\n");
    assert_eq!(printed(&server, &["--once", "--color", "always", "-o", "diff"]), "\x1b[32m+ n 1\x1b[0m\n");
    let client = Program::client_with(&["--once", &server], |command| command.env("MAPCAST_COLOR", "never"));
    client.finish().assert_exit(0).assert_stdout("{\"n\":1}\n");
}

#[test]
fn a_closed_output_of_changes_is_quiet() {
    let server = serve_bytes([1, 2, 3].map(numbered_frame).concat());
    let (_, closed) = std::io::pipe().unwrap();
    let client = Program::client_with(&["-q", "-o", "diff", "--timestamps", &server], |command| command.stdout(closed));
    let client = client.finish();
    assert_eq!(client.assert_exit(0).stderr, "");
}

#[test]
fn clients_that_share_a_file_never_mix_within_a_line() {
    // Longer than a buffer of the standard library, so that only a single write keeps it together.
    let value = Value::from("x".repeat(20_000));
    let map = Map::from([("text".into(), value)]);
    let server = serve_bytes(frame(&Format::Bincode.encode_map(&map).unwrap()).repeat(20));
    let file = tempfile::NamedTempFile::new().unwrap();
    let names = ["a ", "b ", "c ", "d "];
    let clients = names.map(|name| {
        let append = File::options().append(true).open(file.path()).unwrap();
        Program::client_with(&["-n", "20", "--prefix", name, &server], |command| command.stdout(append))
    });
    for client in clients {
        client.finish().assert_exit(0);
    }
    let text = std::fs::read_to_string(file.path()).unwrap();
    let line = String::from_utf8(Format::Json.encode_map(&map).unwrap()).unwrap();
    assert_eq!(text.lines().count(), 80);
    assert!(text.lines().all(|found| names.iter().any(|name| found.strip_prefix(name) == Some(&line))));
}
