//! What can be done to a host, one deed at a time.
//!
//! The invariant: a deed that returns leaves the plugin as it was, but for what the deed is.

use aggregator_sdk::bindings::aggregator::plugin::host;
use aggregator_sdk::contract::{Column, Level, Page, Table};
use serde::{Deserialize, Serialize};

use crate::integers;

/// A deed, and when it is done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deed {
    /// At which call.
    pub(crate) at: At,
    /// What.
    #[serde(rename = "do")]
    pub(crate) does: Does,
    /// Only for a batch with this token.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// Whether the row of that token is reported.
    #[serde(default = "yes")]
    pub(crate) report: bool,
    /// Not at the first so many calls.
    #[serde(default)]
    after: u64,
    #[serde(skip)]
    calls: u64,
}

/// A call of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum At {
    Configure,
    Process,
    Flush,
    Touch,
    ExportState,
    Trim,
    ImportState,
    Forget,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// Never returns.
    Loop,
    /// Takes its time: tens of milliseconds of it.
    Work,
    /// Traps without a word.
    Trap,
    /// Panics, which the SDK reports.
    Panic,
    /// Takes memory until there is none.
    Grow,
    /// Takes 1 KiB and never gives it back.
    Leak,
    /// Refuses in words: a configuration, or state.
    Refuse,
    /// Answers with more than a host can want.
    Huge,
    /// Answers with a text of 1 MiB in each cell.
    Long,
    /// Answers with a list of which most lies outside of its memory.
    Outside,
    /// Answers with bytes that are no text.
    NotUtf8,
    /// Answers with a number that is none.
    NotFinite,
    /// Answers with columns of wrong lengths.
    Lengths,
    /// Answers with a column of another kind.
    Kinds,
    /// Answers for tokens that it was never given.
    Unknown,
    /// Says that there is more, and gives nothing.
    More,
    /// Gives the same rows again and again, and says that there are more.
    Again,
    /// Logs without end.
    LogFlood,
    /// Prints without end.
    PrintFlood,
    /// Logs a line of 32 MiB, twenty times.
    LogLong,
    /// Asks for the time, which a plugin is told.
    Clock,
}

fn yes() -> bool {
    true
}

impl Deed {
    /// Whether it is done at this call, which it counts.
    pub(crate) fn is_due(&mut self) -> bool {
        self.calls += 1;
        self.calls > self.after
    }
}

impl Does {
    /// Does what can be done at any call.
    pub(crate) fn act(self) {
        match self {
            Self::Loop => loop {
                std::hint::black_box(());
            },
            Self::Work => work(),
            Self::Trap => trap(),
            Self::Panic => panic!("panics, as it was told"),
            Self::Grow => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            Self::Leak => std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 10])),
            Self::LogFlood => loop {
                host::log(Level::Info, "a flood");
            },
            Self::PrintFlood => loop {
                println!("a flood");
            },
            Self::LogLong => {
                let line = "l".repeat(32 << 20);
                (0..20).for_each(|_| host::log(Level::Warn, &line));
            }
            Self::Clock => {
                std::hint::black_box(now());
            }
            _ => {}
        }
    }

    /// Spoils a table that is right.
    pub(crate) fn spoil(self, table: &mut Table) {
        match self {
            Self::Huge => {
                table.tokens.resize(10_000_000, 0);
                if let Some(values) = integers(table) {
                    values.resize(10_000_000, 0);
                }
            }
            Self::Long => texts(table, |bytes, ends| {
                bytes.clear();
                for end in ends {
                    bytes.resize(bytes.len() + (1 << 20), b'l');
                    *end = bytes.len() as u32;
                }
            }),
            Self::Outside => texts(table, |bytes, _| *bytes = outside()),
            Self::NotUtf8 => texts(table, |bytes, _| bytes.fill(0xff)),
            Self::NotFinite => {
                for column in &mut table.columns {
                    if let Column::Floats(values) = column {
                        values.fill(f64::NAN);
                    }
                }
            }
            Self::Lengths => table.columns.iter_mut().for_each(|column| {
                if let Column::Floats(values) = column {
                    values.push(0.0);
                }
            }),
            Self::Kinds => table.columns.reverse(),
            Self::Unknown => table.tokens.iter_mut().for_each(|token| *token += 1_000_000),
            Self::Again => table.more = true,
            Self::More => *table = Table { columns: empty(table), more: true, ..Table::default() },
            _ => {}
        }
    }

    /// Spoils a page that is right.
    pub(crate) fn spoil_page(self, page: &mut Page) {
        match self {
            Self::Huge => page.entries.bytes.resize(100 << 20, 0),
            Self::Outside => page.entries.bytes = outside(),
            Self::Lengths => page.entries.slots.push(0),
            Self::Unknown => page.entries.tokens.iter_mut().for_each(|token| *token += 1_000_000),
            Self::More => page.next = Some(1),
            _ => {}
        }
    }
}

fn texts(table: &mut Table, spoil: impl Fn(&mut Vec<u8>, &mut Vec<u32>)) {
    for column in &mut table.columns {
        if let Column::Texts(texts) = column {
            spoil(&mut texts.bytes, &mut texts.ends);
        }
    }
}

/// The same columns without values.
fn empty(table: &Table) -> Vec<Column> {
    let cleared = |column: &Column| match column {
        Column::Integers(_) => Column::Integers(Vec::new()),
        Column::Decimals(_) => Column::Decimals(Vec::new()),
        Column::Floats(_) => Column::Floats(Vec::new()),
        Column::Texts(_) => Column::Texts(aggregator_sdk::contract::TextColumn::default()),
    };
    table.columns.iter().map(cleared).collect()
}

/// Bytes of which most lie outside of the memory.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "no safe code can answer with a list that it does not have")]
fn outside() -> Vec<u8> {
    const LENGTH: usize = 0x7fff_ffff;
    let mut bytes = std::mem::ManuallyDrop::new(vec![0_u8; 16]);
    // SAFETY: there is none; the host refuses the list before anybody reads or frees it.
    unsafe { Vec::from_raw_parts(bytes.as_mut_ptr(), LENGTH, LENGTH) }
}

/// Natively there is nobody to lie to.
#[cfg(not(target_arch = "wasm32"))]
fn outside() -> Vec<u8> {
    Vec::new()
}

/// Computes what no compiler knows before.
fn work() {
    // Marsaglia's xorshift.
    let mut number = 1_u32;
    for _ in 0..20_000_000 {
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
    }
    std::hint::black_box(number);
}

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() -> ! {
    std::process::abort()
}

#[allow(clippy::disallowed_methods, reason = "it does what no plugin may")]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
