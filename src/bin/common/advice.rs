//! Advice on the library's errors: the option of this program that fixes one. The errors state facts only.

use std::error::Error;
use std::iter;

use mapcast::stats::health::Failure;
use mapcast::{client, feed, format, frame, source, state};

#[cfg(feature = "tls")]
use with_tls::{on_files, on_tls};
#[cfg(not(feature = "tls"))]
use without_tls::{on_files, on_tls};

/// The options of TLS that a program names.
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "without TLS, only the option that turns it on is named"))]
pub(crate) struct TlsOptions {
    /// What the options of the program's TLS connections begin with: `--tls`.
    pub(crate) prefix: &'static str,
    /// What turns TLS on.
    pub(crate) on: &'static str,
    /// What turns TLS off.
    pub(crate) off: &'static str,
}

/// Returns how to fix `error` with an option of this program; `None` if no option fixes it. Of an error with sources, the
/// advice on the innermost is returned.
pub(crate) fn advice(error: &(dyn Error + 'static), tls: &TlsOptions) -> Option<String> {
    iter::successors(Some(error), |&error| error.source()).filter_map(|error| advice_on(error, tls)).last()
}

/// Returns the advice on `error` alone, and on the error in it where the two have the same message.
fn advice_on(error: &(dyn Error + 'static), tls: &TlsOptions) -> Option<String> {
    if let Some(error) = error.downcast_ref::<source::Error>() {
        return match error {
            source::Error::Tls { source, .. } => on_files(source, tls),
            source::Error::State(error) => advice_on(error, tls),
            source::Error::NotBuilt { feature, .. } => Some(format!("cargo build --features {feature}")),
            source::Error::NoPassword { .. } => Some("give the password with --redis-password-file FILE".to_owned()),
            error if error.kind() == Failure::TooLarge => Some(RAISE.to_owned()),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<client::Error>() {
        return match error {
            client::Error::PlainToTls => Some(tls.on.to_owned()),
            // A relay's source has its own advice on this one, which names no option of a program.
            client::Error::OtherFormat { found, .. } => Some(format!("use -f {found} or leave -f out")),
            client::Error::Frame(error) => advice_on(error, tls),
            client::Error::NoHeader { bytes } => Some(on_stranger(bytes)),
            client::Error::Format(error) => advice_on(error, tls),
            _ => None,
        };
    }
    if let Some(frame::Error::BadHeader { header, .. }) = error.downcast_ref() {
        return Some(on_stranger(header));
    }
    let fixed = if let Some(feed::Error::TooLarge { .. }) = error.downcast_ref() {
        "raise --max-frame here and at the clients"
    } else if let Some(frame::Error::TooLarge { .. }) = error.downcast_ref() {
        "raise --max-frame at both ends if this is meant"
    } else if let Some(state::Error::TooLong { .. }) = error.downcast_ref() {
        RAISE
    } else if let Some(format::Error::Decode { .. }) = error.downcast_ref() {
        "is the other end set to another --format?"
    } else {
        return on_tls(error, tls);
    };
    Some(fixed.to_owned())
}

/// Returns what to do about a peer whose first bytes are not a frame.
fn on_stranger(first: &[u8]) -> String {
    let other = match first {
        [b'H', b'T', b'T', b'P', b'/', ..] => "that is a web server",
        [b'S', b'S', b'H', b'-', ..] => "that is an SSH server",
        _ => "that is not the port of a map; mapcast-client greet prints any text",
    };
    format!("{other}; use the address of the server's --listen")
}

/// The advice on an input above the limit.
const RAISE: &str = "raise --max-frame if this is meant";

#[cfg(feature = "tls")]
mod with_tls {
    use std::error::Error;

    use mapcast::tls::{self, CertificateFault, End, HandshakeError, Refusal};

    use super::TlsOptions;

    pub(super) fn on_tls(error: &(dyn Error + 'static), options: &TlsOptions) -> Option<String> {
        let handshake = error.downcast_ref().and_then(|error| on_handshake(error, options));
        handshake.or_else(|| error.downcast_ref().and_then(|error| on_files(error, options)))
    }

    pub(super) fn on_files(error: &tls::Error, TlsOptions { prefix, .. }: &TlsOptions) -> Option<String> {
        match error {
            tls::Error::NoRoots => Some(format!("use {prefix}-ca FILE")),
            tls::Error::Name(_) => Some(format!("use {prefix}-name NAME")),
            _ => None,
        }
    }

    fn on_handshake(error: &HandshakeError, TlsOptions { prefix, off, .. }: &TlsOptions) -> Option<String> {
        match error {
            HandshakeError::PlainServer => Some((*off).to_owned()),
            // The next four are errors of a server, whose client may be mapcast-client.
            HandshakeError::PlainClient => Some("mapcast-client: --tls".to_owned()),
            HandshakeError::NoClientCertificate => Some("mapcast-client: --tls-cert FILE --tls-key FILE".to_owned()),
            HandshakeError::CertificateRefused(End::Server, Refusal::UnknownCa) => {
                Some("mapcast-client: --tls-ca FILE".to_owned())
            }
            HandshakeError::Certificate(
                End::Client,
                CertificateFault::UnknownIssuer | CertificateFault::BadSignature,
            ) => Some(format!("they are in the file of {prefix}-client-ca")),
            HandshakeError::CertificateRequired => Some(format!("use {prefix}-cert FILE and {prefix}-key FILE")),
            HandshakeError::UnknownName => Some(format!("use {prefix}-name NAME")),
            HandshakeError::Certificate(End::Server, fault) => match fault {
                CertificateFault::UnknownIssuer | CertificateFault::BadSignature => {
                    Some(format!("pass the certificate of its CA with {prefix}-ca FILE"))
                }
                CertificateFault::NotAName(_) => Some(format!("use {prefix}-name NAME")),
                // Several names, or a wildcard: none of them can be passed as it is.
                CertificateFault::WrongName { wanted, presented } if presented.contains([',', ' ', '*']) => {
                    Some(format!("use {prefix}-name NAME, or issue one for {wanted}"))
                }
                CertificateFault::WrongName { presented, .. } => Some(format!("use {prefix}-name {presented}")),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without_tls {
    use std::error::Error;

    use super::TlsOptions;

    pub(super) fn on_tls(_: &(dyn Error + 'static), _: &TlsOptions) -> Option<String> {
        None
    }

    pub(super) fn on_files(error: &mapcast::tls::Error, _: &TlsOptions) -> Option<String> {
        match *error {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: TlsOptions = TlsOptions { prefix: "--x-tls", on: "turn it on", off: "turn it off" };

    #[test]
    fn advice_is_that_on_the_innermost_error() {
        let decode = || format::Format::Json.decode_map(b"?").unwrap_err();
        let feed = feed::Error::TooLarge { len: 2, max: 1, format: format::Format::Json };
        let refused = source::Error::Refused { name: "x".to_owned(), source: feed };
        let long = || source::Error::TooLong { name: "x".to_owned(), max: 1 };
        let header = *b"9         ";
        let frame = frame::Error::TooLarge { header, len: 9, max: 1 };
        let mismatch = client::Error::OtherFormat { expected: format::Format::Bincode, found: format::Format::Json };
        let greeting = |text: &str| client::Error::NoHeader { bytes: text.as_bytes().to_vec() };
        let state = || state::Error::TooLong { name: "x".to_owned(), max: 1 };
        let upstream = source::Error::Upstream {
            name: "x".to_owned(),
            kind: Failure::TooLarge,
            source: "above the limit".to_owned().into(),
        };
        for (error, wanted) in [
            (&decode() as &(dyn Error + 'static), "is the other end set to another --format?"),
            (&client::Error::from(decode()), "is the other end set to another --format?"),
            (&refused, "raise --max-frame here and at the clients"),
            (&long(), "raise --max-frame if this is meant"),
            (&upstream, "raise --max-frame if this is meant"),
            (&state(), "raise --max-frame if this is meant"),
            (&source::Error::from(state()), "raise --max-frame if this is meant"),
            (&client::Error::from(frame), "raise --max-frame at both ends if this is meant"),
            (&client::Error::PlainToTls, "turn it on"),
            (&greeting("HTTP/1.1 4"), "that is a web server; use the address of the server's --listen"),
            (&greeting("SSH-2.0-Op"), "that is an SSH server; use the address of the server's --listen"),
            (
                &greeting("Welcome"),
                "that is not the port of a map; mapcast-client greet prints any text; use the address of the server's \
                 --listen",
            ),
            (&mismatch, "use -f json or leave -f out"),
        ] {
            assert_eq!(advice(error, &OPTIONS).as_deref(), Some(wanted), "{error}");
        }
        assert_eq!(advice(&client::Error::TimedOut, &OPTIONS), None);
        let source = "NOAUTH".to_owned().into();
        let error = source::Error::NoPassword { name: "redis://h".to_owned(), source };
        assert_eq!(advice(&error, &OPTIONS).as_deref(), Some("give the password with --redis-password-file FILE"));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn advice_on_tls_names_the_options_of_the_program() {
        use mapcast::tls::{CertificateFault, ClientTls, Connector, End, HandshakeError, Refusal};

        let of_server = |fault| HandshakeError::Certificate(End::Server, fault);
        let wrong_name = |presented: &str| {
            let (wanted, presented) = ("h".to_owned(), presented.to_owned());
            of_server(CertificateFault::WrongName { wanted, presented })
        };
        for (error, wanted) in [
            (of_server(CertificateFault::UnknownIssuer), "pass the certificate of its CA with --x-tls-ca FILE"),
            (of_server(CertificateFault::BadSignature), "pass the certificate of its CA with --x-tls-ca FILE"),
            (of_server(CertificateFault::NotAName("a b".to_owned())), "use --x-tls-name NAME"),
            (wrong_name("root"), "use --x-tls-name root"),
            (wrong_name("*.root"), "use --x-tls-name NAME, or issue one for h"),
            (wrong_name("a, b"), "use --x-tls-name NAME, or issue one for h"),
            (HandshakeError::CertificateRequired, "use --x-tls-cert FILE and --x-tls-key FILE"),
            (HandshakeError::UnknownName, "use --x-tls-name NAME"),
            (HandshakeError::PlainClient, "mapcast-client: --tls"),
            (HandshakeError::NoClientCertificate, "mapcast-client: --tls-cert FILE --tls-key FILE"),
            (HandshakeError::CertificateRefused(End::Server, Refusal::UnknownCa), "mapcast-client: --tls-ca FILE"),
            (
                HandshakeError::Certificate(End::Client, CertificateFault::UnknownIssuer),
                "they are in the file of --x-tls-client-ca",
            ),
            (HandshakeError::PlainServer, "turn it off"),
        ] {
            let error = client::Error::Tls(error);
            assert_eq!(advice(&error, &OPTIONS).as_deref(), Some(wanted), "{error:?}");
        }
        let options = ClientTls { name: Some("a b".to_owned()), ..ClientTls::default() };
        let error = Connector::load(&options).unwrap_err();
        assert_eq!(advice(&error, &OPTIONS).as_deref(), Some("use --x-tls-name NAME"));
        let error = source::Error::Tls { name: "tls://h:1".to_owned(), source: Box::new(error) };
        assert_eq!(advice(&error, &OPTIONS).as_deref(), Some("use --x-tls-name NAME"));
    }
}
