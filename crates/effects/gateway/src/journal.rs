//! One worker's part of the access log: lines are formatted into a buffer, which goes to the scribe when it is
//! full, and soon after its first line in any case.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Version;
use tokio::sync::{Notify, watch};
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::tally::SeriesKey;

use crate::access::Query;
use crate::account::{Entry, Hedge, Stage, micros};
use crate::failure::Fault;
use crate::instance::Instance;
use crate::scribe::{Batch, Outbox};
use crate::tally::{Doorkeeper, End, Series, Tallies};
use crate::worker::Phase;

/// A buffer that has so much goes out at once.
const FULL: usize = 64 * 1024;
/// How long the first line of a buffer waits for others.
const SOON: Duration = Duration::from_millis(200);
/// Entries that are kept for the next requests.
const SPARE: usize = 1024;

/// What an instance's requests are counted in and are said to be.
pub(crate) struct Ledger {
    /// Fields of a line, each with a comma behind it.
    label: Vec<u8>,
    series: Arc<Series>,
}

/// Where a worker's requests are counted and logged.
pub(crate) struct Journal {
    worker: usize,
    tallies: Arc<Tallies>,
    /// What is counted beside requests.
    pub(crate) doorkeeper: Arc<Doorkeeper>,
    outbox: Option<(Outbox, Query)>,
    phase: watch::Receiver<Phase>,
    buffer: RefCell<Batch>,
    begun: Notify,
    calendar: RefCell<Calendar>,
    /// Of requests that led nowhere.
    nowhere: Arc<Series>,
    services: RefCell<HashMap<(EnvId, Name), Arc<Series>>>,
    spare: RefCell<Vec<Rc<Entry>>>,
}

impl Journal {
    /// A new worker's. Without an outbox requests are only counted.
    pub(crate) fn new(
        tallies: &Arc<Tallies>,
        outbox: Option<(Outbox, Query)>,
        phase: watch::Receiver<Phase>,
    ) -> Rc<Self> {
        let (worker, doorkeeper) = tallies.enter();
        Rc::new(Self {
            worker,
            doorkeeper,
            outbox,
            phase,
            buffer: RefCell::default(),
            begun: Notify::new(),
            calendar: RefCell::new(Calendar::now()),
            nowhere: tallies.series(worker, SeriesKey::default()),
            tallies: Arc::clone(tallies),
            services: RefCell::default(),
            spare: RefCell::default(),
        })
    }

    /// Whether there is a log, and whether it has query strings.
    pub(crate) fn query(&self) -> Option<Query> {
        self.outbox.as_ref().map(|(_, query)| *query)
    }

    /// An entry that nobody uses.
    pub(crate) fn entry(&self) -> Rc<Entry> {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Rc::new(Entry::new()))
    }

    /// What an instance's requests are counted in.
    pub(crate) fn ledger(&self, instance: &Instance) -> Ledger {
        let (env, id) = (&instance.env, &instance.endpoint.instance);
        let (service, release) = (id.service(), instance.endpoint.release);
        let key = SeriesKey {
            env: Some(env.clone()),
            service: service.clone(),
            release: Some(release),
        };
        Ledger {
            label: label(env, service.as_ref(), Some((release, id))),
            series: self.tallies.series(self.worker, key),
        }
    }

    /// What requests are counted in that led to no instance of a service.
    pub(crate) fn service(&self, env: &EnvId, service: &Name) -> Arc<Series> {
        let mut services = self.services.borrow_mut();
        let series = services.entry((env.clone(), service.clone()));
        let series = series.or_insert_with(|| {
            let key = SeriesKey {
                env: Some(env.clone()),
                service: Some(service.clone()),
                release: None,
            };
            self.tallies.series(self.worker, key)
        });
        Arc::clone(series)
    }

    /// Lets go of services that nobody may ask for any more.
    pub(crate) fn sweep(&self) {
        self.services.borrow_mut().clear();
    }

    /// A request has ended: it is counted and logged.
    pub(crate) fn close(&self, entry: &Rc<Entry>, now: Instant) {
        if entry.fault.get().is_none() && entry.stage.get() != Stage::Complete {
            entry.fault.set(Some(self.whose_end(entry)));
        }
        let is_probe = entry
            .client
            .borrow()
            .as_ref()
            .is_some_and(|client| client.is_probe());
        if !is_probe {
            self.count(entry, now);
        }
        if let Some((outbox, _)) = &self.outbox {
            self.log(outbox, entry, now);
        }
        // Whoever writes in it still, such as the rest of an upload, keeps it from being used again.
        if Rc::strong_count(entry) == 1 {
            entry.clear();
            let mut spare = self.spare.borrow_mut();
            if spare.len() < SPARE {
                spare.push(Rc::clone(entry));
            }
        }
    }

    /// Why there is no complete answer and nobody was blamed.
    fn whose_end(&self, entry: &Entry) -> (Fault, &'static str) {
        let process_ends = *self.phase.borrow() >= Phase::Cutting;
        let client = entry.client.borrow();
        let cut = client.as_ref().is_some_and(|client| client.held.was_cut());
        match entry.stage.get() {
            _ if process_ends => (Fault::Ward, "The gateway ended."),
            _ if cut => (
                Fault::Ward,
                "The gateway had too little memory, and the connection held much of it.",
            ),
            Stage::Asked => (
                Fault::Client,
                "The client went away before there was an answer.",
            ),
            _ => (
                Fault::Client,
                "The client went away before the end of the answer.",
            ),
        }
    }

    fn count(&self, entry: &Entry, now: Instant) {
        let began = entry.began.get();
        let head = entry.head.get();
        // An answer of the gateway's own has no other head than its end.
        let head = head.or_else(|| entry.status.get().map(|_| now));
        let end = End {
            status: entry.status.get(),
            fault: entry.fault.get().map(|(fault, _)| fault),
            maker: entry.maker.get(),
            retries: entry.attempts.get().saturating_sub(1),
            bytes_in: entry.bytes_in.get(),
            bytes_out: entry.bytes_out.get(),
            head: head.map(|head| micros(began, head)),
            whole: (!entry.lasting.get()).then(|| micros(began, now)),
        };
        let upstream = entry.upstream.borrow();
        let service = entry.service.borrow();
        let series = match (&*upstream, &*service) {
            (Some(upstream), _) => &upstream.ledger.series,
            (None, Some((_, _, series))) => series,
            (None, None) => &self.nowhere,
        };
        series.count(end);
    }

    fn log(&self, outbox: &Outbox, entry: &Entry, now: Instant) {
        let mut buffer = self.buffer.borrow_mut();
        let buffer = &mut *buffer;
        let mut calendar = self.calendar.borrow_mut();
        line(&mut buffer.text, &mut calendar, entry, now);
        buffer.lines += 1;
        if buffer.text.len() >= FULL {
            calendar.again();
            let batch = std::mem::take(buffer);
            buffer.text = outbox.put(batch);
        } else if buffer.lines == 1 {
            self.begun.notify_one();
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        let Some((outbox, _)) = &self.outbox else {
            return;
        };
        let mut buffer = self.buffer.borrow_mut();
        if buffer.lines > 0 {
            let batch = std::mem::take(&mut *buffer);
            buffer.text = outbox.put(batch);
        }
    }

    /// Hands over what there is soon after it has come. Nothing is done where nothing comes.
    pub(crate) async fn keep_flushing(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(SOON).await;
            self.calendar.borrow_mut().again();
            self.flush();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.flush();
    }
}

fn label(
    env: &EnvId,
    service: Option<&Name>,
    instance: Option<(ReleaseId, &InstanceId)>,
) -> Vec<u8> {
    let mut label = Vec::new();
    text(&mut label, "env", env.as_str().as_bytes(), usize::MAX);
    if let Some(service) = service {
        text(
            &mut label,
            "service",
            service.as_str().as_bytes(),
            usize::MAX,
        );
    }
    if let Some((release, id)) = instance {
        number(&mut label, "release", release.0);
        text(&mut label, "instance", id.as_str().as_bytes(), usize::MAX);
    }
    label
}

fn line(out: &mut Vec<u8>, calendar: &mut Calendar, entry: &Entry, now: Instant) {
    let began = entry.began.get();
    out.extend_from_slice(b"{\"time\":\"");
    calendar.write(out, began);
    out.extend_from_slice(b"\",");
    out.extend_from_slice(&entry.words.borrow());
    if let Some(client) = &*entry.client.borrow() {
        out.extend_from_slice(&client.stamp);
    }
    if let Some(version) = entry.version.get() {
        out.extend_from_slice(match version {
            Version::HTTP_10 => b"\"protocol\":\"HTTP/1.0\",",
            Version::HTTP_2 => b"\"protocol\":\"HTTP/2.0\",",
            _ => b"\"protocol\":\"HTTP/1.1\",",
        });
    }
    if let Some(status) = entry.status.get() {
        number(out, "status", u64::from(status.as_u16()));
    }
    where_to(out, entry);
    times(out, entry, now);
    number(out, "bytes_in", entry.bytes_in.get());
    number(out, "bytes_out", entry.bytes_out.get());
    if let Some((fault, why)) = entry.fault.get() {
        text(out, "fault", fault.as_str().as_bytes(), usize::MAX);
        text(out, "reason", why.as_bytes(), usize::MAX);
    }
    let retries = entry.attempts.get().saturating_sub(1);
    number(out, "retries", u64::from(retries));
    match entry.hedge.get() {
        None => {}
        Some(Hedge::Won) => out.extend_from_slice(b"\"hedge\":\"won\","),
        Some(Hedge::Lost) => out.extend_from_slice(b"\"hedge\":\"lost\","),
    }
    // The last comma.
    out.pop();
    out.extend_from_slice(b"}\n");
}

fn where_to(out: &mut Vec<u8>, entry: &Entry) {
    if let Some(upstream) = &*entry.upstream.borrow() {
        out.extend_from_slice(&upstream.ledger.label);
    } else if let Some((env, service, _)) = &*entry.service.borrow() {
        out.extend_from_slice(&label(env, Some(service), None));
    }
}

fn times(out: &mut Vec<u8>, entry: &Entry, now: Instant) {
    let began = entry.began.get();
    let placed = entry.placed.get();
    number(out, "wait_us", micros(began, placed.unwrap_or(now)));
    let connecting = entry.connecting.get();
    if connecting > 0 {
        number(out, "connect_us", connecting);
    }
    if let (Some(placed), Some(head)) = (placed, entry.head.get()) {
        let head = micros(placed, head).saturating_sub(connecting);
        number(out, "head_us", head);
    }
    number(out, "total_us", micros(began, now));
}

/// `"name":12,`
fn number(out: &mut Vec<u8>, name: &str, mut value: u64) {
    key(out, name);
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
    out.push(b',');
}

/// `"name":"text",` with at most so many bytes of the text. What is no UTF-8 is written as URIs write it.
pub(crate) fn text(out: &mut Vec<u8>, name: &str, text: &[u8], most: usize) {
    key(out, name);
    out.push(b'"');
    let is_cut = text.len() > most;
    escape(out, if is_cut { &text[..most] } else { text });
    if is_cut {
        out.extend_from_slice("…".as_bytes());
    }
    out.extend_from_slice(b"\",");
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// RFC 8259 section 7; what a terminal could obey or a reader could take for the end of a line is written in
/// digits too.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    // Without a way out in the middle many bytes are looked at at once.
    if text.iter().fold(true, |all, byte| all & is_plain(byte)) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            escape_letter(out, letter);
        }
        for byte in chunk.invalid() {
            out.push(b'%');
            out.extend([byte >> 4, byte & 15].map(|digit| hex(digit).to_ascii_uppercase()));
        }
    }
}

fn escape_letter(out: &mut Vec<u8>, letter: char) {
    match letter {
        '"' | '\\' => out.extend([b'\\', letter as u8]),
        letter
            if letter.is_control()
                || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
        {
            let code = u32::from(letter);
            out.extend_from_slice(b"\\u");
            out.extend([12, 8, 4, 0].map(|shift| hex((code >> shift & 15) as u8)));
        }
        letter => {
            let mut bytes = [0; 4];
            out.extend_from_slice(letter.encode_utf8(&mut bytes).as_bytes());
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

/// What time it is for people when it is this for the machine. It is asked again now and then, because clocks
/// are set.
struct Calendar {
    wall: i64,
    at: Instant,
    /// The second that was written last, and its text.
    second: Cell<i64>,
    text: [u8; 19],
}

impl Calendar {
    fn now() -> Self {
        let mut calendar = Self {
            wall: 0,
            at: Instant::now(),
            second: Cell::new(i64::MIN),
            text: [b'0'; 19],
        };
        calendar.again();
        calendar
    }

    fn again(&mut self) {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.wall = i64::try_from(wall.as_micros()).unwrap_or_default();
        self.at = Instant::now();
    }

    /// RFC 3339, UTC, microseconds.
    fn write(&mut self, out: &mut Vec<u8>, moment: Instant) {
        let since = i64::try_from(micros(self.at, moment)).unwrap_or_default();
        let before = i64::try_from(micros(moment, self.at)).unwrap_or_default();
        let micros = self.wall + since - before;
        let second = micros.div_euclid(1_000_000);
        if self.second.replace(second) != second {
            let date = jiff::Timestamp::from_second(second).unwrap_or_default();
            let date = date.to_string();
            if let Some(date) = date.as_bytes().first_chunk::<19>() {
                self.text = *date;
            }
        }
        out.extend_from_slice(&self.text);
        out.push(b'.');
        let mut rest = micros.rem_euclid(1_000_000);
        let mut digits = [0; 6];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use proptest::prelude::*;
    use ward_types::access::AccessLine;

    fn journal(folder: &std::path::Path) -> (crate::scribe::Scribe, Arc<Tallies>, Rc<Journal>) {
        let tallies = Arc::default();
        let log = crate::access::AccessLog::default();
        let scribe = crate::scribe::Scribe::start(folder, &log, &tallies).unwrap();
        let outbox = Some((scribe.outbox(), Query::Omitted));
        let (_, phase) = watch::channel(Phase::Serving);
        let journal = Journal::new(&tallies, outbox, phase);
        (scribe, tallies, journal)
    }

    fn lines(folder: &std::path::Path) -> Vec<AccessLine> {
        let text = std::fs::read_to_string(crate::access::path_of(folder)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_line_says_what_became_of_a_request_and_an_entry_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let (scribe, tallies, journal) = journal(folder.path());
        let began = Instant::now();
        for turn in 0..2000 {
            let entry = journal.entry();
            entry.began.set(began);
            entry.status.set(Some(StatusCode::OK));
            entry.stage.set(Stage::Complete);
            entry.received(turn);
            if turn == 3 {
                entry.fault.set(Some((Fault::Upstream, "It \"broke\".")));
            }
            journal.close(&entry, began + Duration::from_micros(1500));
        }
        assert_eq!(
            journal.spare.borrow().len(),
            1,
            "one entry is enough for one at a time"
        );
        drop(journal);
        scribe.finish();
        let lines = lines(folder.path());
        assert_eq!(lines.len(), 2000);
        assert_eq!((lines[3].bytes_in, lines[3].total_us), (3, 1500));
        assert_eq!(lines[3].fault.as_deref(), Some("upstream"));
        assert_eq!(lines[3].reason.as_deref(), Some("It \"broke\"."));
        assert_eq!(lines[4].fault, None, "the entry was not cleared");
        let now = jiff::Timestamp::now();
        let time: jiff::Timestamp = lines[0].time.parse().unwrap();
        assert!(
            now.duration_since(time).as_secs().abs() < 60,
            "{time} is not {now}"
        );
        assert!(lines[0].time.ends_with('Z') && lines[0].time.len() == 27);
        let requests = &tallies.requests()[0].requests;
        assert_eq!(requests.iter().map(|one| one.count).sum::<u64>(), 2000);
    }

    #[test]
    fn moments_before_and_after_the_clock_was_read_are_told() {
        let at = Instant::now() + Duration::from_secs(100);
        let mut calendar = Calendar {
            wall: 1_000_000_000_000_007,
            at,
            second: Cell::new(i64::MIN),
            text: [b'0'; 19],
        };
        let mut written = |moment| {
            let mut out = Vec::new();
            calendar.write(&mut out, moment);
            String::from_utf8(out).unwrap()
        };
        let micro = Duration::from_micros;
        assert_eq!(written(at), "2001-09-09T01:46:40.000007Z");
        assert_eq!(written(at - micro(8)), "2001-09-09T01:46:39.999999Z");
        assert_eq!(
            written(at + micro(61_000_000)),
            "2001-09-09T01:47:41.000007Z"
        );
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_is_one_line_that_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = b"{".to_vec();
            text(&mut out, "path", &bytes, usize::MAX);
            out.pop();
            out.push(b'}');
            prop_assert!(!out.iter().any(|byte| *byte < b' ' || *byte == 0x7f));
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let read = read["path"].as_str().unwrap();
            if let Ok(sent) = std::str::from_utf8(&bytes) {
                prop_assert_eq!(read, sent);
            } else {
                prop_assert!(read.contains('%'));
            }
        }
    }
}
