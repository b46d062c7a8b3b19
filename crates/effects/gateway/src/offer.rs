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
    /// As it came.
    text: Box<str>,
    /// Whether the table that it came with was checked.
    was_checked: bool,
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
    /// Whether it will be checked.
    is_checked: bool,
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
        Self::of_text(text, before, true)
    }

    /// What a text offers of which nobody knows who has checked it: of the table that follows it nothing will be
    /// taken for checked either.
    pub(crate) fn read_unchecked(text: &[u8]) -> serde_json::Result<Self> {
        Self::of_text(text, &[], false)
    }

    fn of_text(text: &[u8], before: &[Arc<Entry>], is_checked: bool) -> serde_json::Result<Self> {
        let written: Written<'_> = serde_json::from_slice(text)?;
        let mut offer = Self {
            version: Version {
                term: written.term,
                generation: written.generation,
            },
            entries: Vec::with_capacity(written.pools.len()),
            changed: Vec::new(),
            down: sorted(written.down),
            is_checked,
        };
        offer.add(&written.pools, &mut Before::new(before))?;
        Ok(offer)
    }

    /// Adds what texts say: pools of before that came as the same texts, or ones that have changed.
    fn add(&mut self, texts: &[&RawValue], before: &mut Before<'_>) -> serde_json::Result<()> {
        for text in texts {
            let entry = match before.same(text.get()) {
                Some(entry) => Arc::clone(entry),
                None => {
                    let entry = Entry::read(text.get(), self.is_checked)?;
                    self.changed.push(Arc::clone(&entry));
                    entry
                }
            };
            self.entries.push(entry);
        }
        Ok(())
    }

    /// A table that is in force, to be changed.
    pub(crate) fn of(
        version: Version,
        entries: &[Arc<Entry>],
        down: &[String],
    ) -> Result<Self, ChangeError> {
        // What follows is checked only as far as it differs.
        if !was_checked(entries) {
            return Err(ChangeError::Unchecked(version.generation));
        }
        Ok(Self {
            version,
            entries: entries.to_vec(),
            changed: Vec::new(),
            down: down.to_vec(),
            is_checked: true,
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
        self.add(&written.pools, &mut Before::new(&before))?;
        let mut own = self.entries[first..].iter();
        if let Some(other) = own.find(|entry| entry.pool.env != env) {
            let found = other.pool.env.clone();
            return Err(ChangeError::Foreign { found, env });
        }
        self.entries.append(&mut after);
        self.version = written.to;
        if let Some(down) = written.down {
            self.down = sorted(down);
        }
        Ok(())
    }

    /// What its pools say.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> + Clone {
        self.entries.iter().map(|entry| &*entry.pool)
    }

    /// All of it, as it could have come.
    pub(crate) fn text(&self) -> String {
        text(self.version, &self.entries, &self.down)
    }
}

impl Entry {
    fn read(text: &str, was_checked: bool) -> serde_json::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            pool: Arc::new(serde_json::from_str(text)?),
            text: text.into(),
            was_checked,
        }))
    }
}

/// Whether the table of these pools was checked: all of it was, or nothing.
pub(crate) fn was_checked(entries: &[Arc<Entry>]) -> bool {
    entries.first().is_none_or(|entry| entry.was_checked)
}

/// The table of these pools as text.
pub(crate) fn text(version: Version, entries: &[Arc<Entry>], down: &[String]) -> String {
    let (term, generation) = (version.term.0, version.generation.0);
    let mut text = format!(r#"{{"term":{term},"generation":{generation},"pools":["#);
    for (at, entry) in entries.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        text.push_str(&entry.text);
    }
    let down: Vec<_> = down
        .iter()
        .map(|host| serde_json::json!(host).to_string())
        .collect();
    text.push_str("],\"down\":[");
    text.push_str(&down.join(","));
    text.push_str("]}");
    text
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

    fn same(&mut self, text: &str) -> Option<&'a Arc<Entry>> {
        let all = self.all;
        let is_same = |entry: &&Arc<Entry>| entry.was_checked && *entry.text == *text;
        let expected = all.get(self.next).filter(is_same);
        let place = match expected {
            Some(_) => Some(self.next),
            None => self.places().get(text).copied(),
        };
        self.next = place.unwrap_or(self.next) + 1;
        place.and_then(|place| all.get(place))
    }

    fn places(&mut self) -> &HashMap<&'a str, usize> {
        let entries = self.all.iter().zip(0..);
        let checked = entries.filter(|(entry, _)| entry.was_checked);
        self.places
            .get_or_insert_with(|| checked.map(|(entry, at)| (&*entry.text, at)).collect())
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
            let whole: Table = serde_json::from_str(&offer.text()).unwrap();
            prop_assert_eq!(whole, after);
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
        let mut stored = Offer::read_unchecked(&text).unwrap();
        let first = change(table.version(), 6, pools(&[(DEV, 2)]), None);
        stored
            .change(&serde_json::to_string(&first).unwrap())
            .unwrap();
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
