//! `--watch`: the map on the whole screen, updated in place.

mod filter;
mod help;
mod line;
mod message;
mod row;
mod terminal;
mod text;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use mapcast::Shutdown;
use mapcast::client::{Error, Follower};

use crate::exit::Exit;
use crate::selection::Selection;
use crate::{platform, stdout, timeout_hint};
use filter::Edit;
use message::Message;
use terminal::Terminal;
use view::{KeyTarget, Scroll, View};

pub(crate) use terminal::restore;

/// How often the screen is redrawn without a frame: ages and highlights change with time.
const REDRAW: Duration = Duration::from_millis(200);

/// How many messages may wait for the next drawing. When the queue is full the follower reads no more, and the server
/// skips maps as for every slow client.
const WAITING: usize = 64;

/// The option of the screen.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Show the map on the whole screen and highlight changes; press q to quit. If standard output is not a terminal,
    /// or TERM is dumb (or unset, except on Windows), print as with -o pretty
    #[arg(long, env = "MAPCAST_WATCH", value_parser = BoolishValueParser::new())]
    pub(crate) watch: bool,
}

/// True if and only if standard output is a terminal that supports a full-screen display.
pub(crate) fn can_draw() -> bool {
    let has_screen = platform::terminal_type().is_some_and(|name| !name.is_empty() && name != "dumb");
    has_screen && io::stdout().is_terminal()
}

/// The server, and the entries to show.
#[derive(Debug)]
pub(crate) struct WatchConfig {
    pub(crate) address: String,
    pub(crate) is_encrypted: bool,
    pub(crate) selection: Selection,
    pub(crate) is_colored: bool,
}

/// The action of a key.
enum KeyAction {
    Quit,
    Interrupt,
    Suspend,
    Scroll(Scroll),
    Filter(Edit),
    /// Shows the help, or closes it.
    Help,
    /// Pauses, or goes on.
    Pause,
    /// Changes the order of the entries.
    Sort,
}

/// Shows the maps of `follower` until it ends or the user quits, and restores the terminal. Writes to the terminal end
/// with the stop, or at `deadline`.
pub(crate) fn watch(
    mut follower: Follower,
    watched: WatchConfig,
    shutdown: &Shutdown,
    deadline: Option<Instant>,
) -> anyhow::Result<Exit> {
    let (sender, messages) = sync_channel(WAITING);
    let mut view = View::new(&watched.address);
    let mut terminal = match Terminal::take(shutdown, deadline, watched.is_colored).map_err(stdout::write_error) {
        Err(Error::Output(error)) => return Err(error).context("cannot switch the terminal to raw mode"),
        taken => taken?,
    };
    let keys = sender.clone();
    // Blocked in a read of the terminal; ends with the process.
    thread::Builder::new().name("keys".to_owned()).spawn(move || read_keys(&keys)).context("cannot start a thread")?;
    let jobs = sender.clone();
    platform::on_job_control(move |is_stop| {
        jobs.send(if is_stop { Message::Suspend } else { Message::Continue }).is_ok()
    })?;
    let follow = move || {
        let connection = sender.clone();
        follower.on_connectivity(move |news| drop(connection.send(Message::Connection(news))));
        let outcome = read_maps(&mut follower, &watched, &sender)
            .map_err(|error| timeout_hint::explain(error, &follower, watched.is_encrypted));
        // The receiver is gone only if the drawing has ended.
        let _ = sender.send(Message::Ended(outcome));
    };
    let follower = thread::Builder::new().name("follower".to_owned()).spawn(follow).context("cannot start a thread")?;

    loop {
        let (width, height) = terminal.measure()?;
        if let Err(error) = terminal.paint(view.draw(Instant::now(), width, height)) {
            return how_it_ended(Err(stdout::write_error(error).into()), &view);
        }
        let first = match messages.recv_timeout(REDRAW) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) if follower.is_finished() => {
                bail!("the thread that reads maps has panicked")
            }
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => bail!("the threads that read have ended"),
        };
        // Draws once for all waiting messages.
        for message in [first].into_iter().chain(messages.try_iter().take(WAITING)) {
            let now = Instant::now();
            match message {
                Message::Map { map, format } => {
                    view.show_format(format);
                    view.map_came(map, now);
                }
                Message::Connection(news) => view.connection_changed(news, now),
                Message::Ended(outcome) => return how_it_ended(outcome, &view),
                Message::Suspend => {
                    restore();
                    platform::stop();
                }
                Message::Continue => {
                    if let Err(error) = terminal.reenter() {
                        return how_it_ended(Err(stdout::write_error(error).into()), &view);
                    }
                }
                Message::Terminal(event) => match key_action(&event, view.key_target()) {
                    Some(KeyAction::Quit) => {
                        shutdown.trigger();
                        return Ok(Exit::Done);
                    }
                    Some(KeyAction::Interrupt) => {
                        shutdown.trigger();
                        return how_it_ended(Err(Error::Stopped.into()), &view);
                    }
                    Some(KeyAction::Suspend) => platform::suspend(),
                    Some(KeyAction::Scroll(scroll)) => view.scroll(scroll),
                    Some(KeyAction::Filter(edit)) => view.edit_filter(edit),
                    Some(KeyAction::Help) => view.toggle_help(),
                    Some(KeyAction::Pause) => view.toggle_pause(now),
                    Some(KeyAction::Sort) => view.toggle_order(),
                    // The new size is read before the next drawing.
                    None => {}
                },
            }
        }
    }
}

/// Maps the end of the follower to an exit code. A stop after a map is the usual end; before one, it is an
/// interruption.
fn how_it_ended(outcome: anyhow::Result<()>, view: &View) -> anyhow::Result<Exit> {
    match outcome {
        Err(error) if view.has_map() && matches!(error.downcast_ref(), Some(Error::Stopped)) => Ok(Exit::Done),
        outcome => outcome.map(|()| Exit::Done),
    }
}

/// Sends every map until the follower or the drawing ends.
fn read_maps(follower: &mut Follower, watched: &WatchConfig, messages: &SyncSender<Message>) -> anyhow::Result<()> {
    while let Some(map) = follower.next_map()? {
        let map = watched.selection.pick(map)?;
        let format = follower.format();
        if messages.send(Message::Map { map, format }).is_err() {
            break;
        }
    }
    Ok(())
}

fn read_keys(messages: &SyncSender<Message>) {
    // Without a terminal to read from there are no keys; signals still end the client.
    while let Ok(event) = event::read() {
        if messages.send(Message::Terminal(event)).is_err() {
            return;
        }
    }
}

fn key_action(event: &Event, target: KeyTarget) -> Option<KeyAction> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_command = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    match (key.code, target) {
        (KeyCode::Char('c'), _) if key.modifiers.contains(KeyModifiers::CONTROL) => Some(KeyAction::Interrupt),
        (KeyCode::Char('z'), _) if key.modifiers.contains(KeyModifiers::CONTROL) => Some(KeyAction::Suspend),
        (_, KeyTarget::Help) | (KeyCode::Char('?'), KeyTarget::Map) => Some(KeyAction::Help),
        (KeyCode::Up, _) => Some(KeyAction::Scroll(Scroll::LineUp)),
        (KeyCode::Down, _) => Some(KeyAction::Scroll(Scroll::LineDown)),
        (KeyCode::PageUp, _) => Some(KeyAction::Scroll(Scroll::PageUp)),
        (KeyCode::PageDown, _) => Some(KeyAction::Scroll(Scroll::PageDown)),
        (KeyCode::Home, _) => Some(KeyAction::Scroll(Scroll::Top)),
        (KeyCode::End, _) => Some(KeyAction::Scroll(Scroll::Bottom)),
        (KeyCode::Left, _) => Some(KeyAction::Scroll(Scroll::Left)),
        (KeyCode::Right, _) => Some(KeyAction::Scroll(Scroll::Right)),
        (KeyCode::Esc, _) => Some(KeyAction::Filter(Edit::Clear)),
        (KeyCode::Char(character), KeyTarget::Filter) if !is_command => {
            Some(KeyAction::Filter(Edit::Insert(character)))
        }
        (KeyCode::Backspace, KeyTarget::Filter) => Some(KeyAction::Filter(Edit::Delete)),
        (KeyCode::Enter, KeyTarget::Filter) => Some(KeyAction::Filter(Edit::Accept)),
        (KeyCode::Char('q'), KeyTarget::Map) => Some(KeyAction::Quit),
        (KeyCode::Char(' '), KeyTarget::Map) => Some(KeyAction::Pause),
        (KeyCode::Char('s'), KeyTarget::Map) if !is_command => Some(KeyAction::Sort),
        (KeyCode::Char('/'), KeyTarget::Map) => Some(KeyAction::Filter(Edit::Begin)),
        _ => None,
    }
}
