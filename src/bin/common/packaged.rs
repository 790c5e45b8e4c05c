//! Checks that the manual pages and shell completions in `packaging/` match the command lines.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::help::{Help, RULE};

/// If set, the files are written instead of compared.
const BLESS: &str = "MAPCAST_BLESS";

/// The sections of a program's manual page that its help does not have.
pub(crate) struct Sections {
    /// The files that the program reads or writes, and what they are for.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Other pages, with their sections: `mapcast-client(1)`.
    pub(crate) see_also: &'static [&'static str],
}

/// Fails unless `packaging/` contains exactly the pages and completions generated from `command`; with
/// `MAPCAST_BLESS=1` in the environment writes them.
#[track_caller]
pub(crate) fn assert_up_to_date(command: &Command, help: &Help, sections: &Sections) {
    let fresh = tempfile::tempdir().unwrap();
    let (man, completions) = (fresh.path().join("man"), fresh.path().join("completions"));
    fs::create_dir(&man).unwrap();
    fs::create_dir(&completions).unwrap();
    let mut built = command.clone().disable_help_subcommand(true);
    built.build();
    write(&man, &built, help, &whole_page(&built, help, sections));
    for subcommand in built.get_subcommands() {
        let program = format!("{}(1)", built.get_name());
        let end = section("SEE ALSO", &format!("{program}, for the exit codes and the variables"));
        write(&man, subcommand, help, &end);
    }
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command.clone(), command.get_name(), &completions).unwrap();
    }
    for directory in ["man", "completions"] {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(directory);
        if std::env::var_os(BLESS).is_some() {
            replace(&committed, &fresh.path().join(directory), command.get_name());
        }
        let (old, new) =
            (read(&committed, command.get_name()), read(&fresh.path().join(directory), command.get_name()));
        assert!(
            old == new,
            "packaging/{directory} does not match the options; run {BLESS}=1 cargo test --bins packaged"
        );
    }
}

/// Writes the page of `command`, with the package and its version in the footer. `end` follows the options.
fn write(directory: &Path, command: &Command, help: &Help, end: &str) {
    let page = Man::new(command.clone()).source(concat!("mapcast ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    // The macros for quotes precede the title alone.
    page.render_title(&mut text).unwrap();
    page.render_name_section(&mut text).unwrap();
    page.render_synopsis_section(&mut text).unwrap();
    page.render_description_section(&mut text).unwrap();
    page.render_options_section(&mut text).unwrap();
    let text = grouped(&String::from_utf8(text).unwrap(), help);
    fs::write(directory.join(page.get_filename()), text + end).unwrap();
}

/// Returns `text` with the groups of options as subsections of one section.
fn grouped(text: &str, help: &Help) -> String {
    let (mut lines, mut has_options) = (Vec::new(), false);
    for line in text.lines() {
        let heading = line.strip_prefix(".SH ").map(|heading| heading.trim_matches('"'));
        let group = heading.and_then(|heading| help.groups.iter().find(|(name, _)| name.to_uppercase() == heading));
        has_options |= heading == Some("OPTIONS");
        match group {
            Some((name, _)) => {
                if !has_options {
                    lines.push(".SH OPTIONS".to_owned());
                    has_options = true;
                }
                lines.push(format!(".SS \"{name}\""));
            }
            // The same in each section, and needed once.
            None if line.starts_with(".ie ") || line.starts_with(".el ") => {
                if lines.len() < 2 {
                    lines.push(line.to_owned());
                }
            }
            None => lines.push(line.trim_end().to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

/// Returns what follows the options of a program.
fn whole_page(command: &Command, help: &Help, sections: &Sections) -> String {
    let commands = command.get_subcommands();
    let commands: Vec<_> = commands.map(|sub| format!("{}\\-{}(1)", command.get_name(), sub.get_name())).collect();
    let named = |name: &Command| name.get_about().map(ToString::to_string).unwrap_or_default();
    let of_commands: Vec<_> = command.get_subcommands().map(|sub| (sub.get_name().to_owned(), named(sub))).collect();
    let pairs = |rows: &[(&str, &str)]| rows.iter().map(|(name, text)| tagged(name, text)).collect::<String>();
    let examples: String = help.examples.iter().map(|(line, text)| tagged(line, text)).collect();
    let see_also: Vec<_> = commands.into_iter().chain(sections.see_also.iter().map(|page| escape(page))).collect();
    [
        heading("COMMANDS"),
        of_commands.iter().map(|(name, text)| tagged(name, text)).collect(),
        heading("EXIT STATUS"),
        pairs(help.exit_codes),
        section("ENVIRONMENT", &RULE.replace('\n', " ")),
        pairs(help.variables),
        heading("FILES"),
        pairs(sections.files),
        heading("EXAMPLES"),
        examples,
        heading("SEE ALSO"),
        see_also.join(",\n") + "\n",
    ]
    .concat()
}

fn heading(name: &str) -> String {
    format!(".SH \"{name}\"\n")
}

fn section(name: &str, text: &str) -> String {
    heading(name) + &escape(text) + "\n"
}

/// Returns a paragraph with its bold tag in front.
fn tagged(tag: &str, text: &str) -> String {
    format!(".TP\n\\fB{}\\fR\n{}\n", escape(tag), escape(text))
}

/// Returns plain text as roff. No text begins with a dot or a quote, which would be a request.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    assert!(!escaped.starts_with('.'), "{text}");
    escaped
}

/// Returns the names and contents of the files of `program` in `directory`, sorted.
fn read(directory: &Path, program: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.contains(program))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn replace(committed: &Path, fresh: &Path, program: &str) {
    for (name, _) in read(committed, program) {
        fs::remove_file(committed.join(name)).unwrap();
    }
    for (name, text) in read(fresh, program) {
        fs::write(committed.join(name), text).unwrap();
    }
}
