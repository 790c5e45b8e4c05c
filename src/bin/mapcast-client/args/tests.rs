//! Command lines and their configurations.

use mapcast::Format;

use super::*;
use crate::print::Output;

fn config(words: &[&str]) -> Result<Config, clap::Error> {
    let words: Vec<OsString> = ["mapcast-client"].iter().chain(words).map(Into::into).collect();
    command_line(definition(), &words).and_then(CommandLine::into_config).map_err(|error| explained(error, &words))
}

fn refusal(words: &[&str]) -> String {
    let error = config(words).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{words:?}");
    error.to_string()
}

/// A help text without its line breaks.
fn words(help: &str) -> String {
    help.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_command_line_is_valid() {
    definition().debug_assert();
}

#[test]
fn the_packaged_pages_match_the_command_line() {
    crate::packaged::assert_up_to_date(&definition(), &HELP, &crate::manual::SECTIONS);
}

#[test]
fn the_help_fits_and_names_each_option_once() {
    crate::help::tests::assert_fits(&HELP, &definition());
    crate::help::tests::assert_grouped(&HELP, &definition());
    let short = HELP.short_page(definition()).to_string();
    let command = definition();
    let address = command.get_arguments().find(|arg| arg.get_id() == "address").unwrap();
    let default = address.get_default_values()[0].to_str().unwrap();
    assert!(short.contains(&format!("[{default}]")) && short.contains("-q, --quiet"), "{short}");
}

#[test]
fn the_examples_of_the_help_are_valid() {
    assert_eq!(HELP.examples.len(), 3);
    for (example, _) in HELP.examples {
        let words = crate::help::tests::words(example);
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        command_line(definition(), &words).unwrap().into_config().unwrap();
    }
}

#[test]
fn every_variable_is_listed() {
    environment::tests::assert_listed(&definition());
}

#[test]
fn a_wrong_command_line_has_a_tip() {
    for (words, tip) in [
        (&["--port", "8080"][..], "write mapcast-client 8080"),
        (&["-p8080"], "write mapcast-client 8080"),
        (&["--host=h", "--port", "1", "-q"], "write mapcast-client h:1 -q"),
        (&["--port"], "write the address without an option: mapcast-client HOST:PORT"),
        (&["check", "--host", "h"], "write mapcast-client check h"),
        (&["get", "--host", "h", "k"], "write mapcast-client get -s h k"),
        (&["--json", "h:1"], "write mapcast-client -o json h:1"),
        (&["status", "--json"], "write mapcast-client status -o json"),
        (&["--colour", "never"], "a similar argument exists: '--color'"),
        (&["chek", "127.0.0.1"], "write mapcast-client check 127.0.0.1"),
        (&["h", "8080", "-q"], "write mapcast-client h:8080 -q"),
        (&["check", "h", "8080"], "write mapcast-client check h:8080"),
        (&["h:1", "h:2"], "there is one address"),
        (&["set"], "for example: mapcast-client set limit=10"),
        (&["set", "--token-file", "t"], "for example: mapcast-client set --token-file t limit=10"),
        (&["http://h:1/"], "write HOST:PORT without http://, as h:1"),
        (&["--wait", "5s"], "write --wait=5s"),
        (&["--insecure"], "--tls-ca FILE"),
        (&["-watch", "h:1"], "write mapcast-client --watch h:1"),
        (&["-once"], "write mapcast-client --once"),
        (&["--stale", "5s"], "write mapcast-client --stale-after 5s"),
        (&["-t", "limit", "-C", "1"], "-k KEY"),
        (&["--topic", "limit"], "write mapcast-client -k limit"),
        (&["help", "gett"], "did you mean the command get?"),
        (&["--log-level", "debug"], "use -v, -vv"),
    ] {
        let refusal = refusal(words);
        assert!(refusal.contains(tip), "{words:?}: {refusal}");
    }
    for words in [&["--nonsense"][..], &["--foremost"], &["check", "--max-flame-size"]] {
        assert!(!refusal(words).contains("tip:"), "{}", refusal(words));
    }
}

#[test]
fn a_command_of_another_program_has_a_tip() {
    for (words, tip) in [
        (&["delete", "a"][..], "write mapcast-client del a"),
        (&["rm", "a", "b"], "write mapcast-client del a b"),
        (&["-q", "unset", "--token-file", "my token", "a"], "write mapcast-client -q del --token-file 'my token' a"),
        (&["put", "a=1"], "write mapcast-client set a=1"),
        (&["put", "a", "1"], "write mapcast-client set a=1"),
        (&["list", "a*"], "write mapcast-client get 'a*'"),
        (&["watch", "h:1"], "write mapcast-client h:1"),
        (&["subscribe", "a", "b"], "maps are followed without a command"),
        (&["run", "f.json"], "the server is another program: mapcast-server"),
    ] {
        let refusal = refusal(words);
        assert!(refusal.contains(tip), "{words:?}: {refusal}");
    }
    for word in ["ls", "sub", "serve", "version", "start", "a=1.5"] {
        let notices = config(&[word]).unwrap().notices;
        assert!(
            notices.iter().any(|notice| notice.starts_with(&format!("{word} is taken for a host; "))),
            "{notices:?}"
        );
    }
}

#[test]
fn a_command_over_http_names_its_option_for_the_address() {
    for (words, tip) in [
        (&["status", "8081"][..], "write mapcast-client status --http 8081"),
        (&["clients", "-q", "h:1"], "write mapcast-client clients -q --http h:1"),
        (&["edit", "a", "h:8081"], "write mapcast-client edit a --http h:8081"),
        (&["set", "-s", "h:9000", "a=1"], "write mapcast-client set --http h:9000 a=1"),
        (&["set", "-s", "h:8080", "a=1"], "use --http HOST:PORT, with the port of the server's --http"),
        (&["set", "8081", "a=1"], "write mapcast-client set --http 8081 a=1"),
        (&["set", "a", "1"], "write mapcast-client set a=1"),
        (&["set", "a", "=", "1", "b=2"], "write mapcast-client set a=1 b=2"),
        (&["set", "a:", "1"], "write mapcast-client set a=1"),
        (&["set", "a:1"], "write mapcast-client set a=1"),
        (&["set", "{\"a\":1}"], "mapcast-client edit changes the whole map"),
        (&["clients", "8081", "--x"], "name the server with --http HOST:PORT"),
    ] {
        let refusal = refusal(words);
        assert!(refusal.contains(tip), "{words:?}: {refusal}");
    }
}

#[test]
fn an_option_of_another_command_has_a_tip() {
    for (words, tip) in [
        (&["--token-file", "t", "set", "a=1"][..], "write mapcast-client set --token-file t a=1"),
        (&["--limit", "5"], "--limit goes after the command clients"),
        (&["--http", "8081"], "--http goes after one of the commands set, del, edit, status, clients"),
        (&["get", "--once"], "--once is for printing or delivering maps, without the command get"),
        (&["get", "-k", "a"], "write mapcast-client get a"),
        (&["clients", "-n", "3"], "write mapcast-client clients --limit 3"),
        (&["completions", "--shell", "bash"], "write mapcast-client completions bash"),
        (&["h:1", "once"], "write mapcast-client h:1 --once"),
        (&["h:1", "limit"], "to print this entry, write mapcast-client h:1 -k limit"),
        (&["set", "-5=1"], "use '-- -5'"),
        (&["get", "--limit", "1"], "--limit is an option of the command clients"),
        (&["--interval", "5"], "the server has this option: mapcast-server --interval"),
    ] {
        let refusal = refusal(words);
        assert!(refusal.contains(tip), "{words:?}: {refusal}");
    }
}

#[test]
fn an_unknown_host_may_be_a_command_or_a_text() {
    let hint = |words: &[&str]| config(words).unwrap().unknown_host_hint.unwrap_or_default();
    let notices = config(&["chek"]).unwrap().notices;
    assert!(notices.contains(&"chek is taken for a host; did you mean the command check?".to_owned()), "{notices:?}");
    assert!(!config(&["localhost"]).unwrap().notices.iter().any(|notice| notice.contains("host")));
    assert_eq!(hint(&["localhost"]), "mapcast-client --help lists the commands");
    assert_eq!(hint(&["echo", "hola"]), "to send it as text: mapcast-client echo 127.0.0.1:8080 hola");
    assert_eq!(
        hint(&["echo", "-q", "hola", "mundo"]),
        "to send it as text: mapcast-client echo -q 127.0.0.1:8080 'hola mundo'"
    );
    assert_eq!(hint(&["echo", "h.example", "hola"]), "");
}

#[test]
fn every_option_and_address_has_a_variable() {
    let command = definition();
    for command in [&command].into_iter().chain(command.get_subcommands()) {
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            // What is typed for one run, and `--output` of commands, whose values differ from those of MAPCAST_OUTPUT.
            let is_of_a_run = ["help", "version", "text", "keys", "key", "entries", "shell", "limit"].contains(&id)
                && arg.get_env().is_none();
            if is_of_a_run || (id == "output" && command.get_name() != "mapcast-client") {
                continue;
            }
            let twin = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            let name = if id == "address" { id } else { arg.get_long().unwrap_or(id) };
            let name = name.replace('-', "_").to_uppercase();
            assert_eq!(twin, format!("MAPCAST_{name}"), "{} {id}", command.get_name());
        }
    }
}

#[test]
fn without_arguments_it_prints_local_maps_for_ever() {
    let config = config(&[]).unwrap();
    assert_eq!((config.address.as_str(), config.timeout, config.verbosity), ("127.0.0.1:8080", None, 0));
    let Task::Follow { follow, print, count } = config.task else { panic!("{config:?}") };
    assert_eq!((follow.reconnect, follow.stale_after, count), (true, None, None));
    assert_eq!((follow.client.format, follow.client.max_frame), (None, mapcast::DEFAULT_MAX_FRAME));
    assert_eq!(follow.client.connect_timeout, Duration::from_secs(2));
    assert_eq!((print.output, print.changes_only, print.selection.is_all()), (Output::Json, false, true));
}

#[test]
fn global_options_go_before_or_after_the_command() {
    for words in [["-W", "5", "-q", "echo", "h:1", "Hola"], ["echo", "-W", "5", "-q", "h:1", "Hola"]] {
        let config = config(&words).unwrap();
        assert_eq!((config.timeout, config.verbosity), (Some(Duration::from_secs(5)), -1));
        assert!(matches!(config.task, Task::Echo { text: Some(text) } if text == "Hola"));
        assert_eq!(config.address, "h:1");
    }
    assert!(matches!(config(&["greet"]).unwrap().task, Task::Greet));
}

#[test]
fn a_check_has_its_own_timeout_and_logs_less() {
    let first = config(&["check", "-f", "json", "h"]).unwrap();
    assert_eq!((first.timeout, first.verbosity), (Some(Duration::from_secs(2)), -1));
    assert_eq!((first.client.format, first.address.as_str()), (Some(Format::Json), "h:8080"));
    for words in [["check", "-W", "5"], ["-W", "5", "check"]] {
        assert_eq!(config(&words).unwrap().timeout, Some(Duration::from_secs(5)));
    }
}

#[test]
fn the_help_of_check_shows_its_own_timeout() {
    let help = words(&config(&["check", "--help"]).unwrap_err().to_string());
    let row = help.split("--timeout <DURATION>").nth(1).unwrap().split("--connect").next().unwrap();
    assert!(row.contains("or with 3 if not connected") && row.contains("[default: 2s]"), "{help}");
    let help = words(&config(&["--help"]).unwrap_err().to_string());
    assert!(help.contains("as learned from the server's repeats"), "{help}");
}

#[test]
fn the_usage_shows_both_forms() {
    let usage = "Usage: mapcast-client [OPTIONS] [ADDR:PORT]\n       mapcast-client <COMMAND> [OPTIONS]";
    for word in ["--help", "--no-such-option"] {
        let text = config(&[word]).unwrap_err().to_string();
        assert!(text.contains(usage), "{text}");
    }
    let of_check = config(&["check", "--help"]).unwrap_err().to_string();
    assert!(of_check.contains("Usage: mapcast-client check [OPTIONS] [ADDR:PORT]"), "{of_check}");
}

#[test]
fn a_one_word_address_may_be_a_mistyped_command() {
    for (words, wanted) in [
        (&["chek"][..], true),
        (&["-n", "1", "gret"], true),
        (&["chek.local"], false),
        (&["chek:1"], false),
        (&["check", "chek"], false),
        (&[], false),
    ] {
        assert_eq!(config(words).unwrap().unknown_host_hint.is_some(), wanted, "{words:?}");
    }
}

#[test]
fn options_for_maps_are_rejected_before_other_commands() {
    for words in [["-n", "3", "echo"], ["-k", "x", "greet"], ["--watch", "-v", "echo"]] {
        assert!(refusal(&words).contains("it is for printing or delivering maps"), "{words:?}");
    }
}

#[test]
fn an_address_before_a_command_is_rejected_with_advice() {
    assert!(refusal(&["h:1", "-v", "check"]).contains("the address goes after 'check'"));
    assert!(refusal(&["-f", "json", "check"]).contains("goes after 'check', not before it"));
}

#[test]
fn raw_output_rejects_keys_and_prefixes() {
    assert!(refusal(&["-o", "raw", "-k", "x"]).contains("--key"));
    assert!(refusal(&["-o", "raw", "--prefix", "x"]).contains("--prefix"));
}

#[test]
fn the_form_of_lines_rejects_what_has_none() {
    for (words, text) in [
        (&["-F", "%k", "-o", "json"][..], "except with '--output diff'"),
        (&["-F", "%c"], "need --output diff"),
        (&["-F", "%x"], "unknown sequence"),
        (&["--timestamps", "-o", "raw"], "which has no lines"),
        (&["--once", "-n", "1"], "--once cannot be used with --count"),
        (&["--once", "--run", "x"], "--once cannot be used with --run"),
        (&["--once", "--watch"], "cannot be used with '--watch'"),
        (&["-F", "%k", "--exec", "x"], "cannot be used with '--exec'"),
        (&["--color", "sometimes"], "possible values: auto, always, never"),
    ] {
        let refusal = refusal(words);
        assert!(refusal.contains(text), "{words:?}: {refusal}");
    }
    let Task::Follow { print, count, .. } = config(&["--once", "-F", "%k"]).unwrap().task else { panic!() };
    assert_eq!((print.line_format.is_some(), count), (true, Some(1)));
}

#[test]
fn keys_may_be_negative_numbers() {
    let Task::Follow { print, .. } = config(&["-k", "-1", "-k", "x"]).unwrap().task else { panic!() };
    let map = mapcast::Map::from([((-1).into(), true.into()), ("x".into(), true.into()), ("y".into(), true.into())]);
    assert_eq!(print.selection.pick(map).unwrap().len(), 2);
}

#[test]
fn all_words_after_run_belong_to_the_program() {
    for words in [&["h:1", "--run", "echo", "-n", "--exec"][..], &["h:1", "--run", "--", "echo", "-n", "--exec"]] {
        let config = config(words).unwrap();
        assert_eq!(config.address, "h:1");
        assert!(config.task.forwards_signals(), "{words:?}");
        assert!(format!("{config:?}").contains(r#"["echo", "-n", "--exec"]"#), "{config:?}");
    }
    assert!(refusal(&["--run", "--"]).contains("needs a program"));
}

#[test]
fn options_without_effect_are_rejected() {
    for (words, text) in [
        (&["--mode", "640"][..], "'--mode' has no effect without '--write'"),
        (&["--write", "x.json", "--splay", "1"], "'--splay' has no effect without '--exec' or '--run'"),
        (&["--exec", "x", "--signal", "HUP"], "'--signal' has no effect without '--run'"),
        (&["--write", "x.json", "-o", "json"], "cannot be used with '--write'"),
        (&["--exec", "x", "--changes-only"], "cannot be used with '--exec'"),
        (&["--exec", "x", "--run", "y"], "--exec and --run"),
        (&["--watch", "--exec", "x"], "--watch cannot be used"),
        (&["-n", "1", "--run", "x"], "--count cannot be used with --run"),
        (&["--write", "x.yaml"], "use --write-format"),
        (&["--settle", "1"], "'--settle' has no effect without '--write' or '--exec' or '--run'"),
        (&["--write", "x.json", "--settle-max", "1"], "'--settle-max' has no effect without '--settle'"),
        (
            &["--write", "x.json", "--settle", "2", "--settle-max", "1"],
            "--settle-max must not be shorter than --settle",
        ),
        (&["--write", "x.json", "--check", "test"], "write {} where the path of the new file belongs"),
        (&["--write", "x.json", "--check-timeout", "1"], "'--check-timeout' has no effect without '--check'"),
        (&["--check", "test {}"], "'--check' has no effect without '--write' or '--exec' or '--run'"),
        (&["--watch", "--cache", "x"], "'--cache' has no effect without '--write' or '--exec' or '--run'"),
    ] {
        let refusal = refusal(words);
        assert!(refusal.contains(text), "{words:?}: {refusal}");
    }
}

#[test]
fn line_options_are_rejected_with_watch() {
    for words in [&["-o", "text"][..], &["--prefix", "x"], &["-n", "1"], &["--changes-only"]] {
        assert!(refusal(&[&["--watch"], words].concat()).contains("cannot be used with '--watch'"), "{words:?}");
    }
}

#[test]
fn wait_takes_an_optional_duration() {
    for (words, wanted) in [
        (&[][..], Duration::ZERO),
        (&["--wait"], Duration::MAX),
        (&["--wait", "h:1"], Duration::MAX),
        (&["--wait=true"], Duration::MAX),
        (&["--wait=5s"], Duration::from_secs(5)),
        (&["--wait=1"], Duration::from_secs(1)),
        (&["--wait=false"], Duration::ZERO),
    ] {
        let Task::Follow { follow, .. } = config(words).unwrap().task else { panic!() };
        assert_eq!(follow.wait, wanted, "{words:?}");
    }
}

#[test]
fn the_help_of_other_commands_lists_their_own_options() {
    for command in ["echo", "greet", "check"] {
        let help = config(&[command, "--help"]).unwrap_err().to_string();
        assert!(!help.contains("--exec") && !help.contains("--run"), "{help}");
    }
}

#[test]
fn invalid_values_are_rejected() {
    for words in [
        ["-f", "yaml"],
        ["-o", "xml"],
        ["-n", "0"],
        ["-W", "0"],
        ["-W", "soon"],
        ["--stale-after", "0s"],
        ["--max-frame", "much"],
        ["--connect-timeout", "-1"],
        ["-k", ""],
        ["--wait=", "h"],
        ["--wait=0", "h"],
        ["--wait=soon", "h"],
    ] {
        refusal(&words);
    }
}
