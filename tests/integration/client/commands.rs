//! `get`, `set`, `del`, `status`, `clients` and `completions`, against a real server.

use std::fs;
use std::net::TcpListener;

use super::peer::{builtin_frame, closed_address, serve, serve_bytes};
use super::written::Written;
use crate::http::{Site, path};
use crate::support::program::Program;
use crate::support::reader::Reader;

#[test]
fn get_prints_values_paths_and_patterns() {
    let server = Written::start();
    server.run(&["set", "a.b=1", "c={\"d\":[\"x y\",true]}", "sensor/1=0.5", "sensor/2=null"]).assert_exit(0);
    for (args, wanted) in [
        (&["1"][..], "Hola\n"),
        (&["c.d.0", "a.b"], "x y\n1\n"),
        (&["c"], "{\"d\":[\"x y\",true]}\n"),
        (&["sensor/*"], "0.5\nnull\n"),
        (&["-o", "text", "sensor/*"], "sensor/1=0.5\nsensor/2=null\n"),
    ] {
        server.get(args).assert_exit(0).assert_stdout(wanted);
    }
    let all = server.get(&[]);
    let all = String::from_utf8_lossy(&all.assert_exit(0).stdout).into_owned();
    assert!(all.ends_with("a.b=1\nc={\"d\":[\"x y\",true]}\nsensor/1=0.5\nsensor/2=null\n"), "{all}");
}

#[test]
fn get_of_a_missing_key_is_5_and_prints_nothing() {
    let server = serve_bytes(builtin_frame());
    let client = Program::client(&["get", "-s", &server, "1", "no such"]).finish();
    client.assert_exit(5).assert_stdout("").assert_stderr("mapcast-client: the map has no entry \"no such\"");
    let client = Program::client(&["get", "-s", &server, &server]).finish();
    client.assert_exit(5).assert_stderr(&format!("to name the server use --server {server}\n"));
}

#[test]
fn get_takes_its_server_from_the_environment() {
    let server = serve_bytes(builtin_frame());
    let client = Program::client_with(&["get", "2"], |command| {
        // Values of variables for printed maps do not matter.
        command.env("MAPCAST_ADDRESS", &server).env("MAPCAST_OUTPUT", "pretty")
    });
    let client = client.finish();
    client.assert_exit(0).assert_stdout("Bienvenido\n");
    assert_eq!(client.stderr, "");
}

#[test]
fn get_without_a_map_is_3_124_or_a_reason() {
    Program::client(&["get", "-s", &closed_address()]).finish().assert_exit(3).assert_stderr("cannot connect to");
    let silent = serve_bytes(Vec::new());
    let client = Program::client(&["get", "-W", "300ms", "-s", &silent]).finish();
    client.assert_exit(124).assert_stderr("does it have no map yet?");
    let client = Program::client(&["get", "-s", &serve(|_, stream| drop(stream))]).finish();
    client.assert_exit(1).assert_stderr("before any map; perhaps the server is full");
}

#[test]
fn set_changes_several_entries_at_once() {
    let server = Written::start();
    let mut reader = Reader::connect(server.site.server.addr());
    reader.payload();
    let client = server.run(&["set", "limit=10", "1=Hello", "text=\"10\"", "hosts=[\"a\",null]"]);
    client.assert_exit(0).assert_stdout("").assert_stderr("changed: version 2, 7 entries");
    let wanted = r#"{"1":"Hello","2":"Bienvenido","3":"Al","4":"Servidor","hosts":["a",null],"limit":10,"text":"10"}"#;
    assert_eq!(String::from_utf8(reader.payload()).unwrap(), wanted, "one change");
    server.run(&["set", "limit=10"]).assert_exit(0).assert_stderr("unchanged: version 2");
    let quiet = server.run(&["set", "-q", "limit=11"]);
    assert_eq!(quiet.assert_exit(0).stderr, "");
}

#[test]
fn set_replaces_objects_and_keeps_null_as_a_value() {
    let server = Written::start();
    server.run(&["set", "a={\"b\":1,\"c\":2}", "n=1"]).assert_exit(0);
    server.run(&["set", "a={\"b\":3}", "n=null", "m=1"]).assert_exit(0).assert_stderr("version 3");
    assert!(server.map().ends_with(r#""a":{"b":3},"m":1,"n":null}"#), "{}", server.map());
}

#[test]
fn set_warns_of_a_value_that_is_nearly_json() {
    let server = Written::start();
    let client = server.run(&["set", "a={b: 1}"]);
    client.assert_exit(0).assert_stderr("the value of a begins like JSON and is not valid JSON");
    assert!(server.map().ends_with(r#""a":"{b: 1}"}"#), "{}", server.map());
    server.run(&["set", "a"]).assert_exit(2).assert_stderr("write KEY=VALUE");
    server.run(&["set", "a=1", "a=2"]).assert_exit(2).assert_stderr("a is given twice");
}

#[test]
fn del_removes_all_of_its_keys_or_none() {
    let server = Written::start();
    server.run(&["set", "a.b=1"]).assert_exit(0);
    server.run(&["del", "1", "nothing"]).assert_exit(5).assert_stderr("the map has no entry \"nothing\"");
    server.run(&["del", "a.b", "1", "2"]).assert_exit(0).assert_stderr("changed: version 3, 2 entries");
    assert_eq!(server.map(), r#"{"3":"Al","4":"Servidor"}"#);
}

#[test]
fn concurrent_sets_of_objects_lose_nothing() {
    let server = Written::start();
    // An object is set by reading the map and writing it back: each attempt that meets a newer map is repeated.
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let server = &server;
            std::thread::Builder::new()
                .spawn_scoped(scope, move || {
                    for number in 0..3 {
                        server.run(&["set", &format!("k{writer}{number}={{\"n\":{number}}}")]).assert_exit(0);
                    }
                })
                .unwrap();
        }
    });
    let map = server.site.json("/map");
    assert_eq!(map.as_object().unwrap().len(), 4 + 12, "{map}");
}

#[test]
fn a_refused_change_names_the_option_that_permits_it() {
    let server = Written::start();
    let http = server.site.page.to_string();
    let without = Program::client(&["set", "--http", &http, "a=1"]).finish();
    without.assert_exit(1).assert_stderr("mapcast-client: 401: the server wants a token: use --token-file FILE\n");
    let wrong = tempfile::NamedTempFile::new().unwrap();
    fs::write(wrong.path(), "wrong-token\n").unwrap();
    let client = Program::client_with(&["del", "1"], |command| {
        command.env("MAPCAST_HTTP", &http).env("MAPCAST_TOKEN_FILE", wrong.path())
    });
    client.finish().assert_exit(1).assert_stderr("401: the server refuses the token");
    let client = Program::client(&["set", "--http", &http, "--token-file", "/nowhere/token", "a=1"]).finish();
    client.assert_exit(2).assert_stderr("/nowhere/token: cannot read the token");
    let fixed = Site::start(&[]);
    let client = Program::client(&["set", "--http", &fixed.page.to_string(), "a=1"]).finish();
    client.assert_exit(1).assert_stderr("405: writing is off: start the server with --http-token-file FILE");
}

#[test]
fn an_address_without_http_is_explained() {
    let closed = closed_address();
    let client = Program::client(&["status", "--http", &closed]).finish();
    client.assert_exit(3).assert_stderr(&format!("cannot connect to http://{closed} (is the server running there, "));
    let map = serve_bytes(builtin_frame());
    let client = Program::client(&["status", "--http", &map]).finish();
    client.assert_exit(1).assert_stderr("it is the port of the map");
    let client = Program::client(&["status", "--http", "https://h"]).finish();
    client.assert_exit(2).assert_stderr("https is not supported");
}

#[cfg(feature = "tls")]
#[test]
fn tls_is_rejected_over_http() {
    for args in [["status", "--tls"], ["--tls", "status"]] {
        Program::client(&args).finish().assert_exit(2).assert_stderr("'--tls' cannot be used with 'status'");
    }
    let site = Site::start(&[]);
    let client = Program::client_with(&["status", "--http", &site.page.to_string()], |command| {
        // It is meant for another run.
        command.env("MAPCAST_TLS", "true")
    });
    client.finish().assert_exit(0);
}

#[test]
fn a_silent_http_server_is_124_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Program::client(&["status", "-W", "300ms", "--http", &address]).finish();
    client.assert_exit(124).assert_stdout("").assert_stderr("mapcast-client: timed out\n");
}

#[test]
fn status_is_a_table_or_json() {
    let server = Written::start();
    let table = server.run(&["status"]);
    let table = String::from_utf8_lossy(&table.assert_exit(0).stdout).into_owned();
    let begin = format!("server   mapcast {}, pid {}, up ", env!("CARGO_PKG_VERSION"), server.site.server.pid());
    assert!(table.starts_with(&begin), "{table}");
    assert!(table.contains("\nmap      version 1, 4 entries, "), "{table}");
    assert!(table.contains("\nsource   none: changes over HTTP with a token\n"), "{table}");
    let json = server.run(&["status", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.assert_exit(0).stdout).unwrap();
    assert_eq!(json["map"]["version"], 1);
}

#[test]
fn clients_are_a_table_or_json() {
    let server = Written::start();
    let mut reader = Reader::connect(server.site.server.addr());
    reader.payload();
    let peer = reader.socket().local_addr().unwrap().to_string();
    server.site.server.wait_log("client 1 connected");
    let table = server.run(&["clients"]);
    let table = String::from_utf8_lossy(&table.assert_exit(0).stdout).into_owned();
    assert!(table.starts_with("ID  PEER ") && table.lines().count() == 2, "{table}");
    assert!(table.contains(&format!("\n 1  {peer} ")), "{table}");
    let none = server.run(&["clients", "--limit", "0"]);
    none.assert_exit(0).assert_stderr("not listed: 1 older\n");
    let json = server.run(&["clients", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.assert_exit(0).stdout).unwrap();
    assert_eq!(json["clients"][0]["peer"], peer);
}

#[test]
fn completions_are_those_of_the_package() {
    for (shell, file) in [("bash", "mapcast-client.bash"), ("zsh", "_mapcast-client"), ("fish", "mapcast-client.fish")]
    {
        let packaged = format!("{}/packaging/completions/{file}", env!("CARGO_MANIFEST_DIR"));
        let client = Program::client(&["completions", shell]).finish();
        client.assert_exit(0).assert_stdout(&fs::read_to_string(packaged).unwrap());
    }
    for shell in ["elvish", "powershell"] {
        let client = Program::client(&["completions", shell]).finish();
        assert!(client.assert_exit(0).stdout.len() > 1000, "{shell}");
    }
    Program::client(&["completions", "tcsh"]).finish().assert_exit(2);
}

#[test]
fn a_closed_output_of_a_command_is_quiet() {
    let server = Written::start();
    for args in [&["get", "-s", &server.site.server.addr().to_string(), "-f", "json"][..], &["completions", "bash"]] {
        let (_, closed) = std::io::pipe().unwrap();
        let client = Program::client_with(args, |command| command.stdout(closed)).finish();
        assert_eq!(client.assert_exit(0).stderr, "", "{args:?}");
    }
    // A change is made, whether its output is read or not.
    let (_, closed) = std::io::pipe().unwrap();
    let (http, token) = (server.site.page.to_string(), path(&server.token));
    let args = ["set", "--http", &http, "--token-file", token, "a=1"];
    Program::client_with(&args, |command| command.stdout(closed)).finish().assert_exit(0);
    assert!(server.map().contains("\"a\":1"));
}
