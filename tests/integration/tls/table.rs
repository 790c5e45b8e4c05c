//! TLS: the table of faults contains every error of the TLS libraries.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::skip;

/// Returns the source of a file of the package `name`, in the release of the build; `None` if it is not in cargo's registry.
fn source(name: &str, file: &str) -> Option<String> {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let package = lock.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n")));
    let version = package.and_then(|package| package.split("version = \"").nth(1)?.split('"').next()).unwrap();
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    registries
        .filter_map(Result::ok)
        .find_map(|registry| fs::read_to_string(registry.path().join(format!("{name}-{version}/src")).join(file)).ok())
}

/// Returns the variants of the enum `name` in `source`, whose lines are indented by `indent`.
fn variants(source: &str, name: &str, indent: usize) -> BTreeSet<String> {
    let body = source.split(&format!("pub enum {name} {{\n")).nth(1).unwrap_or_else(|| panic!("no enum {name}"));
    let end = format!("\n{}}}", " ".repeat(indent - 4));
    let lines = body.split(&end).next().unwrap().lines();
    let is_variant = |line: &&str| {
        let rest = line.trim_start_matches(' ');
        line.len() - rest.len() == indent && rest.starts_with(|first: char| first.is_ascii_uppercase())
    };
    let word = |line: &str| line.trim().chars().take_while(char::is_ascii_alphanumeric).collect();
    lines.filter(is_variant).map(word).collect()
}

#[test]
fn every_error_of_the_libraries_is_in_the_table() {
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/failure/causes.rs")).unwrap();
    for (package, file, name, indent, prefix) in [
        ("rustls", "error.rs", "Error", 4, "E"),
        ("rustls", "error.rs", "CertificateError", 4, "C"),
        ("rustls", "error.rs", "PeerIncompatible", 4, "P"),
        ("rustls", "enums.rs", "AlertDescription", 8, "A"),
        ("rustls-webpki", "error.rs", "Error", 4, "W"),
    ] {
        let Some(source) = source(package, file) else {
            return skip("the sources of the dependencies are not where cargo keeps them");
        };
        let variants = variants(&source, name, indent);
        assert!(variants.len() > 15, "{package} {name}: {variants:?}");
        let is_named = |variant: &&String| {
            let name = format!("{prefix}::{variant}");
            table
                .match_indices(&name)
                .any(|(at, _)| !table[at + name.len()..].starts_with(|next: char| next.is_alphanumeric()))
        };
        let missing: Vec<_> = variants.iter().filter(|variant| !is_named(variant)).collect();
        assert!(missing.is_empty(), "give these of {package}'s {name} a row in src/tls/failure/causes.rs: {missing:?}");
    }
}
