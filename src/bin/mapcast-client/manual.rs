//! The texts of the help and of the manual page.

use crate::help::Help;

/// The help of `mapcast-client`.
pub(crate) const HELP: Help = Help {
    groups: &[
        (
            "Output",
            &[
                "output",
                "keys",
                "once",
                "count",
                "changes_only",
                "watch",
                "line_format",
                "timestamps",
                "prefix",
                "color",
            ],
        ),
        (
            "Connection",
            &["address", "format", "timeout", "wait", "no_reconnect", "stale_after", "connect_timeout", "max_frame"],
        ),
        (
            "Into other programs",
            &[
                "write",
                "exec",
                "run",
                "write_format",
                "template",
                "mode",
                "exec_timeout",
                "signal",
                "kill_timeout",
                "splay",
                "settle",
                "settle_max",
                "check",
                "check_timeout",
                "cache",
            ],
        ),
        ("TLS", TLS),
        ("Log and help", &["verbose", "quiet", "help", "version"]),
    ],
    most_used: &[
        ("output", "", "json, pretty, text, value, diff, raw, none [json]"),
        ("keys", "", "Print only this entry; may be repeated"),
        ("once", "", "Print one map and exit"),
        ("changes_only", "", "Print a map only if it differs from the last"),
        ("watch", "", "Show the map on the whole screen; q quits"),
        ("write", "", "Keep the map in this file: .json, .toml, .env"),
        ("exec", "", "Run this shell command on each change"),
        ("run", "", "Run this program, restart it on each change"),
        ("timeout", "", "Exit with code 124 after this time"),
        ("tls", "", "Encrypt the connection"),
        ("quiet", "", "Log less: -q warnings, -qq errors, -qqq nothing"),
    ],
    arguments: "       ADDR:PORT: the server [127.0.0.1:8080]; a port alone is on this machine",
    unused,
    variables: &[
        ("VISUAL, EDITOR", "the editor of mapcast-client edit"),
        ("NO_COLOR", "if set: no colours"),
        ("RUST_LOG", "the levels of the log; takes precedence over -v and -q"),
    ],
    exit_codes: &[
        ("0", "done"),
        ("1", "run-time error"),
        ("2", "usage"),
        ("3", "cannot connect"),
        ("4", "bad frame, frame too large, or wrong format"),
        ("5", "key missing"),
        ("124", "timeout"),
        ("130", "interrupted before any map"),
    ],
    examples: &[
        ("mapcast-client 192.0.2.7:8080 -o diff", "print each change of an entry"),
        ("mapcast-client get limit", "print one value and exit"),
        ("mapcast-client --write a.json --exec make", "write a file, run a command"),
    ],
};

#[cfg(feature = "tls")]
const TLS: &[&str] = &["tls", "tls_ca", "tls_name", "tls_cert", "tls_key"];

#[cfg(not(feature = "tls"))]
const TLS: &[&str] = &[];

/// The options that `command` does not use: a command over HTTP is sent without TLS.
fn unused(command: &str) -> &'static [&'static str] {
    match command {
        "set" | "del" | "edit" | "status" | "clients" => TLS,
        "completions" => ALL,
        _ => &[],
    }
}

const ALL: &[&str] =
    &["timeout", "connect_timeout", "tls", "tls_ca", "tls_name", "tls_cert", "tls_key", "verbose", "quiet"];

/// The sections that only the manual page has.
#[cfg(test)]
pub(crate) const SECTIONS: crate::packaged::Sections = crate::packaged::Sections {
    files: &[
        ("FILE of --write", "the map; replaced atomically, and only if its content changes"),
        ("FILE of --template", "the text that --write fills in"),
        ("FILE of --cache", "the last map, for a start without the server"),
        ("FILE of --token-file", "the token for changes over HTTP"),
        ("/usr/share/doc/mapcast/", "the documentation"),
    ],
    see_also: &["mapcast-server(1)", "timeout(1)"],
};
