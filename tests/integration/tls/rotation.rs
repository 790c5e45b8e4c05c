//! TLS: replacing files while the programs run.

use super::*;

/// Waits for the certificate that expires in `year`: the tests distinguish certificates by that.
fn wait_until_year(acceptor: &Acceptor, year: u64) {
    let is_in = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / (365 * 24 * 3600 + 6 * 3600) + 1970 == year
    };
    eventually(&format!("the certificate of {year}"), || acceptor.not_after().is_some_and(is_in));
}

#[test]
fn a_new_certificate_is_used_for_new_connections_only() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.write("x", &old.issue_until(&["localhost"], 2050));
    let config = server(&files);
    let acceptor = Arc::clone(config.tls.as_ref().unwrap());
    let server = MapServer::with(HOUR, config);
    let mut early = connect(server.running.addr, &client(&old, None)).unwrap();
    early.next_map().unwrap();
    let issued = new.issue_until(&["localhost"], 2060);
    replace(&files.cert, &issued.cert);
    replace(&files.key, &issued.key);
    wait_until_year(&acceptor, 2060);
    let mut late = connect(server.running.addr, &client(&new, None)).unwrap();
    late.next_map().unwrap();
    assert!(connect(server.running.addr, &client(&old, None)).is_err());
    server.feed.publish(&numbered(1)).unwrap();
    for client in [&mut early, &mut late] {
        assert_eq!(client.next_map().unwrap(), Some(numbered(1)));
    }
}

#[test]
fn a_client_uses_its_new_files_for_its_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let (own, server_files) = (old.good("own", &["ana"]), old.good("x", &["localhost"]));
    let server = MapServer::with(HOUR, mutual_server(&server_files, &old));
    let config = client(&old, Some(&own));
    connect(server.running.addr, &config).unwrap().next_map().unwrap();
    let next = new.good("x", &["localhost"]);
    let server = MapServer::with(HOUR, mutual_server(&next, &new));
    let refused = refusal(server.running.addr, &config);
    assert!(matches!(refused, HandshakeError::Certificate(End::Server, _)), "{refused:?}");
    replace(&old.ca, &fs::read_to_string(&new.ca).unwrap());
    let refused = refusal(server.running.addr, &config);
    assert!(matches!(refused, HandshakeError::CertificateRefused(End::Client, _)), "{refused:?}");
    old.write("own", &new.issue_until(&["ana"], 2100));
    assert_eq!(connect(server.running.addr, &config).unwrap().next_map().unwrap(), Some(numbered(0)));
}

#[test]
fn a_client_whose_ca_the_server_replaced_is_refused() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = MapServer::with(HOUR, mutual_server(&authority.good("x", &["localhost"]), &clients));
    let config = client(&authority, Some(&clients.good("ana", &["ana"])));
    let is_let_in = || connect(server.running.addr, &config).and_then(|mut client| client.next_map()).is_ok();
    assert!(is_let_in());
    replace(&clients.ca, &fs::read_to_string(&Authority::new().ca).unwrap());
    eventually("the new CA counts", || !is_let_in());
    let refused = refusal(server.running.addr, &config);
    assert!(matches!(refused, HandshakeError::CertificateRefused(End::Client, _)), "{refused:?}");
}

#[cfg(feature = "cli")]
mod programs {
    use std::net::TcpListener;
    use std::path::Path;

    use mapcast::{Cast, Feed, Server};

    use super::*;
    use crate::hung::SlowFs;
    use crate::support::program::Program;
    use crate::support::reader::Reader;

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    /// A server that keeps its port over restarts.
    struct Parent {
        listener: TcpListener,
        running: Option<(mapcast::server::Handle, Shutdown)>,
    }

    impl Parent {
        fn new() -> Self {
            Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), running: None }
        }

        fn port(&self) -> u16 {
            self.listener.local_addr().unwrap().port()
        }

        /// Restarts it with the map `number` and a certificate of `authority`, for clients with one.
        fn restart(&mut self, authority: &Authority, number: i64) {
            self.stop();
            let feed = Arc::new(Feed::new(Format::Json, 1 << 20));
            feed.publish(&numbered(number)).unwrap();
            let files = authority.good("parent", &["localhost"]);
            let mut server = Server::new(mutual_server(&files, authority));
            let cast = Arc::new(Cast::new(feed, HOUR));
            server.listen(self.listener.try_clone().unwrap(), cast).unwrap();
            let stop = Shutdown::new().unwrap();
            self.running = Some((server.spawn(stop.clone()).unwrap(), stop));
        }

        fn stop(&mut self) {
            if let Some((handle, _)) = self.running.take() {
                handle.stop().unwrap();
            }
        }
    }

    impl Drop for Parent {
        fn drop(&mut self) {
            if let Some((_, stop)) = &self.running {
                stop.trigger();
            }
        }
    }

    /// Fails unless the log of `program` has exactly one line with each of `texts`.
    #[track_caller]
    fn assert_logged_once(program: &Program, texts: &[&str]) {
        for text in texts {
            let lines = program.log().iter().filter(|line| line.contains(text)).count();
            assert_eq!(lines, 1, "{text}: {:?}", program.log());
        }
    }

    #[test]
    fn a_client_and_a_relay_survive_a_rotation_and_invalid_files() {
        let (old, new) = (Authority::new(), Authority::new());
        let own = old.good("own", &["ana"]);
        let ca = own.cert.with_file_name("trusted.pem");
        let trust_in = |authority: &Authority| replace(&ca, &fs::read_to_string(&authority.ca).unwrap());
        trust_in(&old);
        let mut parent = Parent::new();
        parent.restart(&old, 0);
        let (address, source) =
            (format!("localhost:{}", parent.port()), format!("tls://localhost:{}?format=json", parent.port()));
        let client =
            ["--tls", "--tls-cert", text(&own.cert), "--tls-key", text(&own.key), "--format", "json", &address];
        // The client uses the system's roots.
        let client =
            Program::client_with(&client, |command| command.env("SSL_CERT_FILE", &ca).env_remove("SSL_CERT_DIR"));
        let trust = ["--source", &source, "--source-tls-ca", text(&ca), "--format", "json"];
        let identity = ["--source-tls-cert", text(&own.cert), "--source-tls-key", text(&own.key)];
        let relay = Program::server(&[&trust[..], &identity].concat());
        let mut reader = Reader::connect(relay.addr());
        let mut both_have = |number| {
            client.wait_out(&format!("{{\"n\":{number}}}"));
            eventually("the map behind the relay", || reader.map(Format::Json) == numbered(number));
        };
        both_have(0);
        // Invalid files: the last good ones stay in use for all connections.
        replace(&ca, "garbage");
        replace(&own.key, &old.issue_until(&["ana"], 2100).key);
        for number in 1..3 {
            // Its own files are new, of the same CA.
            parent.restart(&old, number);
            both_have(number);
        }
        for program in [&client, &relay] {
            assert_logged_once(program, &["contains no certificate", "the old CAs stay", "do not match"]);
        }
        // New files, all valid.
        old.write("own", &new.issue_until(&["ana"], 2060));
        trust_in(&new);
        parent.restart(&new, 3);
        both_have(3);
        for program in [&client, &relay] {
            assert_logged_once(program, &["own.pem, valid until 2060-12-31T00:00:00Z", "TLS CAs "]);
        }
    }

    #[test]
    fn a_client_with_hung_files_connects_with_the_last_good_ones() {
        let Some(slow) = SlowFs::mount() else { return };
        let (old, new) = (Authority::new(), Authority::new());
        let trust_in = |authority: &Authority| slow.write("ca.pem", &fs::read_to_string(&authority.ca).unwrap());
        let ca = trust_in(&old);
        let own = old.good("own", &["ana"]);
        let mut parent = Parent::new();
        parent.restart(&old, 0);
        let address = format!("localhost:{}", parent.port());
        let identity = ["--tls-cert", text(&own.cert), "--tls-key", text(&own.key)];
        let trust = ["--tls", "--tls-ca", &ca, "--format", "json", &address];
        let client = Program::client(&[&trust[..], &identity].concat());
        client.wait_out("{\"n\":0}");
        slow.hang();
        for number in 1..3 {
            parent.restart(&old, number);
            client.wait_out(&format!("{{\"n\":{number}}}"));
        }
        let said = "cannot read the TLS files within 2 s (does their file system hang?); the last good files stay";
        assert_logged_once(&client, &[said]);
        slow.go_on();
        trust_in(&new);
        old.write("own", &new.issue_until(&["ana"], 2100));
        parent.restart(&new, 3);
        client.wait_out("{\"n\":3}");
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_redis_source_survives_a_rotation() {
        use crate::support::free_port;
        use crate::support::redis_server::{RedisServer, has_tls};
        use crate::support::skip;
        if !has_tls() {
            return skip("redis-server is built without TLS");
        }
        let (old, new) = (Authority::new(), Authority::new());
        let (there, here) = (old.good("redis", &["localhost"]), old.good("own", &["ana"]));
        let (there_ca, here_ca) = (there.cert.with_file_name("there.pem"), old.ca.clone());
        let ca_of = |authority: &Authority| fs::read_to_string(&authority.ca).unwrap();
        replace(&there_ca, &ca_of(&old));
        let port = free_port().to_string();
        let args = ["--tls-port", &port, "--tls-cert-file", text(&there.cert), "--tls-key-file", text(&there.key)];
        let clients = ["--tls-ca-cert-file", text(&there_ca), "--tls-auth-clients", "yes"];
        let Some(mut redis) = RedisServer::start(&[&args[..], &clients].concat()) else { return };
        let _: i64 = redis.run(&["HSET", "flags", "n", "1"]);
        let source = format!("rediss://localhost:{port}/0?key=flags");
        let options = ["--source", &source, "--source-tls-ca", text(&here_ca), "--interval", "100ms"];
        let identity = ["--source-tls-cert", text(&here.cert), "--source-tls-key", text(&here.key)];
        let server = Program::server(&[&options[..], &identity, &["--format", "json"]].concat());
        server.wait_log("source up");
        let new_ca = ca_of(&new);
        old.write("redis", &new.issue_until(&["localhost"], 2100));
        old.write("own", &new.issue_until(&["ana"], 2060));
        for path in [&there_ca, &here_ca] {
            replace(path, &new_ca);
        }
        redis.restart();
        let _: i64 = redis.run(&["HSET", "flags", "n", "2"]);
        let mut reader = Reader::connect(server.addr());
        eventually("the hash after the rotation", || reader.map(Format::Json)[&"n".into()] == "2".into());
        assert_logged_once(&server, &["own.pem, valid until 2060-12-31T00:00:00Z", "TLS CAs "]);
    }
}
