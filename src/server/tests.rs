use super::*;
use crate::testing::check_texts;

#[test]
fn every_error_has_its_text() {
    let listen = |kind: io::ErrorKind| ("127.0.0.1:80".parse().unwrap(), io::Error::from(kind));
    let (denied, no_address, in_use) = (
        listen(io::ErrorKind::PermissionDenied),
        listen(io::ErrorKind::AddrNotAvailable),
        listen(io::ErrorKind::AddrInUse),
    );
    check_texts!(Error {
        Listen { addr: denied.0, source: denied.1 } =>
            "cannot listen on 127.0.0.1:80 (ports below 1024 need privileges: choose another port)";
        Listen { addr: no_address.0, source: no_address.1 } =>
            "cannot listen on 127.0.0.1:80 (this machine has no such address)";
        Listen { addr: in_use.0, source: in_use.1 } => "cannot listen on 127.0.0.1:80";
        NoListener => "no listener: call Server::bind or Server::listen first";
        Start(io::ErrorKind::WouldBlock.into()) => "cannot start the server's own threads or open its descriptors";
    });
}
