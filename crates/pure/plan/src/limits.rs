//! The limits that are Ward's own and no setting, each with its reason. Those that a stack file changes are
//! `stack.deadlines` and the timeouts of services.

use ward_types::time::Millis;

/// What a database's start may take at most, however often it was given up before: each start after one that
/// was given up may take twice as long, so that a replay of its log which takes long comes to its end.
pub(crate) const DATABASE_START_MOST: Millis = Millis::secs(3600);
/// An instance that stays ill for so long is replaced; see also `ILL_CHECKS`. Long enough for what it depends
/// on to come back, when that is what made it ill.
pub(crate) const ILL: Millis = Millis::secs(60);
/// It has failed so many more checks by then, at least.
pub(crate) const ILL_CHECKS: u64 = 3;
/// An instance that a signal stopped is given up after so long: it is certain that it does nothing. Long enough for
/// whoever stops it for a moment, such as to copy its files.
pub(crate) const STOPPED: Millis = Millis::secs(15);
/// What ran before a rollback, or before a deployment was resumed, and is to have its requests, has so long to answer a health check: many times what one
/// that is well takes. Clients are answered by the release that serves meanwhile.
pub(crate) const CHECKUP: Millis = Millis::secs(2);
/// From SIGINT to SIGKILL of a database that never came up: it has no checkpoint to write, and is what a person
/// waits for. That of the others is a setting.
pub(crate) const DATABASE_STOP_UNSTARTED: Millis = Millis::secs(10);
/// A release's latency is judged when it has had so long at a stage: the first answers of a process are its
/// slowest, because its caches are empty. Its errors are judged at once.
pub(crate) const WARM_UP: Millis = Millis::secs(5);
/// For copying the rows of one database into another.
pub(crate) const COPYING: Millis = Millis::secs(6 * 3600);
/// For copying what a volume holds into a snapshot.
pub(crate) const SNAPSHOT: Millis = Millis::secs(3600);
/// For starting and clearing away release commands, beside their own timeouts.
pub(crate) const CLEARING: Millis = Millis::secs(10);
/// From telling the last long connection to go away until it is cut: the end of a frame, of an event or of a
/// message, and the answer to a close frame.
pub(crate) const LONG_GRACE: Millis = Millis::secs(5);
/// From cutting what is left on an instance until it is stopped whatever still runs: close frames.
pub(crate) const CUT_GRACE: Millis = Millis::secs(1);
/// An instance that was healthy for this long has started well: what ends it then, a crash or an operator,
/// is no reason to wait before the next start.
pub(crate) const WELL: Millis = Millis::secs(10);
/// The same of one that ran for this long, when nobody saw whether it was healthy.
pub(crate) const STABLE: Millis = Millis::secs(60);
/// Before the first repeated start.
pub(crate) const BACKOFF_FIRST: Millis = Millis::secs(1);
/// Between repeated starts, at most.
pub(crate) const BACKOFF_MOST: Millis = Millis::secs(60);
/// How many rounds of failures are kept: one more than double `BACKOFF_FIRST` to `BACKOFF_MOST`.
pub(crate) const HISTORY_ROUNDS: usize = 7;
/// How often an instance that was healthy and ended is replaced while its release rolls out.
pub(crate) const REPLACEMENTS: usize = 3;
/// How many lines of output a failure shows.
pub(crate) const OUTPUT_LINES: usize = 20;
/// The budgets of an instance whose release is not retained any more.
pub(crate) const DRAIN_DEFAULT: Millis = Millis::secs(30);
/// See [`DRAIN_DEFAULT`].
pub(crate) const LONG_DRAIN_DEFAULT: Millis = Millis::secs(60);
/// See [`DRAIN_DEFAULT`].
pub(crate) const STOP_DEFAULT: Millis = Millis::secs(10);
