//! A screen of its own, until somebody has seen enough.

use std::io::{IsTerminal, Read};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::printer::Printer;

/// A screen of its own, and the terminal as it was when this is dropped.
pub(super) struct Screen<'a> {
    printer: &'a Printer,
    before: Option<Termios>,
}

impl<'a> Screen<'a> {
    pub(super) fn enter(printer: &'a Printer) -> Self {
        let before = unechoed();
        // The other screen, without a cursor.
        printer.raw("\x1b[?1049h\x1b[?25l");
        let screen = Self { printer, before };
        screen.draw("…\n");
        screen
    }

    pub(super) fn draw(&self, text: &str) {
        let mut frame = "\x1b[H".to_owned();
        let room = self
            .printer
            .height()
            .unwrap_or(usize::MAX)
            .saturating_sub(2);
        let columns = self.printer.width().unwrap_or(usize::MAX);
        let count = text.lines().count();
        // What does not fit is said, in the last line that does.
        let (fits, rest) = match count > room {
            true => (room.saturating_sub(1), count - room + 1),
            false => (count, 0),
        };
        let more = format!("{rest} more lines: --env shows one environment alone");
        let more = (rest > 0).then_some(more.as_str());
        for line in text.lines().take(fits).chain(more) {
            // A line that wraps would push the others out.
            frame.extend(line.chars().take(columns));
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str("\x1b[K\r\nq or Ctrl-C ends this\x1b[J");
        self.printer.raw(&frame);
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.printer.raw("\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Keys come one by one and are not shown; what was before. Ctrl-C stays what it is.
fn unechoed() -> Option<Termios> {
    let before = tcgetattr(std::io::stdin()).ok()?;
    let mut changed = before.clone();
    changed
        .local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO);
    changed.special_codes[SpecialCodeIndex::VMIN] = 1;
    changed.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(std::io::stdin(), OptionalActions::Now, &changed).ok()?;
    Some(before)
}

/// Whatever ends it.
pub(super) struct End {
    keys: mpsc::Receiver<()>,
    signals: Vec<Signal>,
}

impl End {
    pub(super) fn new() -> Self {
        let (pressed, keys) = mpsc::channel(1);
        if std::io::stdin().is_terminal() {
            // A thread, because a read of a terminal blocks; it ends with the process.
            std::thread::spawn(move || {
                let mut key = [0];
                while std::io::stdin()
                    .read(&mut key)
                    .is_ok_and(|count| count == 1)
                {
                    if matches!(key[0], b'q' | b'Q') {
                        let _ = pressed.blocking_send(());
                    }
                }
                std::mem::forget(pressed);
            });
        } else {
            std::mem::forget(pressed);
        }
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        Self {
            keys,
            signals: kinds.into_iter().flat_map(signal).collect(),
        }
    }

    pub(super) async fn comes(&mut self) {
        let mut signals: Vec<_> = self
            .signals
            .iter_mut()
            .map(|one| Box::pin(one.recv()))
            .collect();
        let signalled = std::future::poll_fn(|context| {
            let ready = signals
                .iter_mut()
                .any(|one| one.as_mut().poll(context).is_ready());
            match ready {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        tokio::select! {
            () = signalled => {}
            Some(()) = self.keys.recv() => {}
        }
    }
}
