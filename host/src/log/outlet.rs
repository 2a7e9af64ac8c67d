//! A bounded queue of lines and the thread that writes them.
//!
//! Standard output may be a pipe that nobody reads. Only this thread waits for it; when the queue is
//! full, lines are dropped and counted. It also writes what stands for repeated lines, when its time has come.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing_subscriber::fmt::MakeWriter;

use super::repeats::Repeats;

/// The lines that may wait.
const QUEUE_LINES: usize = 4096;

/// How often is looked whether repeated lines are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the end of the process waits for a standard output that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

enum Piece {
    Line(Vec<u8>),
    /// What came before is written: the sender is dropped.
    Mark(#[expect(dead_code, reason = "held for its drop")] Sender<()>),
    /// Nothing follows that must be written.
    End,
}

/// Where lines are handed in; each write is one line.
#[derive(Debug)]
pub(super) struct Outlet {
    queue: Sender<Piece>,
    lost: Arc<AtomicU64>,
}

/// Keeps the log open. Dropped at the end of the process, it waits until the lines are written, but
/// not for long.
#[derive(Debug)]
#[must_use = "dropping the handle closes the log"]
pub struct Handle {
    queue: Sender<Piece>,
    lost: Arc<AtomicU64>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread that writes to `out`.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn open(out: impl Write + Send + 'static, repeats: Arc<Repeats>) -> io::Result<(Outlet, Handle)> {
    let (queue, lines) = crossbeam_channel::bounded(QUEUE_LINES);
    let (end, ended) = crossbeam_channel::bounded(0);
    let lost = Arc::new(AtomicU64::new(0));
    let paper = Paper { out, lost: Arc::clone(&lost), told: false };
    let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        write(&lines, paper, &repeats);
        drop::<Sender<()>>(end);
    })?;
    let outlet = Outlet { queue: queue.clone(), lost: Arc::clone(&lost) };
    Ok((outlet, Handle { queue, lost, ended, thread: Some(thread) }))
}

/// What is written on.
struct Paper<W> {
    out: W,
    lost: Arc<AtomicU64>,
    /// A failure was told.
    told: bool,
}

impl<W: Write> Paper<W> {
    fn write(&mut self, line: &[u8]) {
        let Err(error) = self.out.write_all(line).and_then(|()| self.out.flush()) else {
            return;
        };
        self.lost.fetch_add(1, Ordering::Relaxed);
        if !self.told {
            self.told = true;
            // Nobody is left to tell if this fails, too.
            drop(writeln!(io::stderr(), "aggregator: log lines are lost: standard output: {error}"));
        }
    }

    fn write_all(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.write(line.as_bytes()));
    }
}

fn write(lines: &Receiver<Piece>, mut paper: Paper<impl Write>, repeats: &Repeats) {
    let mut looked = Instant::now();
    loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(Piece::Line(line)) => paper.write(&line),
            Ok(Piece::Mark(_)) => paper.write_all(&repeats.rest()),
            Ok(Piece::End) | Err(RecvTimeoutError::Disconnected) => {
                return paper.write_all(&repeats.rest());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            paper.write_all(&repeats.due(looked));
        }
    }
}

impl Handle {
    /// What others may know of the outlet.
    pub(super) fn view(&self) -> View {
        View { queue: self.queue.clone(), lost: Arc::clone(&self.lost) }
    }
}

/// What others than its owner may do with the outlet.
#[derive(Debug)]
pub(super) struct View {
    queue: Sender<Piece>,
    lost: Arc<AtomicU64>,
}

impl View {
    /// Gives the number of lines that could not be written.
    pub(super) fn lost_lines(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written, but not for longer than the limit.
    pub(super) fn wait_written(&self, limit: Duration) {
        let (mark, written) = crossbeam_channel::bounded(0);
        if self.queue.send_timeout(Piece::Mark(mark), limit).is_ok() {
            // Nothing is ever sent: the end of waiting is that the mark is gone, or the limit.
            written.recv_timeout(limit).ok();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.queue.send_timeout(Piece::End, PATIENCE).is_err() {
            return;
        }
        let waited = self.ended.recv_timeout(PATIENCE);
        if waited == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            // The thread is stuck in a write; it ends with the process.
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been told by the panic hook; there is nothing to add.
            thread.join().ok();
        }
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = &'a Outlet;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Piece::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Form;
    use super::*;

    fn no_repeats() -> Arc<Repeats> {
        Arc::new(Repeats::new(Form::Json))
    }

    /// Takes nothing until it is told to; then it keeps what it is given.
    struct Gate {
        open: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().ok();
            self.written.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn hand_in(mut outlet: &Outlet, lines: usize) {
        for _ in 0..lines {
            outlet.write_all(b"line\n").unwrap();
        }
    }

    #[test]
    fn lines_that_wait_are_written_before_the_end() {
        let (written, lines) = crossbeam_channel::bounded(QUEUE_LINES);
        let (opener, open) = crossbeam_channel::bounded(0);
        let (outlet, handle) = open_gate(open, written);
        drop(opener);
        hand_in(&outlet, 100);
        drop(handle);
        assert_eq!(lines.try_iter().count(), 100);
    }

    #[test]
    fn whoever_ends_the_process_can_wait_for_the_lines_but_not_for_long() {
        let (written, lines) = crossbeam_channel::bounded(QUEUE_LINES);
        let (opener, open) = crossbeam_channel::bounded(0);
        let (outlet, handle) = open_gate(open, written);
        hand_in(&outlet, 100);
        handle.view().wait_written(Duration::from_millis(10));
        assert_eq!(lines.len(), 0);
        drop(opener);
        handle.view().wait_written(Duration::from_secs(10));
        assert_eq!(lines.len(), 100);
    }

    #[test]
    fn a_stuck_output_holds_nobody_up_and_lost_lines_are_counted() {
        let (written, _lines) = crossbeam_channel::bounded(2 * QUEUE_LINES);
        let (opener, open) = crossbeam_channel::bounded(0);
        let (outlet, handle) = open_gate(open, written);
        hand_in(&outlet, QUEUE_LINES + 10);
        let lost = handle.view().lost_lines();
        assert!((9..=10).contains(&lost), "{lost}");
        drop(opener);
        drop(handle);
    }

    #[test]
    fn a_full_disk_is_counted_and_survived() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (outlet, handle) = open(full, no_repeats()).unwrap();
        let view = handle.view();
        hand_in(&outlet, 3);
        drop(handle);
        assert_eq!(view.lost_lines(), 3);
    }

    fn open_gate(open_gate: Receiver<()>, written: Sender<Vec<u8>>) -> (Outlet, Handle) {
        open(Gate { open: open_gate, written }, no_repeats()).unwrap()
    }
}
