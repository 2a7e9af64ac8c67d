//! Who serves where any host could read everything (`PARTITIONING=shuffle`): one record in the store
//! with a beat that its holder renews.
//!
//! A host that finds another holder stands by, and takes over when it has seen the same beat for a whole
//! session with every look answered. Not for fencing: that is each shard's owner record, which makes a
//! takeover safe whatever the former holder does. Invariant: nothing here compares clocks of two
//! machines; a beat is only ever compared with the last one seen.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::health::{Health, Part};
use crate::store::{Lease, Store, StoreError};

/// How often a standby looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes the lease and holds it.
pub(crate) struct LeaseKeeper {
    /// Where the record is.
    pub(crate) store: Arc<Store>,
    /// Where it is said who serves.
    pub(crate) health: Arc<Health>,
    /// The random number of this process.
    pub(crate) id: u128,
    /// A holder whose beat has not moved for so long is gone.
    pub(crate) session: Duration,
    /// A name that this host keeps across restarts, where it has one.
    pub(crate) instance: Option<String>,
}

/// How the lease ended.
#[derive(Debug)]
pub(crate) struct Lost;

impl LeaseKeeper {
    /// Waits until the lease is ours.
    pub(crate) async fn acquire(&self) -> Lease {
        let mut seen: Option<(Lease, Instant)> = None;
        let mut looked_before = false;
        loop {
            match self.look(&mut seen, looked_before).await {
                Ok(Some(lease)) => return lease,
                Ok(None) => looked_before = true,
                Err(error) => {
                    // An unanswered look starts the count again: the store away is no takeover.
                    seen = None;
                    self.health.fail(Part::Redis, "", &error.to_string());
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks at the record once; takes the lease where its holder is gone.
    async fn look(
        &self,
        seen: &mut Option<(Lease, Instant)>,
        looked_before: bool,
    ) -> Result<Option<Lease>, StoreError> {
        let found = self.store.lease().await?;
        self.health.ok(Part::Redis, "");
        let same_for = match (&found, &*seen) {
            (Some(found), Some((lease, since))) if found == lease => Some(since.elapsed()),
            (None, None) if !looked_before => Some(self.session),
            (None, Some((lease, since))) if lease.id == 0 => Some(since.elapsed()),
            _ => None,
        };
        let gone = |lease: &Lease| lease.id == 0 || lease.id == self.id || self.is_over(&lease.holder);
        let free = found.as_ref().is_some_and(gone);
        if free || same_for.is_some_and(|time| time >= self.session) {
            return self.take(found.as_ref()).await;
        }
        if same_for.is_none() {
            // A record that vanished is counted like a beat that stands still.
            let lease = found.clone().unwrap_or(Lease { id: 0, epoch: 0, beat: 0, holder: String::new() });
            *seen = Some((lease, Instant::now()));
        }
        let holder = found.map_or_else(|| "nobody".to_owned(), |lease| lease.holder);
        self.health.fail(Part::Kafka, "", &format!("standing by: {holder} serves"));
        Ok(None)
    }

    async fn take(&self, found: Option<&Lease>) -> Result<Option<Lease>, StoreError> {
        let epoch = found.map_or(0, |lease| lease.epoch) + 1;
        let lease = Lease { id: self.id, epoch, beat: 0, holder: self.holder() };
        Ok(self.store.take_lease(found, &lease).await?.then_some(lease))
    }

    /// Renews the lease until another host has it. The store away is no reason to stop.
    pub(crate) async fn hold(&self, lease: &mut Lease) -> Lost {
        let mut tick = tokio::time::interval(self.session / 3);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let next = Lease { beat: lease.beat + 1, ..lease.clone() };
            match self.store.take_lease(Some(lease), &next).await {
                Ok(true) => *lease = next,
                Ok(false) => match self.regain(lease).await {
                    Ok(true) => {}
                    Ok(false) => return Lost,
                    Err(error) => tracing::warn!(%error, "Lease not renewed"),
                },
                Err(error) => tracing::warn!(%error, "Lease not renewed"),
            }
        }
    }

    /// Finds out why the record is another one: an answer of ours that was lost, a store that has
    /// forgotten, or another holder.
    async fn regain(&self, lease: &mut Lease) -> Result<bool, StoreError> {
        let found = self.store.lease().await?;
        match found {
            Some(found) if found.id == self.id => {
                *lease = found;
                Ok(true)
            }
            Some(found) if found.epoch > lease.epoch => {
                tracing::warn!(holder = %found.holder, epoch = found.epoch, "Lease lost");
                Ok(false)
            }
            // Forgotten, or of an older epoch: who serves and has its state is the holder.
            found => {
                let next = Lease { epoch: lease.epoch + 1, beat: 0, ..lease.clone() };
                let taken = self.store.take_lease(found.as_ref(), &next).await?;
                if taken {
                    *lease = next;
                }
                Ok(true)
            }
        }
    }

    /// Gives the lease back, so that the next host need not wait.
    pub(crate) async fn release(&self, lease: &Lease) {
        match self.store.release_lease(lease).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("Lease not given back: another host has it"),
            Err(error) => tracing::warn!(%error, "Lease not given back; the next host waits for a session"),
        }
    }

    /// This process, for people and for its successor.
    fn holder(&self) -> String {
        let process = Process::own();
        match &self.instance {
            Some(name) => format!("{name} {process}"),
            None => process.to_string(),
        }
    }

    /// Whether a holder cannot beat any more: it had our name, or was a process here that has ended.
    fn is_over(&self, holder: &str) -> bool {
        let (name, process) = holder.rsplit_once(' ').map_or((None, holder), |(n, p)| (Some(n), p));
        let same_name = name.is_some() && name == self.instance.as_deref();
        same_name || Process::parse(process).is_some_and(|process| process.has_ended())
    }
}

/// A process as it can be told from all others: machine, process namespace, number and start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    /// The boot of the machine and the namespace in which the number means something.
    place: String,
    number: u32,
    /// When it started, in the kernel's ticks.
    started: u64,
}

impl Process {
    fn own() -> Self {
        let number = std::process::id();
        Self { place: place(), number, started: started(number).unwrap_or(0) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (place, number, started) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { place: place.to_owned(), number: number.parse().ok()?, started: started.parse().ok()? })
    }

    /// Whether it ran here and does no more. Of a process elsewhere nothing is known, nor of those of other users where
    /// the system hides them.
    fn has_ended(&self) -> bool {
        let is_here = !self.place.is_empty() && self.place == place();
        is_here && started(self.number) != Some(self.started) && fs::read("/proc/1/stat").is_ok()
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.place, self.number, self.started)
    }
}

/// The boot of this machine and the process namespace; empty where they cannot be read.
fn place() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits =
        |path: &Path| path.to_string_lossy().chars().filter(char::is_ascii_digit).collect::<String>();
    match (boot.trim(), digits(&namespace)) {
        ("", _) => String::new(),
        (_, namespace) if namespace.is_empty() => String::new(),
        (boot, namespace) => format!("{boot}:{namespace}"),
    }
}

/// When a process started; none where there is no such process, or only its remains.
fn started(number: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z" && state != "X").then(|| fields.nth(18)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(store: &Arc<Store>, id: u128, instance: Option<&str>) -> LeaseKeeper {
        LeaseKeeper {
            store: Arc::clone(store),
            health: Arc::new(Health::new(1, Duration::from_secs(1))),
            id,
            session: Duration::from_millis(300),
            instance: instance.map(str::to_owned),
        }
    }

    #[test]
    fn this_process_has_not_ended_and_one_with_another_start_has() {
        let own = Process::own();
        assert_eq!(Process::parse(&own.to_string()), Some(own.clone()));
        assert!(!own.has_ended());
        assert!(Process { started: own.started + 1, ..own.clone() }.has_ended());
        assert!(!Process { place: "elsewhere".to_owned(), started: 0, ..own }.has_ended());
    }

    #[tokio::test]
    async fn the_first_host_serves_at_once_and_the_next_one_after_a_release() {
        let store = Arc::new(Store::memory());
        let (one, other) = (keeper(&store, 1, None), keeper(&store, 2, None));
        let lease = one.acquire().await;
        assert_eq!((lease.id, lease.epoch), (1, 1));
        assert!(other.look(&mut None, true).await.unwrap().is_none());
        one.release(&lease).await;
        let lease = other.acquire().await;
        assert_eq!((lease.id, lease.epoch), (2, 2));
    }

    #[tokio::test]
    async fn a_silent_holder_is_followed_after_a_session_and_loses() {
        let store = Arc::new(Store::memory());
        let (one, other) = (keeper(&store, 1, None), keeper(&store, 2, None));
        let mut lease = one.acquire().await;
        let began = Instant::now();
        let taken = other.acquire().await;
        assert!(began.elapsed() >= other.session);
        assert_eq!((taken.id, taken.epoch), (2, 2));
        let Lost = one.hold(&mut lease).await;
    }

    #[tokio::test]
    async fn a_beating_holder_is_not_followed() {
        let store = Arc::new(Store::memory());
        let (one, other) = (keeper(&store, 1, None), keeper(&store, 2, None));
        let mut lease = one.acquire().await;
        let waited = tokio::time::timeout(Duration::from_secs(3), other.acquire());
        tokio::select! {
            Lost = one.hold(&mut lease) => panic!("lost"),
            taken = waited => assert!(taken.is_err()),
        }
    }

    #[tokio::test]
    async fn a_restarted_host_of_the_same_name_serves_at_once() {
        let store = Arc::new(Store::memory());
        keeper(&store, 1, Some("a")).acquire().await;
        let mut seen = None;
        assert!(keeper(&store, 2, Some("b")).look(&mut seen, true).await.unwrap().is_none());
        assert!(keeper(&store, 3, Some("a")).look(&mut seen, true).await.unwrap().is_some());
    }
}
