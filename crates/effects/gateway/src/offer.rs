//! A table that is offered, read only as far as it differs from the one in force.
//!
//! A server sends its table whole each time anything changes, and of ten thousand pools one did. So each pool is
//! kept with the text that it came as: one that comes as the same text again is the same one, and is not
//! parsed, checked or compiled once more.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use ward_types::id::{Generation, Term};
use ward_types::table::{Pool, Table, Version};

/// One pool of a table.
pub(crate) struct Entry {
    /// What it says.
    pub(crate) pool: Pool,
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
            let entry = match before.same(pool.get()) {
                Some(entry) => Arc::clone(entry),
                None => {
                    let entry = Entry::read(pool.get())?;
                    offer.changed.push(Arc::clone(&entry));
                    entry
                }
            };
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
}

impl Offer {
    /// What its pools say.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> + Clone {
        self.entries.iter().map(|entry| &entry.pool)
    }
}

impl Entry {
    /// Whether the table that it came with was checked.
    pub(crate) fn was_checked(&self) -> bool {
        !self.text.is_empty()
    }

    fn read(text: &str) -> serde_json::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            pool: serde_json::from_str(text)?,
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
        pools: entries.iter().map(|entry| entry.pool.clone()).collect(),
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
