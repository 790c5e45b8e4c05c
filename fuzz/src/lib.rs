//! The checks of the ordinary tests, for libFuzzer.

#[path = "../../tests/hostile/mod.rs"]
mod hostile;

/// Runs the check called `name`.
///
/// # Panics
/// If what must hold of `bytes` does not, or no check has that name.
pub fn check(name: &str, bytes: &[u8]) {
    let (_, check) = hostile::CHECKS.iter().find(|(known, _)| *known == name).expect("a check of this name");
    check(bytes);
}
