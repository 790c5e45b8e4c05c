//! Command lines and their tasks.

use super::*;
use mapcast::server::Limit;

#[test]
fn the_command_line_is_valid() {
    definition().help_expected(true).debug_assert();
}

#[test]
fn the_packaged_pages_match_the_command_line() {
    crate::packaged::assert_up_to_date(&definition(), &HELP, &crate::manual::SECTIONS);
}

#[test]
fn the_help_fits_and_names_each_option_once() {
    crate::help::tests::assert_fits(&HELP, &definition());
    crate::help::tests::assert_grouped(&HELP, &definition());
}

#[test]
fn the_examples_of_the_help_are_valid() {
    assert_eq!(HELP.examples.len(), 3);
    for (example, _) in HELP.examples {
        let (mut command, words) = (definition(), crate::help::tests::words(example));
        let matches = command.try_get_matches_from_mut(words).unwrap();
        Cli::from_matches(&command, &matches).unwrap();
    }
}

#[test]
fn every_variable_is_listed() {
    environment::tests::assert_listed(&definition());
}

#[test]
fn a_wrong_command_line_has_a_tip() {
    for (words, tip) in [
        (&["--port", "80"][..], "write mapcast-server --listen 80, or --listen :80 for every address"),
        (&["--host=0.0.0.0"], "write mapcast-server --listen 0.0.0.0:8080"),
        (&["--host", "::1", "-p", "80"], "write mapcast-server --listen '[::1]:80'"),
        (&["echo", "--port", "80"], "write mapcast-server echo --listen 80"),
        (&["--port"], "use --listen ADDR:PORT"),
        (&["-port", "80"], "write mapcast-server --listen 80"),
        (&["-interval", "1s"], "write mapcast-server --interval 1s"),
        (&["--debug"], "use -v, -vv"),
        (&["--json", "f.json"], "write mapcast-server f.json"),
        (&["--web", "8081", "f.json"], "write mapcast-server --http 8081 f.json"),
        (&["--watch"], "the client has this option: mapcast-client --watch"),
        (&["-q", "echo"], "write mapcast-server echo -q"),
        (&["-l", "9001", "greet", "a b"], "write mapcast-server greet -l 9001 'a b'"),
        (&["-s", "redis://:hunter2@h/0?key=k", "echo"], "write mapcast-server echo, and then its options"),
        (&["serve", "f.json"], "write mapcast-server f.json"),
        (&["set", "a=1"], "set is a command of the client: mapcast-client set"),
        (&["f.json", "8080"], "write mapcast-server f.json --listen 8080"),
        (&["a.json", "b.json"], "unexpected argument 'b.json'; there is one FILE"),
        (&["f.json", "--http", "1", "--http-token-file", "t"], "use --state FILE in place of it"),
        (&["--source", "f.json", "--http", "1", "--http-token-file", "t"], "use --state FILE in place of it"),
        (&["--http-token-file", "t", "f.json"], "use --state FILE in place of it"),
        (&["echo", "hola"], "mapcast-client echo 127.0.0.1:8080 TEXT"),
        (&["greet", "a", "b"], "write mapcast-server greet 'a b'"),
        (&["greet"], "for example: mapcast-server greet Hola"),
    ] {
        let words: Vec<OsString> = ["mapcast-server"].iter().chain(words).map(Into::into).collect();
        let error = Cli::parse_words(definition(), &words).unwrap_err();
        let text = Cli::with_typed(&words, |typed| tips::explained(error, typed)).format(&mut definition()).to_string();
        assert!(text.contains(tip) && !text.contains("hunter2"), "{words:?}: {text}");
        let is_of_command = words[1] == "echo" || words[1] == "greet";
        assert!(is_of_command || !text.contains("Usage:") || text.contains("[OPTIONS] [FILE]\n"), "{text}");
    }
}

#[test]
fn every_option_has_a_variable() {
    let command = definition();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        for argument in
            // FILE is --source, which has one.
            command
                .get_arguments()
                .filter(|argument| !["help", "version", "file"].contains(&argument.get_id().as_str()))
        {
            let name = argument.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            let wanted = argument.get_long().unwrap_or("text").replace('-', "_").to_uppercase();
            assert_eq!(name, format!("MAPCAST_{wanted}"), "{} {}", command.get_name(), argument.get_id());
        }
    }
}

#[test]
fn an_invalid_value_is_explained() {
    for number in ["9223372036854775808", "123456789012345678901234567890"] {
        let refusal = Cli::try_parse_from(["mapcast-server", "--set", &format!("a={number}")]).unwrap_err();
        let wanted = "an integer beyond 64 bits with a sign; write it as a string";
        assert!(refusal.to_string().contains(wanted), "{refusal}");
    }
}

#[test]
fn a_network_may_be_a_single_address() {
    for (text, network) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
    ] {
        assert_eq!(parse_network(text).unwrap().to_string(), network);
    }
    for text in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.0/", "::/129"] {
        assert!(parse_network(text).unwrap_err().to_string().contains("10.0.0.0/8"), "{text}");
    }
}

#[test]
fn a_keepalive_of_zero_disables_it() {
    let keepalive = |args: &[&str]| Cli::parse_from(args).into_task().unwrap().config.keepalive;
    assert_eq!(keepalive(&["mapcast-server"]), Some(Duration::from_mins(1)));
    assert_eq!(keepalive(&["mapcast-server", "--keepalive", "5s"]), Some(Duration::from_secs(5)));
    assert_eq!(keepalive(&["mapcast-server", "--keepalive", "0"]), None);
}

#[test]
fn the_backlog_holds_at_least_eight_maps() {
    let backlog = |args: &[&str]| match Cli::parse_from(args).into_task().map(|task| task.service) {
        Ok(ServiceTask::Map(map)) => Ok(map.max_backlog),
        Ok(_) => panic!("the map is sent"),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(backlog(&["mapcast-server"]), Ok(32 << 20));
    assert_eq!(backlog(&["mapcast-server", "--max-frame", "8MiB"]), Ok(64 << 20));
    assert_eq!(backlog(&["mapcast-server", "--max-frame", "64KiB", "--max-backlog", "512KiB"]), Ok(512 << 10));
    let refusal = backlog(&["mapcast-server", "--max-backlog", "4MiB"]).unwrap_err();
    assert!(refusal.contains("--max-backlog 4MiB") && refusal.contains("give 8MiB or more"), "{refusal}");
}

#[test]
fn a_limit_above_the_machines_is_an_error() {
    let capacity = Capacity { clients: 100, descriptors: 100, limit: Limit::Descriptors(132) };
    assert_eq!(max_connections(None, capacity).unwrap(), 100);
    assert_eq!(max_connections(Some(100), capacity).unwrap(), 100);
    let refusal = max_connections(Some(101), capacity).unwrap_err().to_string();
    assert!(refusal.contains("can hold 100") && refusal.contains("open files"), "{refusal}");
    let capacity = Capacity { clients: 0, descriptors: 0, limit: Limit::Descriptors(30) };
    for asked in [None, Some(1)] {
        let refusal = max_connections(asked, capacity).unwrap_err().to_string();
        assert!(refusal.contains("cannot hold any client") && refusal.contains("open files"), "{refusal}");
    }
}
