//! The files of `/etc` that Ward makes: who is who, and which name leads where.

use std::fmt::Write as _;

use ward_types::keeper::{InstanceSpec, UserSpec};

/// No name server: every name that a workload may reach stands in `/etc/hosts`. The options keep a resolver that
/// asks 127.0.0.1 nevertheless from waiting long.
pub(crate) const RESOLV_CONF: &str = "\
# Made by Ward. What this workload may reach stands in /etc/hosts; there is no name server.
options attempts:1 timeout:1
";

/// Names come from files only.
pub(crate) const NSSWITCH_CONF: &str = "\
passwd: files
group: files
shadow: files
hosts: files
networks: files
protocols: files
services: files
";

/// `/etc/hosts`: itself and its links.
pub(crate) fn hosts(spec: &InstanceSpec) -> String {
    let mut text = format!(
        "127.0.0.1 localhost {}\n::1 localhost ip6-localhost ip6-loopback\n",
        spec.facts.id
    );
    for link in &spec.links {
        let _ = writeln!(text, "{} {}", link.address, link.host);
    }
    text
}

/// `/etc/passwd`: the image's, with a line for each id that it lacks.
pub(crate) fn passwd(image: &str, user: &UserSpec) -> String {
    let mut text = complete_lines(image);
    let ids = [
        (0, 0, "root"),
        (65534, 65534, "nobody"),
        (user.uid, user.gid, "app"),
    ];
    for (uid, gid, name) in ids {
        if !has_id(&text, uid) {
            let name = free_name(&text, name);
            let _ = writeln!(text, "{name}:x:{uid}:{gid}:{name}:/tmp:/sbin/nologin");
        }
    }
    text
}

/// `/etc/group`, likewise.
pub(crate) fn group(image: &str, user: &UserSpec) -> String {
    let mut text = complete_lines(image);
    for (gid, name) in [(0, "root"), (65534, "nogroup"), (user.gid, "app")] {
        if !has_id(&text, gid) {
            let name = free_name(&text, name);
            let _ = writeln!(text, "{name}:x:{gid}:");
        }
    }
    text
}

fn complete_lines(image: &str) -> String {
    let mut text = image.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// In both files the third field is the id.
fn has_id(text: &str, id: u32) -> bool {
    let id = id.to_string();
    text.lines().any(|line| line.split(':').nth(2) == Some(&id))
}

fn free_name(text: &str, name: &str) -> String {
    let taken = |name: &str| {
        text.lines()
            .any(|line| line.split(':').next() == Some(name))
    };
    let mut free = name.to_owned();
    while taken(&free) {
        free.push('_');
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_added_where_the_image_does_not_know_it() {
        let user = UserSpec {
            uid: 1000,
            gid: 1001,
            host_id: 7,
        };
        let made = passwd("root:x:0:0:root:/root:/bin/sh\napp:x:5:5::/:", &user);
        assert!(made.starts_with("root:x:0:0:root:/root:/bin/sh\napp:x:5:5::/:\n"));
        assert!(made.contains("\napp_:x:1000:1001:"), "{made}");
        assert_eq!(made.matches(":0:0:").count(), 1);
        assert!(group("", &user).contains("app:x:1001:\n"));
    }
}
