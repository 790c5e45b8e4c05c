//! Checks that the manual pages and shell completions in `packaging/` match the command lines.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// If set, the files are written instead of compared.
const BLESS: &str = "MAPCAST_BLESS";

/// Fails unless `packaging/` contains exactly the pages and completions generated from `command`; with
/// `MAPCAST_BLESS=1` in the environment writes them.
#[track_caller]
pub(crate) fn assert_up_to_date(command: &Command) {
    let fresh = tempfile::tempdir().unwrap();
    let (man, completions) = (fresh.path().join("man"), fresh.path().join("completions"));
    fs::create_dir(&man).unwrap();
    fs::create_dir(&completions).unwrap();
    let mut built = command.clone().disable_help_subcommand(true);
    built.build();
    write_pages(&built, &man);
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

/// Writes the pages of `command` and its subcommands, each with the package and its version in the footer.
fn write_pages(command: &Command, directory: &Path) {
    command.get_subcommands().for_each(|command| write_pages(command, directory));
    let source = concat!("mapcast ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).generate_to(directory).unwrap();
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
