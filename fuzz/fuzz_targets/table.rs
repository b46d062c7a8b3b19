//! Routing tables and what is asked of them. Whatever a table says, it is taken or refused; a plain request leads
//! where any other one would; a table that is in force, and a change of one, is not taken twice; a line of the control socket is what it
//! is when it is written again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ward_gateway::fuzzing::{InForce, control};

const TABLE: &[u8] = br#"{"term":1,"generation":7,"pools":[
{"env":"shop/prod","service":"web","hosts":[],"endpoints":[],"routes":[{"host":"a.b"},{"host":"*.b"},{"host":"c"}]},
{"env":"shop/prod","service":"api","hosts":[],"endpoints":[],"routes":[{"host":"a.b","path":"/api"},
{"host":"*.b","path":"/x/y"},{"host":"a.b","path":"/strip","settings":{"prefix":"stripped"}}]},
{"env":"shop/prod","service":"deep","hosts":[],"endpoints":[],"routes":[{"host":"a.b","path":"/api/v1"},
{"host":"d","path":"/only"},{"host":"e","header":{"name":"x-a"}}]}]}"#;
static IN_FORCE: LazyLock<InForce> =
    LazyLock::new(|| InForce::offer(TABLE).expect("the table can be served"));

fuzz_target!(|data: &[u8]| {
    let mut fields = data.splitn(3, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (Some(host), Some(target)) = (text(), text()) else {
        return;
    };
    // As the lean path asks.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    let asks = target.starts_with('/') && target.bytes().all(plain);
    if asks {
        same(&IN_FORCE, host, target);
    }
    let table = fields.next().unwrap_or_default();
    if let Some(request) = control(table) {
        let line = serde_json::to_vec(&request).expect("what was read can be written");
        assert_eq!(control(&line), Some(request));
    }
    if let Some(offered) = InForce::offer(table) {
        assert!(!offered.swap(table), "it was in force");
        if asks {
            same(&offered, host, target);
        }
        if offered.swap(TABLE) {
            same(&offered, "a.b", "/api");
        }
    }
    // Of one that is changed no other change can be made.
    let changed = InForce::offer(TABLE).expect("the table can be served");
    if changed.change(table) {
        assert!(!changed.change(table), "it changes another table");
        if asks {
            same(&changed, host, target);
        }
    }
});

fn same(table: &InForce, host: &str, target: &str) {
    let (plain, whole) = table.find(host, target);
    assert!(
        plain.is_none() || plain == whole,
        "{plain:?}, not {whole:?}"
    );
}
