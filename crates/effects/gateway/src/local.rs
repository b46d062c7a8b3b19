//! Everything of one connection runs on the worker that accepted it.

use hyper::rt::Executor;

/// Spawns hyper's own tasks on the worker's thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
