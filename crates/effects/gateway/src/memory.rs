//! Decision: how much memory its clients may make the gateway hold in all, and who pays when it is more.
//!
//! What one connection may hold is bounded ([`crate::limits`]); that is no bound on their sum. So the memory of the
//! process is looked at ten times a second: it is what the machine has too little of, whoever holds it and whatever
//! for. When it is more than the bound,
//!
//! 1. what was freed is given back to the kernel, and the rest is looked at again;
//! 2. the outside is refused: new connections are closed, requests get 503. Links are the stack's own, and operators
//!    have sockets of their own, so neither are;
//! 3. the clients' connections that hold the most are cut, as many as it takes.
//!
//! How much a connection holds is estimated, because the libraries that hold it do not say: what was handed to its
//! protocol and not written yet, what was read from it and not passed on, and a part for everything else. That says
//! who is cut, never whether somebody is. Where all clients together hold too little to matter, nobody is refused:
//! the gateway needs more than it was given, and that is said in its log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ward_types::table::Refusal;

use crate::worker::Shared;

/// How often it is looked at.
const LOOKS: Duration = Duration::from_millis(100);
/// How long those that were cut have to end before others are.
const TAKES_EFFECT: Duration = Duration::from_millis(300);
/// What a connection holds beside what is counted.
const EACH: usize = 16 * 1024;
/// Room is made until so much of the bound is free, in parts of it.
const FREE: u64 = 8;
/// Less than this no gateway can do with.
const LEAST: u64 = 64 << 20;
/// The share of the machine's, or the cgroup's, memory where nothing was said.
const SHARE: u64 = 4;

/// What all clients hold, and how much that may be.
pub(crate) struct Memory {
    /// In bytes.
    most: u64,
    tight: AtomicBool,
    holders: Mutex<HashMap<u64, (Arc<Held>, Cut)>>,
    number: AtomicU64,
}

/// Ends a connection.
type Cut = Box<dyn Fn() + Send>;

/// What one connection holds. Only its worker writes in it.
#[derive(Default)]
pub(crate) struct Held {
    /// Handed to its protocol and not written yet.
    out: AtomicUsize,
    /// Read from it and not passed on yet.
    read: AtomicUsize,
    cut: AtomicBool,
}

impl Held {
    /// Bytes are handed out to be sent.
    pub(crate) fn hands_out(&self, bytes: usize) {
        let now = self.out.load(Ordering::Relaxed).saturating_add(bytes);
        self.out.store(now, Ordering::Relaxed);
    }

    /// Bytes were written, or will never be.
    pub(crate) fn written(&self, bytes: usize) {
        let now = self.out.load(Ordering::Relaxed).saturating_sub(bytes);
        self.out.store(now, Ordering::Relaxed);
    }

    /// How many bytes were handed out and not written yet, about.
    pub(crate) fn unsent(&self) -> usize {
        self.out.load(Ordering::Relaxed)
    }

    /// Bytes came.
    pub(crate) fn came(&self, bytes: usize) {
        let now = self.read.load(Ordering::Relaxed).saturating_add(bytes);
        self.read.store(now, Ordering::Relaxed);
    }

    /// Bytes of a body went on.
    pub(crate) fn passed_on(&self, bytes: usize) {
        let now = self.read.load(Ordering::Relaxed).saturating_sub(bytes);
        self.read.store(now, Ordering::Relaxed);
    }

    /// There is no request any more, so nothing is held: what was counted too much or too little is forgotten.
    pub(crate) fn nothing(&self) {
        self.out.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
    }

    /// Whether it was cut because of what it held.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// How much is held.
    pub(crate) fn bytes(&self) -> usize {
        // Heads and frames are counted as read and never as passed on; more than its window cannot be held.
        let read = self.read.load(Ordering::Relaxed).min(1 << 20);
        EACH + self.out.load(Ordering::Relaxed) + read
    }
}

/// A connection that counts, until it is dropped.
pub(crate) struct Holder {
    memory: Arc<Memory>,
    number: u64,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut holders = self.memory.holders();
        holders.remove(&self.number);
        // After a crowd.
        if holders.is_empty() && holders.capacity() > 1024 {
            holders.shrink_to_fit();
        }
    }
}

/// What a look at the memory leads to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// There is enough.
    Enough,
    /// The clients hold too much: so many connections were cut.
    Cut(usize),
    /// There is too little, and not because of clients.
    Needed,
}

impl Memory {
    /// With a bound in bytes; `None`: a quarter of what the machine, or the cgroup, has.
    pub(crate) fn new(most: Option<u64>) -> Arc<Self> {
        let most = most.or_else(|| available().map(|all| all / SHARE));
        Arc::new(Self {
            most: most.unwrap_or(u64::MAX).max(LEAST),
            tight: AtomicBool::new(false),
            holders: Mutex::default(),
            number: AtomicU64::new(0),
        })
    }

    /// Whether nobody of the outside is served for now.
    pub(crate) fn is_tight(&self) -> bool {
        self.tight.load(Ordering::Relaxed)
    }

    /// One more connection of the outside, and how to end it.
    pub(crate) fn counts(self: &Arc<Self>, held: &Arc<Held>, cut: Cut) -> Holder {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.holders().insert(number, (Arc::clone(held), cut));
        Holder {
            memory: Arc::clone(self),
            number,
        }
    }

    /// The process uses so many bytes.
    fn judge(&self, used: u64) -> Verdict {
        // Not back and forth at the border.
        let enough = match self.is_tight() {
            true => self.most - self.most / FREE / 2,
            false => self.most,
        };
        if used <= enough {
            self.tight.store(false, Ordering::Relaxed);
            return Verdict::Enough;
        }
        let excess = used.saturating_sub(self.most - self.most / FREE);
        let cut = self.cut(excess);
        self.tight.store(cut.is_some(), Ordering::Relaxed);
        cut.map_or(Verdict::Needed, Verdict::Cut)
    }

    /// Cuts those that hold the most until so many bytes are held no more; how many. `None`: all of them together
    /// hold too little for that, and for it to matter.
    fn cut(&self, excess: u64) -> Option<usize> {
        let holders = self.holders();
        let mut all: Vec<(u64, &(Arc<Held>, Cut))> = holders
            .values()
            .map(|holder| (holder.0.bytes() as u64, holder))
            .collect();
        let sum: u64 = all.iter().map(|(bytes, _)| bytes).sum();
        if sum < excess && sum < self.most / FREE {
            return None;
        }
        all.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut left = excess;
        let mut count = 0;
        for (bytes, (held, cut)) in all {
            // Those that were cut before hold until their tasks have ended.
            if !held.cut.swap(true, Ordering::Relaxed) {
                cut();
                count += 1;
            }
            left = left.saturating_sub(bytes);
            if left == 0 {
                break;
            }
        }
        Some(count)
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<u64, (Arc<Held>, Cut)>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the memory until the process ends.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let memory = &shared.memory;
    let mut needed = false;
    loop {
        tokio::time::sleep(LOOKS).await;
        let mut used = resident();
        if used > memory.most || memory.is_tight() {
            // Freed and not given back is nobody's. It takes the allocator's locks for milliseconds.
            let _ = tokio::task::spawn_blocking(ward_sandbox::give_back_freed).await;
            used = resident();
        }
        let was_tight = memory.is_tight();
        let verdict = memory.judge(used);
        let (used, most) = (used >> 20, memory.most >> 20);
        match verdict {
            Verdict::Enough if was_tight => {
                tracing::info!(used, most, "there is memory again (MiB)");
            }
            Verdict::Enough => {}
            Verdict::Cut(count) => {
                tracing::warn!(
                    used,
                    most,
                    count,
                    "clients hold too much memory (MiB): some were cut, new ones are refused"
                );
                (0..count).for_each(|_| shared.refusals.count(Refusal::Memory));
                tokio::time::sleep(TAKES_EFFECT).await;
            }
            Verdict::Needed if !needed => {
                tracing::error!(
                    used,
                    most,
                    "the gateway needs more memory (MiB) than it was given, and not for its clients: raise \
                     --gateway-memory (WARD_GATEWAY_MEMORY)"
                );
            }
            Verdict::Needed => {}
        }
        needed = verdict == Verdict::Needed;
    }
}

/// Bytes of memory that are this process's own: without the pages of files, which the kernel takes back by itself.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&text, "RssAnon:").unwrap_or(0)
}

/// A field of a file of /proc, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let count: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(count * 1024)
}

/// The machine's memory, or what this process's cgroup allows where that is less; in bytes.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let all = kibibytes(&text, "MemTotal:")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(limit_files).filter_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.trim().parse::<u64>().ok()
    });
    limits.chain([all]).min()
}

/// Where the limits of a line of /proc/self/cgroup stand (cgroups(7)), those of all groups above it too.
fn limit_files(line: &str) -> Vec<std::path::PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        all if all.split(',').any(|one| one == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = std::path::Path::new(group.trim_start_matches('/'));
    let root = std::path::Path::new(root);
    group
        .ancestors()
        .map(|group| root.join(group).join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 800 << 20;

    /// Connections that hold so many MiB, and whether each was cut.
    fn held(memory: &Arc<Memory>, each: &[usize]) -> Vec<(Arc<Held>, Holder, Arc<AtomicBool>)> {
        let hold = |mebibytes: &usize| {
            let (held, ended) = (Arc::new(Held::default()), Arc::new(AtomicBool::new(false)));
            held.hands_out(mebibytes << 20);
            let end = Arc::clone(&ended);
            let cut = Box::new(move || end.store(true, Ordering::Relaxed));
            let holder = memory.counts(&held, cut);
            (held, holder, ended)
        };
        each.iter().map(hold).collect()
    }

    fn ended(all: &[(Arc<Held>, Holder, Arc<AtomicBool>)]) -> Vec<bool> {
        let ended = all.iter().map(|(_, _, ended)| ended);
        ended.map(|one| one.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn those_that_hold_the_most_are_cut_until_enough_is_left() {
        let memory = Memory::new(Some(MOST));
        let all = held(&memory, &[50, 200, 1, 100]);
        assert_eq!(memory.judge(MOST), Verdict::Enough);
        assert!(!memory.is_tight());
        // A hundred too much, and another hundred so that there is some room.
        assert_eq!(memory.judge(MOST + (100 << 20)), Verdict::Cut(1));
        assert_eq!(ended(&all), [false, true, false, false]);
        assert!(memory.is_tight() && all[1].0.was_cut() && !all[0].0.was_cut());
        // It has not ended yet: it does not count twice, and nobody else pays for it.
        assert_eq!(memory.judge(MOST + (100 << 20)), Verdict::Cut(0));
        assert_eq!(memory.judge(MOST + (250 << 20)), Verdict::Cut(2));
        assert_eq!(ended(&all), [true, true, false, true]);
        assert_eq!(memory.judge(MOST - 1), Verdict::Cut(0), "at the border");
        assert_eq!(memory.judge(MOST - (50 << 20)), Verdict::Enough);
        assert!(!memory.is_tight());
        drop(all);
        assert!(memory.holders().is_empty());
    }

    #[test]
    fn what_is_not_the_clients_is_not_made_theirs() {
        let memory = Memory::new(Some(MOST));
        let all = held(&memory, &[1, 1]);
        assert_eq!(memory.judge(2 * MOST), Verdict::Needed);
        assert!(!memory.is_tight());
        assert_eq!(ended(&all), [false, false]);
    }

    #[test]
    fn what_is_held_is_what_was_taken_and_not_passed_on() {
        let held = Held::default();
        held.hands_out(100_000);
        held.written(60_000);
        held.came(5_000);
        held.passed_on(2_000);
        assert_eq!(held.bytes(), EACH + 43_000);
        held.written(usize::MAX);
        held.came(usize::MAX);
        assert_eq!(held.bytes(), EACH + (1 << 20), "no window is larger");
        held.nothing();
        assert_eq!(held.bytes(), EACH);
    }

    #[test]
    fn the_machine_says_how_much_there_is() {
        let all = available().unwrap();
        assert!(all > LEAST && resident() > 0 && resident() < all);
        let memory = Memory::new(None);
        assert!(memory.most >= LEAST && memory.most <= (all / SHARE).max(LEAST));
        let files = |line| {
            let files = limit_files(line).into_iter();
            files
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            files("0::/a/b"),
            ["/a/b", "/a", "/"]
                .map(|group| format!("/sys/fs/cgroup{}/memory.max", group.trim_end_matches('/')))
        );
        assert_eq!(
            files("5:cpu,memory:/")[0],
            "/sys/fs/cgroup/memory/memory.limit_in_bytes"
        );
        assert!(files("4:cpu:/a").is_empty() && files("nonsense").is_empty());
    }
}
