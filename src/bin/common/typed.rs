//! The words of a command line that is not valid, and valid ones for a tip.

use std::ffi::OsString;
use std::net::Ipv6Addr;

/// The words that were typed.
pub(crate) struct Typed<'w> {
    /// The program's name, and the words that follow it.
    words: Vec<String>,
    is_valid: &'w dyn Fn(&[OsString]) -> bool,
}

/// What the host and the port of an address are called in other programs.
const HOSTS: [&str; 10] =
    ["-addr", "-H", "-b", "-a", "--host", "--bind", "--addr", "--address", "--connect", "--server"];
const PORTS: [&str; 4] = ["-port", "-p", "-P", "--port"];

impl<'w> Typed<'w> {
    /// Returns the words of a command line of `program`. `is_valid` returns true if and only if the program accepts the words.
    pub(crate) fn new(program: &str, words: &[OsString], is_valid: &'w dyn Fn(&[OsString]) -> bool) -> Self {
        let rest = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
        Self { words: [program.to_owned()].into_iter().chain(rest).collect(), is_valid }
    }

    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// Where `word` is among the words, not before 1.
    pub(crate) fn position(&self, word: &str) -> Option<usize> {
        self.words.iter().skip(1).position(|typed| typed == word).map(|place| place + 1)
    }

    /// Returns `words` as they are typed in a shell. Returns `None` if the program does not accept them, if one of them may
    /// contain a password, or if one cannot be typed.
    pub(crate) fn line(&self, words: &[String]) -> Option<String> {
        let is_shown = !words.iter().any(|word| may_have_password(word) || !is_text(word));
        let words_of_system: Vec<OsString> = words.iter().map(OsString::from).collect();
        (is_shown && (self.is_valid)(&words_of_system))
            .then(|| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
    }

    /// Returns the line with `words` in place of the `count` words at `place`.
    pub(crate) fn with_words(&self, place: usize, count: usize, words: &[&str]) -> Option<String> {
        let mut line = self.words.clone();
        line.splice(
            place..place.saturating_add(count).min(self.words.len()),
            words.iter().map(|word| (*word).to_owned()),
        );
        self.line(&line)
    }

    /// Returns the line with `words` in place of `option`, which is followed by its value, if it has one.
    pub(crate) fn with_option(&self, option: &str, words: &[&str]) -> Option<String> {
        let (place, value) = self.find(&[option])?;
        let value = value.filter(|_| self.words[place] != option);
        let words: Vec<&str> = words.iter().copied().chain(value.as_deref()).collect();
        self.with_words(place, 1, &words)
    }

    /// Returns the line with two hyphens in front of each option of several letters that has one.
    pub(crate) fn with_two_hyphens(&self) -> Option<String> {
        let is_long = |word: &str| word.len() > 2 && word[1..].starts_with(|letter: char| letter.is_ascii_alphabetic());
        let with_two = |word: &String| {
            if word.starts_with('-') && is_long(word) { format!("-{word}") } else { word.clone() }
        };
        let words: Vec<String> = self.words.iter().map(with_two).collect();
        (words != self.words).then(|| self.line(&words))?
    }

    /// Returns the line with the typed `--host` and `--port`, or what other programs call them, as the address that follows
    /// `option`; without a port that is `port`, if there is one.
    pub(crate) fn with_address(&self, option: Option<&str>, port: Option<&str>) -> Option<String> {
        let (host_place, host) = self.find(&HOSTS).unzip();
        let (port_place, typed_port) = self.find(&PORTS).unzip();
        let (host, typed_port) = (host.flatten(), typed_port.flatten());
        if (host_place.is_some() && host.is_none()) || (port_place.is_some() && typed_port.is_none()) {
            return None;
        }
        let has_port = |host: &str| host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = match (&host, typed_port.as_deref().or(port)) {
            (Some(host), Some(port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
            (Some(host), Some(port)) if !has_port(host) => format!("{host}:{port}"),
            (Some(host), _) if typed_port.is_none() => host.clone(),
            (None, Some(port)) => port.to_owned(),
            _ => return None,
        };
        let mut line = self.words.clone();
        let mut places: Vec<usize> = [host_place, port_place].into_iter().flatten().collect();
        places.sort_unstable();
        let first = *places.first()?;
        for place in places.into_iter().rev() {
            let is_apart = HOSTS.iter().chain(&PORTS).any(|option| *option == line[place]);
            line.drain(place..(place + 1 + usize::from(is_apart)).min(line.len()));
        }
        line.splice(first..first, option.map(str::to_owned).into_iter().chain([address]));
        self.line(&line)
    }

    /// Returns the place of the first of `options`, and its value: the text after `=`, the rest of a word with one letter, or
    /// the next word.
    fn find(&self, options: &[&str]) -> Option<(usize, Option<String>)> {
        self.words.iter().enumerate().skip(1).find_map(|(place, word)| {
            if options.contains(&word.as_str()) {
                return Some((place, self.words.get(place + 1).cloned()));
            }
            let attached = |option: &&str| {
                let rest = word.strip_prefix(*option)?;
                if option.len() > 2 {
                    return rest.strip_prefix('=');
                }
                let value = rest.trim_start_matches('=');
                // Not `-pretty`.
                let is_port = value.starts_with(|first: char| first.is_ascii_digit());
                (is_port || !PORTS.contains(option)).then_some(value)
            };
            let value = options.iter().find_map(attached)?;
            Some((place, Some(value.to_owned())))
        })
    }
}

/// True if `word` may have a password in an address: `redis://:PASSWORD@HOST`, also if it is mistyped. A format in front of
/// `@` has no colon.
fn may_have_password(word: &str) -> bool {
    word.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'))
}

/// True if and only if `word` can be typed: it was valid Unicode, and has no control characters.
fn is_text(word: &str) -> bool {
    !word.contains(|character: char| character.is_control() || character == char::REPLACEMENT_CHARACTER)
}

/// Returns `word` as one word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "@%+=:,./-_".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed<'w>(words: &[&str], is_valid: &'w dyn Fn(&[OsString]) -> bool) -> Typed<'w> {
        let words: Vec<OsString> = ["/bin/p"].iter().chain(words).map(OsString::from).collect();
        Typed::new("p", &words, is_valid)
    }

    #[test]
    fn a_line_is_quoted_for_a_shell() {
        let typed = typed(&["x", "a b", "it's", "", "json@[::1]:1"], &|_| true);
        assert_eq!(typed.with_words(1, 1, &["y", "z"]).as_deref(), Some(r"p y z 'a b' 'it'\''s' '' 'json@[::1]:1'"));
        assert_eq!(typed.position("it's"), Some(3));
    }

    #[test]
    fn a_line_with_a_password_or_that_is_not_valid_is_not_shown() {
        for word in ["redis://:hunter2@h/0", "redis::hunter2@h", "a\x1b[2J", "\u{fffd}"] {
            assert_eq!(typed(&[word, "x"], &|_| true).with_words(2, 1, &[]), None, "{word}");
        }
        assert_eq!(typed(&["x"], &|_| false).with_words(1, 1, &["y"]), None);
    }

    #[test]
    fn an_option_is_replaced_and_keeps_its_value() {
        for (words, wanted) in
            [(&["--port", "1", "x"][..], "p -l 1 x"), (&["--port=1"], "p -l 1"), (&["x", "--port"], "p x -l")]
        {
            assert_eq!(typed(words, &|_| true).with_option("--port", &["-l"]).as_deref(), Some(wanted), "{words:?}");
        }
        assert_eq!(typed(&["-p1"], &|_| true).with_option("-p", &["-l"]).as_deref(), Some("p -l 1"));
        assert_eq!(typed(&["--ports"], &|_| true).with_option("--port", &["-l"]), None);
    }

    #[test]
    fn a_long_option_has_two_hyphens() {
        let typed = |words: &[&str]| typed(words, &|_| true).with_two_hyphens();
        assert_eq!(typed(&["-once", "-q", "--wait"]).as_deref(), Some("p --once -q --wait"));
        assert_eq!(typed(&["-q", "-5x", "a-b"]), None);
    }

    #[test]
    fn a_host_and_a_port_are_one_address() {
        for (words, wanted) in [
            (&["x", "--host", "h", "y"][..], "p x -l h:80 y"),
            (&["--port", "1"], "p -l 1"),
            (&["-p1", "x", "--host=h"], "p -l h:1 x"),
            (&["--host", "h:2"], "p -l h:2"),
            (&["-port", "1"], "p -l 1"),
        ] {
            let line = typed(words, &|_| true).with_address(Some("-l"), Some("80"));
            assert_eq!(line.as_deref(), Some(wanted), "{words:?}");
        }
        assert_eq!(typed(&["-H", "h"], &|_| true).with_address(None, None).as_deref(), Some("p h"));
        for words in [&["x"][..], &["--host", "h:2", "--port", "1"], &["--host"], &["--port"]] {
            assert_eq!(typed(words, &|_| true).with_address(None, Some("80")), None, "{words:?}");
        }
    }
}
