//! The values of headers. What two programs could read in two ways is refused.

use super::host::is_authority;
use super::preconditions::Tags;
use super::response::Response;

/// Returns the value of a header that the server evaluates. It must be ASCII: the next program in a chain could interpret
/// other bytes, and Unicode whitespace, differently. `httparse` has trimmed spaces and tabs.
pub(super) fn text<'b>(header: &httparse::Header<'b>) -> Result<&'b str, Response> {
    let text = std::str::from_utf8(header.value).ok().filter(|text| text.is_ascii());
    text.ok_or_else(|| Response::bad_request("the value of a header that this server evaluates is not ASCII"))
}

/// Sets the value of a header that may occur only once.
pub(super) fn set<T>(slot: &mut Option<T>, value: T, message: &str) -> Result<(), Response> {
    slot.replace(value).map_or(Ok(()), |_| Err(Response::bad_request(message)))
}

/// True if and only if the list `value` contains `word`, in any case.
pub(super) fn lists(value: &str, word: &str) -> bool {
    value.split(',').any(|item| item.trim_matches([' ', '\t']).eq_ignore_ascii_case(word))
}

/// Appends another line of a list header (RFC 9110, section 5.3).
pub(super) fn append(list: &mut Option<String>, value: &str) {
    match list {
        Some(list) => {
            list.push_str(", ");
            list.push_str(value);
        }
        None => *list = Some(value.to_owned()),
    }
}

pub(super) fn read_tags(list: Option<String>) -> Result<Option<Tags>, Response> {
    let message = "If-Match or If-None-Match is malformed: write *, or tags in quotes separated by commas";
    list.map(|list| Tags::parse(&list).ok_or_else(|| Response::bad_request(message))).transpose()
}

/// Checks that `host` has the form of a Host header.
pub(super) fn check_host(host: &str) -> Result<(), Response> {
    if is_authority(host) { Ok(()) } else { Err(Response::bad_request("the host is neither a name nor an address")) }
}

/// Returns the number that `value` writes in digits; `str::parse` would accept a sign, too. Saturates at `usize::MAX`.
pub(super) fn parse_length(value: &str) -> Option<usize> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_64_bits_saturates() {
        assert_eq!(parse_length("99999999999999999999999"), Some(usize::MAX));
    }
}
