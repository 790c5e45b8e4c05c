//! The cost of a TLS handshake in mapcast, compared with a bare rustls server that does nothing else, in one run.
//!
//! ```text
//! cargo bench --bench handshake              # takes about half a minute
//! cargo bench --bench handshake -- 5000      # this many connections per round
//! ```
//! Every server is a separate process, with the same certificate, suite and key exchange, and its CPU time is that of the whole
//! process. Clients connect one after another and read a greeting to its end. The bare server handles them on one thread: accept,
//! rustls's `complete_io`, write, close. `threads` is the same with one thread per client, as in mapcast. All are also measured
//! without TLS. The cost of the handshake is the difference, without other costs of a connection. Servers take turns, and the
//! median of the rounds counts.
#![allow(unreachable_pub, missing_docs, reason = "only this program uses its modules")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

#[path = "../tests/integration/support/authority.rs"]
mod authority;

use std::collections::BTreeMap;
use std::env;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use authority::{Authority, Files};
use nix::time::ClockId;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustix::process::{Signal, set_parent_process_death_signal};
#[cfg(feature = "tls-aws-lc")]
use rustls::crypto::aws_lc_rs::default_provider;
#[cfg(not(feature = "tls-aws-lc"))]
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// The measured program.
const MAPCAST: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// The default number of connections per round.
const CONNECTIONS: usize = 1000;

/// Rounds per server.
const ROUNDS: usize = 5;

/// Connections before the measurement.
const WARM_UP: usize = 50;

/// The servers, in turns.
const KINDS: [&str; 3] = ["bare", "threads", "mapcast"];

/// The stack of a client's thread in bytes, as in mapcast.
const STACK: usize = 128 * 1024;

/// The text of the greeting.
const GREETING: &str = "Hola";

/// The longest time for a server to listen.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [role, rest @ ..] = args.as_slice()
        && let Some(kind) = role.strip_prefix("--serve-")
    {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        return serve_bare(kind, rest);
    }
    let connections = args.first().map_or(Ok(CONNECTIONS), |count| count.parse())?;
    let authority = Authority::new();
    println!("CPU per connection in us, the median of {ROUNDS} rounds of {connections}\n");
    println!("| key | server | plain | TLS | handshake | against bare |");
    println!("|---|---|---:|---:|---:|---:|");
    for (name, algorithm) in [("P-256", &PKCS_ECDSA_P256_SHA256), ("RSA-2048", &PKCS_RSA_SHA256)] {
        let issued = authority.issue_with(&["localhost"], 2100, &KeyPair::generate_for(algorithm)?);
        let files = authority.write(name, &issued);
        compare(name, &files, &authority, connections)?;
    }
    Ok(())
}

fn compare(name: &str, files: &Files, authority: &Authority, connections: usize) -> anyhow::Result<()> {
    let client = client_config(authority)?;
    let mut rounds: BTreeMap<(&str, bool), Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for kind in KINDS {
            for is_tls in [false, true] {
                let mut server = Process::start(kind, is_tls.then_some(files))?;
                let config = is_tls.then_some(&client);
                rounds.entry((kind, is_tls)).or_default().push(server.cpu_per_connection(config, connections)?);
            }
        }
    }
    let mut median = |kind, is_tls| {
        let costs = rounds.entry((kind, is_tls)).or_default();
        costs.sort_by(f64::total_cmp);
        costs.get(costs.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let bare = median("bare", true) - median("bare", false);
    for kind in KINDS {
        let (plain, tls) = (median(kind, false), median(kind, true));
        println!("| {name} | {kind} | {plain:.0} | {tls:.0} | {:.0} | {:.2} |", tls - plain, (tls - plain) / bare);
    }
    Ok(())
}

/// A server process. Killed and waited for on drop.
struct Process {
    child: Child,
    addr: SocketAddr,
    clock: ClockId,
}

impl Process {
    /// Starts a server on a free port of 127.0.0.1 and waits until it listens.
    fn start(kind: &str, files: Option<&Files>) -> anyhow::Result<Self> {
        // Released before the server binds it; no other program here takes a port meanwhile.
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let is_bare = kind != "mapcast";
        let mut command = if is_bare {
            let mut command = Command::new(env::current_exe()?);
            command.args([&format!("--serve-{kind}"), &addr.to_string()]);
            command.args(files.into_iter().flat_map(|files| [&files.cert, &files.key]));
            command
        } else {
            let mut command = Command::new(MAPCAST);
            command.args(["greet", "-qq", "-l", &addr.to_string()]);
            if let Some(files) = files {
                command.arg("--tls-cert").arg(&files.cert).arg("--tls-key").arg(&files.key);
            }
            command.arg(GREETING);
            command
        };
        let child = command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let clock = ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(i32::try_from(child.id())?))?;
        let mut process = Self { child, addr, clock };
        process.wait_listening().with_context(|| kind.to_owned())?;
        Ok(process)
    }

    fn wait_listening(&mut self) -> anyhow::Result<()> {
        let (deadline, pause) = (Instant::now() + PATIENCE, mapcast::Shutdown::new()?);
        while TcpStream::connect(self.addr).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server has exited: {status}");
            }
            ensure!(Instant::now() < deadline, "the server does not listen on {}", self.addr);
            pause.wait(Duration::from_millis(10));
        }
        Ok(())
    }

    fn cpu_per_connection(&mut self, tls: Option<&Arc<ClientConfig>>, connections: usize) -> anyhow::Result<f64> {
        (0..WARM_UP).try_for_each(|_| visit(self.addr, tls))?;
        let before: Duration = self.clock.now()?.into();
        (0..connections).try_for_each(|_| visit(self.addr, tls))?;
        let used = Duration::from(self.clock.now()?).saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / connections as f64)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects, reads the greeting to its end, and closes.
fn visit(addr: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(addr)?;
    let mut greeting = String::new();
    match tls {
        None => socket.read_to_string(&mut greeting)?,
        Some(config) => {
            let session = ClientConnection::new(Arc::clone(config), "localhost".try_into()?)?;
            let mut stream = StreamOwned::new(session, socket);
            let read = stream.read_to_string(&mut greeting)?;
            // The response to the close_notify of the server.
            stream.conn.send_close_notify();
            stream.conn.write_tls(&mut stream.sock)?;
            read
        }
    };
    ensure!(greeting == GREETING, "unexpected greeting: {greeting:?}");
    Ok(())
}

fn client_config(authority: &Authority) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.ca)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// Runs a minimal server: one client after another, or one thread per client.
fn serve_bare(kind: &str, args: &[String]) -> anyhow::Result<()> {
    let [addr, files @ ..] = args else { bail!("no address to listen on") };
    let tls = match files {
        [cert, key] => Some(bare_config(cert, key)?),
        _ => None,
    };
    for socket in TcpListener::bind(addr.as_str())?.incoming() {
        let mut socket = socket?;
        socket.set_nodelay(true)?;
        let tls = tls.clone();
        // A client that only tests whether the server listens is not an error.
        let mut greet = move || drop(greet_bare(&mut socket, tls.as_ref()));
        match kind {
            "threads" => drop(thread::Builder::new().stack_size(STACK).spawn(greet)?),
            _ => greet(),
        }
    }
    Ok(())
}

fn greet_bare(socket: &mut TcpStream, tls: Option<&Arc<ServerConfig>>) -> anyhow::Result<()> {
    let Some(config) = tls else {
        socket.write_all(GREETING.as_bytes())?;
        return Ok(socket.shutdown(Shutdown::Write)?);
    };
    let mut session = ServerConnection::new(Arc::clone(config))?;
    session.complete_io(socket)?;
    session.writer().write_all(GREETING.as_bytes())?;
    session.send_close_notify();
    session.complete_io(socket)?;
    socket.shutdown(Shutdown::Write)?;
    // Wait for the end from the client: closing earlier would reset the connection.
    socket.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn bare_config(cert: &str, key: &str) -> anyhow::Result<Arc<ServerConfig>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert)?.collect();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = config.with_single_cert(chain?, PrivateKeyDer::from_pem_file(key)?)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
