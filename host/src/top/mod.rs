//! `aggregator top`: the numbers of the operator's page in a terminal, from a running host.
//!
//! `reading.rs` asks the host, `screen.rs` and `tiles.rs` draw what it said. Where nobody watches (no terminal, or `--once`) one
//! frame is written as plain text. Not part of the running service, which never calls this folder. Invariant: nothing
//! here changes anything on the host.

mod reading;
mod screen;
mod tiles;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;

use crate::author::{Client, Failure};
use reading::Reading;
use screen::Screen;

/// How often the host is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How wide a frame is that is written as text.
const TEXT_WIDTH: u16 = 118;
/// How much of a frame is written as text.
const TEXT_HEIGHT: u16 = 120;

/// Which host, and how often.
#[derive(Debug, Args)]
pub struct Top {
    /// The host's address. Without it: this machine at METRICS_PORT.
    #[arg(long)]
    url: Option<String>,
    /// Writes one frame as plain text and ends.
    #[arg(long)]
    once: bool,
}

/// Shows the host until somebody has seen enough; `own` is where the host of this environment listens.
///
/// # Errors
/// When the address is none, when nobody answers the first time, or when the terminal fails.
pub fn run(top: Top, own: impl FnOnce() -> Result<SocketAddr, Failure>) -> Result<(), Failure> {
    let url = match top.url {
        Some(url) => url,
        None => format!("http://{}", own()?),
    };
    let client = Client::new("--url", &url, None)?;
    let mut screen = Screen::new(&url);
    // Who cannot be reached at all is said where the command was called, not on a screen of its own.
    screen.take(Ok(Reading::ask(&client)?));
    if top.once || !std::io::stdout().is_terminal() {
        return write(&screen);
    }
    let mut terminal = ratatui::try_init().map_err(Failure::internal)?;
    let watched = watch(&mut terminal, &client, &mut screen);
    let restored = ratatui::try_restore();
    watched.and(restored).map_err(Failure::internal)
}

/// Draws once a second and whenever the window changes, until `q`.
fn watch(terminal: &mut DefaultTerminal, client: &Client, screen: &mut Screen) -> std::io::Result<()> {
    loop {
        let next = Instant::now() + EVERY;
        loop {
            terminal.draw(|frame| screen.draw(frame.area(), frame.buffer_mut()))?;
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left)? {
                break;
            }
            if let Event::Key(key) = event::read()?
                && ends(key)
            {
                return Ok(());
            }
        }
        screen.take(Reading::ask(client));
    }
}

fn ends(key: KeyEvent) -> bool {
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    interrupted || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
}

/// Writes one frame as text.
fn write(screen: &Screen) -> Result<(), Failure> {
    let area = Rect::new(0, 0, TEXT_WIDTH, screen.height().min(TEXT_HEIGHT));
    let mut buffer = Buffer::empty(area);
    screen.draw(area, &mut buffer);
    writeln!(std::io::stdout(), "{}", text(&buffer).trim_end()).map_err(Failure::internal)
}

/// The symbols of a frame, line by line.
fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width.max(1));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    };
    buffer.content.chunks(width).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_interrupt_end_it_and_nothing_else() {
        let key = |code, modifiers| ends(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
