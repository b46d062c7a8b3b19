//! The forms of what stacks share.

use ward_types::sharing::{Export, SharedLink};

use crate::kind::{Rule, name};
use crate::mistake::Code;
use crate::value::{Wrong, as_name, quote};

/// A name of this stack, or a service of another one.
pub(crate) fn link(text: &str) -> Result<(), Wrong> {
    if !text.contains('/') {
        return name(text).map_err(|wrong| wrong.or_expected(|| Rule::Name.describe()));
    }
    if SharedLink::parse(text).is_some() {
        return Ok(());
    }
    let message = format!("{} is no link to another stack", quote(text));
    Err(Wrong::new(Code::BadLink, message).mean(meant_link(text)))
}

/// `claims/prod/api` and `claims/api@prod` can only mean one thing.
fn meant_link(text: &str) -> Option<String> {
    let (stack, rest) = text.split_once('/')?;
    let meant = match (rest.split_once('@'), rest.split_once('/')) {
        (Some((service, env)), None) => format!("{stack}@{env}/{service}"),
        (None, Some((env, service))) => format!("{stack}@{env}/{service}"),
        _ => text.to_ascii_lowercase(),
    };
    let fits = |meant: &String| meant != text && SharedLink::parse(meant).is_some();
    Some(meant).filter(fits)
}

/// Who of other stacks may link to a service.
pub(crate) fn export(text: &str) -> Result<(), Wrong> {
    if Export::parse(text).is_some() {
        return Ok(());
    }
    let message = format!("{} names no stack that could link to it", quote(text));
    let turned = text.replacen('@', "/", 1);
    let fits = |meant: &String| meant != text && Export::parse(meant).is_some();
    let meant = Some(turned).filter(fits).or_else(|| as_name(text));
    Err(Wrong::new(Code::BadExport, message).mean(meant))
}
