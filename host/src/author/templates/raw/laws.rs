//! The contract's laws; no WebAssembly is needed.

use aggregator_sdk::testing;
use {{crate}}::{{type}};

#[test]
fn the_laws_hold() {
    for seed in 0..20 {
        testing::laws::<{{type}}>("{}", seed);
    }
}
