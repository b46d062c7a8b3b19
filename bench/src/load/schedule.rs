//! Requests at fixed moments, whatever becomes of the ones before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::tally::Tally;

/// One kind of client.
pub(crate) trait Client: Send + Sync + 'static {
    /// What the report calls it.
    const KIND: &'static str;
    /// How long a request may take, from when it was due.
    const LIMIT: Duration = Duration::from_secs(30);

    /// Asks once. The moment at which the answer counts as given: for most its last byte.
    fn ask(self: Arc<Self>) -> impl Future<Output = Result<Instant, String>> + Send;
}

/// Begins a request each period until told to stop, then waits for those that are under way.
pub(super) async fn open_loop<C: Client>(
    client: Arc<C>,
    period: Duration,
    tally: Arc<Tally>,
    mut stop: watch::Receiver<bool>,
) {
    let mut under_way = JoinSet::new();
    let mut due = Instant::now();
    loop {
        tokio::select! {
            biased;
            // An error means that the load was dropped.
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep_until(due) => {}
        }
        under_way.spawn(once(Arc::clone(&client), due, Arc::clone(&tally)));
        due += period;
        while let Some(ended) = under_way.try_join_next() {
            passed_on(ended);
        }
    }
    while let Some(ended) = under_way.join_next().await {
        passed_on(ended);
    }
}

fn passed_on(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panicked) = ended {
        std::panic::resume_unwind(panicked.into_panic());
    }
}

async fn once<C: Client>(client: Arc<C>, due: Instant, tally: Arc<Tally>) {
    tally.asked(C::KIND);
    match tokio::time::timeout_at(due + C::LIMIT, client.ask()).await {
        Ok(Ok(answered)) => tally.good(C::KIND, answered.saturating_duration_since(due)),
        Ok(Err(why)) => tally.bad(C::KIND, due, why),
        Err(_) => tally.bad(
            C::KIND,
            due,
            format!("no whole answer within {} s", C::LIMIT.as_secs()),
        ),
    }
}
