//! The scheme of an address, and the part of an address that may be shown: errors must not show a password, also if the
//! address is invalid.

/// The prefixes of the known schemes, also of `redis+unix` and `rediss`.
const KNOWN: [&str; 4] = ["tcp", "tls", "redis", "valkey"];

/// The longest option name that is shown, in characters. Valid names are shorter.
const MAX_OPTION: usize = 16;

/// Returns the scheme of `text` in lower case, since its case does not matter (RFC 3986, section 3.1), and the text after
/// `://`.
pub(super) fn split(text: &str) -> Option<(String, &str)> {
    text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest))
}

/// True if and only if `text` is meant as an address, valid or not, and not as a path: also `redis:/h` and `//h`.
pub(super) fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with("//") || begin(text).is_some()
}

/// Returns the part of the invalid address `text` that may be shown: only the scheme. A password may be anywhere after it, also
/// if the `@` is missing.
pub(super) fn mask(text: &str) -> String {
    let Some((scheme, rest)) = begin(text) else { return "...".to_owned() };
    let slashes = if rest.starts_with("//") { "//" } else { "" };
    format!("{}:{slashes}...", scheme.to_ascii_lowercase())
}

/// Returns the part of `text`, which does not name a source, that may be shown: all of a path, otherwise the [`mask`].
pub(super) fn mask_unknown(text: &str) -> String {
    let rest = without_drive(text);
    let is_path = !rest.contains([':', '@', '?']) || text.starts_with(['/', '.']);
    if is_path && !is_address(text) { text.to_owned() } else { mask(text) }
}

/// Returns `text` without the drive of an absolute path of Windows, if it begins with one: `C:\`, `C:/`.
fn without_drive(text: &str) -> &str {
    match text.as_bytes() {
        [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic() => &text[2..],
        _ => text,
    }
}

/// Returns the message for the unknown option `name` of the address `text`, with the syntax `shape`. If there is an `@`, the
/// option may be a part of the password, and is not shown.
pub(super) fn no_option(name: &str, text: &str, shape: &str) -> String {
    let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.len() <= MAX_OPTION;
    if is_name && !text.contains('@') {
        format!("there is no option {name}; {shape}")
    } else {
        format!("there is no such option; {shape}")
    }
}

/// Returns the scheme and the text after its colon, if `text` begins like an address.
fn begin(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(scheme, rest)| is_scheme(scheme) && (rest.starts_with('/') || is_known(scheme)))
}

/// True if and only if `text` is a scheme by RFC 3986, section 3.1, and not a drive of Windows, which has one letter.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
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
    fn addresses_and_paths_are_distinguished() {
        for text in ["redis://h", "REDIS:/h", "rediss:h", "reddis:/h", "//h/flags.json", "http://h", "a b://h", "://"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "-", "flags.json", "/etc/a:/flags.json", "./redis:/flags.json", "a:b.json", ":h", "1a:/b"] {
            assert!(!is_address(text), "{text}");
        }
        for text in [r"C:\flags.json", "C:/flags.json", "c:flags.json", r"\\server\share\flags.json", r"..\flags.json"]
        {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn a_mask_shows_only_a_valid_scheme() {
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
    fn a_mask_of_an_unknown_source_shows_only_a_path() {
        for path in ["", "flags", "flags.yaml", "/etc/a:b/flags@2", "./a?b", "../flags", r"C:\a b\flags", "c:/flags"] {
            assert_eq!(mask_unknown(path), path);
        }
        for text in [
            ":hunter2@db",
            "ana:hunter2@db:6379",
            "hunter2@db/0?key=k",
            "//:hunter2@db",
            "db?pass=hunter2",
            r"a:\hunter2@db",
        ] {
            assert_eq!(mask_unknown(text), "...");
        }
    }

    #[test]
    fn an_option_is_shown_unless_it_may_be_a_password() {
        assert_eq!(no_option("colour", "redis://h?colour=red", "write"), "there is no option colour; write");
        for (name, text) in [("hunter2", "redis://h?hunter2"), ("hunter", "redis://:7?hunter@h"), ("a\x1b", "")] {
            assert_eq!(no_option(name, text, "write"), "there is no such option; write");
        }
    }
}
