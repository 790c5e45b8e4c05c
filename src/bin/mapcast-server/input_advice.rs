//! Advice for a client of another protocol at a port of the map.

use std::sync::OnceLock;

use mapcast::connection::UnexpectedInput;

/// The URL of the page; empty without one.
static PAGE: OnceLock<String> = OnceLock::new();

/// The ports of the map.
static MAP_PORTS: OnceLock<Vec<u16>> = OnceLock::new();

/// Records the ports of the map, once.
pub(crate) fn set_map_ports(ports: Vec<u16>) {
    let _ = MAP_PORTS.set(ports);
}

/// Records the URL of the page, once.
pub(crate) fn set_page(url: String) {
    let _ = PAGE.set(url);
}

/// Returns what to do about `input`.
pub(crate) fn advice(input: UnexpectedInput) -> Option<String> {
    match (input, PAGE.get()) {
        (UnexpectedInput::HttpRequest, Some(url)) => Some(format!("the page is {url}")),
        (UnexpectedInput::HttpRequest, None) => {
            let ports = MAP_PORTS.get().map_or(&[][..], Vec::as_slice);
            Some(format!("serve the page with --http 127.0.0.1:{}", page_port(ports)))
        }
        (UnexpectedInput::TlsClientHello, _) => {
            Some("serve TLS with --tls-cert and --tls-key, or connect without TLS".to_owned())
        }
        _ => None,
    }
}

/// Returns a port for the page: 8081, or the next one that the map does not have.
fn page_port(map_ports: &[u16]) -> u16 {
    (8081..=u16::MAX).find(|port| !map_ports.contains(port)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_another_port_than_the_map() {
        assert_eq!(page_port(&[]), 8081);
        assert_eq!(page_port(&[8080, 8082, 8081]), 8083);
    }
}
