//! The tokens of Rust sources, as far as tests that read them need.

/// A token. Comments, numbers and lifetimes are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Ident(String),
    /// The content of a string literal, as it is written.
    Text(String),
    /// `::`
    PathSeparator,
    Punct(char),
}

/// Returns the tokens of `text`.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((content, length)) = string(rest) {
            found.push(Token::Text(content.to_owned()));
            length
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(Token::Ident(rest[..length].to_owned()));
            length
        } else if first.is_ascii_digit() {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            found.push(Token::PathSeparator);
            2
        } else {
            found.extend((!first.is_whitespace()).then_some(Token::Punct(first)));
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// Returns the content of the string literal that `text` begins with, and the literal's length.
fn string(text: &str) -> Option<(&str, usize)> {
    let body = text.strip_prefix(['b', 'c']).filter(|rest| rest.starts_with(['"', 'r'])).unwrap_or(text);
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        let content = raw[hashes..].strip_prefix('"')?;
        let end = content.find(&format!("\"{}", "#".repeat(hashes)))?;
        return Some((&content[..end], text.len() - content.len() + end + 1 + hashes));
    }
    let content = body.strip_prefix('"')?;
    let mut is_escaped = false;
    let end = content.find(|c: char| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })?;
    Some((&content[..end], text.len() - content.len() + end + 1))
}

/// The length of the character literal or the lifetime that `text` begins with.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let start = at + escaped.len_utf8();
            text[start..].find('\'').map_or(text.len(), |end| start + end + 1)
        }
        (_, Some((at, '\''))) => at + 1,
        _ => 1 + text[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - 1),
    }
}

/// Returns the first two words that `tokens` begins with; `None` in place of what is not a word.
pub fn idents(tokens: &[Token]) -> (Option<&str>, Option<&str>) {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Ident(word)) => Some(word.as_str()),
        _ => None,
    };
    (word(0), word(1))
}

/// Returns the index after the bracket that closes the one at `open`.
pub fn end_of_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Punct('(' | '[' | '{') => depth += 1,
            Token::Punct(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Returns the index after the item, the statement or the field that begins at `start`: after `;` or a block, or at a bracket
/// that belongs to what surrounds it. Where `is_listed`, a comma ends it too.
pub fn end_of_item(tokens: &[Token], start: usize, is_listed: bool) -> usize {
    let (first, second) = idents(&tokens[start.min(tokens.len())..]);
    // The braces of these are not their end.
    let has_value =
        second != Some("fn") && ["use", "const", "static", "type", "let"].contains(&first.unwrap_or_default());
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token {
            Token::Punct(';') => return at + 1,
            Token::Punct(',') if is_listed => return at + 1,
            Token::Punct(')' | ']' | '}') => return at,
            Token::Punct('{') if !has_value => return end_of_group(tokens, at),
            Token::Punct('(' | '[' | '{') => at = end_of_group(tokens, at) - 1,
            _ => {}
        }
        at += 1;
    }
    tokens.len()
}
