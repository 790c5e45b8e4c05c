//! `--check-config`: prints the configuration and starts nothing.

use std::net::TcpListener;

use super::{path, token};
use crate::support::program::{SERVER, clean, run};

#[test]
fn a_check_prints_the_configuration_and_starts_nothing() {
    let (file, _) = token();
    // The address is in use: a check that listened would fail.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut command = clean(SERVER);
    command.args(["--check-config", "-l", &addr, "--http", "127.0.0.1:8081", "--http-token-file", path(&file)]);
    let finished = run(command);
    finished.assert_exit(0).assert_stdout(&format!(
        "listen on {addr}: the map as bincode every 5s\n\
         the map: from no source, 8 bytes now\n\
         frames of at most 1MiB\n\
         web page on http://127.0.0.1:8081/: writable with the token, 256 connections\n\
         at most 10000 clients\n\
         without TLS\n\
         write timeout 10s\n\
         drain timeout 10s\n"
    ));
}

#[test]
fn a_check_reports_errors_of_a_start() {
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(source.path(), "{\"a\":").unwrap();
    for (args, said) in [
        (vec!["--source", path(&source)], "cannot be read as a JSON object"),
        (vec!["--source", "/nowhere.toml"], "/nowhere.toml: cannot be read"),
        (vec!["--max-connections", "200000000"], "this machine can hold"),
        (vec!["--listen", "nonsense"], "--listen nonsense: write PORT, :PORT or ADDR:PORT"),
        (vec!["--http", "nonsense"], "--http nonsense: write PORT, :PORT or ADDR:PORT"),
        (vec!["--http", "127.0.0.1:0", "--http-token-file", "/nowhere"], "/nowhere: cannot read the token"),
        (vec!["--http", "127.0.0.1:0", "--http-allow-origin", "https://a/b"], "is not an origin"),
        (vec!["--http", "127.0.0.1:0", "--http-host", "http://a"], "is not a host: write map.example or 192.0.2.7"),
        (vec!["--http", "127.0.0.1:0", "--http-host", "map.example,*"], "\"*\" is not a host"),
        (vec!["--set", "a=1", "--max-frame", "10"], "the map cannot be sent"),
    ] {
        let mut command = clean(SERVER);
        command.arg("--check-config").args(&args);
        run(command).assert_exit(2).assert_stderr(said);
    }
}

#[test]
fn a_check_prints_the_limits_of_connections() {
    let mut command = clean(SERVER);
    command.args(["--check-config", "--allow", "10.0.0.0/8,::1", "--max-connections", "20"]);
    command.args(["--max-connections-per-ip", "3"]);
    let said = run(command).assert_exit(0).stdout.clone();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("at most 20 clients, 3 per address\nonly from 10.0.0.0/8, ::1/128\n"), "{said}");
}

#[test]
fn a_check_prints_options_that_are_not_defaults() {
    let mut command = clean(SERVER);
    command.args(["--check-config", "--http", "127.0.0.1:8081", "--keepalive", "5s", "--reuse-port"]);
    command.args(["--http-host", "map.example,192.0.2.7", "--http-allow-origin", "https://app.example"]);
    let said = String::from_utf8(run(command).assert_exit(0).stdout.clone()).unwrap();
    for line in [
        "web page also for map.example, 192.0.2.7",
        "web page may be read by pages of https://app.example",
        "keepalive 5s",
        "other servers of this user may listen there too",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    let mut command = clean(SERVER);
    command.args(["--check-config", "--keepalive", "0"]);
    let said = String::from_utf8(run(command).assert_exit(0).stdout.clone()).unwrap();
    assert!(said.contains("\nkeepalive off\n"), "{said}");
}

#[test]
fn a_check_of_a_network_source_says_not_tried() {
    // Nothing listens there, and the check does not connect.
    for source in [
        "-",
        "tcp://127.0.0.1:1",
        #[cfg(feature = "redis")]
        "redis://127.0.0.1:1/0?key=flags",
    ] {
        let mut command = clean(SERVER);
        command.args(["--check-config", "--source", source]);
        let said = String::from_utf8(run(command).assert_exit(0).stdout.clone()).unwrap();
        assert!(said.contains(&format!("\nthe map: from {source}, not contacted\n")), "{said}");
    }
    let state = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(state.path(), "{\"a\": 1}").unwrap();
    let mut command = clean(SERVER);
    command.args(["--check-config", "--source", "tcp://127.0.0.1:1", "--format", "json", "--state", path(&state)]);
    let said = String::from_utf8(run(command).assert_exit(0).stdout.clone()).unwrap();
    assert!(said.contains("the map: from tcp://127.0.0.1:1, not contacted; its last good map has 7 bytes\n"), "{said}");
}

#[test]
fn a_check_fails_on_a_full_disk_but_not_on_a_closed_pipe() {
    let mut command = clean(SERVER);
    command.arg("--check-config").stdout(std::io::pipe().unwrap().1);
    assert_eq!(run(command).assert_exit(0).stderr, "");
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return crate::support::skip("no /dev/full");
    };
    let mut command = clean(SERVER);
    command.arg("--check-config").stdout(full);
    run(command).assert_exit(1).assert_stderr("mapcast-server: standard output: ");
}

#[test]
fn a_check_works_for_the_greeting_service() {
    let mut command = clean(SERVER);
    command.args(["greet", "--check-config", "Hola"]);
    run(command).assert_exit(0).assert_stdout(
        "listen on 127.0.0.1:8080: a greeting of 4 bytes\n\
         at most 10000 clients\n\
         without TLS\n\
         write timeout 10s\n\
         drain timeout 10s\n",
    );
}
