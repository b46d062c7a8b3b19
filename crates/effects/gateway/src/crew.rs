//! Decision: a connection is served by the worker that has the fewest.
//!
//! All workers accept from the same sockets, and who wakes first may accept a whole crowd before another one looks: of 32
//! HTTP/2 connections one worker had 31, and whoever had the other one for itself was answered twenty times as often as
//! they were. So a connection goes over to a worker that has fewer. With many of them a few more or less are not worth that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::arrival::Arrival;
use crate::links;

/// One part in so many that a worker may have more than another one.
const UNEVEN: usize = 16;
/// What one that has ended is said to have: more than any other.
const ENDED: usize = usize::MAX / 2;

/// All workers, as those see them who have a connection for one.
pub(crate) struct Crew(Vec<Member>);

struct Member {
    /// How many connections it has.
    has: Arc<AtomicUsize>,
    door: mpsc::UnboundedSender<Handed>,
}

/// What is handed to a worker.
pub(crate) enum Handed {
    /// A client's connection that another one accepted.
    Arrival(Arrival),
    /// What a keeper handed over.
    Link(links::Handed),
}

/// That a worker has a connection, until this is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crew {
    /// So many, and what each gets.
    pub(crate) fn new(count: usize) -> (Self, Vec<mpsc::UnboundedReceiver<Handed>>) {
        let one = |_| {
            let (door, handed) = mpsc::unbounded_channel();
            let has = Arc::default();
            (Member { has, door }, handed)
        };
        let (members, handed) = (0..count).map(one).unzip();
        (Self(members), handed)
    }

    /// Which worker serves one more connection, which `own` accepted, if one did.
    pub(crate) fn place(&self, own: Option<usize>) -> (usize, Place) {
        let has = |number: usize| {
            let member = self.0.get(number);
            member.map_or(usize::MAX, |member| member.has.load(Ordering::Relaxed))
        };
        let least = (0..self.0.len()).min_by_key(|number| has(*number));
        let least = least.unwrap_or(0);
        let enough = has(least).saturating_add(has(least) / UNEVEN);
        let number = own.filter(|own| has(*own) <= enough).unwrap_or(least);
        let has = self.0.get(number).map(|member| Arc::clone(&member.has));
        let place = Place(has.unwrap_or_default());
        place.0.fetch_add(1, Ordering::Relaxed);
        (number, place)
    }

    /// Hands something to a worker. Where that has ended it comes back, and that one gets nothing any more.
    pub(crate) fn hand(&self, number: usize, handed: Handed) -> Option<Handed> {
        let Some(member) = self.0.get(number) else {
            return Some(handed);
        };
        let back = member.door.send(handed).err()?;
        self.end(number);
        Some(back.0)
    }

    fn end(&self, number: usize) {
        if let Some(member) = self.0.get(number) {
            member.has.store(ENDED, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_accepts_a_crowd_keeps_its_part_of_it() {
        let (crew, _handed) = Crew::new(3);
        let places: Vec<(usize, Place)> = (0..30).map(|_| crew.place(Some(1))).collect();
        let of = |places: &[(usize, Place)], worker| {
            places
                .iter()
                .filter(|(number, _)| *number == worker)
                .count()
        };
        for worker in 0..3 {
            assert_eq!(of(&places, worker), 10);
        }
        // Those of one worker go: what comes then is its, whoever accepts it.
        let mut left = places;
        left.retain(|(number, _)| *number != 2);
        left.extend((0..5).map(|_| crew.place(Some(0))));
        assert_eq!(of(&left, 2), 5);
    }

    #[test]
    fn who_has_ended_gets_nothing() {
        let (crew, handed) = Crew::new(2);
        let mut handed = handed.into_iter();
        drop(handed.next());
        let (number, place) = crew.place(None);
        assert_eq!(number, 0);
        crew.end(number);
        drop(place);
        let places: Vec<(usize, Place)> = (0..5).map(|_| crew.place(Some(0))).collect();
        assert!(places.iter().all(|(number, _)| *number == 1));
    }

    #[test]
    fn one_more_or_less_of_many_stays_where_it_is() {
        let (crew, _handed) = Crew::new(2);
        let mut places: Vec<(usize, Place)> = (0..200).map(|_| crew.place(None)).collect();
        let own = (0..7).map(|_| crew.place(Some(0)));
        let own: Vec<(usize, Place)> = own.collect();
        assert!(own.iter().all(|(number, _)| *number == 0));
        places.extend(own);
        assert_eq!(crew.place(Some(0)).0, 1);
    }
}
