//! The texts of the help and of the manual page.

use crate::help::Help;

/// The help of `mapcast-server`.
pub(crate) const HELP: Help = Help {
    groups: &[
        (
            "Where the map comes from",
            &[
                "file",
                "source",
                "set",
                "state",
                "max_frame",
                "redis_password_file",
                "source_tls_ca",
                "source_tls_name",
                "source_tls_cert",
                "source_tls_key",
            ],
        ),
        (
            "Who is served",
            &[
                "listen",
                "format",
                "allow",
                "max_connections",
                "max_connections_per_ip",
                "max_backlog",
                "send",
                "reuse_port",
            ],
        ),
        ("Timing", &["interval", "write_timeout", "keepalive", "drain_timeout"]),
        ("HTTP", &["http", "http_token_file", "http_host", "http_allow_origin", "http_max_connections"]),
        ("TLS", TLS),
        ("Log and help", &["check_config", "verbose", "quiet", "help", "version"]),
    ],
    most_used: &[
        ("source", "", "Send a .json or .toml file, or the map of a URL"),
        ("set", "", "Add an entry; may be repeated"),
        ("listen", "ADDR:PORT", "Listen for clients here [127.0.0.1:8080]"),
        ("format", "", "json, bincode, msgpack, pickle, text [bincode]"),
        ("allow", "", "Accept clients only from this network"),
        ("interval", "", "Repeat the map at least this often [5s]"),
        ("http", "", "Serve the web page, JSON and metrics here"),
        ("http_token_file", "", "Accept changes over HTTP with this token"),
        ("state", "", "Start with the last good map, kept in FILE"),
        ("check_config", "", "Check the configuration and exit"),
    ],
    arguments: "",
    unused: |_| &[],
    variables: &[
        ("MAPCAST_TEXT", "the TEXT of mapcast-server greet"),
        ("MAPCAST_REDIS_PASSWORD", "the password for Redis"),
        ("RUST_LOG", "the levels of the log; takes precedence over -v and -q"),
    ],
    exit_codes: &[
        ("0", "clean stop"),
        ("1", "clients were cut off, a thread did not end, or it could not continue"),
        ("2", "usage, or cannot start: an address, the first map, a limit"),
        ("130", "second signal"),
    ],
    examples: &[
        ("mapcast-server", "send a sample map, with a page on 8081"),
        ("mapcast-server flags.json --http 8081", "send a file, now and when it changes"),
        ("mapcast-server -l json@:9000 --set n=1", "send an entry as JSON to the network"),
    ],
};

#[cfg(feature = "tls")]
const TLS: &[&str] = &["cert", "key", "client_ca"];

#[cfg(not(feature = "tls"))]
const TLS: &[&str] = &[];

/// The sections that only the manual page has.
#[cfg(test)]
pub(crate) const SECTIONS: crate::packaged::Sections = crate::packaged::Sections {
    files: &[
        ("/etc/default/mapcast", "variables for mapcast.service"),
        ("/etc/default/mapcast-NAME", "variables for mapcast@NAME.service"),
        ("FILE of --source", "the map: a JSON object or a TOML table, read again when it changes"),
        ("FILE of --state", "the last good map; .FILE.lock beside it is locked while the server runs"),
        ("FILE of --http-token-file", "the token for changes over HTTP"),
        ("/usr/share/doc/mapcast/", "the documentation"),
    ],
    see_also: &["mapcast-client(1)", "systemd.socket(5)"],
};
