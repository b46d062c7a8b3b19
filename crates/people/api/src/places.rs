//! Decision: whose connection gives way when there are too many.
//!
//! A webhook, or a word for a pipeline, is over in milliseconds and needs no place for long; what is slow is what somebody
//! holds open. So whoever comes is let in at once, and the oldest connection gives way: of the same origin where that has
//! its share, and else of the origin that has most. However many connections one of them holds open, it takes nobody
//! else's place; and behind a proxy, where all have its address, what is slow gives way to what comes.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use tokio::task::{AbortHandle, Id};

/// The connections that are open, the oldest first, each of an origin, such as an address or a user.
pub(crate) struct Places<O> {
    most: usize,
    of_one: usize,
    open: VecDeque<(O, AbortHandle)>,
}

impl<O: Copy + Eq + Hash> Places<O> {
    /// So many in all, and so many of one origin.
    pub(crate) fn new(most: usize, of_one: usize) -> Self {
        Self {
            most,
            of_one,
            open: VecDeque::new(),
        }
    }

    /// Ends what has to give way to one more of an origin.
    pub(crate) fn make_room(&mut self, origin: O) {
        let Some(of) = self.gives_way(origin) else {
            return;
        };
        let oldest = self.open.iter().position(|(origin, _)| *origin == of);
        if let Some((_, connection)) = oldest.and_then(|at| self.open.remove(at)) {
            connection.abort();
        }
    }

    fn gives_way(&self, origin: O) -> Option<O> {
        let mut held: HashMap<O, usize> = HashMap::new();
        for (origin, _) in &self.open {
            *held.entry(*origin).or_default() += 1;
        }
        if held.get(&origin).is_some_and(|held| *held >= self.of_one) {
            return Some(origin);
        }
        let full = self.open.len() >= self.most;
        let most = held.into_iter().max_by_key(|(_, held)| *held);
        most.filter(|_| full).map(|(origin, _)| origin)
    }

    /// Gives a connection its place.
    pub(crate) fn take(&mut self, origin: O, connection: AbortHandle) {
        self.open.push_back((origin, connection));
    }

    /// Takes back the place of one that is over.
    pub(crate) fn leave(&mut self, over: Id) {
        self.open.retain(|(_, connection)| connection.id() != over);
    }
}

#[cfg(test)]
mod tests {
    use ward_gateway::Origin;

    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(text.parse().expect("an address"))
    }

    /// Opens connections, one after the other; what is left of those of each address, by their order.
    async fn left(places: &mut Places<Origin>, addresses: &[&str]) -> Vec<usize> {
        let mut tasks = Vec::new();
        for address in addresses {
            let task = tokio::spawn(std::future::pending::<()>());
            places.make_room(origin(address));
            places.take(origin(address), task.abort_handle());
            tasks.push(task);
        }
        let open = |at: &usize| {
            let id = tasks[*at].id();
            places.open.iter().any(|(_, open)| open.id() == id)
        };
        let left: Vec<usize> = (0..tasks.len()).filter(open).collect();
        for (at, task) in tasks.into_iter().enumerate() {
            if !left.contains(&at) {
                assert!(task.await.is_err_and(|end| end.is_cancelled()));
            }
        }
        left
    }

    #[tokio::test]
    async fn the_oldest_of_the_one_with_its_share_or_with_most_gives_way() {
        let (one, two, three) = ("192.0.2.1", "192.0.2.2", "2001:db8::3");
        let mut places = Places::new(5, 3);
        let left_open = left(&mut places, &[two, one, one, one, one]).await;
        assert_eq!(left_open, [0, 2, 3, 4]);
        // One more fills all places; the next takes one of whom has most.
        let mut places = Places::new(5, 3);
        let left_open = left(&mut places, &[two, one, one, one, two, three]).await;
        assert_eq!(left_open, [0, 2, 3, 4, 5]);
        // A subscriber of IPv6 is one.
        let of_one = ["2001:db8::1", "2001:db8::2", three, "2001:db8::4"];
        let left_open = left(&mut Places::new(5, 3), &of_one).await;
        assert_eq!(left_open, [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_is_over_holds_no_place() {
        let mut places = Places::new(2, 2);
        for _ in 0..10 {
            let task = tokio::spawn(async {});
            let (id, handle) = (task.id(), task.abort_handle());
            places.make_room(origin("192.0.2.1"));
            places.take(origin("192.0.2.1"), handle);
            task.await.expect("it is not ended");
            places.leave(id);
            assert!(places.open.is_empty());
        }
    }
}
