//! The hostile-input checks of the tests, for libFuzzer.

#[path = "../../tests/hostile/mod.rs"]
mod hostile;

/// Runs the check `name` on `bytes`.
///
/// # Panics
/// If the check fails, or if there is no check with this name.
pub fn check(name: &str, bytes: &[u8]) {
    let (_, check) = hostile::CHECKS.iter().find(|(known, _)| *known == name).expect("a check of this name");
    check(bytes);
}
