//! The ports of the server: one map in several formats, and what a server without options serves.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use mapcast::{Format, Map, builtin_map};

use crate::http::{Site, path};
use crate::support::program::{CLIENT, Program, SERVER, clean, run};
use crate::support::reader::Reader;
use crate::support::{connect, skip};

/// Returns the address of the port with the map in `format`.
fn port(server: &Program, format: &str) -> SocketAddr {
    let line = server.wait_log(&format!(": the map as {format} "));
    let addr = line.split("listening on ").nth(1).and_then(|rest| rest.split(": ").next());
    addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
}

fn numbered(number: i64) -> Map {
    Map::from([("n".into(), number.into())])
}

#[test]
fn ports_with_two_formats_show_the_same_changes() {
    let mut server = Program::server(&["-s", "-", "-l", "json@127.0.0.1:0", "-l", "text@127.0.0.1:0", "-i", "1h"]);
    let mut stdin = server.stdin();
    writeln!(stdin, "{{\"n\":1}}").unwrap();
    let mut readers = [Format::Json, Format::Text, Format::Bincode]
        .map(|format| (format, Reader::connect(port(&server, format.name()))));
    for number in 1..4 {
        for (format, reader) in &mut readers {
            reader.change(*format, &numbered(number));
        }
        writeln!(stdin, "{{\"n\":{}}}", number + 1).unwrap();
    }
}

#[test]
fn a_map_too_large_in_one_format_is_sent_in_none() {
    // 25 bytes in JSON, 108 in bincode.
    let large = "{\"a\":1,\"b\":2,\"c\":3,\"d\":4}";
    let mut server = Program::server(&["-s", "-", "-l", "json@127.0.0.1:0", "-i", "1h", "--max-frame", "64"]);
    let mut stdin = server.stdin();
    writeln!(stdin, "{{\"n\":1}}").unwrap();
    let mut json = Reader::connect(port(&server, "json"));
    assert_eq!(json.map(Format::Json), numbered(1));
    writeln!(stdin, "{large}").unwrap();
    server.wait_log("as bincode, above the limit of 64");
    writeln!(stdin, "{{\"n\":2}}").unwrap();
    assert_eq!(json.map(Format::Json), numbered(2), "the map between was sent");
    assert_eq!(Reader::connect(port(&server, "bincode")).map(Format::Bincode), numbered(2));
}

#[test]
fn the_status_lists_the_ports_with_their_formats() {
    let site = Site::start(&["-l", "msgpack@127.0.0.1:0"]);
    let status = site.json("/status");
    let wanted = ["msgpack", "bincode"].map(
        |format| serde_json::json!({"addr": port(&site.server, format).to_string(), "format": format, "tls": false}),
    );
    assert_eq!(status["map_ports"], serde_json::Value::from(wanted.to_vec()));
    assert_eq!(status["format"], "bincode", "the page has the format of --format");
    assert_eq!(site.get("/map").body, "{\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}\n");
}

#[test]
fn a_port_that_is_in_use_is_named_with_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let page = ["--listen", "127.0.0.1:0", "--http"];
    for (args, option) in [
        (vec!["--listen", "ADDR"], "--listen 127.0.0.1:"),
        (vec!["--listen", "json@ADDR"], "--listen json@127.0.0.1:"),
        (vec!["echo", "--listen", "ADDR"], "--listen 127.0.0.1:"),
        ([&page[..], &["ADDR"]].concat(), "--http 127.0.0.1:"),
    ] {
        let mut command = clean(SERVER);
        command.args(args.iter().map(|arg| arg.replace("ADDR", &addr.to_string())));
        let ended = run(command);
        ended.assert_exit(2).assert_stderr(&format!("mapcast-server: cannot listen on {addr}: Address already in use"));
        ended.assert_stderr(&format!("; stop the other program or use {option}"));
    }
}

#[test]
fn wrong_ports_are_usage_errors() {
    for (args, wanted) in [
        (vec!["-l", "127.0.0.1:1", "-l", "json@127.0.0.1:1"], "another format has this port"),
        (vec!["-l", "8080", "--http", "8080"], "--http 8080: --listen has 127.0.0.1:8080 already"),
        (vec!["-l", "yaml@8080"], "\"yaml\" is not a format"),
        (vec!["-l", "127.0.0.1:99999"], "99999 is not a port; the highest is 65535"),
        (vec!["--http", "99999"], "--http 99999: 99999 is not a port"),
        (vec!["echo", "-l", "json@8080"], "is for the map; leave the format out"),
    ] {
        let mut command = clean(SERVER);
        command.arg(args[0]).args(&args[1..]);
        run(command).assert_exit(2).assert_stderr(wanted);
    }
}

#[test]
fn a_file_alone_is_the_source() {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), "{\"n\":1}").unwrap();
    let path = file.path().to_str().unwrap();
    let server = Program::server(&[path]);
    assert_eq!(Reader::connect(server.addr()).map(Format::Bincode), numbered(1));
    for args in [&[path, "--source", path][..], &[path, "--http", "1", "--http-token-file", path]] {
        let mut command = clean(SERVER);
        command.args(args);
        run(command).assert_exit(2);
    }
    // Of a file and a source in the environment, the file was typed.
    let mut command = clean(SERVER);
    command.args([path, "--check-config"]).env("MAPCAST_SOURCE", "/nowhere.json");
    run(command).assert_exit(0);
}

/// Runs `script` with the programs as `$server` and `$client`, where the ports of other programs are not in use; `None` if the
/// system does not allow it.
fn alone(script: &str) -> Option<Program> {
    let network = ["-rn", "sh", "-c"];
    let can = Command::new("unshare").args(network).arg("ip link set lo up").output();
    if !can.is_ok_and(|output| output.status.success()) {
        skip("no network of its own");
        return None;
    }
    let mut command = clean("unshare");
    let script = format!("ip link set lo up; trap 'kill $(jobs -p); wait' EXIT; {script}");
    command.args(["-rn", "bash", "-c", &script]).env("server", SERVER).env("client", CLIENT);
    Some(Program::start(command))
}

#[test]
fn a_server_without_options_serves_json_and_the_page_too() {
    let script = "$server & $client -n 1 --wait=1m 8080; $client -q check --wait 2>/dev/null; $client -n 1 --wait=1m -f json :8082; \
                  exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET /map HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; tail -1 <&3";
    let Some(ran) = alone(script) else { return };
    let map = "{\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}\n";
    let ended = ran.finish();
    ended.assert_stdout(&map.repeat(3)).assert_stderr("web page on http://127.0.0.1:8081/");
    ended.assert_stderr("listening on 127.0.0.1:8082: the map as json every 5s");
    assert!(!ended.stderr.contains("try "), "for a terminal only: {}", ended.stderr);
}

#[test]
fn a_port_in_use_is_left_out_without_options() {
    let script = "$server -qq -l 8081 & $server -qq -l 8082 & $client -n 1 --wait=1m 8081; $client -n 1 --wait=1m 8082; \
                  $server & $client -n 1 --wait=1m 8080";
    let Some(ran) = alone(script) else { return };
    let ended = ran.finish();
    assert_eq!(String::from_utf8_lossy(&ended.stdout).lines().count(), 3, "{}", ended.stderr);
    ended.assert_stderr("no web page: cannot listen on 127.0.0.1:8081: ");
    ended.assert_stderr("no map as json: cannot listen on 127.0.0.1:8082: ");
}

#[test]
fn a_token_alone_makes_the_local_page_writable() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "x".repeat(32)).unwrap();
    let script = "$server -q --http-token-file TOKEN & $client -q check --wait=1m; $client set --token-file TOKEN n=1 2>/dev/null; \
                  $client -n 1 -f json 8082; $server -q -l 8090 --http-token-file TOKEN; kill $!; wait $!; \
                  $server -qq -l 8081 & $client -q check --wait=1m :8081; $server -q --http-token-file TOKEN";
    let Some(ran) = alone(&script.replace("TOKEN", path(&token))) else { return };
    let ended = ran.finish();
    ended.assert_exit(2).assert_stdout("{\"n\":1}\n");
    ended.assert_stderr("--http-token-file is for HTTP: add --http <ADDR:PORT>");
    // Without the page nothing can be written: that is an error here.
    ended.assert_stderr("cannot listen on 127.0.0.1:8081: ");
}

#[test]
fn one_option_is_enough_to_serve_only_that() {
    let script = "MAPCAST_INTERVAL=1s $server & $client -n 1 --wait=1m 8080; $client check 8082";
    let Some(ran) = alone(script) else { return };
    let ended = ran.finish();
    ended.assert_stderr("cannot connect to 127.0.0.1:8082");
    assert!(!ended.stderr.contains("web page"), "{}", ended.stderr);
}

#[test]
fn a_client_of_another_protocol_is_advised_in_the_log() {
    // One server for each: the lines of one are a second apart at least.
    let (without, site, plain) = (Program::server(&[]), Site::start(&[]), Program::server(&[]));
    let page = format!("; the page is http://{}/", site.page);
    for (server, input, wanted) in [
        (&without, "GET / HTTP/1.1\r\n\r\n", "sent an HTTP request to a port of the map; serve the page with --http"),
        (&site.server, "POST /map HTTP/1.1\r\n\r\n", page.as_str()),
        (&plain, "\u{16}\u{3}\u{1}", "sent a TLS handshake to a port of the map; serve TLS with --tls-cert"),
    ] {
        let mut socket = connect(server.addr());
        socket.write_all(input.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let line = server.wait_log(wanted);
        assert!(line.contains(&format!(" from {}: ", socket.local_addr().unwrap())), "{line}");
    }
}

#[test]
fn the_built_in_map_is_sent_only_without_a_map_of_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let (state, token) = (directory.path().join("state.json"), directory.path().join("token"));
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (state, token) = (state.to_str().unwrap(), token.to_str().unwrap());
    let writable = ["--http", "127.0.0.1:0", "--http-token-file", token];
    for (args, map) in [
        (vec![], builtin_map()),
        (vec!["--http", "127.0.0.1:0"], builtin_map()),
        (vec!["--set", "n=1"], numbered(1)),
        (writable.to_vec(), Map::new()),
        ([&writable[..], &["--state", state]].concat(), Map::new()),
    ] {
        let server = Program::server(&args);
        assert_eq!(Reader::connect(server.addr()).map(Format::Bincode), map, "{args:?}");
    }
}
