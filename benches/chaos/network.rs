//! The network of this program: one namespace per host, and a virtual cable from each host to a bridge.
//!
//! Namespaces, mounts and files end with the last process in them, however it ends. Nothing remains afterwards.

use std::env;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// The address of this program: its clients, its writer and the sentinels.
pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The directory for files, in memory, which ends with the namespaces.
pub const DIRECTORY: &str = "/run/chaos";

/// Returns the name of the mount namespace of this process (namespaces(7)).
pub fn namespace() -> anyhow::Result<String> {
    Ok(fs::read_link("/proc/self/ns/mnt")?.display().to_string())
}

/// Executes this program again, in its own namespaces. Returns only if this fails.
pub fn isolate() -> anyhow::Error {
    let attempt = || -> anyhow::Result<()> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "--"]).arg(env::current_exe()?);
        let error = command.args(env::args_os().skip(1)).args(["--outside", &namespace()?]).exec();
        Err(error).context("cannot run unshare (package util-linux)")
    };
    match attempt() {
        Ok(()) => anyhow::anyhow!("unshare has returned"),
        Err(error) => error,
    }
}

/// Creates the bridge, and the directory for files. `outside` is the parent namespace.
pub fn prepare(outside: &str) -> anyhow::Result<()> {
    ensure!(namespace()? != outside, "this process is not in its own namespaces");
    run("mount", &["-t", "tmpfs", "-o", "mode=700", "tmpfs", "/run"], "")?;
    // ip-netns(8) keeps the names of namespaces there.
    fs::create_dir_all("/run/netns")?;
    fs::create_dir_all(DIRECTORY)?;
    let bridge = format!(
        "link set lo up\n\
         link add hub type bridge\n\
         address add {HUB}/24 dev hub\n\
         link set hub up\n"
    );
    run("ip", &["-batch", "-"], &bridge)
}

/// A network namespace with an address.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    pub addr: Ipv4Addr,
}

impl Host {
    /// Creates the host `10.77.0.number` and its cable. A name has at most 12 characters.
    pub fn new(name: &str, number: u8) -> anyhow::Result<Self> {
        let addr = Ipv4Addr::new(10, 77, 0, number);
        let near = format!(
            "netns add {name}\n\
             link add v-{name} type veth peer name eth0 netns {name}\n\
             link set v-{name} master hub up\n"
        );
        let far = format!("link set lo up\naddress add {addr}/24 dev eth0\nlink set eth0 up\n");
        run("ip", &["-batch", "-"], &near)?;
        run("ip", &["-n", name, "-batch", "-"], &far)?;
        Ok(Self { name: name.to_owned(), addr })
    }

    /// Returns the command that runs `program` there, with the standard streams closed. It is killed when the thread that
    /// starts it ends (`PR_SET_PDEATHSIG`).
    pub fn command(&self, program: &Path) -> Command {
        let mut command = tied_command("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Connects or disconnects the cable.
    pub fn set_plugged(&self, is_plugged: bool) -> anyhow::Result<()> {
        run("ip", &["link", "set", &format!("v-{}", self.name), if is_plugged { "up" } else { "down" }], "")
    }

    /// Drops all packets to and from `peers`.
    pub fn cut_from(&self, peers: &[Ipv4Addr]) -> anyhow::Result<()> {
        self.filter(&format!("{} drop", set_of(peers)), &format!("{} drop", set_of(peers)))
    }

    /// Drops all packets except those to and from `peers`.
    pub fn cut_from_all_but(&self, peers: &[Ipv4Addr]) -> anyhow::Result<()> {
        self.filter(&format!("!= {} drop", set_of(peers)), &format!("!= {} drop", set_of(peers)))
    }

    /// Ends [`cut_from`](Self::cut_from) and [`cut_from_all_but`](Self::cut_from_all_but).
    pub fn reconnect(&self) -> anyhow::Result<()> {
        self.nft("delete table ip cut\n")
    }

    fn filter(&self, from: &str, to: &str) -> anyhow::Result<()> {
        self.nft(&format!(
            "table ip cut {{\n\
             chain in {{ type filter hook input priority 0; iif lo accept; ip saddr {from}; }}\n\
             chain out {{ type filter hook output priority 0; oif lo accept; ip daddr {to}; }}\n\
             }}\n"
        ))
    }

    fn nft(&self, rules: &str) -> anyhow::Result<()> {
        run("nsenter", &[&format!("--net=/run/netns/{}", self.name), "nft", "-f", "-"], rules)
    }
}

/// Returns the command that runs `program` until this thread ends, with the standard streams closed.
pub fn tied_command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Returns a set in the syntax of nft(8).
fn set_of(addrs: &[Ipv4Addr]) -> String {
    format!("{{ {} }}", addrs.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", "))
}

/// Runs a command to its end, with `input` as its standard input.
fn run(program: &str, args: &[&str], input: &str) -> anyhow::Result<()> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    // The command reads all of it, or reports an error.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), message.trim_end());
    Ok(())
}
