//! The target of a request: a path and a query, after a scheme and a host in the form that is sent to proxies.

use super::header_value::check_host;
use super::response::Response;

/// A request's target.
pub(super) struct Target {
    /// From the first `/` to the `?`, still encoded; `*` for the whole server.
    pub(super) path: String,
    /// Everything after the `?`, still encoded; empty if there is no `?`.
    pub(super) query: String,
    /// The host; `None` in the form that begins with the path.
    pub(super) host: Option<String>,
    /// True for `https://`, false for `http://`, `None` in the form that begins with the path.
    pub(super) is_https: Option<bool>,
}

impl Target {
    /// Parses `target`. `allows_asterisk` says that it may be `*`, as for OPTIONS (RFC 9112, section 3.2.4).
    ///
    /// # Errors
    /// The response to a target that is malformed.
    pub(super) fn parse(target: &str, allows_asterisk: bool) -> Result<Self, Response> {
        if target.contains('#') {
            return Err(Response::bad_request("the target has a fragment: remove # and everything after it"));
        }
        let is_scheme = |scheme: &str| ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
        let absolute = target.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
        let (is_https, host, path_and_query) = match absolute {
            Some((scheme, rest)) => {
                let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                if authority.is_empty() {
                    return Err(Response::bad_request("the target has no host"));
                }
                check_host(authority)?;
                (Some(scheme.len() == "https".len()), Some(authority.to_owned()), path_and_query)
            }
            None if target.starts_with('/') || (allows_asterisk && target == "*") => (None, None, target),
            None => return Err(Response::bad_request("the target does not begin with /")),
        };
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        // Only the absolute form may have an empty path (RFC 9110, section 4.2.3).
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { path: path.to_owned(), query: query.to_owned(), host, is_https })
    }
}
