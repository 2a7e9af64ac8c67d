//! Sorts the trades of a batch by target and packs those of each.
//!
//! Invariant: a token has one target, and its trades keep their arrival order there.

use super::packed::Packed;
use super::rows::{Optional, Rows};

/// What must be decoded so that all fields travel.
pub const EVERYTHING: Optional = Optional { wallet: true, wallet_hash: false, tx_hash: true };

/// A pack that weighs so much is closed and another one begun, so that no record outgrows what brokers take.
const FULL_BYTES: usize = 512 << 10;

/// Where a token stands in the pack that is open for its target.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// Which pack it was introduced to, 1 for the first one; 0: to none.
    pack: u32,
    index: u32,
}

/// The pack that is being filled for a target.
#[derive(Debug, Default)]
struct Open {
    /// Which one of the batch it is, 1 for the first one.
    number: u32,
    trades: Packed,
}

/// Sorts batches for a number of targets; keeps memory from one to the next.
#[derive(Debug)]
pub struct Sorter {
    open: Vec<Open>,
    standing: Vec<Standing>,
}

impl Sorter {
    /// One for so many targets.
    #[must_use]
    pub fn new(targets: u32) -> Self {
        let mut open = Vec::new();
        open.resize_with(targets as usize, Open::default);
        Self { open, standing: Vec::new() }
    }

    /// Packs the rows of a batch; the target of a token is its xxh3-64 modulo their number. Gives each pack with its
    /// target, and says whether none follows for that. Packs of one target follow each other in the order of their
    /// trades. `offset` gives the offset of a message by its index.
    pub fn pack(
        &mut self,
        rows: &Rows,
        offset: impl Fn(u32) -> i64,
        mut give: impl FnMut(u32, &mut Packed, bool),
    ) {
        let targets = self.open.len() as u64;
        self.standing.clear();
        self.standing.resize(rows.tokens.len(), Standing { pack: 0, index: 0 });
        self.open.iter_mut().for_each(|open| open.number = 1);
        for row in 0..rows.len() {
            let token = rows.token[row];
            let target = (rows.tokens.hash(token) % targets) as u32;
            let Open { number, trades } = &mut self.open[target as usize];
            if trades.weight() >= FULL_BYTES {
                give(target, trades, false);
                trades.clear();
                *number += 1;
            }
            let known = &mut self.standing[token as usize];
            if known.pack != *number {
                *known = Standing { pack: *number, index: trades.introduce(rows.tokens.text(token)) };
            }
            trades.push(rows, row, known.index, offset(rows.places[row].record));
        }
        for (Open { trades, .. }, target) in self.open.iter_mut().zip(0..) {
            if !trades.is_empty() {
                give(target, trades, true);
                trades.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::super::packed::PackedError;
    use super::super::rows::{Place, Trade};
    use super::super::{Decoder, Limits};
    use super::*;

    /// The trades of a batch for one target.
    struct Pack {
        target: u32,
        trades: Packed,
        last: bool,
    }

    fn pack(rows: &Rows, targets: u32, offset: impl Fn(u32) -> i64) -> Vec<Pack> {
        let mut packs = Vec::new();
        Sorter::new(targets).pack(rows, offset, |target, trades, last| {
            packs.push(Pack { target, trades: trades.clone(), last });
        });
        packs
    }

    /// A trade as text and numbers, which live as long as the test.
    type Drawn = (String, String, bool, i64, f64, f64, i64, String);

    fn drawn() -> impl Strategy<Value = Drawn> {
        (
            "[a-e]{1,3}|[\\PC]{1,30}",
            "[\\PC]{1,30}",
            any::<bool>(),
            0..9_200_000_000_000_000_000_i64,
            0.0..1e17_f64,
            0.0..1e-3_f64,
            -62_167_219_200_000..253_402_300_799_999_i64,
            "[\\PC]{1,60}",
        )
    }

    fn rows_of(drawn: &[Drawn], optional: Optional) -> Rows {
        let mut rows = Rows::new();
        let mark = rows.mark();
        for (index, (token, wallet, buy, native, amount, price, time_ms, tx_hash)) in drawn.iter().enumerate()
        {
            let trade = Trade {
                token: token.as_bytes(),
                wallet: wallet.as_bytes(),
                side: u8::from(*buy),
                native: *native,
                amount: *amount,
                price: *price,
                time_ms: *time_ms,
                tx_hash: tx_hash.as_bytes(),
            };
            let place = Place { record: index as u32 / 3, element: index as u32 % 3 };
            assert!(rows.push(&trade, place, optional));
        }
        rows.commit(mark);
        rows
    }

    fn encoded(packed: &Packed) -> Vec<u8> {
        rmp_serde::to_vec(packed).unwrap()
    }

    /// All rows of a target, with where each came from.
    fn unpacked(packs: &[Pack], target: u32, optional: Optional) -> (Rows, Vec<(i64, u32)>) {
        let (mut rows, mut origins) = (Rows::new(), Vec::new());
        for (record, pack) in packs.iter().filter(|pack| pack.target == target).enumerate() {
            let trades: Packed = rmp_serde::from_slice(&encoded(&pack.trades)).unwrap();
            trades.unpack(record as u32, optional, &mut rows).unwrap();
            origins.extend((0..trades.len()).map(|row| trades.origin(row).unwrap()));
        }
        (rows, origins)
    }

    proptest! {
        #[test]
        fn every_trade_comes_out_at_its_tokens_target_as_it_went_in(
            drawn in proptest::collection::vec(drawn(), 0..60),
            targets in 1..7_u32,
        ) {
            let all = Optional { wallet_hash: true, ..EVERYTHING };
            let packs = pack(&rows_of(&drawn, EVERYTHING), targets, |record| 1_000 + i64::from(record));
            for target in 0..targets {
                let of_target = |(token, ..): &Drawn| xxh3_64(token.as_bytes()) % u64::from(targets) == u64::from(target);
                let wanted: Vec<Drawn> = drawn.iter().filter(|one| of_target(one)).cloned().collect();
                let (rows, origins) = unpacked(&packs, target, all);
                let expected = rows_of(&wanted, all);
                prop_assert_eq!(&rows.token, &expected.token);
                prop_assert_eq!(&rows.tokens, &expected.tokens);
                prop_assert_eq!(&rows.times_ms, &expected.times_ms);
                prop_assert_eq!(&rows.sides, &expected.sides);
                prop_assert_eq!(&rows.natives, &expected.natives);
                prop_assert_eq!(&rows.amounts, &expected.amounts);
                prop_assert_eq!(&rows.prices, &expected.prices);
                prop_assert_eq!(&rows.wallets, &expected.wallets);
                prop_assert_eq!(&rows.wallet_hashes, &expected.wallet_hashes);
                prop_assert_eq!(&rows.tx_hashes, &expected.tx_hashes);
                let from = drawn.iter().enumerate().filter(|(_, one)| of_target(one));
                let from: Vec<(i64, u32)> =
                    from.map(|(index, _)| (1_000 + index as i64 / 3, index as u32 % 3)).collect();
                prop_assert_eq!(origins, from);
            }
        }

        #[test]
        fn arbitrary_bytes_are_an_error_or_trades_and_never_a_panic(bytes: Vec<u8>) {
            if let Ok(packed) = rmp_serde::from_slice::<Packed>(&bytes) {
                let mut rows = Rows::new();
                let unpacked = packed.unpack(0, EVERYTHING, &mut rows);
                prop_assert_eq!(rows.len(), if unpacked.is_ok() { packed.len() } else { 0 });
                prop_assert_eq!(packed.json(packed.len()), None);
            }
        }

        #[test]
        fn damaged_columns_are_an_error_or_trades_and_leave_no_half(
            drawn in proptest::collection::vec(drawn(), 1..8),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = encoded(&pack(&rows_of(&drawn, EVERYTHING), 1, |_| 0)[0].trades);
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Ok(packed) = rmp_serde::from_slice::<Packed>(&bytes) {
                let mut rows = Rows::new();
                let unpacked = packed.unpack(0, EVERYTHING, &mut rows);
                prop_assert_eq!(rows.len(), if unpacked.is_ok() { packed.len() } else { 0 });
            }
        }
    }

    #[test]
    fn what_decoding_would_have_rejected_is_refused() {
        let good = ("t".to_owned(), "w".to_owned(), true, 1, 1.0, 1.0, 0, "x".to_owned());
        let unpack = |change: &dyn Fn(&mut Drawn)| {
            let mut one = good.clone();
            change(&mut one);
            let packs = pack(&rows_of(&[one], EVERYTHING), 1, |_| 0);
            packs[0].trades.unpack(0, EVERYTHING, &mut Rows::new())
        };
        assert_eq!(unpack(&|_| {}), Ok(()));
        for change in [
            &(|one: &mut Drawn| one.3 = -1) as &dyn Fn(&mut Drawn),
            &|one| one.4 = f64::NAN,
            &|one| one.4 = -1.0,
            &|one| one.5 = f64::INFINITY,
            &|one| (one.4, one.5) = (1e10, 1e6),
            &|one| one.6 = i64::MAX,
        ] {
            assert_eq!(unpack(change), Err(PackedError::OutOfRange));
        }
        assert_eq!(unpack(&|one| one.0 = "x".repeat(129)), Err(PackedError::Columns));
        assert_eq!(unpack(&|one| one.1 = String::new()), Err(PackedError::Columns));
    }

    #[test]
    fn the_outermost_trades_that_decoding_lets_pass_are_unpacked() {
        let trade = |amount: &str, price: &str, time: &str| {
            format!(
                r#"{{"Token":"t","Wallet":"w","SellBuy":"buy","NativeAmount":"9199999999.999999999","TokenAmount":"{amount}","PriceUsd":"{price}","TransTime":"{time}","TxHash":"x"}}"#
            )
        };
        let (most_amount, most_price) = ("999999999999999999.99999999999", "999999999999999.99999999999");
        let payload = [
            trade(most_amount, "0", "0000-01-01T00:00:00+23:59"),
            trade("0", most_price, "9999-12-31T23:59:59.999-23:59"),
            trade("-0", "-0", "1970-01-01T00:00:00Z"),
        ];
        let payload = format!("[{}]", payload.join(","));
        let limits = Limits { max_future_ms: i64::MAX, max_message_bytes: 1 << 20 };
        let (mut rows, mut rejected) = (Rows::new(), Vec::new());
        let mut decoder = Decoder::new(limits, EVERYTHING);
        decoder.decode(payload.as_bytes(), 0, Some(0), 0, &mut rows, &mut rejected);
        assert!(rows.len() >= 2, "{rejected:?}");
        let packs = pack(&rows, 1, |_| 0);
        assert_eq!(packs[0].trades.unpack(0, EVERYTHING, &mut Rows::new()), Ok(()));
    }

    #[test]
    fn a_pack_that_is_full_is_followed_by_another_of_its_target() {
        let one = ("t".to_owned(), "w".repeat(100), true, 1, 1.0, 1.0, 0, "x".repeat(200));
        let packs = pack(&rows_of(&vec![one; 4_000], EVERYTHING), 1, |_| 0);
        assert!(packs.len() > 1);
        assert!(packs.iter().all(|pack| encoded(&pack.trades).len() < 1_000_000));
        assert_eq!(packs.iter().map(|pack| pack.trades.len()).sum::<usize>(), 4_000);
        assert_eq!(packs.iter().filter(|pack| pack.last).count(), 1);
        assert_eq!(unpacked(&packs, 0, EVERYTHING).0.len(), 4_000);
    }

    #[test]
    fn a_trade_is_written_as_the_object_that_it_was() {
        let one =
            ("t\"".to_owned(), "w".to_owned(), false, 1_500_000_000, 48_000.0, 0.0000321, 0, "x".to_owned());
        let packs = pack(&rows_of(&[one], EVERYTHING), 1, |_| 7);
        assert_eq!(
            packs[0].trades.json(0).unwrap(),
            r#"{"Token":"t\"","Wallet":"w","SellBuy":"sell","NativeAmount":"1.500000000","TokenAmount":"48000","PriceUsd":"0.0000321","TransTime":"1970-01-01T00:00:00.000Z","TxHash":"x"}"#
        );
        assert_eq!(packs[0].trades.origin(0), Some((7, 0)));
    }
}
