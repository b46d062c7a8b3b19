//! What an environment takes of its machine, in units that need no price list: instances and reserved memory.

use ward_types::changes::Cost;
use ward_types::spec::EnvSpec;
use ward_types::unit::ByteSize;

/// Of one environment at rest: what is kept warm or starts beside it is not in it.
#[must_use]
pub fn cost(spec: &EnvSpec) -> Cost {
    let services = spec.services.values();
    let services = services.map(|service| (u64::from(service.instances), service.memory));
    let databases = spec.databases.values().map(|database| (1, database.memory));
    let mut cost = Cost {
        instances: services.clone().map(|(count, _)| count).sum(),
        databases: spec.databases.len() as u64,
        ..Cost::default()
    };
    for (count, memory) in services.chain(databases) {
        match memory {
            Some(ByteSize(bytes)) => {
                let all = bytes.saturating_mul(count);
                cost.memory = ByteSize(cost.memory.0.saturating_add(all));
            }
            None => cost.unlimited += count,
        }
    }
    cost
}
