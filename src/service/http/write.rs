//! Writing the map: one writer after the other, and nothing lost.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::condition::{Conditions, PreconditionError};
use super::rendering::{Renderer, Rendering};
use super::response::{Code, Kind, Response};
use super::status::to_json;
use super::token::{TokenFile, TokenReader};
use crate::display::error_chain::ErrorChain;
use crate::feed::{self, Feed};
use crate::format;
use crate::map::{self, Key, Map, Value};
use crate::state::{self, StateFile};
use crate::threads::{IoThread, Threads, Unanswered};

/// What is asked of the map.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// This is the whole map.
    Replace(Map),
    /// This is laid over it (RFC 7396).
    Patch(Map),
    /// This entry has this value.
    Set(Key, Value),
    /// This entry goes.
    Remove(Key),
}

/// Why a change was not made. The map is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    PreconditionError(#[from] PreconditionError),
    #[error("the map has no such entry")]
    Missing,
    #[error("the map cannot be sent")]
    Refused(#[source] feed::Error),
    #[error("the feed's value is no map that JSON can show")]
    NoMap(#[source] format::Error),
    #[error(transparent)]
    State(state::Error),
    #[error("the map was not changed")]
    Busy(#[source] Unanswered),
    #[error("it is not known whether the change is kept; read the map again later")]
    Unknown(#[source] Unanswered),
}

/// What has become of a change.
#[derive(Debug)]
pub(super) struct ChangeResult {
    changed: bool,
    rendering: Arc<Rendering>,
}

/// Makes changes, one after the other.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) token: TokenReader,
    feed: Arc<Feed>,
    state: Option<Kept>,
    /// Held from the look at the map to its publication, the state's fsync between them: that is what makes two changes
    /// two, and only those who write ever wait for it, at most as long as the state is waited for.
    turn: Mutex<()>,
    /// Held while a body is decoded and its change made: what is decoded may take 32 times as much memory as the body.
    pub(super) decoding: Mutex<()>,
}

/// The state, and the thread that writes it and then publishes the map, so that a change that was given up is either both
/// kept and published, or neither.
#[derive(Debug)]
struct Kept {
    file: StateFile,
    thread: IoThread,
}

/// How long a change waits for the state to be written: 10 s. An fsync may take seconds on a disk that others keep busy.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

impl Change {
    /// Returns the change that a request with `body` asks for; `what` makes it of the map in the body.
    pub(super) fn from_body(body: &[u8], what: fn(Map) -> Self) -> Result<Self, Response> {
        let refused = |error| refuse_body("the body is not a JSON object that is a map", &error);
        format::decode_unique_json(body).map(|map| what(map::number_keys(map))).map_err(refused)
    }

    /// Returns the change that gives the entry with `key` the value in `body`.
    pub(super) fn set(key: Key, body: &[u8]) -> Result<Self, Response> {
        let refused = |error| refuse_body("the body is no JSON that is a value of a map", &error);
        format::decode_json_value(body).map(|value| Self::Set(key, map::number_keys_in(value))).map_err(refused)
    }
}

impl Writer {
    pub(super) fn new(feed: Arc<Feed>, token: TokenFile, state: Option<StateFile>, threads: &Threads) -> Self {
        Self::with_limit(feed, token, state, threads, WRITE_LIMIT)
    }

    fn with_limit(
        feed: Arc<Feed>,
        token: TokenFile,
        state: Option<StateFile>,
        threads: &Threads,
        limit: Duration,
    ) -> Self {
        let state = state.map(|file| {
            let thread = IoThread::new(threads, "state", format!("writing {}", file.name()), limit);
            Kept { file, thread }
        });
        let token = TokenReader::new(token, threads);
        Self { token, feed, state, turn: Mutex::new(()), decoding: Mutex::new(()) }
    }

    /// Starts the threads that read and write files.
    ///
    /// # Errors
    /// If the system gives none.
    pub(super) fn start(&self) -> io::Result<()> {
        self.token.start()?;
        self.state.as_ref().map_or(Ok(()), |state| state.thread.start())
    }

    /// Makes `change`, if the map meets `conditions`. When this returns, the map is kept and published.
    ///
    /// # Errors
    /// Why not; the map is as it was. That there is no such entry comes before what the conditions say (RFC 9110,
    /// section 13.2.1).
    pub(super) fn apply(
        &self,
        change: Change,
        conditions: &Conditions,
        renderer: &Renderer,
    ) -> Result<ChangeResult, Error> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = &self.state {
            // A change that was given up may still come to its end: the map is looked at when it has.
            state.thread.wait_idle().map_err(Error::Busy)?;
        }
        let current = renderer.latest().map_err(Error::NoMap)?;
        let mut map = map::number_keys(current.as_ref().map(|rendering| rendering.map.clone()).unwrap_or_default());
        if let Change::Remove(key) = &change
            && !map.contains_key(key)
        {
            return Err(Error::Missing);
        }
        conditions.check(current.as_ref().map(|rendering| rendering.etag.as_str()))?;
        match change {
            Change::Replace(whole) => map = whole,
            Change::Patch(patch) => map::merge(&mut map, patch),
            Change::Set(key, value) => drop(map.insert(key, value)),
            Change::Remove(key) => drop(map.remove(&key)),
        }
        // A map that equals the current one changed when that did.
        let age = self.feed.age_of(&map).map_err(Error::Refused)?;
        let changed = match &self.state {
            Some(state) => self.keep(state, map, age)?,
            None => self.feed.publish(&map).map_err(Error::Refused)?,
        };
        let rendering = renderer.latest().map_err(Error::NoMap)?.ok_or(Error::Missing)?;
        drop(turn);
        Ok(ChangeResult { changed, rendering })
    }
}

impl Writer {
    /// Keeps `map`, which is that old, and publishes it, on the state's thread. Returns true if and only if it differs from the
    /// one before.
    fn keep(&self, state: &Kept, map: Map, age: Duration) -> Result<bool, Error> {
        let (feed, file, now) = (Arc::clone(&self.feed), state.file.clone(), SystemTime::now());
        let changed = now.checked_sub(age).unwrap_or(now);
        let job = move || {
            file.save(&map, changed).map_err(Error::State)?;
            feed.publish(&map).map_err(Error::Refused)
        };
        state.thread.run(job).map_err(|unanswered| match unanswered {
            Unanswered::Busy { .. } | Unanswered::NoThread(_) => Error::Busy(unanswered),
            unanswered => Error::Unknown(unanswered),
        })?
    }
}

/// Without what `error` says to those who read from a peer of their own.
fn refuse_body(what: &str, error: &format::Error) -> Response {
    let why = match error {
        format::Error::Decode { source, .. } => ErrorChain(&**source).to_string(),
        error => ErrorChain(error).to_string(),
    };
    Response::refusal(Code::BadRequest, &format!("{what}: {why}"))
}

impl ChangeResult {
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// For the log: `5 entries, version 3`.
    pub(super) fn describe(&self) -> String {
        let entries = self.rendering.map.len();
        let noun = if entries == 1 { "entry" } else { "entries" };
        format!("{entries} {noun}, version {}", self.rendering.version)
    }

    pub(super) fn into_response(self) -> Response {
        #[derive(serde::Serialize)]
        struct ChangeBody {
            version: u64,
            entries: usize,
            changed: bool,
        }
        let Self { changed, rendering } = self;
        let answer = ChangeBody { version: rendering.version, entries: rendering.map.len(), changed };
        Response::new(Code::Ok, Kind::Json, to_json(&answer) + "\n").with("ETag", &rendering.etag)
    }
}

impl Error {
    pub(super) fn to_response(&self) -> Response {
        let code = match self {
            Self::PreconditionError(_) => Code::PreconditionFailed,
            Self::Missing => Code::NotFound,
            Self::Refused(feed::Error::TooLarge { .. }) => Code::ContentTooLarge,
            Self::Refused(_) => Code::BadRequest,
            Self::NoMap(_) | Self::State(_) => Code::InternalError,
            Self::Busy(_) | Self::Unknown(_) => Code::Unavailable,
        };
        Response::refusal(code, &ErrorChain(self).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::map::builtin;
    use crate::service::http::condition::Tags;
    use std::fs;

    fn writer(state: bool) -> (tempfile::TempDir, Writer, Renderer) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("token"), "a-token-of-some-length").unwrap();
        let feed = Arc::new(Feed::new(Format::Bincode, 200));
        feed.publish(&builtin()).unwrap();
        let token = TokenFile::open(directory.path().join("token")).unwrap();
        let state = state.then(|| StateFile::open(directory.path().join("state.json")).unwrap());
        (directory, Writer::new(Arc::clone(&feed), token, state, &Threads::default()), Renderer::new(feed))
    }

    fn patch(json: &str) -> Change {
        Change::from_body(json.as_bytes(), Change::Patch).unwrap()
    }

    #[test]
    fn a_patch_changes_the_entries_that_it_names() {
        let (_directory, writer, renderer) = writer(false);
        let written =
            writer.apply(patch(r#"{"1":"Hello","2":null,"dark":true}"#), &Conditions::default(), &renderer).unwrap();
        assert!(written.changed);
        assert_eq!(written.rendering.document.json(), r#"{"1":"Hello","3":"Al","4":"Servidor","dark":true}"#);
        assert!(written.rendering.map.contains_key(&Key::Int(1)), "the number stays one");
        assert!(!writer.apply(patch("{}"), &Conditions::default(), &renderer).unwrap().changed);
    }

    #[test]
    fn a_change_whose_conditions_are_not_met_is_not_made() {
        let (_directory, writer, renderer) = writer(false);
        let seen = Tags::parse(&renderer.latest().unwrap().unwrap().etag);
        let if_match = Conditions { if_match: seen.clone(), if_none_match: None };
        let if_none_match = Conditions { if_match: None, if_none_match: seen };
        let known = writer.apply(patch(r#"{"a":0}"#), &if_none_match, &renderer);
        assert!(matches!(known, Err(Error::PreconditionError(PreconditionError::Known))), "{known:?}");
        writer.apply(patch(r#"{"a":1}"#), &if_match, &renderer).unwrap();
        let changes = [Change::Replace(Map::new()), Change::Set("a".into(), 2.into()), Change::Remove("a".into())];
        for change in [patch(r#"{"a":2}"#)].into_iter().chain(changes) {
            let lost = writer.apply(change, &if_match, &renderer).unwrap_err();
            assert_eq!(lost.to_response().code(), Code::PreconditionFailed);
        }
        let nobody = writer.apply(Change::Remove("nobody".into()), &if_match, &renderer);
        assert!(matches!(nobody, Err(Error::Missing)), "{nobody:?}");
        assert_eq!(renderer.latest().unwrap().unwrap().map[&Key::from("a")], 1.into());
        writer.apply(patch(r#"{"a":3}"#), &if_none_match, &renderer).unwrap();
    }

    #[test]
    fn what_cannot_be_sent_is_neither_kept_nor_published() {
        let (directory, writer, renderer) = writer(true);
        let large = patch(&format!("{{\"a\":\"{}\"}}", "x".repeat(200)));
        assert_eq!(
            writer.apply(large, &Conditions::default(), &renderer).unwrap_err().to_response().code(),
            Code::ContentTooLarge
        );
        assert!(!directory.path().join("state.json").exists());
        assert_eq!(renderer.latest().unwrap().unwrap().version, 1);
    }

    #[test]
    fn what_cannot_be_kept_is_not_published() {
        let (directory, writer, renderer) = writer(true);
        fs::create_dir_all(directory.path().join("state.json/in-the-way")).unwrap();
        assert!(matches!(writer.apply(patch(r#"{"a":1}"#), &Conditions::default(), &renderer), Err(Error::State(_))));
        assert_eq!(renderer.latest().unwrap().unwrap().version, 1);
    }

    #[test]
    fn an_entry_goes_once() {
        let (directory, writer, renderer) = writer(true);
        let remove = || Change::Remove(map::number_key("2".into()));
        assert!(writer.apply(remove(), &Conditions::default(), &renderer).unwrap().changed);
        assert!(matches!(writer.apply(remove(), &Conditions::default(), &renderer), Err(Error::Missing)));
        let kept = fs::read_to_string(directory.path().join("state.json")).unwrap();
        assert_eq!(kept, "{\n  \"1\": \"Hola\",\n  \"3\": \"Al\",\n  \"4\": \"Servidor\"\n}\n");
    }

    #[test]
    fn an_entry_is_set_whole_to_null_too() {
        let (_directory, writer, renderer) = writer(false);
        let set = |key: &str, json: &str| {
            let change = Change::set(map::number_key(key.into()), json.as_bytes()).unwrap();
            writer.apply(change, &Conditions::default(), &renderer).unwrap()
        };
        let inner = Map::from([(Key::Int(2), Value::Null)]);
        assert_eq!(set("1", r#"{"2":null}"#).rendering.map[&Key::Int(1)], inner.into(), "numbers at every level");
        assert!(set("a", "[0]").changed && !set("a", " [0]\n").changed);
        let written = set("2", "null");
        assert_eq!(written.rendering.document.json(), r#"{"1":{"2":null},"2":null,"3":"Al","4":"Servidor","a":[0]}"#);
        for body in ["", "{", "1 2", "1e400", "9223372036854775808", &"[".repeat(100_000), &"[".repeat(32)] {
            assert_eq!(Change::set("a".into(), body.as_bytes()).unwrap_err().code(), Code::BadRequest);
        }
    }

    #[test]
    fn changes_at_once_are_all_made() {
        let (_directory, writer, renderer) = writer(false);
        writer.apply(Change::Replace(Map::new()), &Conditions::default(), &renderer).unwrap();
        std::thread::scope(|scope| {
            for name in ["a", "b"] {
                let (writer, renderer) = (&writer, &renderer);
                scope.spawn(move || {
                    for number in 0..50 {
                        writer
                            .apply(patch(&format!("{{\"{name}\":{number}}}")), &Conditions::default(), renderer)
                            .unwrap();
                    }
                });
            }
        });
        let last = renderer.latest().unwrap().unwrap();
        assert_eq!((last.document.json(), last.version), (r#"{"a":49,"b":49}"#, 102));
    }

    #[test]
    fn a_change_whose_state_hangs_is_unknown_and_in_the_end_kept_and_published_or_neither() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("token"), "a-token-of-some-length").unwrap();
        let token = TokenFile::open(directory.path().join("token")).unwrap();
        let state = StateFile::open(directory.path().join("state.json")).unwrap();
        let (feed, limit) = (Arc::new(Feed::new(Format::Bincode, 200)), Duration::from_millis(50));
        let threads = Threads::default();
        let writer = Writer::with_limit(Arc::clone(&feed), token, Some(state.clone()), &threads, limit);
        let renderer = Renderer::new(Arc::clone(&feed));
        let write = |body: &str| {
            let change = Change::from_body(body.as_bytes(), Change::Patch).unwrap();
            writer.apply(change, &Conditions::default(), &renderer)
        };
        // The limit is short, and a file that is written on a busy machine may take longer.
        let write_in_the_end = |body: &str| {
            loop {
                match write(body) {
                    Err(Error::Busy(_) | Error::Unknown(_)) => std::thread::yield_now(),
                    written => break written.unwrap(),
                }
            }
        };
        write_in_the_end("{\"a\":1}");
        let hung = state.hang();
        let error = write("{\"b\":2}").unwrap_err();
        assert!(matches!(error, Error::Unknown(_)), "{error}");
        let response = error.to_response();
        assert_eq!(response.code(), Code::Unavailable);
        assert!(error.to_string().contains("it is not known whether"));
        assert!(matches!(write("{\"c\":3}").unwrap_err(), Error::Busy(_)));
        threads.check_after(crate::threads::STUCK_AFTER);
        threads.check_after(crate::threads::STUCK_AFTER);
        let problems = threads.problems();
        assert!(problems[0].text.contains("thread state: stuck for 10 s while writing "), "{problems:?}");
        drop(hung);
        let written = write_in_the_end("{\"d\":4}");
        assert_eq!(
            written.rendering.document.json(),
            r#"{"a":1,"b":2,"d":4}"#,
            "the one that was given up is not lost by the next"
        );
        let kept: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.path().join("state.json")).unwrap()).unwrap();
        assert_eq!(kept.to_string(), written.rendering.document.json());
    }

    #[test]
    fn a_body_that_is_no_map_is_refused_safely() {
        for body in ["", "[]", "null", "{\"a\":", "{\"\u{9b}\":1e400}", &"[".repeat(100_000)] {
            let refusal = Change::from_body(body.as_bytes(), Change::Replace).unwrap_err();
            assert_eq!(refusal.code(), Code::BadRequest);
        }
    }
}
