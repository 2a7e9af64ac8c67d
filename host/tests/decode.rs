//! The contract of decoding: the shared cases, and the scanner against the fallback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use aggregator::trade::{Decoder, Limits, Optional, Place, Reason, Rejected, Rows, element};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::Deserialize;

/// 2026-03-01T12:00:10Z, the Kafka timestamp, the wall clock and T of all cases.
const NOW_MS: i64 = 1_772_366_410_000;
const HORIZON_S: i64 = 3600;
const LIMITS: Limits = Limits { max_future_ms: 300_000, max_message_bytes: 8 << 20 };
const ALL_COLUMNS: Optional = Optional { wallet: true, wallet_hash: true, tx_hash: true };
const GOOD: &str = r#"{"Token":"T","Wallet":"w","SellBuy":"buy","NativeAmount":"1.5","TokenAmount":"2","PriceUsd":"0.25","TransTime":"2026-03-01T12:00:00Z","TxHash":"x"}"#;

#[derive(Deserialize)]
struct Case {
    payload: String,
    accepted: usize,
    rejected: Vec<String>,
    #[serde(default)]
    counts: Counts,
}

#[derive(Deserialize, Default)]
struct Counts {
    token: Option<String>,
    native: Option<String>,
    time_ms: Option<i64>,
}

type Batch = (Rows, Vec<Rejected>);

/// Decodes one batch with a new decoder, by the scanner or without it.
fn decode(payloads: &[&[u8]], scanned: bool) -> Batch {
    let (mut rows, mut rejected) = (Rows::new(), Vec::new());
    let mut decoder = Decoder::new(LIMITS, ALL_COLUMNS);
    let way = if scanned { Decoder::decode } else { Decoder::decode_unscanned };
    for (record, payload) in (0..).zip(payloads) {
        way(&mut decoder, payload, record, Some(NOW_MS), 0, &mut rows, &mut rejected);
    }
    (rows, rejected)
}

/// Equal rows by their bits, not only by their values.
fn assert_same(payloads: &[&[u8]]) -> Batch {
    let (scanned, unscanned) = (decode(payloads, true), decode(payloads, false));
    let bits = |floats: &[f64]| Vec::from_iter(floats.iter().map(|float| float.to_bits()));
    assert_eq!(scanned, unscanned);
    assert_eq!(bits(&scanned.0.prices), bits(&unscanned.0.prices));
    assert_eq!(bits(&scanned.0.amounts), bits(&unscanned.0.amounts));
    assert_consistent(&scanned.0);
    scanned
}

/// Every column is as long as the others, and what is counted per token is what the rows say.
fn assert_consistent(rows: &Rows) {
    let lens = [
        rows.times_ms.len(),
        rows.sides.len(),
        rows.natives.len(),
        rows.amounts.len(),
        rows.prices.len(),
        rows.wallets.ends.len(),
        rows.wallet_hashes.len(),
        rows.tx_hashes.ends.len(),
        rows.places.len(),
    ];
    assert_eq!(lens, [rows.len(); 9]);
    for token in 0..rows.tokens.len() as u32 {
        let of_token = |row: &usize| rows.token[*row] == token;
        let times = (0..rows.len()).filter(of_token).map(|row| rows.times_ms[row]);
        assert_eq!(times.clone().count() as u32, rows.tokens.rows(token));
        assert_eq!(times.max(), Some(rows.tokens.latest_ms(token)));
    }
    assert_eq!(rows.times_ms.iter().copied().max(), rows.latest_ms);
}

#[test]
fn the_shared_cases_are_judged_as_written() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/cases/records.json")).unwrap();
    assert_eq!(cases.len(), 70);
    for case in &cases {
        let (rows, rejected) = assert_same(&[case.payload.as_bytes()]);
        let mut reasons: Vec<_> = rejected.iter().map(|one| one.reason.as_str()).collect();
        // The cell judges this one by its own clock; here it is judged after decoding.
        let late = |time_ms: &&i64| time_ms.div_euclid(1000) <= NOW_MS.div_euclid(1000) - HORIZON_S;
        let late = rows.times_ms.iter().filter(late).count();
        reasons.extend(std::iter::repeat_n(Reason::TooLate.as_str(), late));
        assert_eq!(rows.len() - late, case.accepted, "{}", case.payload);
        assert_eq!(reasons, case.rejected, "{}", case.payload);
        if let Some(token) = &case.counts.token {
            assert_eq!(rows.tokens.text(rows.token[0]), token);
        }
        if let Some(native) = &case.counts.native {
            let billionths: i64 = native.parse::<i64>().unwrap() * 1_000_000_000;
            assert_eq!(rows.natives, [billionths]);
        }
        if let Some(time_ms) = case.counts.time_ms {
            assert_eq!(rows.times_ms, [time_ms]);
        }
    }
}

#[test]
fn all_columns_hold_what_was_sent() {
    let (rows, rejected) = assert_same(&[GOOD.as_bytes()]);
    assert!(rejected.is_empty());
    assert_eq!(rows.tokens.text(0), "T");
    assert_eq!(rows.times_ms, [NOW_MS - 10_000]);
    assert_eq!(rows.sides, [1]);
    assert_eq!(rows.natives, [1_500_000_000]);
    assert_eq!((rows.amounts[0], rows.prices[0]), (2.0, 0.25));
    assert_eq!((rows.wallets.get(0), rows.tx_hashes.get(0)), (&b"w"[..], &b"x"[..]));
}

#[test]
fn columns_nobody_asked_for_stay_empty() {
    let (mut rows, mut rejected) = (Rows::new(), Vec::new());
    let mut decoder = Decoder::new(LIMITS, Optional::default());
    decoder.decode(GOOD.as_bytes(), 0, None, NOW_MS, &mut rows, &mut rejected);
    assert_eq!(rows.len(), 1);
    assert!(rows.wallets.ends.is_empty() && rows.wallet_hashes.is_empty());
    assert!(rows.tx_hashes.ends.is_empty() && rejected.is_empty());
}

#[test]
fn a_message_rejected_whole_leaves_no_row_and_no_token() {
    let cut = format!("[{GOOD},{},", GOOD.replace("\"T\"", "\"U\""));
    let (rows, rejected) = assert_same(&[GOOD.as_bytes(), cut.as_bytes(), GOOD.as_bytes()]);
    assert_eq!((rows.len(), rows.tokens.len(), rows.tokens.rows(0)), (2, 1, 2));
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].reason, Reason::NotJson);
    assert!(rejected[0].whole && rejected[0].record == 1);
}

#[test]
fn a_rejection_names_its_record_its_element_and_its_field() {
    let bad = format!("[{GOOD},{},{GOOD}]", GOOD.replace("0.25", "x"));
    let (rows, rejected) = assert_same(&[GOOD.as_bytes(), bad.as_bytes()]);
    let places = [(0, 0), (1, 0), (1, 2)].map(|(record, element)| Place { record, element });
    assert_eq!(rows.places, places);
    assert_eq!((rejected[0].record, rejected[0].element), (1, 1));
    assert_eq!((rejected[0].detail(), rejected[0].whole), ("PriceUsd", false));
    let text = element(bad.as_bytes(), rejected[0].element).unwrap();
    assert_eq!(text, GOOD.replace("0.25", "x").as_bytes());
}

#[test]
fn elements_are_found_by_their_index() {
    assert_eq!(element(b" [ 1 , {\"a\":[2]} ] ", 1), Some(&b"{\"a\":[2]}"[..]));
    assert_eq!(element(b" [ 1 ] ", 1), None);
    assert_eq!(element(b" 42 ", 0), Some(&b"42"[..]));
    assert_eq!(element(b"[1,2", 0), None);
}

#[test]
fn a_message_beyond_the_limit_is_one_rejection() {
    let limits = Limits { max_message_bytes: GOOD.len(), ..LIMITS };
    let (mut rows, mut rejected) = (Rows::new(), Vec::new());
    let mut decoder = Decoder::new(limits, ALL_COLUMNS);
    let longer = format!("{GOOD} ");
    decoder.decode(GOOD.as_bytes(), 0, None, NOW_MS, &mut rows, &mut rejected);
    decoder.decode(longer.as_bytes(), 1, None, NOW_MS, &mut rows, &mut rejected);
    assert_eq!(rows.len(), 1);
    assert_eq!((rejected[0].reason, rejected[0].whole), (Reason::TooLarge, true));
}

#[test]
fn the_future_begins_after_the_records_own_time() {
    for (time, in_future) in [("12:05:10", false), ("12:05:10.001", true)] {
        let payload = GOOD.replace("12:00:00", time);
        for (record_time_ms, wall_ms) in [(Some(NOW_MS), 0), (None, NOW_MS)] {
            let (mut rows, mut rejected) = (Rows::new(), Vec::new());
            let mut decoder = Decoder::new(LIMITS, ALL_COLUMNS);
            let payload = payload.as_bytes();
            decoder.decode(payload, 0, record_time_ms, wall_ms, &mut rows, &mut rejected);
            assert_eq!(rows.is_empty(), in_future, "{time}");
        }
    }
}

#[test]
fn a_message_is_as_deep_as_serde_json_builds_values() {
    for depth in 1..200 {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"}\\\"\":", "}]")] {
            let inside = open.repeat(depth);
            let payload = format!("{inside}0{}", close.repeat(depth));
            let (_, rejected) = assert_same(&[payload.as_bytes()]);
            let is_json = serde_json::from_str::<serde_json::Value>(&payload).is_ok();
            let not_json = rejected.iter().any(|one| one.reason == Reason::NotJson);
            assert_eq!(not_json, !is_json, "{payload}");
        }
    }
}

#[test]
fn half_a_surrogate_pair_is_no_text() {
    for (payload, reason) in [
        (GOOD.replace("\"T\"", r#""\ud800""#), Some("Token")),
        (GOOD.replace("\"x\"", r#""a\udc00b""#), Some("TxHash")),
        (GOOD.replace("{\"Token", r#"{"\ud800":"\udfff","Token"#), None),
        (GOOD.replace("\"T\"", r#""a\u0000b""#), None),
    ] {
        let (_, rejected) = assert_same(&[payload.as_bytes()]);
        let found = rejected.first().map(Rejected::detail);
        assert_eq!(found, reason, "{payload}");
        assert!(rejected.iter().all(|one| one.reason == Reason::WrongType));
    }
}

#[test]
fn texts_are_bounded_in_bytes() {
    for (field, name, max_len) in
        [("\"T\"", "Token", 128), ("\"w\"", "Wallet", 128), ("\"x\"", "TxHash", 256)]
    {
        for letter in ["a", "é"] {
            let fits = letter.repeat(max_len / letter.len());
            let (rows, _) = assert_same(&[GOOD.replace(field, &format!("\"{fits}\"")).as_bytes()]);
            assert_eq!(rows.len(), 1);
            let longer = format!("\"{fits}a\"");
            let (_, rejected) = assert_same(&[GOOD.replace(field, &longer).as_bytes()]);
            assert_eq!((rejected[0].reason, rejected[0].detail()), (Reason::OutOfRange, name));
        }
    }
}

/// A number of usual form, seldom one on or beyond an edge.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "\"[0-9]{1,9}\\.[0-9]{1,9}\"",
        4 => "\"[0-9]{1,12}\"",
        4 => "\"0\\.0{0,8}[0-9]{1,20}\"",
        2 => "-?[0-9]{1,6}(\\.[0-9]{1,4})?([eE][-+]?[0-9]{1,2})?",
        1 => "\"[-+]?[0-9]{0,3}\\.?[0-9]{0,3}([eE][-+]?[0-9]{1,3})?\"",
        1 => select(vec!["\"9200000000\"", "\"-0\"", "-0.0", "\"1e400\"", "\"NaN\"", "\".\"", "\"1,5\"", "01", "1.", "\"\\u0031\""])
            .prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "\"[1-9A-HJ-NP-Za-km-z]{44}\"",
        4 => "\"[A-D]\"",
        1 => "\"[ -!#-\\[\\]-~é中🚀]{0,140}\"",
        1 => "\"a\\\\[nu\"]00e9\"",
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "\"2026-03-01T1[12]:[0-5][0-9]:[0-5][0-9]Z\"",
        2 => "\"2026-03-01T1[0-3]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,10})?(z|Z|[+-]0[0-9]:[0-5]0)\"",
        1 => "\"20[0-9]{2}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z?\"",
    ]
}

fn odd_value() -> impl Strategy<Value = String> {
    let values = r#"null true "" 7 {} [] {"Token":"T"} [1,[null]] nul "\ud800" - 1e5"#;
    let values: Vec<&str> = values.split(' ').collect();
    select(values).prop_map(str::to_owned)
}

fn key(wire: &'static str, snake: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        40 => Just(wire.to_owned()),
        1 => Just(snake.to_owned()),
        1 => Just(wire.to_uppercase()),
        1 => Just(format!("\\u00{:02x}{}", wire.as_bytes()[0], &wire[1..])),
    ]
}

fn field(
    wire: &'static str,
    snake: &'static str,
    value: BoxedStrategy<String>,
) -> BoxedStrategy<(String, String)> {
    let value = prop_oneof![60 => value, 1 => odd_value()];
    (key(wire, snake), value).boxed()
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let side = prop_oneof![8 => select(vec!["\"buy\"", "\"sell\""]), 1 => select(vec!["\"Buy\"", "\"sel\"", "\"buys\""])];
    let known = vec![
        field("Token", "token", text().boxed()),
        field("Wallet", "wallet", text().boxed()),
        field("SellBuy", "sell_buy", side.prop_map(str::to_owned).boxed()),
        field("NativeAmount", "native_amount", number().boxed()),
        field("TokenAmount", "token_amount", number().boxed()),
        field("PriceUsd", "price_usd", number().boxed()),
        field("TransTime", "trans_time", time().boxed()),
        field("TxHash", "tx_hash", text().boxed()),
    ];
    let extra = vec![
        field("Slot", "Token2", prop_oneof![text(), number(), odd_value()].boxed()),
        field("Wallet", "wallet", text().boxed()),
        field("PriceUsd", "price_usd", number().boxed()),
    ];
    let extra = vec(proptest::strategy::Union::new(extra), 0..2);
    (known, prop_oneof![6 => Just(Vec::new()).boxed(), 1 => extra.boxed()], any::<bool>()).prop_flat_map(
        |(mut fields, extra, in_order)| {
            fields.extend(extra);
            if in_order { Just(fields).boxed() } else { Just(fields).prop_shuffle().boxed() }
        },
    )
}

/// A message of objects, usually well-formed, with white space of one style.
fn message() -> impl Strategy<Value = String> {
    let space = select(vec!["", "", " ", " ", "\n\t ", "\r\n"]);
    let odd_element = odd_value().prop_map(|value| vec![(String::new(), value)]);
    let object = prop_oneof![40 => fields().boxed(), 1 => odd_element.boxed()];
    (vec(object, 1..5), space, any::<bool>(), any::<bool>()).prop_map(|(objects, space, around, array)| {
        let before = if around { space } else { "" };
        let objects: Vec<String> = objects.iter().map(|fields| object_text(fields, before, space)).collect();
        if array {
            format!("{before}[{before}{}{before}]{before}", objects.join(&format!("{before},{space}")))
        } else {
            format!("{before}{}{before}", objects[0])
        }
    })
}

fn object_text(fields: &[(String, String)], before: &str, space: &str) -> String {
    let member = |(key, value): &(String, String)| {
        if key.is_empty() { value.clone() } else { format!("\"{key}\"{before}:{space}{value}") }
    };
    let members: Vec<String> = fields.iter().map(member).collect();
    let members = members.join(&format!("{before},{space}"));
    if fields[0].0.is_empty() { members } else { format!("{{{before}{members}{before}}}") }
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Remove(Index, Index),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![any::<u8>(), select(b"\"\\{}[],:0.-eZ \x00\x1f\x80\xff".to_vec())];
    prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), byte).prop_map(|(at, byte)| Damage::Set(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, len)| Damage::Remove(from, len)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, len)| Damage::Repeat(from, len)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        let range = |from: &Index, size: &Index| {
            let from = from.index(len);
            from..(from + 1 + size.index(40)).min(len)
        };
        match damage {
            Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Set(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Cut(at) => bytes.truncate(at.index(len)),
            Damage::Remove(from, size) => drop(bytes.drain(range(from, size))),
            Damage::Repeat(from, size) => {
                let range = range(from, size);
                let slice = bytes[range.clone()].to_vec();
                drop(bytes.splice(range.start..range.start, slice));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_scanner_reads_what_the_fallback_reads(messages in vec(message(), 1..4)) {
        let payloads: Vec<&[u8]> = messages.iter().map(String::as_bytes).collect();
        assert_same(&payloads);
    }

    #[test]
    fn the_scanner_reads_damaged_messages_as_the_fallback_does(
        message in message(),
        damages in vec(damage(), 1..4),
    ) {
        let damaged = damaged(message.into_bytes(), &damages);
        assert_same(&[GOOD.as_bytes(), &damaged, GOOD.as_bytes()]);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a0\\\\ ]{0,60}") {
        assert_same(&[&bytes, text.as_bytes()]);
        let found = element(&bytes, 0);
        prop_assert!(found.is_none_or(|found| found.len() <= bytes.len()));
    }
}

#[test]
fn a_cut_anywhere_is_read_alike() {
    let message = format!("[{GOOD}, {}]", GOOD.replace("\":", "\" : "));
    for len in 0..message.len() {
        let (rows, rejected) = assert_same(&[GOOD.as_bytes(), &message.as_bytes()[..len]]);
        assert_eq!((rows.len(), rejected.len()), (1, 1), "{len}");
    }
}
