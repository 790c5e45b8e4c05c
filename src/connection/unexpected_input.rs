//! What a client sends that should send nothing.

/// The methods of HTTP requests, as a request begins with them.
const HTTP_METHODS: [&[u8]; 7] = [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS "];

/// Input of another protocol, from a client that has the wrong port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnexpectedInput {
    /// It begins as an HTTP request does.
    HttpRequest,
    /// It begins as the first message of a TLS client does (RFC 8446, 5.1: a handshake record, `16 03`).
    TlsClientHello,
}

impl UnexpectedInput {
    /// Returns the protocol that `input` begins.
    pub(super) fn detect(input: &[u8]) -> Option<Self> {
        match input {
            [0x16, 0x03, ..] => Some(Self::TlsClientHello),
            _ if HTTP_METHODS.iter().any(|method| input.starts_with(method)) => Some(Self::HttpRequest),
            _ => None,
        }
    }
}

impl std::fmt::Display for UnexpectedInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HttpRequest => "an HTTP request",
            Self::TlsClientHello => "a TLS handshake",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_show_the_protocol() {
        for (input, wanted) in [
            (b"GET / HTTP/1.1\r\n".as_slice(), Some(UnexpectedInput::HttpRequest)),
            (b"OPTIONS * HTTP/1.1\r\n", Some(UnexpectedInput::HttpRequest)),
            (b"\x16\x03\x01\x02\x00\x01", Some(UnexpectedInput::TlsClientHello)),
            (b"GETTING", None),
            (b"get / HTTP/1.1\r\n", None),
            (b"\x16", None),
            (b"hello", None),
            (b"", None),
        ] {
            assert_eq!(UnexpectedInput::detect(input), wanted, "{}", input.escape_ascii());
        }
    }
}
