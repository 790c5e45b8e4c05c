//! The page and its Content-Security-Policy.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

/// The page: one response that loads nothing else. It requests its event stream and, to change the map, entries.
///
/// The scripts share one function's scope, so that they neither see nor define globals.
pub(super) const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/style.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>\n\"use strict\";\n(() => {\n",
    include_str!("page/format.js"),
    include_str!("page/elements.js"),
    include_str!("page/stream.js"),
    include_str!("page/state.js"),
    include_str!("page/entries.js"),
    include_str!("page/changes.js"),
    include_str!("page/editor.js"),
    include_str!("page/clients.js"),
    include_str!("page/start.js"),
    "})();\n</script>\n</body>\n</html>\n",
);

/// Returns the Content-Security-Policy of `page`: the browser runs only its own inline scripts and styles, identified by their
/// hashes, and connects only to this listener. Its icon is a `data:` URL. No other page may frame it (clickjacking).
pub(super) fn policy(page: &str) -> String {
    let (scripts, styles) = (sources(page, "<script>", "</script>"), sources(page, "<style>", "</style>"));
    format!(
        "default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Returns the hashes of all texts between `open` and `close` (CSP level 3, section 2.3.1).
fn sources(page: &str, open: &str, close: &str) -> String {
    let contents = page.split(open).skip(1).filter_map(|rest| rest.split(close).next());
    let hashes: Vec<_> =
        contents.map(|content| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(content)))).collect();
    if hashes.is_empty() { "'none'".to_owned() } else { hashes.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_contains_the_hash_of_each_script_and_style() {
        let policy = policy("<style>a{}</style><script>1</script><script>2</script>");
        // printf 1 | openssl dgst -sha256 -binary | base64
        assert!(policy.contains("script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s=' 'sha256-1HNeOiZeFu7gP1lxi5tdAwGcB9i2xR+Q2jpmbuwTqzU=';"), "{policy}");
        assert!(policy.contains("style-src 'sha256-"), "{policy}");
        assert!(super::policy("").contains("script-src 'none'; style-src 'none';"));
    }

    #[test]
    fn the_page_loads_nothing_from_other_servers() {
        for foreign in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        assert_eq!(
            PAGE.matches("<script").count(),
            PAGE.matches("<script>").count(),
            "the policy hashes only scripts without attributes"
        );
        assert_eq!(PAGE.matches("<style").count(), PAGE.matches("<style>").count());
    }

    #[test]
    fn each_colour_has_a_light_fallback() {
        let css = include_str!("page/style.css");
        let (fallback, supported) = css.split_once("@supports (color: light-dark").unwrap();
        let colours = supported.split("--").filter_map(|part| part.split_once(": light-dark("));
        let mut count = 0;
        for (name, pair) in colours {
            let light = pair.split(',').next().unwrap_or_default();
            assert!(fallback.contains(&format!("--{name}: {light};")), "{name}");
            count += 1;
        }
        assert!(count > 10 && !fallback.contains("light-dark"), "{count}");
    }
}
