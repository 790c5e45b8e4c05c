//! Replays the inputs that the fuzz targets have found: every input with every check.

use std::fs;
use std::path::Path;

use crate::hostile::CHECKS;
use crate::support::log;

/// Returns the inputs below `tests/hostile/corpus/NAME`, with their file names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/corpus").join(name);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = files.map(|file| file.unwrap().path());
    paths.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[test]
fn every_corpus_input_passes_every_check() {
    log::follow();
    for (origin, _) in CHECKS {
        let inputs = corpus(origin);
        assert!(!inputs.is_empty(), "no corpus for {origin}");
        for (file, bytes) in inputs {
            // Printed by the test runner if a check panics.
            println!("{file}");
            for (_, check) in CHECKS {
                check(&bytes);
            }
        }
    }
}

#[test]
fn every_check_is_a_fuzz_target() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let Ok(manifest) = fs::read_to_string(manifest) else { return crate::support::skip("packaged without fuzz/") };
    for (name, _) in CHECKS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
    }
}
