//! TLS: files that are replaced while the programs run.

use super::*;

/// When the certificate that a new client sees runs out is what tells one from another.
fn wait_until_year(acceptor: &Acceptor, year: u64) {
    let is_in = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / (365 * 24 * 3600 + 6 * 3600) + 1970 == year
    };
    eventually(&format!("the certificate of {year}"), || acceptor.not_after().is_some_and(is_in));
}

#[test]
fn a_new_certificate_is_for_new_connections_and_the_old_ones_live_on() {
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
