//! Jobs: each runs in the image of a service that is there.

use crate::mistake::{Code, Mistake};
use crate::suggest;
use crate::tree::{Table, Value};
use crate::value::quote;

/// Everything that is wrong with the jobs.
pub(crate) fn check(env: &Table) -> Vec<Mistake> {
    let services = || {
        let declared = env.table("service").into_iter();
        let names = declared.flat_map(|each| each.entries.keys());
        names.map(String::as_str)
    };
    let jobs = env.tables("job");
    let lost = jobs.filter_map(|(name, _, job)| {
        let entry = job.get("service")?;
        let Value::Text(service) = &entry.node.value else {
            return None;
        };
        let declared = services().any(|known| known == service);
        (!declared).then(|| {
            let message = format!(
                "the job {} runs in {}, which is no service of this stack",
                quote(name),
                quote(service)
            );
            Mistake::at(entry.node.span, Code::JobOfNothing, message)
                .expected(suggest::one_of(services()))
                .mean(suggest::closest(service, services()))
        })
    });
    lost.collect()
}
