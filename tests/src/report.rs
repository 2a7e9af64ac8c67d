//! The figures of each run of a fault, kept in a file until they become a table.
//!
//! One line a run, so that tests which run at the same time, and processes one after the other, can add theirs. The
//! invariant: a run that failed leaves its figures, too.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths;

/// What one run of a fault came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The fault: the number of its row, and words.
    pub fault: String,
    /// Whether something was not as it must be.
    pub failed: bool,
    /// Trades that are missing in the longest window.
    pub lost: u64,
    /// Trades that stand there more than once.
    pub doubled: u64,
    /// The longest time that a partition with something to do stood still, in seconds.
    pub stall_s: Option<f64>,
    /// From the end of the fault until every partition moved, in seconds.
    pub recovery_s: Option<f64>,
    /// Trades a second beside those of a run without the fault.
    pub speed: Option<f64>,
}

impl Figures {
    /// Figures of a fault, all of them nothing yet.
    pub fn of(fault: &str) -> Self {
        Self { fault: fault.to_owned(), ..Self::default() }
    }

    /// Notes the longest time that a partition stood still.
    pub fn stall(&mut self, time: Duration) {
        self.stall_s = Some(time.as_secs_f64());
    }

    /// Notes how long it took until everything moved again.
    pub fn recovery(&mut self, time: Duration) {
        self.recovery_s = Some(time.as_secs_f64());
    }

    /// Keeps the figures.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn keep(&self) -> Result<()> {
        let path = path()?;
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // One write, so that lines of several threads do not mix.
        file.write_all(line.as_bytes()).with_context(|| format!("writing {}", path.display()))
    }
}

/// Keeps figures at its end, also where that is a failure.
pub struct Kept(Figures);

impl Kept {
    /// Figures of a fault of which is said whether everything was as it must be, and little else.
    pub fn of(fault: &str) -> Self {
        Self(Figures::of(fault))
    }

    /// Notes trades a second beside those of a run without the fault.
    pub fn speed(&mut self, ratio: f64) {
        self.0.speed = Some(ratio);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.failed = std::thread::panicking();
        self.0.keep().ok();
    }
}

/// Where figures are kept.
///
/// # Errors
/// Fails where the directory cannot be made.
pub fn path() -> Result<PathBuf> {
    Ok(paths::kept("faults")?.join("figures.jsonl"))
}

/// The table of all figures that were kept.
///
/// # Errors
/// Fails where there are none.
pub fn table() -> Result<String> {
    let path = path()?;
    let file = File::open(&path).with_context(|| format!("no figures in {}", path.display()))?;
    let mut runs: BTreeMap<String, Vec<Figures>> = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        let figures: Figures = serde_json::from_str(&line?)?;
        runs.entry(figures.fault.clone()).or_default().push(figures);
    }
    let mut table = String::from(
        "| fault | runs | lost | doubled | stall p50 | stall max | recovery p50 | recovery max | speed min |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (fault, runs) in runs {
        let (lost, doubled) =
            (runs.iter().map(|run| run.lost).sum(), runs.iter().map(|run| run.doubled).sum());
        table.push_str(&row(&fault, &runs, lost, doubled));
    }
    Ok(table)
}

fn row(fault: &str, runs: &[Figures], lost: u64, doubled: u64) -> String {
    let (stall_p50, stall_max) = spread(runs.iter().filter_map(|run| run.stall_s).collect());
    let (recovery_p50, recovery_max) = spread(runs.iter().filter_map(|run| run.recovery_s).collect());
    let speed = runs.iter().filter_map(|run| run.speed).min_by(f64::total_cmp);
    let speed = speed.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} x"));
    let failed = runs.iter().filter(|run| run.failed).count();
    let count =
        if failed == 0 { runs.len().to_string() } else { format!("{} ({failed} failed)", runs.len()) };
    format!(
        "| {fault} | {count} | {lost} | {doubled} | {stall_p50} | {stall_max} | {recovery_p50} | {recovery_max} | {speed} |\n"
    )
}

/// The median and the largest of some seconds.
fn spread(mut seconds: Vec<f64>) -> (String, String) {
    seconds.sort_by(f64::total_cmp);
    let text = |at: usize| seconds.get(at).map_or_else(|| "-".to_owned(), |time| format!("{time:.2} s"));
    (text(seconds.len() / 2), text(seconds.len().wrapping_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::{Figures, row, spread};

    #[test]
    fn a_row_has_the_median_and_the_largest_of_its_runs() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), ("2.00 s".to_owned(), "3.00 s".to_owned()));
        assert_eq!(spread(Vec::new()), ("-".to_owned(), "-".to_owned()));
        let runs = [Figures::of("a"), Figures::of("a")];
        assert_eq!(row("a", &runs, 0, 1), "| a | 2 | 0 | 1 | - | - | - | - | - |\n");
        let speeds = [0.75, 0.5].map(|speed| Figures { speed: Some(speed), ..Figures::of("b") });
        assert_eq!(row("b", &speeds, 0, 0), "| b | 2 | 0 | 0 | - | - | - | - | 0.50 x |\n");
    }
}
