//! The token for changes, from a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::exit::UsageError;

/// The longest token, in bytes: as long as the server's.
const MAX_LEN: u64 = 4096;

/// Returns the token in the file, which may be a pipe.
///
/// # Errors
/// If the file cannot be read, or does not contain a token.
pub(super) fn read_token(path: &Path) -> Result<String, UsageError> {
    let name = path.display().to_string();
    let unreadable = |error| UsageError(format!("{name}: cannot read the token: {error}"));
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_LEN + 3).read_to_end(&mut text).map_err(unreadable)?;
    let token = text.trim_ascii();
    let is_token = (1..=MAX_LEN).contains(&(token.len() as u64)) && token.iter().all(u8::is_ascii_graphic);
    let token = is_token.then(|| String::from_utf8_lossy(token).into_owned());
    token.ok_or_else(|| {
        UsageError(format!("{name}: not a token; use the file that the server has for --http-token-file"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_visible_ascii_without_its_line_feed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            read_token(file.path())
        };
        assert_eq!(read("secret\n").unwrap(), "secret");
        assert_eq!(read(&"x".repeat(4096)).unwrap().len(), 4096);
        for text in ["", "\n", "a b", "a\r\nX-Injected: 1", "ñ", &"x".repeat(4097)] {
            assert!(read(text).unwrap_err().0.contains("not a token"), "{text}");
        }
        assert!(read_token(Path::new("/nowhere/token")).unwrap_err().0.contains("cannot read the token"));
    }
}
