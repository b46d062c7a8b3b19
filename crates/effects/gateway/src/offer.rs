//! A table that is offered, read only as far as it differs from the one in force.
//!
//! 1. A server says what changes: one environment's pools, of ten thousand.
//! 2. Where that cannot be understood, or followed, it sends its table whole. So each pool is kept with the text that it
//!    came as: one that comes as the same text again is the same one, and is not parsed, checked or compiled once more.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use ward_types::id::{EnvId, Generation, Term};
use ward_types::table::{Pool, Table, Version};

/// One pool of a table.
pub(crate) struct Entry {
    /// What it says.
    pub(crate) pool: Arc<Pool>,
    /// As it came; empty: nothing is known to be the same.
    text: Box<str>,
}

/// A table that may follow the one in force.
pub(crate) struct Offer {
    /// Which it is.
    pub(crate) version: Version,
    /// Its pools; those that have not changed are the very ones of the table in force.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Those of them that have changed.
    pub(crate) changed: Vec<Arc<Entry>>,
    /// The hosts of environments that are down, in order.
    pub(crate) down: Vec<String>,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(default)]
    term: Term,
    generation: Generation,
    #[serde(borrow)]
    pools: Vec<&'a RawValue>,
    #[serde(default)]
    down: Vec<String>,
}

/// A change as it is written, whose pools are read only where they are others.
#[derive(Deserialize)]
struct WrittenChange<'a> {
    from: Version,
    to: Version,
    env: EnvId,
    #[serde(borrow)]
    pools: Vec<&'a RawValue>,
    #[serde(default)]
    down: Option<Vec<String>>,
}

/// Why a change does not make a table of another one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("it is not understood: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("it changes table {from}, and {here} is here; send the table whole")]
    From { from: Generation, here: Generation },
    #[error("table {0} was not checked, because it was read from disk; send the table whole")]
    Unchecked(Generation),
    #[error("a pool of {found} is among those of {env}")]
    Foreign { found: EnvId, env: EnvId },
}

impl Offer {
    /// What a text offers in place of `before`.
    pub(crate) fn read(text: &[u8], before: &[Arc<Entry>]) -> serde_json::Result<Self> {
        let written: Written<'_> = serde_json::from_slice(text)?;
        let mut offer = Self {
            version: Version {
                term: written.term,
                generation: written.generation,
            },
            entries: Vec::with_capacity(written.pools.len()),
            changed: Vec::new(),
            down: sorted(written.down),
        };
        let mut before = Before::new(before);
        for pool in written.pools {
            let entry = before.read(pool.get(), &mut offer.changed)?;
            offer.entries.push(entry);
        }
        Ok(offer)
    }

    /// What a text offers of which nobody knows who has checked it: of the table that follows it nothing will be
    /// taken for checked either.
    pub(crate) fn read_unchecked(text: &[u8]) -> serde_json::Result<Self> {
        let mut offer = Self::read(text, &[])?;
        offer.changed.clear();
        let entries = offer.entries.iter_mut();
        entries
            .filter_map(Arc::get_mut)
            .for_each(|entry| entry.text = Box::default());
        offer.changed.extend(offer.entries.iter().map(Arc::clone));
        Ok(offer)
    }

    /// A table that is in force, to be changed.
    pub(crate) fn of(
        version: Version,
        entries: &[Arc<Entry>],
        down: &[String],
    ) -> Result<Self, ChangeError> {
        // What follows is checked only as far as it differs.
        if entries.first().is_some_and(|entry| !entry.was_checked()) {
            return Err(ChangeError::Unchecked(version.generation));
        }
        Ok(Self {
            version,
            entries: entries.to_vec(),
            changed: Vec::new(),
            down: down.to_vec(),
        })
    }

    /// What a text makes of a table.
    pub(crate) fn change(&mut self, text: &str) -> Result<(), ChangeError> {
        let written: WrittenChange<'_> = serde_json::from_str(text)?;
        if written.from != self.version {
            return Err(ChangeError::From {
                from: written.from.generation,
                here: self.version.generation,
            });
        }
        let env = written.env;
        let is_of = |entry: &Arc<Entry>| entry.pool.env == env;
        let first = self.entries.iter().position(is_of);
        let first = first.unwrap_or(self.entries.len());
        let mut after = self.entries.split_off(first);
        let mut before = Vec::new();
        after.retain(|entry| {
            let own = is_of(entry);
            if own {
                before.push(Arc::clone(entry));
            }
            !own
        });
        let mut before = Before::new(&before);
        for pool in written.pools {
            let entry = before.read(pool.get(), &mut self.changed)?;
            if entry.pool.env != env {
                let found = entry.pool.env.clone();
                return Err(ChangeError::Foreign { found, env });
            }
            self.entries.push(entry);
        }
        self.entries.append(&mut after);
        self.version = written.to;
        if let Some(down) = written.down {
            self.down = sorted(down);
        }
        Ok(())
    }
}

impl Offer {
    /// What its pools say.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> + Clone {
        self.entries.iter().map(|entry| &*entry.pool)
    }
}

impl Entry {
    /// Whether the table that it came with was checked.
    pub(crate) fn was_checked(&self) -> bool {
        !self.text.is_empty()
    }

    fn read(text: &str) -> serde_json::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            pool: Arc::new(serde_json::from_str(text)?),
            text: text.into(),
        }))
    }
}

fn sorted(mut hosts: Vec<String>) -> Vec<String> {
    hosts.sort();
    hosts
}

/// The table of these pools.
pub(crate) fn table(version: Version, entries: &[Arc<Entry>], down: &[String]) -> Table {
    Table {
        term: version.term,
        generation: version.generation,
        pools: entries
            .iter()
            .map(|entry| Arc::clone(&entry.pool))
            .collect(),
        down: down.to_vec(),
    }
}

/// The pools of the table in force, most of which come again in their order.
struct Before<'a> {
    all: &'a [Arc<Entry>],
    next: usize,
    places: Option<HashMap<&'a str, usize>>,
}

impl<'a> Before<'a> {
    fn new(all: &'a [Arc<Entry>]) -> Self {
        Self {
            all,
            next: 0,
            places: None,
        }
    }

    /// The pool that a text says: the one of before that came as the same, or one of those that have changed.
    fn read(
        &mut self,
        text: &str,
        changed: &mut Vec<Arc<Entry>>,
    ) -> serde_json::Result<Arc<Entry>> {
        if let Some(entry) = self.same(text) {
            return Ok(Arc::clone(entry));
        }
        let entry = Entry::read(text)?;
        changed.push(Arc::clone(&entry));
        Ok(entry)
    }

    fn same(&mut self, text: &str) -> Option<&'a Arc<Entry>> {
        let all = self.all;
        let expected = all.get(self.next).filter(|entry| *entry.text == *text);
        let place = match expected {
            Some(_) => Some(self.next),
            None => self.places().get(text).copied(),
        };
        self.next = place.unwrap_or(self.next) + 1;
        place.and_then(|place| all.get(place))
    }

    fn places(&mut self) -> &HashMap<&'a str, usize> {
        let texts = self.all.iter().map(|entry| &*entry.text).zip(0..);
        self.places
            .get_or_insert_with(|| texts.filter(|(text, _)| !text.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ward_types::table::TableChange;

    fn pool(service: &str, host: u8) -> serde_json::Value {
        serde_json::json!({
            "env": "shop/dev", "service": service, "hosts": [format!("h{host}.localhost")], "endpoints": [],
        })
    }

    fn text(generation: u64, pools: &[(String, u8)]) -> Vec<u8> {
        let pools: Vec<_> = pools.iter().map(|(name, host)| pool(name, *host)).collect();
        let table = serde_json::json!({"term": 1, "generation": generation, "pools": pools});
        table.to_string().into_bytes()
    }

    proptest! {
        #[test]
        fn it_is_the_table_that_was_written_whatever_came_before(
            first in prop::collection::vec(("[a-c]", 0..3_u8), 0..6),
            second in prop::collection::vec(("[a-c]", 0..3_u8), 0..6),
        ) {
            let before = Offer::read(&text(1, &first), &[]).unwrap();
            let written = text(2, &second);
            let offer = Offer::read(&written, &before.entries).unwrap();
            let whole: Table = serde_json::from_slice(&written).unwrap();
            prop_assert_eq!(table(offer.version, &offer.entries, &offer.down), whole);
            let kept = |entry: &Arc<Entry>| before.entries.iter().any(|other| Arc::ptr_eq(entry, other));
            let new = second.iter().filter(|pool| !first.contains(*pool)).count();
            prop_assert_eq!(offer.changed.len(), new);
            prop_assert_eq!(offer.entries.iter().filter(|entry| !kept(entry)).count(), new);
        }
    }

    fn stacks() -> impl Strategy<Value = Vec<(&'static str, u8)>> {
        let env = prop::sample::select(vec!["shop/dev", "shop/test", "shop/prod"]);
        prop::collection::vec((env, 0..3_u8), 0..8)
    }

    fn pools(all: &[(&str, u8)]) -> Vec<Arc<Pool>> {
        let pools = all.iter().zip(0..).map(|((env, host), number)| {
            let mut pool = pool(&format!("s{number}"), *host);
            pool["env"] = (*env).into();
            Arc::new(serde_json::from_value(pool).unwrap())
        });
        pools.collect()
    }

    const DEV: &str = "shop/dev";

    fn change(from: Version, to: u64, pools: Vec<Arc<Pool>>, down: Option<&str>) -> TableChange {
        TableChange {
            from,
            to: Version {
                term: Term(1),
                generation: Generation(to),
            },
            env: EnvId::parse(DEV).unwrap(),
            pools,
            down: down.map(|host| vec![host.to_owned()]),
        }
    }

    fn in_force(table: &Table) -> Offer {
        let text = serde_json::to_vec(table).unwrap();
        let Offer {
            version,
            entries,
            down,
            ..
        } = Offer::read(&text, &[]).unwrap();
        Offer::of(version, &entries, &down).unwrap()
    }

    proptest! {
        #[test]
        fn a_change_makes_the_table_that_the_server_has(
            first in stacks(), second in stacks(), down in prop::option::of("[ab]"),
        ) {
            let second: Vec<_> = second.iter().map(|(_, host)| (DEV, *host)).collect();
            let before = Table { pools: pools(&first), ..Table::default() };
            let change = change(before.version(), 7, pools(&second), down.as_deref());
            let mut offer = in_force(&before);
            offer.change(&serde_json::to_string(&change).unwrap()).unwrap();
            let after = before.followed_by(&change);
            prop_assert_eq!(&table(offer.version, &offer.entries, &offer.down), &after);
            let is_new = |pool: &&Arc<Pool>| !before.pools.contains(pool);
            prop_assert_eq!(offer.changed.len(), after.pools.iter().filter(is_new).count());
        }
    }

    #[test]
    fn a_change_of_another_table_or_of_what_nobody_checked_is_none() {
        let table = Table {
            pools: pools(&[(DEV, 1)]),
            ..Table::default()
        };
        let mut offer = in_force(&table);
        let mut told = |change: &TableChange| {
            let text = serde_json::to_string(change).unwrap();
            offer.change(&text).unwrap_err().to_string()
        };
        let later = Version {
            term: Term(1),
            generation: Generation(5),
        };
        let other = told(&change(later, 6, Vec::new(), None));
        assert_eq!(
            other,
            "it changes table g5, and g0 is here; send the table whole"
        );
        let foreign = change(table.version(), 6, pools(&[("shop/test", 1)]), None);
        assert_eq!(
            told(&foreign),
            "a pool of shop/test is among those of shop/dev"
        );
        let text = serde_json::to_vec(&table).unwrap();
        let stored = Offer::read_unchecked(&text).unwrap();
        let unchecked = Offer::of(stored.version, &stored.entries, &stored.down)
            .err()
            .unwrap();
        assert!(
            matches!(unchecked, ChangeError::Unchecked(_)),
            "{unchecked}"
        );
    }

    #[test]
    fn of_what_nobody_checked_nothing_is_taken_over() {
        let written = text(1, &[("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let stored = Offer::read_unchecked(&written).unwrap();
        let offer = Offer::read(&written, &stored.entries).unwrap();
        assert_eq!(offer.changed.len(), 2);
        assert!(Offer::read(b"{", &[]).is_err());
        assert!(Offer::read(br#"{"generation":1,"pools":[{}]}"#, &[]).is_err());
    }
}
