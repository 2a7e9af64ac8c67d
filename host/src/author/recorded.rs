//! Recorded trades through a plugin: the same results however they are cut, and those of a golden file.
//!
//! The clock is that of `CLOCK=event` with one partition: the largest event time so far. Invariant: results are
//! the bytes that the service would write as final results, so that a golden file shows what users will read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use super::failure::Failure;
use super::testing::Check;
use super::workbench;
use crate::clock::rfc3339;
use crate::config::Encoding;
use crate::plugin::catalog::Running;
use crate::plugin::contract::{
    Batch, EntriesParam, NewToken, OptionalColumns, Page, RemovalsParam, TextColumnParam,
};
use crate::plugin::{Instance, PluginError};
use crate::trade::{Decoder, Limits, Optional, Rows, Texts};

/// How many rows a flush asks for.
const FLUSH_ROWS: u32 = 256;
/// The size of state pages, small so that a recording has several.
const PAGE_BYTES: u32 = 4_096;
/// How recordings are cut: trades in a batch, and whether the state is carried into another instance midway.
const WAYS: [(usize, bool); 4] = [(usize::MAX, false), (1, false), (7, false), (16, true)];

/// Decoded trades.
struct Recording {
    rows: Rows,
}

/// Checks a plugin with recorded trades; writes the golden file where asked to.
pub(super) fn check(running: &Running, file: &Path, bless: bool) -> Result<Vec<Check>, Failure> {
    let recording = Recording::read(file, optional(running))?;
    let mut results = Vec::new();
    for (size, carried) in WAYS {
        match recording.replay(running, size, carried) {
            Ok(text) => results.push(text),
            Err(error) => return Ok(vec![Check::of("recorded", Err(error.to_string()))]),
        }
    }
    let Some(wanted) = results.first() else {
        return Ok(Vec::new());
    };
    let differing = results.iter().zip(WAYS).find(|(found, _)| *found != wanted);
    let cut = match differing {
        None => Ok(format!(
            "{} trades of {} tokens: the same results in {} ways of cutting them",
            recording.rows.len(),
            recording.rows.tokens.len(),
            WAYS.len()
        )),
        Some((found, (size, carried))) => Err(format!(
            "in batches of {size}{} the results are others: {}",
            if carried { ", carried midway," } else { "" },
            first_difference(wanted, found)
        )),
    };
    let golden = file.with_extension("golden.json");
    Ok(vec![Check::of("recorded", cut), compare(&golden, wanted, bless)?])
}

fn compare(golden: &Path, found: &str, bless: bool) -> Result<Check, Failure> {
    let name = golden.display();
    if bless {
        fs::write(golden, found)
            .map_err(|error| Failure::Unavailable(format!("cannot write {name}: {error}")))?;
        return Ok(Check::of("golden", Ok(format!("{name} written"))));
    }
    if !golden.exists() {
        return Ok(Check::of("golden", Ok(format!("there is no {name} yet; --bless writes it"))));
    }
    let wanted = String::from_utf8_lossy(&workbench::read(golden)?).into_owned();
    let outcome = if wanted == found { Ok(name.to_string()) } else { Err(first_difference(&wanted, found)) };
    Ok(Check::of("golden", outcome))
}

/// The first line that differs.
fn first_difference(wanted: &str, found: &str) -> String {
    let (mut wanted, mut found) = (wanted.lines(), found.lines());
    for line in 1_usize.. {
        let (one, other) = (wanted.next(), found.next());
        if one != other {
            let shown = |line: Option<&str>| line.unwrap_or("(the end)").trim().to_owned();
            return format!("line {line}\n    wanted {}\n    found  {}", shown(one), shown(other));
        }
        if one.is_none() {
            break;
        }
    }
    "line ends or the like".to_owned()
}

fn optional(running: &Running) -> Optional {
    let asked = running.plugin.description().columns;
    Optional {
        wallet: asked.contains(OptionalColumns::WALLET),
        wallet_hash: asked.contains(OptionalColumns::WALLET_HASH),
        tx_hash: asked.contains(OptionalColumns::TX_HASH),
    }
}

impl Recording {
    fn read(file: &Path, optional: Optional) -> Result<Self, Failure> {
        let bytes = workbench::read(file)?;
        let limits = Limits { max_future_ms: 0, max_message_bytes: usize::MAX };
        let mut decoder = Decoder::new(limits, optional);
        let (mut rows, mut rejected) = (Rows::new(), Vec::new());
        for (at, line) in bytes.split(|&b| b == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            // No trade of a recording is ahead of its time.
            decoder.decode(line, at as u32, None, i64::MAX, &mut rows, &mut rejected);
            if let Some(rejected) = rejected.first() {
                let column = rejected.column.map_or("", |column| column.wire_name());
                return Err(Failure::Unusable(format!(
                    "{}, line {}: {} {column}",
                    file.display(),
                    at + 1,
                    rejected.reason.as_str()
                )));
            }
        }
        if rows.is_empty() {
            return Err(Failure::Unusable(format!("{} holds no trade", file.display())));
        }
        Ok(Self { rows })
    }

    /// Gives the final results after one way of cutting.
    fn replay(&self, running: &Running, size: usize, carried: bool) -> Result<String, PluginError> {
        let mut run = Run::new(running)?;
        let size = size.min(self.rows.len());
        let batches = self.rows.len().div_ceil(size);
        for batch in 0..batches {
            if carried && batch == batches / 2 {
                run.carry(&self.rows)?;
            }
            let range = batch * size..self.rows.len().min((batch + 1) * size);
            run.process(&self.rows, range)?;
            run.flush(&self.rows)?;
        }
        run.instance.touch(None)?;
        run.flush(&self.rows)?;
        Ok(run.text())
    }
}

/// One instance that takes a recording.
struct Run<'a> {
    running: &'a Running,
    instance: Box<dyn Instance>,
    clock_ms: i64,
    /// Tokens that the instance knows, by their numbers in the recording.
    known: Vec<bool>,
    /// The last row of each token that is not forgotten, as JSON.
    results: BTreeMap<String, String>,
}

impl<'a> Run<'a> {
    fn new(running: &'a Running) -> Result<Self, PluginError> {
        let (instance, _) = running.plugin.instantiate(&running.configuration)?;
        Ok(Self { running, instance, clock_ms: i64::MIN, known: Vec::new(), results: BTreeMap::new() })
    }

    fn process(&mut self, rows: &Rows, range: Range<usize>) -> Result<(), PluginError> {
        let step_ms = self.running.settings.step_ms.max(1).cast_signed();
        let horizon_ms = self.running.settings.horizon_ms.cast_signed();
        let floor = |ms: i64| ms.div_euclid(step_ms);
        let passed = floor(self.clock_ms.saturating_sub(horizon_ms));
        // The service takes no trade that the longest window has passed.
        let mut taken: Vec<usize> = range.clone().filter(|&row| floor(rows.times_ms[row]) > passed).collect();
        taken.sort_by_key(|&row| rows.token[row]);
        let mut new_tokens = Vec::new();
        self.known.resize(rows.tokens.len(), false);
        for &row in &taken {
            let token = rows.token[row];
            if !std::mem::replace(&mut self.known[token as usize], true) {
                new_tokens.push(NewToken { id: token, text: rows.tokens.text(token) });
            }
        }
        let wallets = picked_texts(&rows.wallets, &taken);
        let tx_hashes = picked_texts(&rows.tx_hashes, &taken);
        self.instance.process(Batch {
            new_tokens: &new_tokens,
            tokens: &picked(&rows.token, &taken),
            times_ms: &picked(&rows.times_ms, &taken),
            sides: &picked(&rows.sides, &taken),
            natives: &picked(&rows.natives, &taken),
            amounts: &picked(&rows.amounts, &taken),
            prices: &picked(&rows.prices, &taken),
            wallets: TextColumnParam { bytes: &wallets.bytes, ends: &wallets.ends },
            wallet_hashes: &picked(&rows.wallet_hashes, &taken),
            tx_hashes: TextColumnParam { bytes: &tx_hashes.bytes, ends: &tx_hashes.ends },
        })?;
        let newest_ms = rows.times_ms[range].iter().copied().max();
        self.clock_ms = self.clock_ms.max(newest_ms.unwrap_or(i64::MIN));
        Ok(())
    }

    fn flush(&mut self, rows: &Rows) -> Result<(), PluginError> {
        loop {
            let table = self.instance.flush(self.clock_ms, FLUSH_ROWS)?;
            self.running
                .schema
                .check(&table)
                .map_err(|error| PluginError::new(self.running.name(), crate::plugin::Stage::Flush, error))?;
            for (row, &token) in table.tokens.iter().enumerate() {
                let mut json = Vec::new();
                self.running.schema.encode_row(Encoding::Json, &table, row, self.clock_ms, &mut json);
                let json = String::from_utf8_lossy(&json).into_owned();
                self.results.insert(rows.tokens.text(token).to_owned(), json);
            }
            for &token in &table.forgotten {
                self.known[token as usize] = false;
                self.results.remove(rows.tokens.text(token));
            }
            if !table.more {
                return Ok(());
            }
        }
    }

    /// Goes on with another instance that is given this one's state.
    fn carry(&mut self, rows: &Rows) -> Result<(), PluginError> {
        let (mut other, _) = self.running.plugin.instantiate(&self.running.configuration)?;
        let known = (0..).zip(&self.known).filter(|(_, known)| **known);
        let mut introduced: Vec<NewToken<'_>> =
            known.map(|(id, _)| NewToken { id, text: rows.tokens.text(id) }).collect();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let page = self.instance.export_state(0, from, PAGE_BYTES)?;
            take(&mut *other, self.running, &introduced, &page)?;
            introduced.clear();
            cursor = page.next;
        }
        self.instance = other;
        Ok(())
    }

    /// The results as a JSON object with a line for each token.
    fn text(&self) -> String {
        let mut text = format!("{{\n  \"plugin\": \"{}\",\n", self.running.name());
        // A String takes everything that is written to it.
        write!(text, "  \"clock\": \"{}\",\n  \"results\": {{", rfc3339::text(self.clock_ms)).ok();
        for (at, (token, row)) in self.results.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(text, "{comma}\n    {}: {row}", serde_json::Value::from(token.as_str())).ok();
        }
        text + "\n  }\n}\n"
    }
}

fn take(
    other: &mut dyn Instance,
    running: &Running,
    introduced: &[NewToken<'_>],
    page: &Page,
) -> Result<(), PluginError> {
    let entries = EntriesParam {
        tokens: &page.entries.tokens,
        slots: &page.entries.slots,
        ends: &page.entries.ends,
        bytes: &page.entries.bytes,
    };
    let removed = RemovalsParam { tokens: &page.removed.tokens, slots: &page.removed.slots };
    other.import_state(running.plugin.description().state_version, introduced, entries, removed)
}

/// The values of these rows; none where the column is not filled.
fn picked<T: Copy>(column: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|&row| column.get(row).copied()).collect()
}

fn picked_texts(column: &Texts, rows: &[usize]) -> Texts {
    let mut picked = Texts::default();
    if !column.ends.is_empty() {
        rows.iter().for_each(|&row| picked.push(column.get(row)));
    }
    picked
}
