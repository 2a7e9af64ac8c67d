//! The packed form of a candle: it comes back, and hostile bytes harm nothing.
//!
//! Not for slots, which are the SDK's. The invariant: no bytes make unpacking panic.

use aggregator_sdk::{Pack, Pane, Side, Trade};
use proptest::prelude::*;
use sliding_window::Candle;

fn trade() -> impl Strategy<Value = Trade<'static>> {
    let numbers = (0..9_200_000_000_000_000_000i64, 0f64..1e18, 0f64..1e15);
    (numbers, 0u32..60_000, any::<bool>()).prop_map(|((native, amount, price), offset_ms, buy)| Trade {
        time_ms: 0,
        offset_ms,
        side: if buy { Side::Buy } else { Side::Sell },
        native,
        amount,
        price: (price / (1.0 + amount)).floor(),
        wallet: "",
        wallet_hash: 0,
        tx_hash: "",
    })
}

proptest! {
    #[test]
    fn a_packed_candle_comes_back(trades in prop::collection::vec(trade(), 1..20), tail: [u8; 20]) {
        let mut candle = Candle::default();
        trades.iter().for_each(|trade| candle.add(trade));
        for behind in 0..20 {
            let mut bytes = Vec::new();
            candle.pack(&mut bytes);
            bytes.extend_from_slice(&tail[..behind]);
            let mut rest = &bytes[..];
            prop_assert_eq!(Candle::unpack(&mut rest), Some(candle.clone()));
            prop_assert_eq!(rest, &tail[..behind]);
        }
    }

    #[test]
    fn any_bytes_give_a_candle_or_none(bytes: Vec<u8>) {
        let mut rest = &bytes[..];
        if let Some(candle) = Candle::unpack(&mut rest) {
            let mut sum = candle.clone();
            sum.merge(&candle);
        }
    }
}
