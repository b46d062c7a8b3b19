//! Drills: of a backup that lies on the disk and was not restored, in a database of its own, one at a time.

use ward_types::backup::Stand;
use ward_types::id::{BackupId, Name};
use ward_types::keeper::Role;

use super::facts::Case;
use crate::action::Action;

/// Whether one may begin now.
pub(super) fn may_start(case: &Case, id: BackupId, database: &Name) -> bool {
    let role = Role::Drill(id);
    let backup = case.env.backups.all.get(&id);
    let its_own = backup.is_some_and(|backup| {
        backup.database == *database && matches!(backup.stand, Stand::Taken { .. })
    });
    let starts = case.plan.actions.iter().filter(|action| match action {
        Action::Start { role: started, .. } => *started == role,
        _ => false,
    });
    its_own && starts.count() == 1 && !case.all().any(|i| i.facts.role == role)
}
