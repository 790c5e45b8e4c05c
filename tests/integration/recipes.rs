//! The programs of docs/recipes.md, taken from the page and run.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::support::browser::Browser;
use crate::support::program::{CLIENT, Program, SERVER, clean, run};
use crate::support::{eventually, free_port, has_command, skip};

/// Returns the first block of the page in `language` that contains `part`.
fn block(language: &str, part: &str) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes.md")).expect("the page");
    let fence = format!("\n```{language}\n");
    let blocks = page.split(&fence).skip(1).filter_map(|rest| rest.split("\n```").next());
    let found = blocks.map(|block| format!("{block}\n")).find(|block| block.contains(part));
    found.unwrap_or_else(|| panic!("no {language} block with {part:?}"))
}

/// Returns `text` with `to` in place of `from`, which it must contain.
#[track_caller]
fn put(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?} in {text}");
    text.replace(from, to)
}

/// Returns a directory for the recipe's files; `None`, and a skipped test, if one of the commands is missing.
#[track_caller]
fn directory(commands: &[&str]) -> Option<TempDir> {
    if let Some(missing) = commands.iter().find(|command| !has_command(command)) {
        skip(&format!("no {missing}"));
        return None;
    }
    Some(tempfile::tempdir().expect("a directory"))
}

fn write(directory: &TempDir, name: &str, text: &str) {
    fs::write(directory.path().join(name), text).expect("a file");
}

/// Returns a command in the recipe's directory, with both programs in its path; a server in it listens on a free port.
fn command(directory: &TempDir, program: &str, args: &[&str]) -> Command {
    let programs = Path::new(SERVER).parent().expect("a directory").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = clean(program);
    command.args(args).current_dir(directory.path());
    command.env("PATH", format!("{programs}:{path}")).env("MAPCAST_LISTEN", "127.0.0.1:0").env("no_proxy", "*");
    command
}

/// A bash script, with everything that it has started.
struct Shell {
    bash: Program,
}

impl Shell {
    fn start(directory: &TempDir, script: &str) -> Self {
        let mut command = command(directory, "bash", &["-c", script]);
        command.process_group(0);
        Self { bash: Program::start(command) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Fails only if all of them have exited.
        let _ = i32::try_from(self.bash.pid())
            .ok()
            .and_then(Pid::from_raw)
            .map(|pid| kill_process_group(pid, Signal::KILL));
    }
}

/// The page's program reads its flags, follows the file, and reconnects to a restarted server.
fn follows_its_flags(interpreter: &str, program: &str, [dark, light]: [&str; 2]) {
    let Some(directory) = directory(&[interpreter]) else { return };
    write(&directory, "flags.json", r#"{"dark_mode": false, "limit": 10}"#);
    let options = block("sh", "--format json --source flags.json");
    let server = |address: &str| {
        let mut command = command(&directory, SERVER, &options.split_whitespace().skip(1).collect::<Vec<_>>());
        command.env("MAPCAST_LISTEN", address);
        Program::start(command)
    };
    let mut first = server("127.0.0.1:0");
    let address = first.addr();
    write(&directory, "flags", &put(program, "8080", &address.port().to_string()));
    let program = Program::start(command(&directory, interpreter, &["flags"]));
    program.wait_out(&format!("dark_mode {light}, limit 1"));
    program.wait_out(&format!("dark_mode {light}, limit 10"));
    write(&directory, "flags.json", r#"{"dark_mode": true, "limit": 10}"#);
    program.wait_out(&format!("dark_mode {dark}, limit 10"));
    first.signal(Signal::TERM);
    assert_eq!(first.exit_code(), 0);
    program.wait_log("keeping the flags: ");
    write(&directory, "flags.json", r#"{"limit": 11}"#);
    let _second = server(&address.to_string());
    program.wait_out(&format!("dark_mode {light}, limit 11"));
}

#[test]
fn the_flags_in_python_follow_the_server() {
    follows_its_flags("python3", &block("python", "class Flags"), ["True", "False"]);
}

#[test]
fn the_flags_in_node_follow_the_server() {
    follows_its_flags("node", &block("js", "function follow"), ["true", "false"]);
}

#[test]
fn only_files_of_the_directory_reach_a_host() {
    let Some(directory) = directory(&["bash", "python3"]) else { return };
    for name in ["config", "out"] {
        fs::create_dir(directory.path().join(name)).expect("a directory");
    }
    for script in ["pack.py", "unpack.py"] {
        write(&directory, script, &block("python", &format!("# {script} ")));
    }
    write(&directory, "config/app.toml", "limit = 10\n");
    write(&directory, "config/nginx.conf", "user nginx;\n");
    let lines = block("sh", "pack.py");
    let (serve, fetch) = lines.split_once('\n').expect("two lines");
    let server = Shell::start(&directory, serve);
    let address = server.bash.addr().to_string();
    let host = |address: &str| {
        let mut command = command(&directory, CLIENT, &[address, "--exec", "python3 unpack.py out"]);
        command.env_remove("MAPCAST_LISTEN");
        Program::start(command)
    };
    let has = |name: &str, text: &str| {
        eventually(text, || fs::read_to_string(directory.path().join(name)).is_ok_and(|there| there == text));
    };

    let _all = host(&address);
    has("out/app.toml", "limit = 10\n");
    has("out/nginx.conf", "user nginx;\n");
    let fetch = put(fetch, "/etc/nginx/nginx.conf", "nginx.conf");
    let fetch = put(&fetch, "nginx -s reload", "echo read again");
    let one = Shell::start(&directory, &put(&fetch, "mapcast-client", &format!("mapcast-client {address}")));
    one.bash.wait_out("read again");
    has("nginx.conf", "user nginx;\n");
    write(&directory, "config/app.toml", "limit = 20\n");
    has("out/app.toml", "limit = 20\n");

    let stranger = Program::server(&["--source", "-"]);
    let victim = host(&stranger.addr().to_string());
    let mut stranger = stranger;
    std::io::Write::write_all(&mut stranger.stdin(), b"{\"../beside\": \"x\"}\n").expect("a server that reads");
    victim.wait_log("not a file's name: '../beside'");
    assert!(!directory.path().join("beside").exists());
}

#[test]
fn a_template_repeats_a_line_for_each_backend() {
    let Some(directory) = directory(&[]) else { return };
    write(&directory, "backends.json", &block("json", "backends"));
    write(&directory, "app.tmpl", &block("jinja", "upstream"));
    let server = Program::start(command(&directory, SERVER, &["--source", "backends.json"]));
    let mut client = command(&directory, CLIENT, &[&server.addr().to_string(), "-n", "1"]);
    client.args(["--write", "app.conf", "--template", "app.tmpl"]).env_remove("MAPCAST_LISTEN");
    run(client).assert_exit(0);
    let written = fs::read_to_string(directory.path().join("app.conf")).expect("the file");
    assert_eq!(written, block("nginx", "upstream"));
}

#[test]
fn topics_of_a_broker_become_one_map() {
    let Some(directory) = directory(&["bash", "jq", "mosquitto", "mosquitto_pub", "mosquitto_sub"]) else { return };
    let port = free_port();
    write(&directory, "broker.conf", &format!("listener {port} 127.0.0.1\nallow_anonymous true\n"));
    let _broker = Program::start(command(&directory, "mosquitto", &["-c", "broker.conf"]));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the broker listens", || TcpStream::connect(address).is_ok());
    let publish = |topic: &str, payload: &[&str]| {
        let port = port.to_string();
        let args = [&["-h", "127.0.0.1", "-p", &port, "-r", "-t", topic], payload].concat();
        run(command(&directory, "mosquitto_pub", &args)).assert_exit(0);
    };

    publish("flags/dark_mode", &["-m", "false"]);
    let bridge = Shell::start(&directory, &put(&block("bash", "mosquitto_sub"), "1883", &port.to_string()));
    let client = Program::client(&["-q", "--changes-only", &bridge.bash.addr().to_string()]);
    client.wait_out(r#"{"dark_mode":false}"#);
    publish("flags/greeting", &["-m", "\"Hola\""]);
    client.wait_out(r#"{"dark_mode":false,"greeting":"Hola"}"#);
    publish("flags/plain", &["-m", "not JSON"]);
    client.wait_out(r#"{"dark_mode":false,"greeting":"Hola","plain":"not JSON"}"#);
    publish("flags/greeting", &["-n"]);
    client.wait_out(r#"{"dark_mode":false,"plain":"not JSON"}"#);
}

#[test]
fn alerts_fire_when_the_heartbeat_is_missing() {
    let Some(directory) = directory(&["promtool"]) else { return };
    for name in ["prometheus.yml", "heartbeat.yml", "heartbeat-test.yml"] {
        write(&directory, name, &block("yaml", &format!("# {name}\n")));
    }
    for check in [["check", "config", "prometheus.yml"], ["test", "rules", "heartbeat-test.yml"]] {
        run(command(&directory, "promtool", &check)).assert_exit(0);
    }
}

#[test]
fn a_game_server_enters_and_leaves_the_list() {
    let Some(directory) = directory(&["bash", "openssl", "python3"]) else { return };
    let Some(browser) = Browser::start() else { return };
    let server = Shell::start(&directory, &put(&block("sh", "openssl"), "127.0.0.1:8081", "127.0.0.1:0"));
    let line = server.bash.wait_log("web page on http://");
    let site = line.rsplit("http://").next().expect("an address").trim_end_matches('/');
    write(&directory, "announce.py", &put(&block("python", "# announce.py "), "127.0.0.1:8081", site));
    write(&directory, "list.html", &put(&block("html", "EventSource"), "127.0.0.1:8081", site));

    let start =
        |name: &str, address: &str| Program::start(command(&directory, "python3", &["announce.py", name, address]));
    let mut lima = start("lima-1", "192.0.2.7:27015");
    browser.open(&format!("file://{}", directory.path().join("list.html").display()));
    let listed = "[...document.querySelectorAll('#servers tr')].map((row) => row.cells[0].textContent + ' ' + row.cells[1].textContent).join()";
    browser.wait(&format!("{listed} === 'lima-1 192.0.2.7:27015'"));
    let _bogus = start("<b>b</b>", "192.0.2.8:27015");
    browser.wait(&format!("{listed} === '<b>b</b> 192.0.2.8:27015,lima-1 192.0.2.7:27015'"));
    lima.signal(Signal::TERM);
    lima.exit_code();
    browser.wait(&format!("{listed} === '<b>b</b> 192.0.2.8:27015'"));
}
