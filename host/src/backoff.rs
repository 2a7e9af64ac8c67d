//! How long is waited between two tries.
//!
//! Not for waiting itself: whoever tries knows how. Invariant: each wait is twice as long as the one before, up to the
//! longest.

use std::time::Duration;

/// The waits between tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// For a server that may be back at any moment, and is asked by few.
    pub(crate) const SERVER: Self = Self::new(Duration::from_millis(100), Duration::from_secs(2));

    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::SERVER;
        let waits: Vec<u128> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
    }
}
