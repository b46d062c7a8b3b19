//! Decision: connections whose clients have gone are closed a few at a time.
//!
//! To close a connection costs several times what it costs to see its end. Thousands of clients may go in one moment, and
//! each end is seen in the order in which they come: whoever asks then would wait until all of them are closed. So what is
//! seen is only put here, and closed bit by bit while others have their turns.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::admission::Seat;
use crate::client::Shared;

/// How many are closed before others have their turn.
const IN_A_ROW: usize = 8;

/// Those of one worker that are to be closed. Each has its place until it is.
#[derive(Default)]
pub(crate) struct Gone {
    left: RefCell<Vec<(Shared<TcpStream>, Seat)>>,
    some: Notify,
}

impl Gone {
    /// The client of this one has gone.
    pub(crate) fn add(&self, stream: Shared<TcpStream>, seat: Seat) {
        let mut left = self.left.borrow_mut();
        if left.is_empty() {
            self.some.notify_one();
        }
        left.push((stream, seat));
    }

    /// Closes them.
    pub(crate) async fn close(self: Rc<Self>) {
        loop {
            self.some.notified().await;
            while self.close_some() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Closes a few; whether there are more.
    fn close_some(&self) -> bool {
        let mut left = self.left.borrow_mut();
        let keeps = left.len().saturating_sub(IN_A_ROW);
        let some = left.split_off(keeps);
        let more = !left.is_empty();
        if !more {
            // After a crowd.
            left.shrink_to(IN_A_ROW);
        }
        drop(left);
        drop(some);
        more
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::admission::Admission;
    use crate::limits::Limits;
    use crate::refusals::Refusals;

    #[tokio::test]
    async fn a_crowd_that_goes_is_closed_a_few_at_a_time() {
        let admission = Admission::new(&Limits::default(), None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (gone, mut clients) = (Gone::default(), Vec::new());
        for _ in 0..2 * IN_A_ROW + 1 {
            let client = TcpStream::connect(listener.local_addr().unwrap());
            let (client, accepted) = tokio::join!(client, listener.accept());
            let permit = admission.next().await.unwrap();
            let (stream, peer) = accepted.unwrap();
            let seat = Arc::clone(&admission).seat(permit, peer.ip(), &Refusals::default());
            gone.add(Shared::new(stream), seat.unwrap());
            clients.push(client.unwrap());
        }
        for left in [IN_A_ROW + 1, 1] {
            assert!(gone.close_some());
            assert_eq!(
                admission.open(),
                left,
                "each has its place until it is closed"
            );
        }
        assert!(!gone.close_some() && admission.open() == 0);
        for mut client in clients {
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }
}
