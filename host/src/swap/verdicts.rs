//! Which versions of a plugin start no swap by their file alone, since they failed or were taken back.
//!
//! Not for writing: [`super::Records`] puts into the store what is said here. Invariant: a verdict counts from the
//! moment in which it falls, and is untold until a record that was written says it.

use crate::store::{PluginRecord, PluginVersion};

/// What is held of a plugin's versions, as many as its record remembers.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// Identities of those that are refused, the oldest first.
    refused: Vec<String>,
    /// What the record does not say yet: identities, each with whether it is refused; the oldest first.
    untold: Vec<(String, bool)>,
}

impl Verdicts {
    /// Whether a file with this identity starts nothing.
    pub(super) fn refuses(&self, identity: &str) -> bool {
        self.refused.iter().any(|refused| refused == identity)
    }

    /// Notes that a version failed or was taken back.
    pub(super) fn refuse(&mut self, identity: String) {
        self.judge(identity, true);
    }

    /// Notes that somebody wants a version, whatever it did before. That is told also where nothing is known of it
    /// here: another host may have refused it.
    pub(super) fn forgive(&mut self, identity: String) {
        self.judge(identity, false);
    }

    fn judge(&mut self, identity: String, refused: bool) {
        self.refused.retain(|known| *known != identity);
        self.untold.retain(|(known, _)| *known != identity);
        if refused {
            self.refused.push(identity.clone());
        }
        self.untold.push((identity, refused));
        keep_last(&mut self.refused);
        keep_last(&mut self.untold);
    }

    /// Takes in what the record says; what it does not say yet goes on to count.
    pub(super) fn learn(&mut self, recorded: Vec<String>) {
        self.refused = recorded;
        for (identity, refused) in std::mem::take(&mut self.untold) {
            self.judge(identity, refused);
        }
    }

    /// Whether the record does not say all of it yet.
    pub(super) fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Notes that the record says all of it.
    pub(super) fn told(&mut self) {
        self.untold.clear();
    }

    /// The first record of a plugin, with all that is refused.
    pub(super) fn first(&self, runs: PluginVersion) -> PluginRecord {
        self.refused.iter().fold(PluginRecord::first(runs), |record, identity| record.refusing(identity))
    }

    /// A record with what it does not say yet; the same one where it says all of it.
    pub(super) fn amend(&self, record: PluginRecord) -> PluginRecord {
        self.untold.iter().fold(record, |record, (identity, refused)| {
            match (record.refused.contains(identity), *refused) {
                (false, true) => record.refusing(identity),
                (true, false) => record.forgiving(identity),
                _ => record,
            }
        })
    }
}

fn keep_last<T>(list: &mut Vec<T>) {
    let too_many = list.len().saturating_sub(PluginRecord::MOST_REFUSED);
    list.drain(..too_many);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PluginRecord {
        PluginRecord::first(PluginVersion::new("digest", b"wasm", "{}", "1", 5))
    }

    fn verdicts(refused: &[&str]) -> Verdicts {
        let mut verdicts = Verdicts::default();
        refused.iter().for_each(|identity| verdicts.refuse((*identity).to_owned()));
        verdicts
    }

    #[test]
    fn a_record_is_told_what_it_does_not_say_and_what_others_told_it_stays() {
        let mut verdicts = verdicts(&["a", "b"]);
        let told = verdicts.amend(record().refusing("of another host"));
        assert_eq!(told.refused, ["of another host", "a", "b"]);
        verdicts.told();
        assert!(!verdicts.has_untold() && verdicts.refuses("a"));
        assert_eq!(verdicts.amend(told.clone()), told);
        verdicts.forgive("a".to_owned());
        assert!(verdicts.has_untold() && !verdicts.refuses("a"));
        let forgiven = verdicts.amend(told.clone());
        assert_eq!(forgiven.refused, ["of another host", "b"]);
        assert!(forgiven.revision > told.revision);
        assert_eq!(verdicts.amend(forgiven.clone()), forgiven);
    }

    #[test]
    fn a_first_record_has_all_that_is_refused() {
        let mut verdicts = verdicts(&["a", "b", "c"]);
        verdicts.told();
        verdicts.forgive("b".to_owned());
        assert_eq!(verdicts.first(record().current).refused, ["a", "c"]);
    }

    #[test]
    fn what_was_judged_since_counts_more_than_the_record_that_is_read() {
        let mut verdicts = verdicts(&["a", "b"]);
        verdicts.told();
        verdicts.forgive("a".to_owned());
        verdicts.refuse("c".to_owned());
        verdicts.learn(vec!["a".to_owned(), "d".to_owned()]);
        let refused = ["a", "b", "c", "d"].map(|identity| verdicts.refuses(identity));
        assert_eq!(refused, [false, false, true, true]);
        assert!(verdicts.has_untold());
    }

    #[test]
    fn as_many_are_remembered_as_the_record_has_room_for() {
        let mut verdicts = Verdicts::default();
        for number in 0..100 {
            verdicts.refuse(number.to_string());
        }
        assert!(verdicts.refuses("99") && verdicts.refuses("84") && !verdicts.refuses("83"));
        assert_eq!(verdicts.amend(record()).refused.len(), PluginRecord::MOST_REFUSED);
    }
}
