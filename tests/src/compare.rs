//! Where Redis differs from the oracle, in words.
//!
//! Counts, volumes and prices are compared exactly, derived values within 1e-9 relative or 1e-12 absolute. The
//! invariant: an empty list of differences means that every key, window, field and member was looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use redis::Commands as _;

use crate::decimal;
use crate::oracle::{self, Oracle, Values};
use crate::results::{self, Cell, Encoding, Row};
use crate::{time, wait};

/// The result key of the default plugin.
pub const AGGREGATES: &str = "aggregates";

/// The fields of a window, in their order.
pub const FIELDS: [&str; 13] = [
    "sell_count",
    "buy_count",
    "sell_volume",
    "buy_volume",
    "total_volume",
    "price_change",
    "start_price",
    "end_price",
    "high_price",
    "low_price",
    "vwap",
    "volume_usd",
    "last_update",
];

/// What a derived value may be off.
const RELATIVE: f64 = 1e-9;
const ABSOLUTE: f64 = 1e-12;

/// Whether two derived values count as equal.
pub fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= ABSOLUTE.max(RELATIVE * other.abs())
}

/// Compares the final results of a `CLOCK=event` run: every token's values, times and membership of the active list.
///
/// `clock_of` gives the clock of a token's shard.
///
/// # Errors
/// Fails where Redis does not answer or a value cannot be read.
pub fn final_results(
    oracle: &Oracle,
    connection: &mut redis::Connection,
    encoding: Encoding,
    clock_of: impl Fn(&str) -> i64,
) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let mut live = BTreeMap::new();
    for token in oracle.tokens() {
        let clock_ms = clock_of(token);
        let is_live = oracle.is_live(token, clock_ms);
        if is_live {
            live.insert(token.to_owned(), oracle.last_trade_ms(token).unwrap_or(0));
        }
        let last_update = is_live.then(|| time::rfc3339_ms(clock_ms));
        match results::read(connection, token, AGGREGATES, encoding)? {
            Some(row) => {
                let expected = oracle.values(token, clock_ms);
                let found = row_differences(oracle, &expected, last_update.as_deref(), &row);
                differences.extend(found.into_iter().map(|difference| format!("{token} {difference}")));
            }
            None if is_live => differences.push(format!("{token} has no results")),
            None => {}
        }
        let stored: Option<String> = connection.get(results::key(token, "last_update"))?;
        if is_live && stored != last_update {
            differences.push(format!("{token} last_update is {stored:?}, not {last_update:?}"));
        }
    }
    differences.extend(active_differences(&live, connection)?);
    differences.extend(strangers(oracle, connection)?);
    Ok(differences)
}

/// Waits until one token's row is what it must be at the time that it tells; gives what is wrong with it in the end.
///
/// # Errors
/// Fails where Redis does not answer.
pub fn wait_exact(
    connection: &mut redis::Connection,
    oracle: &Oracle,
    token: &str,
    limit: Duration,
) -> Result<Vec<String>> {
    let mut last = Ok(Vec::new());
    // Out of time: what was found last says why.
    wait::until_true("an exact row", limit, || {
        last = live_differences(connection, oracle, token);
        last.as_ref().map_or(true, Vec::is_empty)
    })
    .ok();
    last
}

/// Where one token's row is not what it must be at the time that it tells.
fn live_differences(connection: &mut redis::Connection, oracle: &Oracle, token: &str) -> Result<Vec<String>> {
    let Some(row) = results::read(connection, token, AGGREGATES, Encoding::Json)? else {
        return Ok(vec![format!("{token} has no row")]);
    };
    let window = oracle.windows().first().map_or("", |window| window.name.as_str());
    let told = row.cell(window, "last_update").and_then(Cell::text).unwrap_or_default();
    let clock_ms = time::parse_ms(told)?;
    Ok(row_differences(oracle, &oracle.values(token, clock_ms), None, &row))
}

/// Compares one token's row with what it must be; `last_update` is not compared where none is given.
pub fn row_differences(
    oracle: &Oracle,
    expected: &[Values],
    last_update: Option<&str>,
    row: &Row,
) -> Vec<String> {
    let names: Vec<&str> = oracle.windows().iter().map(|window| window.name.as_str()).collect();
    let found: Vec<&str> = row.groups.iter().map(|(name, _)| name.as_str()).collect();
    if names != found {
        return vec![format!("has the windows {found:?}, not {names:?}")];
    }
    let mut differences = Vec::new();
    for ((name, fields), values) in row.groups.iter().zip(expected) {
        let order: Vec<&str> = fields.iter().map(|(field, _)| field.as_str()).collect();
        if order != FIELDS {
            differences.push(format!("{name} has the fields {order:?}"));
            continue;
        }
        let cells: Vec<&Cell> = fields.iter().map(|(_, cell)| cell).collect();
        let wrong = window_differences(&cells, values, last_update);
        differences.extend(wrong.into_iter().map(|wrong| format!("{name} {wrong}")));
    }
    differences
}

fn window_differences(cells: &[&Cell], values: &Values, last_update: Option<&str>) -> Vec<String> {
    let number = |index: usize| cells[index].number().unwrap_or(f64::NAN);
    let change = oracle::price_change(number(6), number(7));
    let fits = [
        (is_count(cells[0], values.sell_count), values.sell_count.to_string()),
        (is_count(cells[1], values.buy_count), values.buy_count.to_string()),
        volume(cells[2], values.sell_volume),
        volume(cells[3], values.buy_volume),
        volume(cells[4], values.sell_volume + values.buy_volume),
        (close(number(5), change), change.to_string()),
        (values.start_prices.contains(&number(6)), format!("one of {:?}", values.start_prices)),
        (values.end_prices.contains(&number(7)), format!("one of {:?}", values.end_prices)),
        (number(8) == values.high_price, values.high_price.to_string()),
        (number(9) == values.low_price, values.low_price.to_string()),
        (close(number(10), values.vwap), values.vwap.to_string()),
        (close(number(11), values.volume_usd), values.volume_usd.to_string()),
        (last_update.is_none_or(|time| cells[12].text() == Some(time)), format!("{last_update:?}")),
    ];
    let mut differences = Vec::new();
    for (index, (fit, wanted)) in fits.into_iter().enumerate() {
        if !fit {
            differences.push(format!("{} is {:?}, not {wanted}", FIELDS[index], cells[index]));
        }
    }
    differences
}

fn is_count(cell: &Cell, count: u64) -> bool {
    match cell {
        Cell::Number(text) => *text == count.to_string(),
        Cell::Integer(number) => u64::try_from(*number) == Ok(count),
        Cell::Float(_) | Cell::Text(_) => false,
    }
}

/// A volume is exact in JSON, and the nearest float in MessagePack.
fn volume(cell: &Cell, billionths: i128) -> (bool, String) {
    let wanted = decimal::text(billionths);
    let fits = match cell {
        Cell::Number(text) => decimal::billionths(text).is_ok_and(|found| found == billionths),
        Cell::Float(number) => wanted.parse() == Ok(*number),
        Cell::Integer(_) | Cell::Text(_) => false,
    };
    (fits, wanted)
}

/// Compares the list of active tokens.
fn active_differences(
    live: &BTreeMap<String, i64>,
    connection: &mut redis::Connection,
) -> Result<Vec<String>> {
    let members: Vec<(String, f64)> = connection.zrange_withscores("tokens:active", 0, -1)?;
    let found: BTreeMap<String, i64> =
        members.into_iter().map(|(token, score)| (token, score as i64)).collect();
    let mut differences = Vec::new();
    for token in live.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let (wanted, stored) = (live.get(token), found.get(token));
        if wanted != stored {
            differences.push(format!("tokens:active has {token} at {stored:?}, not {wanted:?}"));
        }
    }
    Ok(differences)
}

/// Finds results of tokens that never traded.
fn strangers(oracle: &Oracle, connection: &mut redis::Connection) -> Result<Vec<String>> {
    let known: BTreeSet<&str> = oracle.tokens().into_iter().collect();
    let keys: Vec<String> = connection.scan_match("token:*")?.collect::<redis::RedisResult<_>>()?;
    let token = |key: &str| {
        key.strip_prefix("token:").and_then(|rest| rest.rsplit_once(':')).map(|(token, _)| token.to_owned())
    };
    let stranger = |key: &&String| token(key).is_none_or(|token| !known.contains(token.as_str()));
    Ok(keys.iter().filter(stranger).map(|key| format!("{key} belongs to no token of the stream")).collect())
}
