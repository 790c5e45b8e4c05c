//! What stands before an address, and what of the whole may be shown: nobody but its user is to see the password in it,
//! however wrong the rest of it is.

/// What begins the schemes that are known here: `redis+unix` and `rediss` too.
const KNOWN: [&str; 4] = ["tcp", "tls", "redis", "valkey"];

/// The longest name of an option that is shown, in characters: ours are shorter.
const MAX_OPTION: usize = 16;

/// Returns the scheme of `text` in lower case, as upper and lower case are the same in it (RFC 3986, section 3.1), and
/// what stands behind `://`.
pub(super) fn split(text: &str) -> Option<(String, &str)> {
    text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest))
}

/// True if and only if `text` is meant as an address, right or wrong, and not as a path: `redis:/h` and `//h` too.
pub(super) fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with("//") || begin(text).is_some()
}

/// Returns what of the address `text` may be shown if it could not be read: the scheme alone. A password may stand
/// anywhere behind it, before an `@` that was forgotten too.
pub(super) fn mask(text: &str) -> String {
    let Some((scheme, rest)) = begin(text) else { return "...".to_owned() };
    let slashes = if rest.starts_with("//") { "//" } else { "" };
    format!("{}:{slashes}...", scheme.to_ascii_lowercase())
}

/// Returns what of `text` may be shown if it names no source: all of a path, the [`mask`] of whatever else it may be.
pub(super) fn mask_unknown(text: &str) -> String {
    let is_path = !text.contains([':', '@', '?']) || text.starts_with(['/', '.']);
    if is_path && !is_address(text) { text.to_owned() } else { mask(text) }
}

/// Returns the complaint about the option `name` of the address `text`, which has the shape `shape`. Where there is an
/// `@`, what was taken for an option may be a part of the password before it.
pub(super) fn no_option(name: &str, text: &str, shape: &str) -> String {
    let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.len() <= MAX_OPTION;
    if is_name && !text.contains('@') {
        format!("there is no option {name}; {shape}")
    } else {
        format!("there is no such option; {shape}")
    }
}

/// Returns the scheme and what stands behind its colon, if `text` begins as an address does.
fn begin(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(scheme, rest)| is_scheme(scheme) && (rest.starts_with('/') || is_known(scheme)))
}

/// True if and only if `text` is a scheme by RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn is_known(scheme: &str) -> bool {
    let scheme = scheme.to_ascii_lowercase();
    KNOWN.iter().any(|known| scheme.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_path() {
        for text in ["redis://h", "REDIS:/h", "rediss:h", "reddis:/h", "//h/flags.json", "http://h", "a b://h", "://"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "-", "flags.json", "/etc/a:/flags.json", "./redis:/flags.json", "a:b.json", ":h", "1a:/b"] {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn of_an_address_the_scheme_is_shown_if_it_is_one() {
        for (text, shown) in [
            ("REDIS://:hunter2@db", "redis://..."),
            ("reddis://:hunter2@db", "reddis://..."),
            ("redis:/:hunter2@db", "redis:..."),
            ("redis::hunter2@db", "redis:..."),
            ("ana:hunter2@db://h", "..."),
            ("//:hunter2@db", "..."),
            ("\x1b[2J://h", "..."),
        ] {
            assert_eq!(mask(text), shown);
        }
    }

    #[test]
    fn of_what_names_no_source_only_a_path_is_shown() {
        for path in ["", "flags", "flags.yaml", "/etc/a:b/flags@2", "./a?b", "../flags"] {
            assert_eq!(mask_unknown(path), path);
        }
        for text in [":hunter2@db", "ana:hunter2@db:6379", "hunter2@db/0?key=k", "//:hunter2@db", "db?pass=hunter2"] {
            assert_eq!(mask_unknown(text), "...");
        }
    }

    #[test]
    fn an_option_is_named_unless_it_may_be_a_part_of_a_password() {
        assert_eq!(no_option("colour", "redis://h?colour=red", "write"), "there is no option colour; write");
        for (name, text) in [("hunter2", "redis://h?hunter2"), ("hunter", "redis://:7?hunter@h"), ("a\x1b", "")] {
            assert_eq!(no_option(name, text, "write"), "there is no such option; write");
        }
    }
}
