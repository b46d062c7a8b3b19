//! How long an environment may last, and how long it may be idle.

use ward_types::environments::NewEnd;
use ward_types::life::{LONGEST, SHORTEST, roughly};
use ward_types::sleep::{LONGEST_IDLE, SHORTEST_IDLE};
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::format_duration;

use crate::actor::{Refusal, RefusalKind};
use crate::clock::now;

pub(super) fn lasting(ttl: Millis) -> Result<(), Refusal> {
    if (SHORTEST..=LONGEST).contains(&ttl) {
        return Ok(());
    }
    let (shortest, longest) = (format_duration(SHORTEST), format_duration(LONGEST));
    let asked = match ttl < SHORTEST {
        true => format_duration(ttl),
        false => roughly(ttl),
    };
    let message = format!("an environment lasts from {shortest} to {longest}, and not {asked}");
    Err(Refusal::new(RefusalKind::Invalid, message)
        .hint("say another time with --ttl; without an end it lasts until it is deleted"))
}

pub(super) fn idling(idle: Millis) -> Result<(), Refusal> {
    if (SHORTEST_IDLE..=LONGEST_IDLE).contains(&idle) {
        return Ok(());
    }
    let message = format!(
        "an environment sleeps when it was idle for {} to {}, and not {}",
        format_duration(SHORTEST_IDLE),
        roughly(LONGEST_IDLE),
        format_duration(idle)
    );
    Err(Refusal::new(RefusalKind::Invalid, message)
        .hint("say another time with --sleep; without it the copy sleeps as what it is a copy of"))
}

pub(super) fn end(asked: NewEnd) -> Result<Option<Timestamp>, Refusal> {
    let at = match asked {
        NewEnd::Never => return Ok(None),
        NewEnd::In(ttl) => {
            lasting(ttl)?;
            return Ok(Some(now() + ttl));
        }
        NewEnd::At(at) => at,
    };
    if at < now() + SHORTEST {
        let message = format!("{at} is over");
        return Err(Refusal::new(RefusalKind::Invalid, message)
            .hint("name a moment to come; `ward env delete` ends an environment now"));
    }
    lasting(at.since(now()))?;
    Ok(Some(at))
}
