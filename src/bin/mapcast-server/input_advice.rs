//! Advice for a client of another protocol at a port of the map.

use std::sync::OnceLock;

use mapcast::connection::UnexpectedInput;

/// The URL of the page; empty without one.
static PAGE: OnceLock<String> = OnceLock::new();

/// Records the URL of the page, once.
pub(crate) fn set_page(url: String) {
    let _ = PAGE.set(url);
}

/// Returns what to do about `input`.
pub(crate) fn advice(input: UnexpectedInput) -> Option<String> {
    match (input, PAGE.get()) {
        (UnexpectedInput::HttpRequest, Some(url)) => Some(format!("the page is {url}")),
        (UnexpectedInput::HttpRequest, None) => Some("serve the page with --http 127.0.0.1:8081".to_owned()),
        (UnexpectedInput::TlsClientHello, _) => {
            Some("serve TLS with --tls-cert and --tls-key, or connect without TLS".to_owned())
        }
        _ => None,
    }
}
