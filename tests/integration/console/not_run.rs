//! The blocks of commands that are not run from their page, and why.

use super::page::{Block, Kind};

/// A page, how the block begins, and the reason.
pub type NotRun = (&'static str, &'static str, &'static str);

const BUILDS: &str = "builds this project, or runs its tests";
const BY_RECIPES: &str = "recipes.rs runs the recipe, with another address or directory";
const BY_READERS: &str = "readers.rs runs the reader";
const BROKER: &str = "needs a broker that is not installed everywhere";
const FOREVER: &str = "each line goes on until Ctrl-C";
const OTHER_MACHINE: &str = "needs another machine, or a service of it";
const ROOT: &str = "needs root, or changes files of the system";

pub const NOT_RUN: [NotRun; 33] = [
    ("README.md", "cargo install", BUILDS),
    ("README.md", "cargo test", BUILDS),
    ("README.md", "LC_ALL=C", BY_READERS),
    ("README.md", "mapcast-client --write /etc", ROOT),
    ("README.md", "mapcast-server --source tcp://root", OTHER_MACHINE),
    ("README.md", "scripts/package.sh", ROOT),
    ("docs/client.md", "mapcast-client -q -o diff --timestamps", FOREVER),
    ("docs/client.md", "mapcast-client --write /etc", ROOT),
    ("docs/client.md", "mapcast-client --exec 'curl", OTHER_MACHINE),
    ("docs/client.md", "mapcast-client --run -- ./app", OTHER_MACHINE),
    ("docs/client.md", "mapcast-client --settle", FOREVER),
    ("docs/client.md", "mapcast-client --wait --run", FOREVER),
    ("docs/deployment.md", "dpkg -i", ROOT),
    ("docs/recipes.md", "mapcast-server --source app.toml", ROOT),
    ("docs/systems.md", "cargo install", BUILDS),
    ("docs/recipes.md", "python3 pack.py", BY_RECIPES),
    ("docs/recipes.md", "mapcast-client --exec 'python3 unpack.py", BY_RECIPES),
    ("docs/recipes.md", "mapcast-server --source backends.json", BY_RECIPES),
    ("docs/recipes.md", "mapcast-server --format json --source flags.json", BY_RECIPES),
    ("docs/recipes.md", "python3 flags.py", BY_RECIPES),
    ("docs/recipes.md", "echo '{\"dark\": false", "examples.rs runs the example"),
    ("docs/recipes.md", "mosquitto_sub -t flags", BROKER),
    ("docs/recipes.md", "mosquitto_sub -h", BY_RECIPES),
    ("docs/recipes.md", "mosquitto_pub", BY_RECIPES),
    ("docs/recipes.md", "whole()", BROKER),
    ("docs/recipes.md", "etcdctl put", BROKER),
    ("docs/recipes.md", "while :; do python3 nats_kv.py", BROKER),
    ("docs/recipes.md", "while date", FOREVER),
    ("docs/recipes.md", "promtool check", BY_RECIPES),
    ("docs/recipes.md", "openssl rand", BY_RECIPES),
    ("docs/recipes.md", "python3 announce.py", BY_RECIPES),
    ("docs/sources.md", "mapcast-server --source tls://root", OTHER_MACHINE),
    ("docs/sources.md", "mapcast-server --source 'redis://cache", OTHER_MACHINE),
];

/// Returns the entry of a block of commands that is not run.
pub fn reason(page: &str, block: &Block) -> Option<&'static NotRun> {
    let is_command = matches!(block.kind(), Kind::Console(_) | Kind::Commands);
    let text = block.text.strip_prefix("$ ").unwrap_or(&block.text);
    NOT_RUN.iter().find(|(of, start, _)| is_command && *of == page && text.starts_with(start))
}
