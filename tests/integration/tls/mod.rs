//! TLS: accepted and refused peers, and the services as without TLS.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mapcast::client::{self, Error, Input};
use mapcast::frame::Error as FrameError;
use mapcast::tls::{Acceptor, CertificateFault, ClientTls, Connector, End, HandshakeError, Identity, ServerTls};
use mapcast::{Client, ClientConfig, Echo, Format, Greet, ServerConfig, Shutdown};

use crate::support::authority::{Authority, Files, replace};
use crate::support::eventually;
use crate::support::reader::ends_in_order;
use crate::support::server::{MapServer, Running, large, numbered, unhurried};

const HOUR: Duration = Duration::from_hours(1);

fn identity(files: &Files) -> Identity {
    Identity { cert: files.cert.clone(), key: files.key.clone() }
}

/// Returns a server's configuration with these files, without time limits that a busy machine might exceed.
fn server(files: &Files) -> ServerConfig {
    let files = ServerTls { identity: identity(files), client_ca: None };
    ServerConfig { tls: Some(Arc::new(Acceptor::load(files).unwrap())), handshake_timeout: HOUR, ..unhurried() }
}

/// As [`server`], for clients with a certificate of `ca`.
fn mutual_server(files: &Files, ca: &Authority) -> ServerConfig {
    let files = ServerTls { identity: identity(files), client_ca: Some(ca.ca.clone()) };
    ServerConfig { tls: Some(Arc::new(Acceptor::load(files).unwrap())), handshake_timeout: HOUR, ..unhurried() }
}

/// Returns a client's configuration that trusts `authority`, with the certificate in `files`.
fn client(authority: &Authority, files: Option<&Files>) -> ClientConfig {
    let options = ClientTls { ca: Some(authority.ca.clone()), name: None, identity: files.map(identity) };
    let tls = Some(Arc::new(Connector::load(&options).unwrap()));
    let connect_timeout = crate::support::PATIENCE;
    ClientConfig { format: Some(Format::Json), max_frame: 1 << 30, connect_timeout, tls }
}

/// Returns the address with the host name of the certificates.
fn named(addr: SocketAddr) -> String {
    format!("localhost:{}", addr.port())
}

fn connect(addr: SocketAddr, config: &ClientConfig) -> Result<Client, Error> {
    let mut client = Client::connect(&named(addr), config, &Shutdown::new().unwrap())?;
    client.set_deadline(Some(Instant::now() + crate::support::PATIENCE));
    Ok(client)
}

/// Returns the error of the connection or of the first map.
fn refusal(addr: SocketAddr, config: &ClientConfig) -> HandshakeError {
    let failed = connect(addr, config).and_then(|mut client| client.next_map()).unwrap_err();
    match failed {
        Error::Tls(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Returns a raw TLS client, for behaviour that the library's client does not have.
fn raw_client(authority: &Authority, addr: SocketAddr) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    raw_client_with(raw_config(authority, rustls::DEFAULT_VERSIONS), addr)
}

/// Returns the configuration of a raw client with these `versions` of TLS. It stores sessions for resumption.
fn raw_config(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(&authority.ca).unwrap()).unwrap();
    #[cfg(feature = "tls-aws-lc")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls-aws-lc"))]
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(versions).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn raw_client_with(
    config: Arc<rustls::ClientConfig>,
    addr: SocketAddr,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let tls = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    socket.set_write_timeout(Some(crate::support::PATIENCE)).unwrap();
    rustls::StreamOwned::new(tls, socket)
}

#[cfg(feature = "cli")]
mod alerts;
#[cfg(feature = "cli")]
mod faults;
mod handshakes;
#[cfg(feature = "cli")]
mod programs;
mod rotation;
mod services;
mod sessions;
#[cfg(feature = "cli")]
mod table;
mod trust;
