//! Prints the table of the fault suite from the figures that its runs have left.
//!
//! Not for running it: that is `tests/faults`. The invariant: every run that was made is in the table.

use std::io::Write as _;

use aggregator_tests::report;

fn main() -> anyhow::Result<()> {
    Ok(write!(std::io::stdout(), "{}", report::table()?)?)
}
