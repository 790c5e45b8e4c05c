//! Link-local addresses, which need an interface.

use std::fs;

use crate::support::program::{CLIENT, Program, clean, run};

/// Returns a link-local address of this machine with its interface's name: fields 1, 4 and 6 of `/proc/net/if_inet6`, where
/// scope 20 is link-local.
fn link_local() -> Option<String> {
    let addresses = fs::read_to_string("/proc/net/if_inet6").ok()?;
    addresses.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [ip, _, _, "20", _, interface] = fields[..] else { return None };
        let ip = std::net::Ipv6Addr::from_bits(u128::from_str_radix(ip, 16).ok()?);
        Some(format!("{ip}%{interface}"))
    })
}

#[test]
fn a_client_and_a_relay_reach_a_link_local_address() {
    let Some(address) = link_local() else { return crate::support::skip("no interface has a link-local address") };
    let server = Program::server(&["--listen", &format!("[{address}]:0"), "--format", "json", "--set", "n=1"]);
    let port = server.addr().port();
    let zoned = format!("[{address}]:{port}");
    let relay = Program::server(&["--source", &format!("tcp://{zoned}?format=json"), "--format", "json"]);
    relay.wait_log("source up");
    for asked in [zoned, relay.addr().to_string()] {
        let mut client = clean(CLIENT);
        client.args(["-f", "json", "-n", "1", "-k", "n", &asked]);
        run(client).assert_exit(0).assert_stdout("{\"n\":1}\n");
    }
}

/// A certificate contains the address without the interface, which only the client chooses.
#[cfg(feature = "tls")]
#[test]
fn a_certificate_is_for_an_address_without_its_interface() {
    let Some(address) = link_local() else { return crate::support::skip("no interface has a link-local address") };
    let authority = crate::support::authority::Authority::new();
    let files = authority.good("x", &[address.split('%').next().unwrap()]);
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (cert, key, ca) = (path(&files.cert), path(&files.key), path(&authority.ca));
    let server = Program::server(&["--listen", &format!("[{address}]:0"), "--tls-cert", &cert, "--tls-key", &key]);
    let mut client = clean(CLIENT);
    client.args(["-n", "1", "--tls", "--tls-ca", &ca, &format!("[{address}]:{}", server.addr_with_tls().port())]);
    run(client).assert_exit(0);
}

#[test]
fn a_missing_interface_is_named_in_the_error() {
    let mut client = clean(CLIENT);
    client.args(["-n", "1", "[fe80::1%nowhere]:8080"]);
    run(client).assert_exit(3).assert_stderr("this machine has no interface \"nowhere\"");
}
