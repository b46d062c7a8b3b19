//! Links from other stacks: whom a service lets in, and what the others are told.
//!
//! Decision: it is asked at each request and not at each connection, so that an export that is taken back holds from
//! the next request on, also on connections that are kept open. What is under way then ends as it would have.

use ward_types::sharing;

use crate::failure::{Failure, Fault};
use crate::proxy::Entry;
use crate::routes::Pool;

/// Whether it is a link of another environment.
pub(crate) fn is_guest(entry: &Entry) -> bool {
    matches!(entry, Entry::Link { guest: Some(_), .. })
}

/// Whether whoever asks may reach a service that its link leads to.
pub(crate) fn admits(entry: &Entry, pool: &Pool) -> bool {
    match entry {
        Entry::Link {
            guest: Some(guest), ..
        } => sharing::admits(&pool.entry.pool.exports, &pool.service.0, guest),
        Entry::Link { guest: None, .. } | Entry::Front(_) | Entry::Probe { .. } => true,
    }
}

/// What a guest is told of a failure that is not its own: which stack it is of, and what can be done.
pub(crate) fn words(entry: &Entry, failure: &Failure) -> Option<String> {
    let Entry::Link {
        guest: Some(guest),
        service: (env, service),
        ..
    } = entry
    else {
        return None;
    };
    if failure.fault == Fault::Client {
        return None;
    }
    let (stack, said) = (env.stack(), failure.sentence);
    let link = format!("The link of {guest} leads to the service {service} of {env}.");
    Some(match *failure {
        Failure::NOT_THERE => format!(
            "{link} That environment is not there or down, or has no such service: `ward status` shows what runs, \
             `ward up` and `ward deploy` bring it up. Requests pass as soon as it runs."
        ),
        Failure::NOT_EXPORTED => format!(
            "{link} It is not exported to {guest}: `export` in `[service.{service}]` of the stack file of {stack} says \
             who may link to it. Requests pass as soon as a release that exports it serves."
        ),
        _ => format!("{link} {said}"),
    })
}
