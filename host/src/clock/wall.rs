//! Wall time that follows the system clock at a bounded speed.
//!
//! Each reading lies between the last one and the last one plus [`SPEED`] times the monotonic time
//! that has passed, and is the system clock where that lies between the two. So a step forward is
//! worked off at 60 s per second, and after a step back the time stands still until it is right again.
//!
//! Invariant: the published time is written under the lock only, and only upwards.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use super::{Os, Sleep, Source};

/// How many seconds pass in a second while a step forward is worked off.
const SPEED: u64 = 60;

/// For how long an unobserved clock may have run at [`SPEED`]. More would let a step that happens
/// just before the first reading after a long pause through as a jump.
const UNOBSERVED_MS: u64 = 1_000;

/// Steps of the system clock beyond this are reported.
const REPORTED_MS: i64 = 1_000;

/// Two readings that belong together are taken within this time; a thread that was paused between
/// them for longer learns nothing about the system clock.
const PAIRED_MS: u64 = 100;

/// Wall time that never goes back; shared by reference between threads.
pub struct WallClock {
    source: Box<dyn Source>,
    /// The published time in unix milliseconds.
    now_ms: AtomicI64,
    /// The monotonic millisecond that it was published in.
    published_at: AtomicU64,
    /// The number of steps reported.
    steps: AtomicU64,
    follower: Mutex<Follower>,
}

/// What the time is moved by, once in a millisecond.
struct Follower {
    now_ms: i64,
    monotonic_ms: u64,
    /// The difference between system clock and monotonic clock when both were last read.
    offset_ms: i64,
}

impl WallClock {
    /// A clock that runs on the clocks of the operating system.
    #[must_use]
    pub fn start() -> Self {
        Self::new(Box::new(Os { start: Instant::now() }))
    }

    /// A clock that runs on any two clocks, anchored at the system clock as it is now.
    #[must_use]
    pub fn new(source: Box<dyn Source>) -> Self {
        let monotonic_ms = milliseconds(source.monotonic());
        let now_ms = source.system_ms();
        let offset_ms = offset(now_ms, monotonic_ms);
        Self {
            source,
            now_ms: AtomicI64::new(now_ms),
            published_at: AtomicU64::new(monotonic_ms),
            steps: AtomicU64::new(0),
            follower: Mutex::new(Follower { now_ms, monotonic_ms, offset_ms }),
        }
    }

    /// Gives the time in unix milliseconds. It never waits and never goes back.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let monotonic_ms = self.monotonic_ms();
        if monotonic_ms > self.published_at.load(Ordering::Acquire) {
            self.follow();
        }
        self.now_ms.load(Ordering::Acquire)
    }

    /// Gives the milliseconds that have passed since the clock was started; steps do not touch them.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        milliseconds(self.monotonic())
    }

    /// Gives the time that has passed since the clock was started, for intervals below a millisecond.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.source.monotonic()
    }

    /// Resolves when that much time has passed; steps of the system clock do not touch it.
    #[must_use]
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.source.sleep(time)
    }

    /// Gives the number of steps of the system clock of more than a second that were reported.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Moves the published time. Where another thread is doing that, its result will do.
    fn follow(&self) {
        let mut follower = match self.follower.try_lock() {
            Ok(follower) => follower,
            // A panic between two fields cannot happen: nothing in between panics.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let before = self.monotonic_ms();
        let system_ms = self.source.system_ms();
        let monotonic_ms = self.monotonic_ms();
        let paired = monotonic_ms - before.min(monotonic_ms) <= PAIRED_MS;
        let step_ms = follower.follow(system_ms, monotonic_ms, paired);
        self.now_ms.store(follower.now_ms, Ordering::Release);
        self.published_at.store(follower.monotonic_ms, Ordering::Release);
        drop(follower);
        if let Some(step_ms) = step_ms {
            self.steps.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(step_ms, "the system clock stepped; windows follow gradually");
        }
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        f.debug_struct("WallClock").field("now_ms", &now_ms).finish_non_exhaustive()
    }
}

impl Follower {
    /// Takes a reading of both clocks; gives the step that the system clock made since the last one.
    fn follow(&mut self, system_ms: i64, monotonic_ms: u64, paired: bool) -> Option<i64> {
        let passed_ms = monotonic_ms.saturating_sub(self.monotonic_ms);
        let faster_ms = (SPEED - 1) * passed_ms.min(UNOBSERVED_MS);
        let most_ms = i64::try_from(passed_ms.saturating_add(faster_ms)).unwrap_or(i64::MAX);
        let latest_ms = self.now_ms.saturating_add(most_ms);
        self.now_ms = system_ms.clamp(self.now_ms, latest_ms);
        self.monotonic_ms = self.monotonic_ms.max(monotonic_ms);
        if !paired {
            return None;
        }
        let offset_ms = offset(system_ms, monotonic_ms);
        let step_ms = offset_ms.saturating_sub(self.offset_ms);
        self.offset_ms = offset_ms;
        (step_ms.saturating_abs() > REPORTED_MS).then_some(step_ms)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn offset(system_ms: i64, monotonic_ms: u64) -> i64 {
    system_ms.saturating_sub(i64::try_from(monotonic_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// Two clocks that stand where a test puts them.
    #[derive(Default)]
    struct Set {
        system_ms: AtomicI64,
        monotonic_ms: AtomicU64,
    }

    impl Source for Arc<Set> {
        fn system_ms(&self) -> i64 {
            self.system_ms.load(Ordering::SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
        }

        fn sleep(&self, time: Duration) -> Sleep {
            Box::pin(tokio::time::sleep(time))
        }
    }

    impl Set {
        fn pass(&self, ms: u64) {
            self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
            self.step(ms.cast_signed());
        }

        fn step(&self, ms: i64) {
            self.system_ms.fetch_add(ms, Ordering::SeqCst);
        }
    }

    fn clock_at(system_ms: i64) -> (WallClock, Arc<Set>) {
        let set = Arc::new(Set::default());
        set.step(system_ms);
        (WallClock::new(Box::new(Arc::clone(&set))), set)
    }

    #[test]
    fn without_steps_it_is_the_system_clock() {
        let (clock, set) = clock_at(1_000);
        assert_eq!(clock.now_ms(), 1_000);
        set.pass(250);
        assert_eq!((clock.now_ms(), clock.monotonic_ms()), (1_250, 250));
        set.pass(3_600_000);
        assert_eq!(clock.now_ms(), 3_601_250);
        assert_eq!(clock.steps(), 0);
    }

    #[test]
    fn a_step_forward_is_worked_off_at_sixty_seconds_per_second() {
        let (clock, set) = clock_at(0);
        set.step(600_000);
        let mut readings = Vec::new();
        for _ in 0..12 {
            set.pass(1_000);
            readings.push(clock.now_ms());
        }
        let worked_off: Vec<i64> = (1..=10).map(|second| second * 60_000).collect();
        assert_eq!(readings[..10], worked_off);
        assert_eq!(readings[10..], [611_000, 612_000]);
        assert_eq!(clock.steps(), 1);
    }

    #[test]
    fn a_step_back_is_worked_off_by_standing_still() {
        let (clock, set) = clock_at(100_000);
        set.step(-5_000);
        for _ in 0..5 {
            set.pass(1_000);
            assert_eq!(clock.now_ms(), 100_000);
        }
        set.pass(1_000);
        assert_eq!(clock.now_ms(), 101_000);
        assert_eq!(clock.steps(), 1);
    }

    #[test]
    fn a_step_after_a_long_pause_is_no_jump() {
        let (clock, set) = clock_at(0);
        set.pass(3_600_000);
        set.step(7_200_000);
        assert_eq!(clock.now_ms(), 3_600_000 + 59_000);
    }

    #[test]
    fn each_step_beyond_a_second_is_reported_once_and_drift_is_not() {
        let (clock, set) = clock_at(0);
        for step_ms in [900, 1_500, -2_000, 10, 10] {
            set.step(step_ms);
            for _ in 0..3 {
                set.pass(10);
                let _now_ms = clock.now_ms();
            }
        }
        assert_eq!(clock.steps(), 2);
    }

    #[test]
    fn the_clocks_of_the_operating_system_agree() {
        let clock = WallClock::start();
        let difference_ms = super::super::system_ms() - clock.now_ms();
        assert!((0..10_000).contains(&difference_ms), "{difference_ms}");
    }

    #[test]
    fn threads_never_see_it_go_back() {
        let (clock, set) = clock_at(0);
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    start.wait();
                    let mut last_ms = clock.now_ms();
                    while clock.monotonic_ms() < 20_000 {
                        let now_ms = clock.now_ms();
                        assert!(now_ms >= last_ms, "{now_ms} after {last_ms}");
                        last_ms = now_ms;
                    }
                });
            }
            start.wait();
            for at in 0..20_000 {
                if at % 100 == 0 {
                    std::thread::yield_now();
                }
                set.pass(1);
                set.step(if at % 1_000 == 0 { 5_000 } else { -7 });
            }
        });
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_never_runs_faster_than_sixty_times(
            moves in prop::collection::vec((0_u64..2_000, -100_000_i64..100_000), 1..50)
        ) {
            let (clock, set) = clock_at(0);
            let mut last_ms = 0;
            for (pass_ms, step_ms) in moves {
                set.step(step_ms);
                set.pass(pass_ms);
                let now_ms = clock.now_ms();
                prop_assert!(now_ms >= last_ms);
                prop_assert!(now_ms - last_ms <= 60 * pass_ms.cast_signed());
                last_ms = now_ms;
            }
            // Left alone it becomes the system clock again.
            for _ in 0..10_000 {
                set.pass(1_000);
                let now_ms = clock.now_ms();
                if now_ms == clock.source.system_ms() {
                    return Ok(());
                }
            }
            prop_assert!(false, "it never caught up");
        }
    }
}
