//! The contract's laws, natively. The invariant: seeds are fixed.

use aggregator_sdk::testing;
use traders::Traders;

#[test]
fn the_laws_hold_for_any_windows() {
    for configuration in
        ["{}", r#"{"windows":["2s","1min"]}"#, r#"{"windows":["1s","90s"],"resolution":"500ms"}"#]
    {
        for seed in 0..30 {
            testing::laws::<Traders>(configuration, seed);
        }
    }
}
