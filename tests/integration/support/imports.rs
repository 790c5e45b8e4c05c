//! Which file of this project uses an item of which other file: the graph of imports, read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::tokens::{Token, end_of_group, end_of_item, idents, tokens};

/// A `use` or a path in the code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The file that has the path; below the project's directory, as all files here.
    pub from: String,
    /// The file that defines what the path names.
    pub to: String,
    /// The path from the root of its crate, such as `server::Config`.
    pub path: Vec<String>,
    /// True if and only if `to` is a module that contains `from`, and what is imported is a type, a constant or the like: a
    /// directory's files share what its `mod.rs` defines.
    pub is_shared: bool,
}

/// A module of a file or of a block inside it.
#[derive(Debug, Default)]
struct Module {
    file: String,
    path: Vec<String>,
    children: BTreeSet<String>,
    /// Name, path as written, and whether it is visible outside the module.
    uses: Vec<(String, Vec<String>, bool)>,
    globs: Vec<Vec<String>>,
    items: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// The types that have methods here.
    implemented: BTreeSet<String>,
    /// The paths in the code, outside of `use` declarations.
    paths: BTreeSet<Vec<String>>,
}

/// A crate: its modules by their path.
#[derive(Debug, Default)]
struct Crate(BTreeMap<Vec<String>, Module>);

/// Returns what the files of the crate with this root, such as `src/lib.rs`, import from each other. Unit tests are left out.
pub fn imports(root: &str) -> BTreeSet<Import> {
    let mut modules = Crate::default();
    let root = Path::new(root);
    modules.read_file(root, root.parent().expect("a directory"), &[]);
    modules.imports()
}

impl Module {
    /// Returns the path from the crate's root, if `path` is one of this crate's.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let below = |base: &[String], rest: &[String]| Some([base, rest].concat());
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => below(&self.path, rest),
            "super" => {
                let up = 1 + rest.iter().take_while(|segment| *segment == "super").count();
                below(self.path.get(..self.path.len().checked_sub(up)?)?, &rest[up - 1..])
            }
            name if self.children.contains(name) => below(&self.path, path),
            // An imported name that is the first part of a longer path is a module or a type.
            name => {
                let (_, used, _) = self.uses.iter().find(|(used, _, _)| used == name)?;
                (!rest.is_empty() && used.first() != Some(first)).then_some(())?;
                below(&self.absolute(used)?, rest)
            }
        }
    }
}

impl Crate {
    /// Reads the module `path` from `file`; the files of its own modules are in `directory`.
    fn read_file(&mut self, file: &Path, directory: &Path, path: &[String]) {
        let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()));
        self.read_items(&tokens(&text), file, directory, path);
    }

    fn read_items(&mut self, tokens: &[Token], file: &Path, directory: &Path, path: &[String]) {
        let mut module = Module { file: file.to_string_lossy().into_owned(), path: path.to_vec(), ..Module::default() };
        let mut at = 0;
        while at < tokens.len() {
            let (attributes, start) = attributes(tokens, at);
            let (is_visible, start) = visibility(tokens, start);
            let end = end_of_item(tokens, start, false);
            at = end.max(at + 1);
            if start >= tokens.len() || !is_compiled(&attributes) {
                continue;
            }
            module.paths.extend(paths(&attributes));
            let item = &tokens[start..end];
            match idents(item) {
                (Some("mod"), Some(name)) => {
                    module.children.insert(name.to_owned());
                    let inner: Vec<_> = path.iter().cloned().chain([name.to_owned()]).collect();
                    if let Some(open) = item.iter().position(|token| *token == Token::Punct('{')) {
                        self.read_items(&item[open + 1..item.len() - 1], file, &directory.join(name), &inner);
                    } else {
                        let (file, directory) = file_of(file, directory, name, &attributes);
                        self.read_file(&file, &directory, &inner);
                    }
                }
                (Some("use"), _) => read_use(&item[1..], &mut Vec::new(), is_visible, &mut module),
                (Some("impl"), _) => {
                    module.implemented.extend(type_with_methods(item));
                    module.paths.extend(paths(item));
                }
                (Some(_), second) => {
                    let name = if second == Some("fn") { idents(&item[1..]).1 } else { second };
                    module.functions.extend(name.filter(|_| is_function(item)).map(str::to_owned));
                    module.items.extend(name.map(str::to_owned));
                    module.paths.extend(paths(item));
                }
                _ => {}
            }
        }
        self.0.insert(path.to_vec(), module);
    }

    fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for module in self.0.values() {
            // A re-export is for others; the file itself uses it where its code names it.
            let is_used = |name: &String| module.paths.iter().any(|path| path.first() == Some(name));
            let uses = module.uses.iter().filter(|(name, _, is_visible)| !is_visible || is_used(name));
            for path in uses.map(|(_, path, _)| path).chain(&module.globs).chain(&module.paths) {
                let Some(path) = module.absolute(path) else { continue };
                let Some((to, name)) = self.definition(&path, 0).filter(|(to, _)| to.file != module.file) else {
                    continue;
                };
                let is_above = to.path.len() < module.path.len() && module.path.starts_with(&to.path);
                let is_shared = is_above && name.is_some_and(|name| !to.functions.contains(&name));
                imports.insert(Import { from: module.file.clone(), to: to.file.clone(), path, is_shared });
            }
            imports.extend(self.split_types(module));
        }
        imports
    }

    /// Returns the imports of methods that `module` has of another file's type: the two files need each other.
    fn split_types(&self, module: &Module) -> Vec<Import> {
        let import = |from: &Module, to: &Module, path: &[String]| Import {
            from: from.file.clone(),
            to: to.file.clone(),
            path: path.to_vec(),
            is_shared: false,
        };
        let of_type = |name: &String| {
            let (_, used, _) = module.uses.iter().find(|(used, _, _)| used == name)?;
            let path = module.absolute(used)?;
            let (definer, _) = self.definition(&path, 0).filter(|(definer, _)| definer.file != module.file)?;
            Some([import(module, definer, &path), import(definer, module, &path)])
        };
        module.implemented.iter().filter_map(of_type).flatten().collect()
    }

    /// Returns the module that defines what `path` names, with the item's name; or the last module in it.
    fn definition(&self, path: &[String], depth: usize) -> Option<(&Module, Option<String>)> {
        let known = (0..=path.len()).rev().find(|end| self.0.contains_key(&path[..*end]))?;
        let (module, rest) = (&self.0[&path[..known]], &path[known..]);
        let Some(name) = rest.first() else { return Some((module, None)) };
        let found = Some((module, Some(name.clone())));
        if module.items.contains(name) || depth > 9 {
            return found;
        }
        if let Some((_, used, _)) = module.uses.iter().find(|(used, _, _)| used == name) {
            // What another crate defines is this module's to offer.
            let Some(used) = module.absolute(used) else { return found };
            return self.definition(&[&used, &rest[1..]].concat(), depth + 1);
        }
        let mut globs = module.globs.iter().filter_map(|glob| module.absolute(glob));
        let glob = globs.find(|glob| self.0.get(glob).is_some_and(|module| module.items.contains(name)));
        glob.map_or(found, |glob| self.definition(&[&glob, rest].concat(), depth + 1))
    }
}

/// Adds the leaves of the tree of a `use` to `module`.
fn read_use(tree: &[Token], prefix: &mut Vec<String>, is_visible: bool, module: &mut Module) {
    let length = prefix.len();
    let mut alias = None;
    let mut at = 0;
    while let Some(token) = tree.get(at) {
        match token {
            Token::Ident(word) if word == "as" => {
                alias = idents(&tree[at + 1..]).0.map(str::to_owned);
                at += 1;
            }
            Token::Ident(word) => prefix.push(word.clone()),
            Token::Punct('*') => {
                module.globs.push(prefix.clone());
                return prefix.truncate(length);
            }
            Token::Punct('{') => {
                let end = end_of_group(tree, at);
                let mut start = at + 1;
                while start < end - 1 {
                    let next = end_of_branch(tree, start, end - 1);
                    read_use(&tree[start..next], prefix, is_visible, module);
                    start = next + 1;
                }
                return prefix.truncate(length);
            }
            _ => {}
        }
        at += 1;
    }
    if prefix.last().is_some_and(|last| last == "self") {
        prefix.pop();
    }
    if let Some(name) = alias.or_else(|| prefix.last().cloned()) {
        module.uses.push((name, prefix.clone(), is_visible));
    }
    prefix.truncate(length);
}

/// The index of the comma that ends the branch of a `use` that begins at `start`, or `end`.
fn end_of_branch(tree: &[Token], start: usize, end: usize) -> usize {
    let mut at = start;
    while at < end && tree[at] != Token::Punct(',') {
        at = if tree[at] == Token::Punct('{') { end_of_group(tree, at) } else { at + 1 };
    }
    at
}

/// Returns the attributes that begin at `at`, and where the item after them begins.
fn attributes(tokens: &[Token], mut at: usize) -> (Vec<Token>, usize) {
    let start = at;
    while tokens.get(at) == Some(&Token::Punct('#')) {
        let open = at + 1 + usize::from(tokens.get(at + 1) == Some(&Token::Punct('!')));
        at = end_of_group(tokens, open);
    }
    (tokens[start..at].to_vec(), at)
}

/// True if and only if the item may be in a program: it is not for unit tests, and not for a build without TLS.
fn is_compiled(attributes: &[Token]) -> bool {
    let word = |word: &str| attributes.iter().any(|token| matches!(token, Token::Ident(ident) if ident == word));
    !word("cfg") || !(word("test") || (word("not") && word("feature")))
}

/// The type that the `impl` gives methods of its own, not those of a trait.
fn type_with_methods(item: &[Token]) -> Option<String> {
    let header: Vec<_> = item.iter().skip(1).take_while(|token| **token != Token::Punct('{')).collect();
    let word = |token: &&Token, word: &str| matches!(token, Token::Ident(ident) if ident == word);
    let header = header.split(|token| word(token, "where")).next()?;
    let mut depth = 0;
    let outside = header.iter().filter(|token| {
        depth += i32::from(***token == Token::Punct('<')) - i32::from(***token == Token::Punct('>'));
        depth == 0
    });
    let words: Vec<_> = outside.filter(|token| matches!(token, Token::Ident(_))).collect();
    match words.last() {
        Some(Token::Ident(name)) if !words.iter().any(|token| word(token, "for")) => Some(name.clone()),
        _ => None,
    }
}

fn is_function(item: &[Token]) -> bool {
    let (first, second) = idents(item);
    first == Some("fn") || second == Some("fn")
}

fn visibility(tokens: &[Token], at: usize) -> (bool, usize) {
    if !tokens.get(at).is_some_and(|token| matches!(token, Token::Ident(word) if word == "pub")) {
        return (false, at);
    }
    let is_restricted = tokens.get(at + 1) == Some(&Token::Punct('('));
    (true, if is_restricted { end_of_group(tokens, at + 1) } else { at + 1 })
}

/// Returns the file of the module `name` that `file` declares, and the directory of that module's own modules.
fn file_of(file: &Path, directory: &Path, name: &str, attributes: &[Token]) -> (PathBuf, PathBuf) {
    let is_path = |pair: &[Token]| matches!(&pair[0], Token::Ident(word) if word == "path");
    let given = attributes.windows(3).find(|three| is_path(three)).and_then(|three| match &three[2] {
        Token::Text(given) => Some(given),
        _ => None,
    });
    if let Some(given) = given {
        let mut found = file.parent().expect("a directory").to_owned();
        for part in Path::new(given) {
            if part == ".." {
                found.pop();
            } else {
                found.push(part);
            }
        }
        let directory = found.parent().expect("a directory").to_owned();
        return (found, directory);
    }
    let beside = directory.join(name).with_extension("rs");
    let is_file = Path::new(env!("CARGO_MANIFEST_DIR")).join(&beside).is_file();
    (if is_file { beside } else { directory.join(name).join("mod.rs") }, directory.join(name))
}

/// Returns the paths in code: `a`, `a::b`. What is only for unit tests is left out.
fn paths(code: &[Token]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < code.len() {
        if code[at] == Token::Punct('#') && code.get(at + 1) == Some(&Token::Punct('[')) {
            let (attributes, next) = attributes(code, at);
            let (_, start) = visibility(code, next);
            let is_listed = idents(&code[start..]).0 != Some("fn");
            at = if is_compiled(&attributes) { at + 1 } else { end_of_item(code, start, is_listed).max(next) };
            continue;
        }
        let is_field = at > 0 && code[at - 1] == Token::Punct('.') && (at < 2 || code[at - 2] != Token::Punct('.'));
        let mut path = Vec::new();
        while let Some(Token::Ident(word)) = code.get(at) {
            path.push(word.clone());
            if code.get(at + 1) != Some(&Token::PathSeparator) {
                break;
            }
            at += 2;
        }
        at += 1;
        // `pub(super)` names no item.
        let is_keyword = matches!(&path[..], [only] if ["crate", "self", "super"].contains(&only.as_str()));
        if !path.is_empty() && !is_field && !is_keyword {
            found.insert(path);
        }
    }
    found
}
