use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::testing::{has_command, skip};

/// The name of a shell, and its arguments before `-c`.
type Shell = (&'static str, &'static [&'static str]);

/// Every kind of shell that may read such a file.
const SHELLS: [Shell; 7] = [
    ("bash", &[]),
    ("bash", &["--posix"]),
    ("dash", &[]),
    ("zsh", &["-f"]),
    ("ksh93", &[]),
    ("mksh", &[]),
    ("busybox", &["ash"]),
];

/// The shells on this machine.
static HERE: LazyLock<Vec<Shell>> = LazyLock::new(|| {
    let (here, missing): (Vec<_>, Vec<_>) = SHELLS.into_iter().partition(|(name, _)| has_command(name));
    for (name, _) in missing {
        skip(&format!("no {name}"));
    }
    here
});

/// Runs `script` in a shell whose environment has only a path.
fn run(shell: (&str, &[&str]), script: &str, directory: &std::path::Path) -> Vec<u8> {
    let mut command = Command::new(shell.0);
    command.args(shell.1).args(["-c", script]).current_dir(directory).stdin(Stdio::null());
    let path: OsString = "/usr/bin:/bin".into();
    command.env_clear().env("PATH", path).output().unwrap().stdout
}

/// Returns the values of `names` in `shell` after it has read `file`; panics if it did not read to the end.
fn read_back(shell: (&str, &[&str]), file: &str, names: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), format!("{file}the_end=reached\n")).unwrap();
    let words: String = names.iter().map(|name| [" \"${", name, "}\""].concat()).collect();
    // mksh has no built-in printf, and the number of arguments for the system's is limited.
    let script = format!(". ./file; /usr/bin/printf '%s\\0' \"$the_end\"{words}");
    let read = String::from_utf8(run(shell, &script, directory.path())).unwrap();
    let mut words = read.split_terminator('\0').map(str::to_owned);
    assert_eq!(words.next().as_deref(), Some("reached"), "{shell:?} stopped reading: {file}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "{shell:?} ran something: {file}");
    words.collect()
}

/// Asserts that every shell reads every written entry of `object` back from its file.
fn assert_reads_back(object: &Object) {
    let (file, skipped) = render(object);
    let kept = variables(object).into_iter().filter(|(name, _)| !skipped.iter().any(|left| left == name));
    let (names, words): (Vec<_>, Vec<_>) = kept.unzip();
    for shell in HERE.iter().copied() {
        assert_eq!(read_back(shell, &file, &names), words, "{shell:?}: {file}");
    }
}

fn one(name: &str, word: &str) -> Object {
    Object::from_iter([(name.to_owned(), word.into())])
}

#[test]
fn plain_words_are_bare_and_others_are_quoted() {
    for (word, wanted) in [
        ("", ""),
        ("x/y:1", "x/y:1"),
        ("a=b==", "a=b=="),
        ("=ls", "\"=ls\""),
        ("a:=ls", "\"a:=ls\""),
        ("x y", "\"x y\""),
        ("it's", "\"it's\""),
        ("~", "\"~\""),
        ("$(x)`\"\\", "'$(x)`\"\\'"),
        ("'$x'", r#"''"'"'$x'"'"''"#),
    ] {
        assert_eq!(quote(word), wanted, "{word}");
    }
}

#[test]
fn every_shell_reads_hostile_values_back() {
    let nasty = [
        "a b",
        "'",
        "\"",
        "\\",
        "\\\\n",
        "$HOME",
        "$(touch hacked)",
        "`touch hacked`",
        "a\nb\n",
        "\nx",
        "#x",
        "!x",
        "!!",
        "~",
        "~root",
        "a:~",
        "=ls",
        "a:=ls",
        "==ls",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "ñ日",
        "\u{1b}",
        "\u{7f}",
        "\u{1}",
        "\u{80}",
        "\u{9b}",
        "\u{81}\u{88}",
        "",
        " ",
        "\t",
        ";touch hacked",
        "a\\",
        "a\\\nb",
        "\r",
        "a\r\nb",
        "${x:-touch}",
        "\\$",
        "'\\''",
        "\"'\"'\"",
        "'$x\\",
        "é\\\";touch hacked;\\\"",
        "\u{202e}",
        "\u{2028}",
        "\u{feff}",
        "\u{fffd}",
        "😀",
        "\u{10fffd}",
        "a[$(touch hacked)]",
        "-n",
        "+x",
        "@(a|b)",
        "%1",
        "0x10",
        "010",
        "1e5",
        "x=y",
        "\u{301}",
    ];
    let entries = nasty.iter().enumerate().map(|(number, word)| (format!("v{number}"), (*word).into()));
    let object: Object = entries.collect();
    assert_eq!(render(&object).1, Vec::<String>::new());
    assert_reads_back(&object);
}

#[test]
fn a_noncharacter_is_skipped_in_any_position() {
    let noncharacters = ["\u{fffe}", "\u{ffff}", "\u{fdd0}", "\u{fdef}", "\u{1fffe}", "\u{10ffff}"];
    for noncharacter in noncharacters {
        let mut object = one("bad", &format!("a{noncharacter}b"));
        object.insert("good".to_owned(), "x".into());
        object.insert("list".to_owned(), serde_json::json!([{ "x": noncharacter }]));
        assert_eq!(render(&object), ("good=x\n".to_owned(), vec!["bad".to_owned(), "list".to_owned()]));
    }
    for character in ["\u{fffd}", "\u{fdcf}", "\u{fdf0}", "\u{1fffd}", "\u{10000}"] {
        assert_eq!(render(&one("good", character)).1, Vec::<String>::new());
    }
}

#[test]
fn names_with_side_effects_in_shells_are_skipped() {
    let names =
        ["UID", "EUID", "PPID", "BASHOPTS", "RANDOM", "SECONDS", "status", "PATH", "IFS", "ENV", "LD_PRELOAD", "_"];
    for name in names {
        assert_eq!(render(&one(name, "1")), (String::new(), vec![name.to_owned()]));
    }
    for name in ["uid", "LANG", "HOME", "LD", "Path", "random", "__"] {
        assert_eq!(render(&one(name, "1")), (format!("{name}=1\n"), Vec::new()));
    }
}

/// Every name that a shell on this machine lists reads back as the assigned string, or is skipped.
#[test]
fn every_name_listed_by_a_shell_reads_back_or_is_skipped() {
    let lists = |name: &str| match name {
        "bash" => "compgen -v",
        "zsh" => "print -l ${(k)parameters}",
        "ksh93" | "mksh" => "typeset",
        _ => "set",
    };
    let directory = tempfile::tempdir().unwrap();
    let mut names = std::collections::BTreeSet::new();
    for shell in HERE.iter().copied() {
        let listed = String::from_utf8(run(shell, lists(shell.0), directory.path())).unwrap();
        let words = listed.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        names.extend(words.filter(|word| !word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned));
    }
    names.remove("");
    assert!(names.len() > 20, "{names:?}");
    for word in ["x y[0]", "7x", "a[$(touch hacked)]"] {
        assert_reads_back(&names.iter().map(|name| (name.clone(), word.into())).collect());
    }
}

fn keys() -> impl Strategy<Value = String> {
    let known = [RESERVED, OF_CODE].into_iter().flat_map(|names| names.split(' ')).map(str::to_owned);
    prop_oneof![
        6 => "[A-Za-z_][A-Za-z0-9_]{0,12}",
        1 => proptest::sample::select(known.collect::<Vec<_>>()),
        1 => "\\PC{0,4}",
    ]
}

fn words() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => proptest::sample::select("\"'\\$`~=:!#;&|<>(){}[]*? \t\n\r%@+,./-_^aZ0".chars().collect::<Vec<_>>()),
        1 => proptest::char::range('\u{1}', '\u{ff}'),
        1 => proptest::sample::select(vec!['\u{fffe}', '\u{fdd0}', '\u{2ffff}']),
        1 => any::<char>().prop_filter("no word has a NUL", |character| *character != '\0'),
    ];
    proptest::collection::vec(character, 0..12).prop_map(String::from_iter)
}

/// Returns a value `printed` by systemd: bare, or in double quotes with C escapes.
fn unescape(printed: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = printed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(printed).bytes();
    while let Some(byte) = rest.next() {
        let next = if byte == b'\\' { rest.next() } else { None };
        bytes.push(match next {
            None => byte,
            Some(high @ b'0'..=b'3') => {
                let digits = [high, rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 8).unwrap()
            }
            Some(letter) => match b"abefnrtv".iter().position(|known| *known == letter) {
                Some(at) => b"\x07\x08\x1b\x0c\n\r\t\x0b"[at],
                None => letter,
            },
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// Few cases: each one starts several programs.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_shell_reads_back_every_written_entry(entries in proptest::collection::btree_map(keys(), words(), 1..40)) {
        assert_reads_back(&entries.into_iter().map(|(key, word)| (key, word.into())).collect());
    }
}

/// systemd's own reader of such files, which prints what it has read; unlike services it also replaces `$`.
#[test]
fn systemd_reads_back_every_written_entry() {
    const READER: &str = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator";
    if !std::path::Path::new(READER).exists() {
        return skip(&format!("no {READER}"));
    }
    proptest!(config(), |(entries in proptest::collection::btree_map(keys(), words(), 1..40))| {
        let object: Object = entries.into_iter().map(|(key, word)| (key, word.replace('$', "").into())).collect();
        let (file, skipped) = render(&object);
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("environment.d");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("file.conf"), &file).unwrap();
        let mut reader = Command::new(READER);
        let read = reader.env_clear().env("XDG_CONFIG_HOME", directory.path()).output().unwrap();
        prop_assert!(read.status.success(), "{}: {file}", String::from_utf8_lossy(&read.stderr));
        let kept = variables(&object).into_iter().filter(|(name, _)| !skipped.iter().any(|left| left == name));
        let printed = String::from_utf8(read.stdout).unwrap();
        for (name, word) in kept {
            let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
            // It does not print empty values.
            prop_assert_eq!(line.map(unescape).unwrap_or_default(), word, "{}: {}", file, printed);
        }
    });
}
