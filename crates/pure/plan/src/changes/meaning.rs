//! What a change means, in a sentence without a full stop, and whether somebody loses something by it.

use serde_json::Value;
use ward_types::changes::{ChangeKind, Effect};
use ward_types::range::AddressRange;

use super::walk::{Found, Segment};

/// A sentence that is a change's own.
struct Meaning {
    text: &'static str,
    destructive: bool,
}

/// Somebody loses something.
const fn loses(text: &'static str) -> Option<Meaning> {
    Some(Meaning {
        text,
        destructive: true,
    })
}

const fn says(text: &'static str) -> Option<Meaning> {
    Some(Meaning {
        text,
        destructive: false,
    })
}

/// What a change means, and whether somebody loses something by it.
pub(super) fn means(found: &Found, kind: ChangeKind, effect: Effect) -> (String, bool) {
    let names: Vec<&str> = found.at.iter().map(Segment::text).collect();
    let own = match names.as_slice() {
        ["spec", "services", _, "route", _, rest @ ..] => of_route(rest, found, kind),
        ["spec", "services", _, rest @ ..] => of_service(rest, found, kind),
        ["spec", "databases", _, rest @ ..] => of_database(rest, found, kind),
        ["spec", "volumes", _, rest @ ..] => of_volume(rest, found, kind),
        ["spec", "jobs", _, rest @ ..] => of_job(rest, found, kind),
        ["spec", rest @ ..] => of_environment(rest, found, kind),
        ["config", "version"] => {
            says("counts what was set; what changes by that is told by itself")
        }
        _ => None,
    };
    match own {
        Some(own) => (own.text.to_owned(), own.destructive),
        None => (usual(effect, kind).to_owned(), false),
    }
}

fn of_service(rest: &[&str], found: &Found, kind: ChangeKind) -> Option<Meaning> {
    use ChangeKind::{Add, Remove};
    match (rest, kind) {
        ([], Remove) => loses("its instances end, and nothing takes their place"),
        (["volumes", _], Remove) => says("new instances do not see it any more"),
        (["instances"], _) if found.to == Some(0.into()) => loses("nothing of it runs any more"),
        (["port"], Remove) => loses("nothing can reach it any more"),
        (["links" | "shared_links" | "egress", _], Remove) => {
            says("new instances do not reach it any more")
        }
        (["exports", _], Remove) => {
            loses("whoever links to it by that alone gets 503, from the switch on")
        }
        (["exports", _], Add) => says("these may link to it, from the switch on"),
        (["release"], Remove) => says("no command runs before the switch any more"),
        (["release", "schema"], _) if becomes(found, "contract") => {
            loses("releases before the one that serves do not run on what its command leaves")
        }
        (["release", "schema"], _) if becomes(found, "irreversible") => {
            loses("no release before runs on what its command leaves")
        }
        (["seed"], Remove) => says("it fills new data no more"),
        (["seed", ..], _) => says("it runs where data is new, behind all release commands"),
        (["guard", "limit"], Remove) => {
            says("any number of requests of one client is let through, from the switch on")
        }
        _ => None,
    }
}

fn of_route(rest: &[&str], found: &Found, kind: ChangeKind) -> Option<Meaning> {
    use ChangeKind::{Add, Remove};
    match (rest, kind) {
        ([], Remove) => loses("clients get no answer there any more, from the switch on"),
        (["settings", "audience"], _) if becomes(found, "links") => {
            loses("clients of the outside get 404 there, from the switch on")
        }
        (["settings", "audience"], _) => {
            says("clients of the outside may ask there, from the switch on")
        }
        (["settings", "https"], Remove) => {
            says("requests without TLS are served, too, from the switch on")
        }
        (["settings", "https"], _) if becomes(found, "redirect") => {
            says("requests without TLS are sent to HTTPS (308), from the switch on")
        }
        (["settings", "allow"], _) => allowed(found),
        (["tls"], Add) if has_authorities(&found.to) => loses(NO_CERTIFICATE),
        (["tls"], Remove) if has_authorities(&found.from) => says(ANY_CLIENT),
        (["tls", "client_ca"], Add) => loses(NO_CERTIFICATE),
        (["tls", "client_ca"], ChangeKind::Change) => loses(
            "clients whose certificate only the former authorities signed are not served there, from the switch on",
        ),
        (["tls", "client_ca"], Remove) => says(ANY_CLIENT),
        _ => None,
    }
}

const NO_CERTIFICATE: &str =
    "clients without a certificate of these authorities are not served there, from the switch on";

const ANY_CLIENT: &str = "clients need no certificate there any more, from the switch on";

fn has_authorities(side: &Option<Value>) -> bool {
    let file = side.as_ref().and_then(|tls| tls.get("client_ca"));
    file.is_some_and(|file| !file.is_null())
}

/// None in the list: all may ask.
fn allowed(found: &Found) -> Option<Meaning> {
    let (from, to) = (ranges(found.from.as_ref()), ranges(found.to.as_ref()));
    let may_still = |range: &AddressRange| to.iter().any(|other| other.covers(range));
    match (from.is_empty(), to.is_empty()) {
        (_, true) => says("clients of any address may ask there, from the switch on"),
        (true, false) => loses("clients of all other addresses get 403 there, from the switch on"),
        (false, false) if from.iter().all(may_still) => {
            says("the gateway has it from the switch on")
        }
        (false, false) => loses(
            "clients of addresses that are not in it any more get 403 there, from the switch on",
        ),
    }
}

fn ranges(list: Option<&Value>) -> Vec<AddressRange> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|range| range.as_str()?.parse().ok())
        .collect()
}

fn of_database(rest: &[&str], found: &Found, kind: ChangeKind) -> Option<Meaning> {
    use ChangeKind::{Add, Remove};
    match (rest, kind) {
        ([], Remove) => loses(
            "nothing reaches it any more; it runs on with its data until the environment is purged",
        ),
        (["engine"], _) => loses("another program does not read the data that is there"),
        (["backups"], Remove) => {
            loses("no backup is made any more; those that are there stay, and grow old")
        }
        (["backups"], Add) => says("the first backup is made as soon as the release serves"),
        (["backups", "keep"], _) if is_less(found) => {
            loses("the older backups beyond so many are removed when the next one counts")
        }
        (["backups", "keep"], _) => says("it holds from the next backup on"),
        (["backups", "every"], _) => says("the next backup is due by it"),
        _ => None,
    }
}

fn of_volume(rest: &[&str], found: &Found, kind: ChangeKind) -> Option<Meaning> {
    use ChangeKind::{Add, Remove};
    match (rest, kind) {
        ([], Remove) => loses(
            "no instance sees it any more; what is in it stays until `ward volume delete` or until the environment is purged",
        ),
        ([], Add) => says("it is new and empty, or holds what one of its name held before"),
        (["keep_snapshots"], _) if is_less(found) => {
            loses("the older snapshots beyond so many are removed with the next one")
        }
        (["keep_snapshots"], _) => says("it holds from the next snapshot on"),
        (["snapshot"], _) if becomes(found, "before_release") => {
            says("a snapshot is made before each deployment, from the next one on")
        }
        (["snapshot"], _) => loses("no snapshot is made before a deployment any more"),
        (["size"], _) => says(
            "files of new instances are held to it, and nothing new is deployed while it holds more",
        ),
        _ => None,
    }
}

fn of_job(rest: &[&str], found: &Found, kind: ChangeKind) -> Option<Meaning> {
    use ChangeKind::{Add, Remove};
    match (rest, kind) {
        ([], Remove) => loses("it runs no more, nor by `ward job run`; its history stays"),
        (["schedule"], Remove) => loses("it runs by `ward job run` alone"),
        (["schedule"], Add) => says("it is due by it, once the release serves"),
        (["copies"], _) if found.to == Some(false.into()) => {
            says("copies of the environment run it by `ward job run` alone")
        }
        (["copies"], _) => says("copies of the environment run it on its schedule, too"),
        _ => None,
    }
}

fn of_environment(rest: &[&str], found: &Found, kind: ChangeKind) -> Option<Meaning> {
    use ChangeKind::Remove;
    match (rest, kind) {
        (["keep_releases"], _) if is_less(found) => {
            loses("the older releases beyond so many are retired: nothing goes back to them")
        }
        (["keep_releases"], _) => says("so many releases can be gone back to"),
        (["seeded"], Remove) => says("new data is not filled by seed commands any more"),
        (["seeded"], _) => says("new data is filled by seed commands"),
        (["copy_data"], _) if becomes(found, "allowed") => {
            says("its rows may be copied into other environments (`--copy-data`)")
        }
        (["copy_data"], _) => says("its rows are not copied into other environments any more"),
        (["sleep"], Remove) => says("it does not fall asleep by itself any more"),
        (["sleep"], _) => says("it falls asleep when nobody asked it for anything for so long"),
        (["policy", ..] | ["protected"], Remove) => says("later plans are asked for less"),
        _ => None,
    }
}

fn becomes(found: &Found, text: &str) -> bool {
    found.to.as_ref().and_then(Value::as_str) == Some(text)
}

fn is_less(found: &Found) -> bool {
    let number = |side: &Option<Value>| side.as_ref().and_then(Value::as_u64);
    matches!((number(&found.from), number(&found.to)), (Some(from), Some(to)) if to < from)
}

fn usual(effect: Effect, kind: ChangeKind) -> &'static str {
    match effect {
        Effect::Starts => "is started",
        Effect::Ends => "ends, and nothing takes its place",
        Effect::Replaces if kind == ChangeKind::Remove => "new instances do not have it any more",
        Effect::Replaces => "new instances have it",
        Effect::Switches if kind == ChangeKind::Remove => {
            "the gateway does not have it any more, from the switch on"
        }
        Effect::Switches => "the gateway has it from the switch on",
        Effect::RunsCommand => "runs before the switch, in each deployment",
        Effect::Steers => "deployments go by it, from this one on",
        Effect::NextStart => "the database has it from its next start on",
        Effect::Strands => "runs on, and nothing reaches it",
        Effect::Recorded => "nothing that runs changes by it",
        Effect::Governs => "later plans are held against it",
        Effect::Released => "part of the new release",
    }
}
