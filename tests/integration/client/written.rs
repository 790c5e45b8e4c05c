//! A server whose map clients change.

use crate::http::{Site, path, token};
use crate::support::program::{Finished, Program};

/// A server whose map is written over HTTP, and the file with its token.
pub(super) struct Written {
    pub(super) site: Site,
    pub(super) token: tempfile::NamedTempFile,
}

impl Written {
    #[track_caller]
    pub(super) fn start() -> Self {
        let (token, _) = token();
        let entries = ["--set", "1=Hola", "--set", "2=Bienvenido", "--set", "3=Al", "--set", "4=Servidor"];
        let options = ["--http-token-file", path(&token), "--format", "json", "--interval", "60s"];
        let site = Site::start(&[&options[..], &entries].concat());
        Self { site, token }
    }

    /// Runs a command of the client over HTTP.
    #[track_caller]
    pub(super) fn run(&self, args: &[&str]) -> Finished {
        let (http, token) = (format!("http://{}", self.site.page), path(&self.token));
        Program::client(&[&[args[0], "--http", &http, "--token-file", token], &args[1..]].concat()).finish()
    }

    /// Runs `get` on the map's port.
    #[track_caller]
    pub(super) fn get(&self, args: &[&str]) -> Finished {
        let address = self.site.server.addr().to_string();
        Program::client(&[&["get", "-W", "1m", "-f", "json", "-s", &address], args].concat()).finish()
    }

    #[track_caller]
    pub(super) fn map(&self) -> String {
        self.site.get("/map").body.trim_end().to_owned()
    }
}
