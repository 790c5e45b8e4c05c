//! The names that Windows reserves for devices (Naming Files, Paths, and Namespaces).

/// The devices without a number.
const DEVICES: [&str; 6] = ["AUX", "CON", "CONIN$", "CONOUT$", "NUL", "PRN"];

/// The devices with a number, of one digit.
const NUMBERED: [&str; 2] = ["COM", "LPT"];

/// The namespace of devices and pipes.
const NAMESPACE: &str = r"\\.\";

/// True if and only if `path` names a device, in any directory, with or without an extension, or a path of their namespace.
pub(super) fn is_device(path: &str) -> bool {
    if path.replace('/', r"\").starts_with(NAMESPACE) {
        return true;
    }
    let name = path.rsplit(['\\', '/']).next().unwrap_or_default();
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    let is_numbered = |device: &&str| {
        stem.strip_prefix(*device)
            .is_some_and(|number| number.len() == 1 && number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    DEVICES.contains(&stem.as_str()) || NUMBERED.iter().any(is_numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_name() {
        for path in
            ["NUL", "con.json", r"C:\x\Aux", "x/lpt1.tar.gz", "COM9", "nul .json", "nul:", r"\\.\pipe\x", "//./COM1"]
        {
            assert!(is_device(path), "{path}");
        }
        for path in
            ["", "null", "console.json", "com", "COM10", "lptx.json", "nul/x.json", r"C:\x.json", r"\\server\nul\x"]
        {
            assert!(!is_device(path), "{path}");
        }
    }
}
