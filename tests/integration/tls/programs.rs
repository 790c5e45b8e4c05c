//! TLS with the programs: options, log, exit codes.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::Signal;

use super::*;
use crate::support::program::{Program, clean};
use crate::support::{eventually, has_command, skip, thread_names};

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// Starts a server with TLS; returns it and its address with the host name.
fn start(files: &Files, args: &[&str]) -> (Program, String) {
    let tls = ["--tls-cert", text(&files.cert), "--tls-key", text(&files.key)];
    let server = Program::server(&[args, &tls].concat());
    let address = named(server.addr_with_tls());
    (server, address)
}

#[test]
fn each_service_works_over_tls_with_the_client() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let trust = ["--tls", "--tls-ca", text(&authority.ca)];
    for (service, talk, wanted) in [
        (&[][..], &["-n", "1"][..], "{\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}\n"),
        (&["echo"], &["echo"], "Hello"),
        (&["greet", "Hola"], &["greet"], "Hola"),
    ] {
        let (server, address) = start(&files, service);
        server.wait_log(" with TLS: ");
        server.wait_log("x.pem, valid until 2100-12-31T00:00:00Z");
        let text = if talk == ["echo"] { &["Hello"][..] } else { &[] };
        let client = Program::client(&[&trust, talk, &[&address], text].concat()).finish();
        client.assert_exit(0).assert_stdout(wanted);
    }
}

#[test]
fn a_failed_handshake_is_3_and_names_the_fix() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_server, address) = start(&authority.good("x", &["mapcast.example"]), &[]);
    let (_plain, plain) = {
        let server = Program::server(&[]);
        let address = named(server.addr());
        (server, address)
    };
    for (address, args, wanted) in [
        (&address, vec!["--tls", "--tls-ca", text(&authority.ca)], "use --tls-name mapcast.example"),
        (
            &address,
            vec!["--tls", "--tls-ca", text(&other.ca), "--tls-name", "mapcast.example"],
            "pass the certificate of its CA with --tls-ca",
        ),
        (&plain, vec!["--tls", "--tls-ca", text(&authority.ca)], "leave --tls out"),
    ] {
        for talk in [&[][..], &["greet"], &["echo"]] {
            let text = if talk == ["echo"] { &["Hello"][..] } else { &[] };
            let client = Program::client(&[&args[..], talk, &[address], text].concat()).finish();
            client.assert_exit(3).assert_stdout("").assert_stderr(wanted);
        }
    }
}

#[test]
fn a_client_without_a_required_certificate_is_3() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let trust = ["--tls", "--tls-ca", text(&authority.ca)];
    for (service, talk) in [(&[][..], &[][..]), (&["echo"], &["echo"]), (&["greet", "Hola"], &["greet"])] {
        let (server, address) = start(&files, &[service, &["--tls-client-ca", text(&authority.ca)]].concat());
        let text = if talk == ["echo"] { &["Hello"][..] } else { &[] };
        let client = Program::client(&[&trust, talk, &[&address], text].concat()).finish();
        client.assert_exit(3).assert_stderr("use --tls-cert FILE and --tls-key FILE");
        server.wait_log("no TLS handshake: the client has no certificate");
    }
}

#[test]
fn the_system_roots_are_set_by_the_environment() {
    let authority = Authority::new();
    let (_server, address) = start(&authority.good("x", &["localhost"]), &[]);
    let client = |ca: &std::path::Path| {
        let ca = ca.to_owned();
        Program::client_with(&["--tls", "-n", "1", &address], |command| command.env("SSL_CERT_FILE", ca)).finish()
    };
    client(&authority.ca).assert_exit(0);
    client(&Authority::new().ca).assert_exit(3).assert_stderr("--tls-ca FILE");
}

#[test]
fn invalid_tls_options_or_files_are_2() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let other = authority.good("other", &["localhost"]);
    for (args, wanted) in [
        (vec!["--tls-cert", text(&files.cert)], "--tls-key"),
        (vec!["--tls-client-ca", text(&authority.ca)], "--tls-cert"),
        (vec!["--tls-cert", text(&files.cert), "--tls-key", text(&other.key)], "certificate and key do not match"),
        (vec!["--tls-cert", "/nowhere/x", "--tls-key", text(&files.key)], "/nowhere/x: cannot be read"),
        (vec!["--tls-cert", text(&files.key), "--tls-key", text(&files.key)], "contains no certificate"),
    ] {
        Program::server(&args).finish().assert_exit(2).assert_stderr(wanted);
    }
    for (args, wanted) in [
        (vec!["--tls-ca", text(&authority.ca)], "--tls-ca has no effect without --tls"),
        (vec!["--tls", "--tls-cert", text(&files.cert)], "--tls-cert also needs --tls-key"),
        (vec!["--tls", "--tls-ca", "/nowhere/x"], "/nowhere/x: cannot be read"),
        (vec!["--tls", "--tls-ca", text(&authority.ca), "--tls-name", "a b"], "use --tls-name NAME"),
    ] {
        Program::client(&args).finish().assert_exit(2).assert_stderr(wanted);
    }
}

#[test]
fn an_invalid_certificate_file_is_logged_once_and_not_used() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let (server, address) = start(&files, &[]);
    let trust = ["--tls", "--tls-ca", text(&authority.ca), "-n", "1"];
    let good = fs::read_to_string(&files.cert).unwrap();
    replace(&files.cert, "garbage");
    server.wait_log("contains no certificate; write PEM, with -----BEGIN CERTIFICATE-----; the old certificate stays");
    Program::client(&[&trust[..], &[&address]].concat()).finish().assert_exit(0);
    replace(&files.cert, &good);
    let taken = || server.log().iter().filter(|line| line.contains("valid until")).count();
    eventually("it is good again", || taken() == 2);
    let warnings = server.log().iter().filter(|line| line.contains("the old certificate stays")).count();
    assert_eq!(warnings, 1, "{:?}", server.log());
}

#[test]
fn failed_handshakes_log_one_line_a_second() {
    let authority = Authority::new();
    let (server, _) = start(&authority.good("x", &["localhost"]), &[]);
    let addr = server.addr_with_tls();
    for _ in 0..50 {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(ends_in_order(&mut socket));
    }
    server.wait_log("the client does not speak TLS");
    let lines = server.log().iter().filter(|line| line.contains("no TLS handshake")).count();
    assert!(lines <= 10, "{lines} lines");
    assert!(!server.log().iter().any(|line| line.contains(" connected from ")), "{:?}", server.log());
}

#[test]
fn an_expired_certificate_is_logged_as_a_warning() {
    let authority = Authority::new();
    let files = authority.write("x", &authority.issue_until(&["localhost"], 2001));
    let (server, _) = start(&files, &[]);
    server.wait_log("the TLS certificate has expired 2001-12-31T00:00:00Z");
}

#[test]
fn only_a_key_readable_by_others_is_logged_as_a_warning() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let warning = "x.key: everyone on this machine may read the key (chmod o-r)";
    let (private, _) = start(&files, &[]);
    assert!(!private.log().join("\n").contains(warning));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    start(&files, &[]).0.wait_log(warning);
}

#[test]
fn openssl_reads_a_frame_and_a_clean_end() {
    if !has_command("openssl") {
        return skip("no openssl");
    }
    let authority = Authority::new();
    for version in ["-tls1_2", "-tls1_3"] {
        let files = authority.good("x", &["localhost"]);
        let (mut server, _) = start(&files, &["--format", "json"]);
        let mut command = clean("openssl");
        let address = server.addr_with_tls().to_string();
        command.args(["s_client", "-quiet", "-verify_return_error", version, "-servername", "localhost"]);
        command.args(["-CAfile", text(&authority.ca), "-connect", &address]);
        // The end of standard input would end its connection.
        let mut client = Program::start({
            command.stdin(Stdio::piped());
            command
        });
        let stdin = client.stdin();
        let frame = "53        {\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}";
        eventually("the frame", || client.out().concat().contains(frame));
        server.signal(Signal::TERM);
        client.finish().assert_exit(0);
        drop(stdin);
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn the_page_is_served_over_tls_with_the_expiry_date() {
    let authority = Authority::new();
    let (server, _address) = start(&authority.good("x", &["localhost"]), &["--http", "127.0.0.1:0"]);
    let line = server.wait_log("web page on https://");
    let page = line.split("https://").nth(1).and_then(|rest| rest.strip_suffix('/')).unwrap().parse().unwrap();
    let mut client = raw_client(&authority, page);
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    // 2100-12-31, as in the log.
    assert!(answer.contains("\nmapcast_tls_cert_not_after_timestamp_seconds 4133894400\n"), "{answer}");
    for (target, status) in [("https://localhost/livez", "HTTP/1.1 200 "), ("http://localhost/livez", "HTTP/1.1 421 ")]
    {
        let mut client = raw_client(&authority, page);
        write!(client, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(status), "{target}: {answer}");
    }
}

#[test]
fn incomplete_handshakes_do_not_block_health_checks() {
    let authority = Authority::new();
    let args = ["--http", "127.0.0.1:0", "--http-max-connections", "1"];
    let (server, _address) = start(&authority.good("x", &["localhost"]), &args);
    let line = server.wait_log("web page on https://");
    let page = line.split("https://").nth(1).and_then(|rest| rest.strip_suffix('/')).unwrap().parse().unwrap();
    let mut stream = raw_client(&authority, page);
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    // Connections that have sent nothing take no permit.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(page).unwrap()).collect();
    let ask = || {
        let mut answer = Vec::new();
        let mut client = raw_client(&authority, page);
        // The server closes it while the address uses its part of the reserve.
        let _ = client.write_all(b"GET /livez HTTP/1.0\r\n\r\n");
        let _ = client.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(ask().ends_with("live\n"));
    drop(silent);
    // An incomplete hello keeps its permit for 2 s.
    let mut begun: Vec<_> = (0..4).map(|_| TcpStream::connect(page).unwrap()).collect();
    for socket in &mut begun {
        socket.write_all(&[22, 3, 1]).unwrap();
    }
    for socket in &mut begun {
        assert!(ends_in_order(socket));
    }
    server.wait_log("no TLS handshake: timed out after 2s");
    eventually("an answer", || ask().ends_with("live\n"));
}

#[test]
fn suppressed_failed_handshakes_are_logged_later() {
    let authority = Authority::new();
    let (server, address) = start(&authority.good("x", &["localhost"]), &[]);
    let failed = |log: &str| -> u64 {
        let lines = log.lines().filter(|line| line.contains("no TLS handshake"));
        let number = |text: &str| text.split(' ').next().and_then(|text| text.parse::<u64>().ok());
        let counts = lines.map(|line| match line.split_once(" more client") {
            Some((before, _)) => before.rsplit(' ').next().and_then(number).unwrap(),
            None => 1 + line.split_once("(and ").and_then(|(_, held)| number(held)).unwrap_or(0),
        });
        counts.sum()
    };
    let fail = || {
        let mut socket = TcpStream::connect(server.addr_with_tls()).unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(ends_in_order(&mut socket), "{address}");
    };
    (0..10).for_each(|_| fail());
    eventually("all are logged", || failed(&server.log().join("\n")) == 10);
    (0..10).for_each(|_| fail());
    server.signal(Signal::TERM);
    assert_eq!(failed(&server.finish().stderr), 20, "at the stop as well");
}

#[test]
fn handshakes_and_sessions_of_slow_clients_use_bounded_memory() {
    const CLIENTS: usize = 200;
    let authority = Authority::new();
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(source.path(), format!(r#"{{"text":"{}"}}"#, "x".repeat(1_000_000))).unwrap();
    let files = authority.good("x", &["localhost"]);
    let (server, _) = start(&files, &["--source", text(source.path()), "--write-timeout", "10m"]);
    let addr = server.addr_with_tls();
    let first_frame = || {
        let mut client = raw_client(&authority, addr);
        client.read_exact(&mut [0; 10]).unwrap();
        client
    };
    let names = || thread_names(server.pid()).into_iter();
    let wait = |count| {
        eventually("threads", || names().filter(|name| name.starts_with("client-")).count() == count);
    };
    drop(first_frame());
    wait(0);
    let before = server.peak_memory();
    // The largest hello in one record, without its last byte.
    let begin = || {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.write_all(&[&[22, 3, 3, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[0; 16_379]].concat()).unwrap();
        socket
    };
    let unfinished: Vec<_> = (0..CLIENTS).map(|_| begin()).collect();
    wait(CLIENTS);
    let taken = server.peak_memory() - before;
    drop(unfinished);
    wait(0);
    let stalled: Vec<_> = (0..CLIENTS).map(|_| first_frame()).collect();
    let sessions = server.peak_memory() - before;
    eprintln!("{CLIENTS} unfinished handshakes: {taken} KiB; as many sessions that stall: {sessions} KiB");
    assert!(taken < CLIENTS as u64 * 160, "{taken} KiB");
    assert!(sessions < CLIENTS as u64 * 160, "{sessions} KiB");
    drop(stalled);
}
