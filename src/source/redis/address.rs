//! The address of a hash in Redis, and the password, which is never displayed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::error::Error;
use crate::display::escape::escape;
use crate::files;
use crate::source::{encryption, error as source, scheme};
use crate::tls::ClientTls;

/// The syntax of an address, for errors.
const SHAPE: &str = "write redis://USER@HOST:PORT/DB?key=NAME, redis+unix:///PATH?key=NAME, \
                     redis+sentinel://HOST,HOST/DB?master=NAME&key=NAME or redis+cluster://HOST,HOST?key=NAME, \
                     rediss where there is TLS, with special characters as %40";

/// The default port of a sentinel.
const SENTINEL_PORT: u16 = 26379;

/// The default period for reading the hash without an announcement: the server's default interval, 5 s.
const DEFAULT_PERIOD: Duration = Duration::from_secs(5);

/// The longest password that is read: 4 KiB.
const MAX_PASSWORD: u64 = 4096;

/// The address of a hash in Redis or Valkey: `redis://USER@HOST:PORT/DB?key=NAME`, and the forms for TLS (`rediss://`), Unix
/// sockets, sentinels and clusters. [`Debug`] and [`Display`](fmt::Display) do not show the password.
///
/// ```
/// use mapcast::source::RedisAddress;
///
/// let address: RedisAddress = "redis://ana:secret@db.example/2?key=flags&json=true".parse()?;
/// assert_eq!(address.to_string(), "redis://db.example:6379/2?key=flags");
/// assert!(address.has_password() && !format!("{address:?}").contains("secret"));
/// # Ok::<(), mapcast::source::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) topology: Topology,
    /// The initial servers in their order, at least one.
    pub(super) nodes: Vec<Node>,
    pub(super) database: i64,
    pub(super) user: Option<String>,
    pub(super) password: Option<Password>,
    /// The hash.
    pub(super) key: String,
    /// Whether values that are JSON are parsed.
    pub(super) is_json: bool,
    /// Whether a missing hash is an empty map.
    pub(super) missing_is_empty: bool,
    /// How often the hash is read without an announcement.
    pub(super) period: Duration,
    /// The TLS settings for all servers; `None` without TLS.
    pub(super) tls: Option<ClientTls>,
}

/// How to find the server that has the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    /// It is the first of the named servers that answers.
    Single,
    /// The named servers are sentinels, which name the master.
    Sentinel { master: String },
    /// The named servers are nodes of a cluster, which redirect to the node with the slot.
    Cluster,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// The host, IPv6 without brackets, and the port.
    Tcp(String, u16),
    /// The path of the socket.
    Unix(PathBuf),
}

/// A password, or the file that contains it. [`Debug`] does not show it.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The password itself.
    Text(String),
    /// A file with the password and an optional line end. Read at each connection, so that the password can be changed.
    File(PathBuf),
}

impl Address {
    /// Returns the address with this password, which replaces one in the address.
    #[must_use]
    pub fn with_password(self, password: Password) -> Self {
        Self { password: Some(password), ..self }
    }

    /// Returns the address with a hash that is read at least once every `period`. Default: 5 s.
    #[must_use]
    pub fn with_period(self, period: Duration) -> Self {
        Self { period, ..self }
    }

    /// Returns the address with these TLS settings, if it uses TLS. Default: the system's root certificates, and the name of
    /// the host.
    #[must_use]
    pub fn with_tls(self, tls: ClientTls) -> Self {
        Self { tls: self.tls.map(|_| tls), ..self }
    }

    /// True if and only if it uses TLS: `rediss://`, `rediss+sentinel://`, `rediss+cluster://`.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// True if and only if there is a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The channel on which writers announce a change.
    pub(super) fn channel(&self) -> String {
        format!("mapcast:{}", self.key)
    }

    /// The channel on which Redis itself announces a change, if it is configured to.
    pub(super) fn keyspace_channel(&self) -> String {
        format!("__keyspace@{}__:{}", self.database, self.key)
    }

    /// The key of the number that writers increment if they cannot announce a change.
    pub(super) fn revision_key(&self) -> String {
        format!("{}:revision", self.key)
    }

    /// Sets the option `name`. `text` is the whole address.
    ///
    /// # Errors
    /// If the value is invalid, or the option is unknown both here and to the crate `redis`.
    fn set(&mut self, name: &str, value: String, text: &str) -> Result<(), String> {
        let switch = |wanted: &[&str]| match wanted.iter().position(|it| *it == value) {
            Some(place) => Ok(place == 0),
            None => Err(format!("{name} is {} or {}", wanted[0], wanted[1])),
        };
        match name {
            "key" => self.key = value,
            "json" => self.is_json = switch(&["true", "false"])?,
            "missing" => self.missing_is_empty = switch(&["empty", "keep"])?,
            "master" => match &mut self.topology {
                Topology::Sentinel { master } => *master = value,
                _ => return Err("master belongs to redis+sentinel://".to_owned()),
            },
            // The options of a Unix socket, which the crate `redis` reads.
            "db" | "user" | "pass" if matches!(self.nodes[0], Node::Unix(_)) => {}
            _ => return Err(scheme::no_option(name, text, SHAPE)),
        }
        Ok(())
    }
}

impl Password {
    /// Returns the password in the file at `path`, which is read at each connection, and need not exist yet. A pipe can be
    /// read only once: it is read here, for at most 10 s.
    ///
    /// # Errors
    /// If it is neither a regular file nor a pipe that ends in time, or the content is not UTF-8 of at most 4 KiB.
    pub fn in_file(path: impl Into<PathBuf>) -> Result<Self, source::Error> {
        let path = path.into();
        let piped =
            files::read_pipe(&path, MAX_PASSWORD, files::PIPE_LIMIT).and_then(|text| text.map(utf8).transpose());
        let checked = piped.and_then(|piped| match piped {
            Some(text) => Ok(Self::Text(without_line_end(&text).to_owned())),
            None => files::open(&path).map(|_| Self::File(path.clone())),
        });
        match checked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::File(path)),
            checked => checked.map_err(|source| {
                let name = escape(&path.to_string_lossy());
                source::Error::Unreadable { name, source }
            }),
        }
    }

    /// Returns the current password.
    pub(super) fn read(&self) -> Result<String, Error> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let named = || escape(&path.to_string_lossy());
                let read = files::read(path, MAX_PASSWORD).and_then(utf8);
                let text = read.map_err(|source| Error::PasswordFile { path: named(), source })?;
                Ok(without_line_end(&text).to_owned())
            }
        }
    }
}

fn utf8(text: Vec<u8>) -> io::Result<String> {
    String::from_utf8(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

impl FromStr for Address {
    type Err = source::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |problem: String| source::Error::BadAddress { name: scheme::mask(text), problem };
        let (scheme, rest) = scheme::split(text).ok_or_else(|| refused(SHAPE.to_owned()))?;
        let topology = match scheme.as_str() {
            "redis" | "valkey" | "redis+unix" | "valkey+unix" | "rediss" | "valkeys" => Topology::Single,
            "redis+sentinel" | "valkey+sentinel" | "rediss+sentinel" | "valkeys+sentinel" => {
                Topology::Sentinel { master: String::new() }
            }
            "redis+cluster" | "valkey+cluster" | "rediss+cluster" | "valkeys+cluster" => Topology::Cluster,
            _ => return Err(refused(SHAPE.to_owned())),
        };
        let is_encrypted = scheme.starts_with("rediss") || scheme.starts_with("valkeys");
        let tls = if is_encrypted { Some(encryption::by_default(&scheme::mask(text))?) } else { None };
        let is_unix = scheme.ends_with("+unix");
        let urls = if is_unix { vec![format!("redis+unix://{rest}")] } else { urls(rest, &topology) };
        let mut found = None;
        for url in urls {
            let url = redis::parse_redis_url(&url).ok_or_else(|| refused(SHAPE.to_owned()))?;
            let options: Vec<_> =
                url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            // The crate's text has its error kind and quotes after the first dash.
            let problem =
                |error: redis::RedisError| error.to_string().split(" - ").next().unwrap_or_default().to_owned();
            let info = url.into_connection_info().map_err(|error| refused(format!("{}; {SHAPE}", problem(error))))?;
            let node = match info.addr() {
                ConnectionAddr::Tcp(host, port) => Node::Tcp(host.clone(), *port),
                ConnectionAddr::Unix(path) => Node::Unix(path.clone()),
                _ => return Err(refused(SHAPE.to_owned())),
            };
            let (address, _) = found.get_or_insert_with(|| {
                let settings = info.redis_settings();
                let address = Self {
                    topology: topology.clone(),
                    nodes: Vec::new(),
                    database: settings.db(),
                    user: settings.username().map(str::to_owned),
                    password: settings.password().map(|password| Password::Text(password.to_owned())),
                    key: String::new(),
                    is_json: false,
                    missing_is_empty: false,
                    period: DEFAULT_PERIOD,
                    tls: tls.clone(),
                };
                (address, options)
            });
            address.nodes.push(node);
        }
        let (mut address, options) = found.ok_or_else(|| refused(SHAPE.to_owned()))?;
        for (name, value) in options {
            address.set(&name, value, text).map_err(refused)?;
        }
        if address.key.is_empty() {
            return Err(refused("which hash? Write ?key=NAME".to_owned()));
        }
        if address.topology == (Topology::Sentinel { master: String::new() }) {
            return Err(refused("which master? Write ?master=NAME".to_owned()));
        }
        if address.topology == Topology::Cluster && address.database != 0 {
            return Err(refused("a cluster has no database but 0".to_owned()));
        }
        Ok(address)
    }
}

/// Returns one URL for each host in the comma-separated list at the start of `rest`.
fn urls(rest: &str, topology: &Topology) -> Vec<String> {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) =
        authority.rsplit_once('@').map_or((String::new(), authority), |(user, hosts)| (format!("{user}@"), hosts));
    let has_port = |host: &str| !host.ends_with(']') && host.contains(':');
    let with_port = |host: &str| match topology {
        Topology::Sentinel { .. } if !has_port(host) => format!("{host}:{SENTINEL_PORT}"),
        _ => host.to_owned(),
    };
    hosts.split(',').map(|host| format!("redis://{user}{}{path}", with_port(host))).collect()
}

/// Displays the address without user, password and options, escaped.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.nodes.iter().map(Node::to_string).collect();
        let (kind, master) = match (&self.topology, &self.nodes[0]) {
            (Topology::Single, Node::Tcp(..)) => ("", String::new()),
            (Topology::Single, Node::Unix(_)) => ("+unix", String::new()),
            (Topology::Sentinel { master }, _) => ("+sentinel", format!("master={master}&")),
            (Topology::Cluster, _) => ("+cluster", String::new()),
        };
        let scheme = if self.is_encrypted() { "rediss" } else { "redis" };
        let text = format!("{scheme}{kind}://{}/{}?{master}key={}", nodes.join(","), self.database, self.key);
        f.write_str(&escape(&text))
    }
}

/// Displays `HOST:PORT`, IPv6 in brackets, or a path.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn tcp(host: &str, port: u16) -> Node {
        Node::Tcp(host.to_owned(), port)
    }

    #[test]
    fn one_server_has_user_password_database_and_key() {
        let address = address("redis://ana:p%40ss@db.example:7000/2?key=app%3Aflags&json=true&missing=empty");
        assert_eq!((&address.topology, &address.nodes), (&Topology::Single, &vec![tcp("db.example", 7000)]));
        assert_eq!((address.database, address.user.as_deref()), (2, Some("ana")));
        assert_eq!(address.password, Some(Password::Text("p@ss".to_owned())));
        assert_eq!((address.key.as_str(), address.is_json, address.missing_is_empty), ("app:flags", true, true));
        assert_eq!(address.channel(), "mapcast:app:flags");
        assert_eq!(address.keyspace_channel(), "__keyspace@2__:app:flags");
        assert_eq!(address.revision_key(), "app:flags:revision");
    }

    #[test]
    fn omitted_parts_have_defaults() {
        for text in ["redis://h?key=k", "valkey://h/?key=k", "redis://h:6379/0?key=k&json=false&missing=keep"] {
            let address = address(text);
            assert_eq!((&address.nodes[0], address.database), (&tcp("h", 6379), 0));
            assert!(address.user.is_none() && !address.has_password() && !address.is_json && !address.missing_is_empty);
        }
        assert_eq!(address("redis://[::1]:7000?key=k").to_string(), "redis://[::1]:7000/0?key=k");
    }

    #[test]
    fn sockets_sentinels_and_clusters_have_their_own_schemes() {
        let unix = address("redis+unix:///run/redis.sock?db=3&user=ana&pass=secret&key=k");
        assert_eq!(unix.nodes, [Node::Unix("/run/redis.sock".into())]);
        assert_eq!((unix.database, unix.user.as_deref(), unix.has_password()), (3, Some("ana"), true));
        let sentinel = address("redis+sentinel://:pw@a,b:7000,[::1]/2?master=main&key=k");
        assert_eq!(sentinel.nodes, [tcp("a", 26379), tcp("b", 7000), tcp("::1", 26379)]);
        assert_eq!((sentinel.topology, sentinel.database), (Topology::Sentinel { master: "main".to_owned() }, 2));
        let cluster = address("redis+cluster://a,b:7000?key={k}");
        assert_eq!((cluster.nodes, cluster.topology), (vec![tcp("a", 6379), tcp("b", 7000)], Topology::Cluster));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_is_part_of_the_scheme_and_is_displayed() {
        for (text, shown) in [
            ("rediss://ana:secret@h?key=k", "rediss://h:6379/0?key=k"),
            ("valkeys://h/1?key=k", "rediss://h:6379/1?key=k"),
            ("rediss+sentinel://a,b/2?master=m&key=k", "rediss+sentinel://a:26379,b:26379/2?master=m&key=k"),
            ("rediss+cluster://a?key=k", "rediss+cluster://a:6379/0?key=k"),
        ] {
            let address = address(text);
            assert!(address.is_encrypted());
            assert_eq!(address.to_string(), shown);
        }
        assert!(!address("redis://h?key=k").is_encrypted());
    }

    #[test]
    fn an_invalid_address_is_refused_with_the_reason() {
        for (text, wanted) in [
            ("redis://", "redis://USER@HOST"),
            ("redis://h", "key=NAME"),
            ("redis://h/x?key=k", "Invalid database number"),
            ("redis://h?key=k&colour=red", "no option colour"),
            ("redis://h?key=k&json=yes", "json is true or false"),
            ("redis://h?key=k&master=m", "redis+sentinel://"),
            ("redis+sentinel://h?key=k", "master=NAME"),
            ("redis+cluster://h/1?key=k", "no database"),
            ("redis://0.0.0.0?key=k", "wildcard"),
            ("redis+foo://h?key=k", "redis://USER@HOST"),
            ("rediss+unix:///s?key=k", "redis://USER@HOST"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "redis://ana:secret@h",
            "redis://ana:secret@h/x?key=k",
            "redis://ana:sec/secret@h?key=k",
            "redis://ana:se?secret@h?key=k",
            "redis+unix:///s?pass=secret",
            "redis+cluster://:secret@h/1?key=k",
            "rediss://:secret@h?colour=red",
            "redis+foo://:secret@h?key=k",
            "REDIS://:secret/0?key=k",
            "redis://ana:7?secret@h&key=k",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
        for text in
            ["redis://ana:secret@h?key=k", "redis+unix:///s?pass=secret&key=k", "redis+cluster://:secret@h?key=k"]
        {
            let address = address(text);
            assert!(!format!("{address} {address:?}").contains("secret"), "{address:?}");
        }
    }

    #[test]
    fn a_password_file_is_reread_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let password = Password::File(file.path().to_owned());
        for (content, wanted) in [("secret\n", "secret"), ("two words\r\n", "two words"), ("\n\n", "\n"), ("x", "x")] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(password.read().unwrap(), wanted);
        }
        drop(file);
        assert!(matches!(password.read(), Err(Error::PasswordFile { .. })));
    }

    #[test]
    fn a_password_pipe_is_read_once_and_other_types_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let writing = path.clone();
        let writer = std::thread::Builder::new().spawn(move || std::fs::write(writing, "from a pipe\n"));
        assert!(matches!(Password::in_file(&path).unwrap(), Password::Text(text) if text == "from a pipe"));
        writer.unwrap().join().unwrap().unwrap();
        let Err(source::Error::Unreadable { source, .. }) = Password::in_file(directory.path()) else { panic!() };
        assert_eq!(source.kind(), io::ErrorKind::InvalidInput, "{source}");
        let missing = directory.path().join("missing");
        assert!(matches!(Password::in_file(&missing).unwrap(), Password::File(path) if path == missing));
    }
}
