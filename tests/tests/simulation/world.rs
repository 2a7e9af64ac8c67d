//! A world: a topic, a store, two processes, and a seed that draws what happens next.
//!
//! Who serves is decided here, as a consumer group or a lease would decide it: sometimes in good order, sometimes
//! while the former process goes on. Invariant: every event is drawn from the seed, and nothing runs beside it.

use std::sync::Arc;
use std::time::Duration;

use aggregator::config::{ClockMode, Partitioning};
use aggregator::plugin::catalog::Running;
use aggregator_tests::native::NativePlugin;
use aggregator_tests::random::Random;

use super::draws::{Chances, Draws};
use super::feed::Feed;
use super::judge::Judge;
use super::process::{Process, Role};
use super::time::Time;
use super::topic::{self, Topic};
use super::weather::Weather;

/// How many processes there are at most.
const PROCESSES: usize = 2;
/// How many rounds the world may take to calm down.
const MOST_ROUNDS: usize = 20_000;

/// A place for a process.
#[derive(Default)]
struct Slot {
    process: Option<Process>,
    frozen: bool,
}

/// The world.
pub(crate) struct World {
    draws: Arc<Draws>,
    random: Random,
    time: Arc<Time>,
    weather: Arc<Weather>,
    topic: topic::Shared,
    feed: Feed,
    judge: Judge,
    plugins: Vec<Running>,
    slots: [Slot; PROCESSES],
    /// Which slot the service believes to read each partition.
    owners: Vec<Option<usize>>,
    started: u64,
}

/// How a world ended.
pub(crate) struct End {
    /// All events as one number.
    pub(crate) trace: u64,
    /// What is wrong, in words; empty where all is right.
    pub(crate) wrong: Vec<String>,
    /// What happened last, where that was asked for.
    pub(crate) words: String,
}

/// The plugins that run; each process loads them anew.
fn plugins(draws: &Draws) -> Vec<Running> {
    let configuration = format!(r#"{{"windows": "{}"}}"#, draws.windows);
    let running = Running::new(Arc::new(NativePlugin::new()), &configuration, "native");
    vec![running.expect("the default plugin")]
}

impl World {
    pub(crate) fn new(seed: u64, readable: bool) -> Self {
        let draws = Arc::new(Draws::new(seed));
        let mut random = Random::new(seed);
        let begin_ms = draws.stream.start_ms + draws.backlog_ms;
        let time = Time::starting_at(begin_ms);
        let weather = Weather::new(&time, random.bits(), draws.chances, readable);
        weather.note(seed, || format!("{draws:?}"));
        let topic = Topic::new(draws.partitions);
        let mut feed = Feed::new(&draws, &topic);
        feed.produce_until(begin_ms);
        Self {
            weather,
            plugins: plugins(&draws),
            owners: vec![None; draws.partitions as usize],
            slots: Default::default(),
            judge: Judge::default(),
            started: 0,
            draws,
            random,
            time,
            topic,
            feed,
        }
    }

    /// Lives through all that the seed draws, and gives the end.
    pub(crate) fn run(mut self) -> End {
        for _ in 0..self.draws.events {
            self.event();
        }
        let calmed = self.calm_down();
        let mut wrong = self.judge.wrong(&self.draws, &self.feed, &self.weather);
        if let Err(words) = calmed {
            wrong.insert(0, words);
        }
        End { trace: self.weather.trace(), wrong, words: self.weather.words() }
    }

    fn event(&mut self) {
        match self.random.below(100) {
            0..45 => {
                let slot = self.any_slot();
                let worker = self.random.below(self.draws.workers as u64) as usize;
                self.awake(slot, |process| {
                    process.step(worker);
                });
            }
            45..65 => {
                let slot = self.any_slot();
                self.awake(slot, |process| process.tick());
            }
            65..80 => {
                let slot = self.any_slot();
                self.awake(slot, Process::read);
            }
            80..84 => self.deliver_letter(),
            84..92 => self.pass_time(),
            92..95 if self.draws.clock == ClockMode::Event => self.feed.produce(),
            _ => self.govern(200),
        }
        self.go_wrong();
        self.bury();
    }

    fn any_slot(&mut self) -> usize {
        self.random.below(PROCESSES as u64) as usize
    }

    /// Does something with a process that is not frozen.
    fn awake(&mut self, slot: usize, act: impl FnOnce(&mut Process)) {
        let now = self.time.passed();
        let slot = &mut self.slots[slot];
        if let Some(process) = slot.process.as_mut().filter(|_| !slot.frozen) {
            process.go_on(now);
            act(process);
        }
    }

    fn deliver_letter(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.frozen) {
            if let Some((place, reason)) = slot.process.as_mut().and_then(Process::deliver_letter) {
                self.weather.note((place, reason), || format!("dead letter {place:?} {reason}"));
                self.judge.letter(place, reason);
            }
        }
    }

    fn pass_time(&mut self) {
        let passed_ms = match self.random.below(50) {
            0 => self.random.below(6_000),
            1..8 => self.random.below(600),
            _ => self.random.below(20),
        };
        self.advance(Duration::from_millis(passed_ms));
    }

    fn advance(&mut self, by: Duration) {
        self.time.advance(by);
        if self.draws.clock == ClockMode::Wall {
            self.feed.produce_until(self.time.now_ms());
        }
    }

    /// Draws what goes wrong.
    fn go_wrong(&mut self) {
        let chances = self.draws.chances;
        if Chances::strikes(chances.crash, &mut self.random) {
            let slot = self.any_slot();
            self.crash(slot);
        }
        if Chances::strikes(chances.outage, &mut self.random) {
            self.weather.turn();
        }
        if Chances::strikes(chances.amnesia.map(|out_of| out_of / 4 + 1), &mut self.random) {
            self.weather.remember();
        }
        if Chances::strikes(chances.amnesia, &mut self.random) {
            self.weather.forget();
        }
        if Chances::strikes(chances.freeze, &mut self.random) {
            let slot = self.any_slot();
            let frozen = !self.slots[slot].frozen;
            self.slots[slot].frozen = frozen;
            self.weather.note(("freeze", slot, frozen), || format!("slot {slot} frozen: {frozen}"));
        }
        if Chances::strikes(chances.handover, &mut self.random) {
            self.hand_over();
        }
        if Chances::strikes(chances.takeover, &mut self.random) {
            self.take_over();
        }
    }

    fn crash(&mut self, slot: usize) {
        if let Some(process) = self.slots[slot].process.take() {
            self.weather.note(("crash", process.id), || format!("process {} crashes", process.id));
            self.judge.process(&process);
        }
        self.slots[slot].frozen = false;
        self.disown(slot);
    }

    /// Whatever a slot was believed to read, nobody reads.
    fn disown(&mut self, slot: usize) {
        for owner in self.owners.iter_mut().filter(|owner| **owner == Some(slot)) {
            *owner = None;
        }
    }

    /// Removes processes that have ended.
    fn bury(&mut self) {
        let crashed = self.weather.take_crashed();
        for slot in 0..PROCESSES {
            let Some(process) = &self.slots[slot].process else {
                continue;
            };
            if crashed.contains(&process.id) {
                self.crash(slot);
            } else if process.has_ended() {
                self.weather.note(("end", process.id), || format!("process {} has ended", process.id));
                self.judge.process(process);
                self.slots[slot].process = None;
                self.disown(slot);
            }
        }
    }

    /// A process gives something back: all it has where one serves alone, or a partition.
    fn hand_over(&mut self) {
        let slot = self.any_slot();
        let partition = self.random.below(self.draws.partitions as u64) as i32;
        let ends = self.shuffles() || self.random.permille(300);
        let place = &mut self.slots[slot];
        let Some(process) = place.process.as_mut().filter(|_| !place.frozen) else {
            return;
        };
        if !matches!(process.role, Role::Serving | Role::Standby) {
            return;
        }
        if ends {
            process.stop();
            self.weather.note(("stop", slot), || format!("slot {slot} is told to end"));
        } else if self.owners[partition as usize] == Some(slot) && !process.is_opening() {
            process.leave(partition);
            self.weather.note(("leave", slot, partition), || format!("slot {slot} leaves {partition}"));
        }
    }

    /// What a process reads is given away while it goes on.
    fn take_over(&mut self) {
        let partition = self.random.below(self.draws.partitions as u64) as usize;
        let taken: Vec<usize> =
            if self.shuffles() { (0..self.owners.len()).collect() } else { vec![partition] };
        let other = |owner: usize| (owner + 1) % PROCESSES;
        let Some(former) = self.owners[partition] else {
            return;
        };
        if self.slots[other(former)].process.is_none() {
            return;
        }
        for partition in taken {
            self.owners[partition] = None;
        }
        self.weather.note(("takeover", former), || format!("slot {former} is thought dead"));
    }

    fn shuffles(&self) -> bool {
        self.draws.partitioning == Partitioning::Shuffle
    }

    /// Starts processes, gives partitions to those that serve, and tells others that they lost them; each
    /// with a chance of so many in a thousand.
    fn govern(&mut self, chance: u64) {
        for slot in 0..PROCESSES {
            if self.random.permille(chance) {
                self.govern_slot(slot);
            }
        }
    }

    fn govern_slot(&mut self, slot: usize) {
        let place = &mut self.slots[slot];
        if place.frozen {
            return;
        }
        let Some(process) = &mut place.process else {
            self.started += 1;
            let (draws, plugins) = (&self.draws, self.plugins.clone());
            let process =
                Process::start(self.started, draws, plugins, &self.time, &self.weather, &self.topic);
            place.process = Some(process);
            return self.weather.note(("start", slot), || format!("slot {slot} starts"));
        };
        let reads = process.partitions();
        let owners = &self.owners;
        let lost = |partition: &i32| owners[*partition as usize] != Some(slot);
        let shuffles = self.draws.partitioning == Partitioning::Shuffle;
        match process.role {
            Role::Standby if !shuffles || owners.iter().all(Option::is_none) => {
                process.begin();
                if shuffles {
                    self.owners.fill(Some(slot));
                }
            }
            Role::Serving if shuffles && owners[0] != Some(slot) => {
                process.give_way();
                self.weather.note(("lost", slot), || format!("slot {slot} is told that it lost"));
            }
            Role::Serving if process.is_opening() => {}
            Role::Serving if reads.iter().any(lost) => {
                reads.iter().filter(|partition| lost(partition)).for_each(|&p| process.leave(p));
                self.weather.note(("lost", slot), || format!("slot {slot} is told that it lost"));
            }
            Role::Serving => self.give(slot),
            Role::Standby | Role::Dropping(_) => self.disown(slot),
            Role::Recognising(_) | Role::Stopping(_) | Role::Finishing => {}
        }
    }

    /// Gives a process what nobody reads; in `shuffle` what it has not begun with.
    fn give(&mut self, slot: usize) {
        let Some(process) = &mut self.slots[slot].process else {
            return;
        };
        let reads = process.partitions();
        let mut given = Vec::new();
        for (partition, owner) in (0..).zip(&mut self.owners) {
            let left = *owner == Some(slot) && !reads.contains(&partition);
            if (left || owner.is_none()) && !process.is_leaving(partition) {
                *owner = Some(slot);
                given.push(partition);
            }
        }
        if !given.is_empty() {
            self.weather.note(("open", slot, &given), || format!("slot {slot} opens {given:?}"));
            process.open(given);
        }
    }

    /// Nothing goes wrong any more: lives on until all that was produced is counted and stored.
    fn calm_down(&mut self) -> Result<(), String> {
        self.weather.calm_down();
        self.weather.note("calm", || "calm".to_owned());
        self.slots.iter_mut().for_each(|slot| slot.frozen = false);
        let mut last_ms = 0;
        for round in 0..MOST_ROUNDS {
            self.round();
            if self.draws.clock == ClockMode::Event {
                self.feed.produce();
            }
            let hurry = !self.feed.is_empty() && self.draws.clock == ClockMode::Wall;
            let step = Duration::from_millis(if hurry { 500 } else { 50 });
            self.advance(step);
            if !self.feed.is_empty() || !self.is_read() {
                last_ms = round;
            }
            // Long enough for a settled end, a last flush, and a writer's longest wait.
            if round - last_ms > 80 {
                return self.quiet_down();
            }
        }
        let words: Vec<String> =
            self.slots.iter().filter_map(|slot| Some(slot.process.as_ref()?.words())).collect();
        Err(format!("no end after {MOST_ROUNDS} rounds: {}", words.join("; ")))
    }

    /// Whether every partition is read to its end by whoever should read it, and stored.
    fn is_read(&self) -> bool {
        let has = |(partition, owner): (usize, &Option<usize>)| {
            let process = owner.and_then(|slot| self.slots[slot].process.as_ref());
            process.is_some_and(|process| process.has_all_of(partition as i32))
        };
        self.owners.iter().enumerate().all(has)
    }

    /// Everybody does what can be done now.
    fn round(&mut self) {
        self.govern(1000);
        for slot in 0..PROCESSES {
            for worker in 0..self.draws.workers {
                self.awake(slot, |process| while process.step(worker) {});
            }
            self.awake(slot, Process::read);
            self.awake(slot, |process| process.tick());
        }
        self.deliver_letter();
        self.bury();
    }

    /// A last flush, of a moment that everybody agrees on.
    fn quiet_down(&mut self) -> Result<(), String> {
        self.advance(self.draws.flush_interval);
        let mut quiet = 0;
        for _ in 0..MOST_ROUNDS {
            let before = self.weather.trace();
            self.round();
            quiet = if self.weather.trace() == before { quiet + 1 } else { 0 };
            if quiet > 20 {
                let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
                processes.for_each(|process| self.judge.process(process));
                self.judge.ended_at(self.time.now_ms());
                return Ok(());
            }
        }
        Err("the store is written to for ever although no time passes".to_owned())
    }
}
