//! The names of the options of TLS, for advice.

use crate::advice::TlsOptions;

/// The options that advice on a TLS connection names.
pub(crate) const TLS_OPTIONS: TlsOptions = TlsOptions { prefix: "--tls", on: "use --tls", off: "leave --tls out" };
