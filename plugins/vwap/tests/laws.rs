//! The smallest plugin against the contract's laws and the naive oracle.
//!
//! Not for the windows of the SDK, which has its own tests. The invariant: seeds are fixed.

use aggregator_sdk::{PanePlugin, testing};
use vwap::Vwap;

#[test]
fn the_laws_hold_and_windows_equal_the_oracle() {
    for seed in 0..20 {
        testing::laws::<PanePlugin<Vwap>>("{}", seed);
        testing::windows_equal_oracle::<Vwap>("{}", seed);
    }
}
