//! The contract's laws, and windows against an oracle that keeps all trades; no WebAssembly is needed.

use aggregator_sdk::{PanePlugin, testing};
use {{crate}}::{{type}};

#[test]
fn the_laws_hold_and_windows_are_right() {
    for seed in 0..20 {
        testing::laws::<PanePlugin<{{type}}>>("{}", seed);
        testing::windows_equal_oracle::<{{type}}>("{}", seed);
    }
}
