//! Which messages the scanner reads by itself: the others are read right as well, but ten times slower.

use super::{Order, decode};
use crate::trade::Message;
use crate::trade::rows::{Optional, Rows};

const GOOD: &str = r#"{"Token":"Some","Wallet":"w","SellBuy":"sell","NativeAmount":"0.123456789","TokenAmount":"12.5","PriceUsd":"0.25","TransTime":"2026-03-01T12:00:00Z","TxHash":"x"}"#;

/// Returns the rows the scanner reads, or none where it leaves the message to the fallback.
fn rows_of(payload: &str) -> Option<usize> {
    let mut rows = Rows::new();
    let message = Message {
        payload: payload.as_bytes(),
        record: 0,
        newest_ms: i64::MAX,
        optional: Optional::default(),
    };
    let read = decode(&message, &mut Order::default(), &mut rows);
    assert!(read.is_ok() || (rows.is_empty() && rows.tokens.is_empty()));
    read.is_ok().then_some(rows.len())
}

#[test]
fn usual_messages_are_read_without_the_fallback() {
    let spaced = GOOD.replace(':', ": ").replace(',', ", ").replace("12: 00: 00", "12:00:00");
    let (first, rest) = GOOD.split_at(1);
    for (message, rows) in [
        (GOOD.to_owned(), 1),
        (spaced.clone(), 1),
        (format!("[{GOOD},{GOOD}]"), 2),
        (format!("[{spaced}, {spaced}]\n"), 2),
        (" [ ] ".to_owned(), 0),
        (GOOD.replace("\"12.5\"", "12.5"), 1),
        (GOOD.replace("Some", "é中🚀"), 1),
        (GOOD.replace("\"SellBuy", "\"sell_buy"), 1),
        (GOOD.replace("00Z", "00.5+08:00"), 1),
        (format!("{first}\"Slot\":-1.5e3,\"Memo\":\"m\",\"Ok\":true,{rest}"), 1),
        (GOOD.replace(",\"", "\n,\t\""), 1),
        (format!("{{\"TxHash\":\"x\",{}}}", &GOOD[1..GOOD.len() - 14]), 1),
    ] {
        assert_eq!(rows_of(&message), Some(rows), "{message}");
    }
}

#[test]
fn everything_else_leaves_no_trace() {
    for message in [
        "",
        "null",
        &GOOD.replace("sell", "hold"),
        &GOOD.replace("Some", ""),
        &GOOD.replace("Some", "\\u0041"),
        &GOOD.replace("\"x\"", "\"x\",\"Token\":\"again\""),
        &GOOD.replace("\"x\"", "\"x\",\"Extra\":{}"),
        &GOOD.replace("0.25", "1e15"),
        &GOOD.replace("\"12.5\"", "01"),
        &GOOD.replace(",\"TxHash\":\"x\"", ""),
        &format!("{GOOD}{GOOD}"),
        &format!("[{GOOD},"),
        &format!("[{GOOD},]"),
    ] {
        assert_eq!(rows_of(message), None, "{message}");
    }
}
