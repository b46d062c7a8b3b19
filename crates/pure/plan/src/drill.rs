//! Decision: for a backup that is whole on the disk and was not restored yet there is one instance in which it can be:
//! a new database that nobody is linked to. It is stopped as soon as the log says what became of the backup, and one
//! that ended before that is not started again: whoever restores sees that, and says so.

use ward_types::backup::Stand;
use ward_types::id::BackupId;
use ward_types::keeper::Role;
use ward_types::release::Environment;

use crate::databases;
use crate::draft::Draft;
use crate::observed::SeenInstance;
use crate::purpose::Purpose;
use crate::scene::Scene;

/// Starts what is missing.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    for (id, backup) in &scene.env.backups.all {
        let role = Role::Drill(*id);
        let there = scene.seen().any(|i| i.facts.role == role);
        if is_wanted(scene.env, *id) && !there {
            draft.start(&backup.database, databases::RELEASE, role);
        }
    }
}

/// What such an instance is there for.
pub(crate) fn purpose(scene: &Scene, instance: &SeenInstance, id: BackupId) -> Purpose {
    match is_wanted(scene.env, id) {
        true if instance.is_over() => Purpose::History,
        true => Purpose::Needed,
        false => Purpose::Done,
    }
}

fn is_wanted(env: &Environment, id: BackupId) -> bool {
    let backup = env.backups.all.get(&id);
    backup.is_some_and(|backup| matches!(backup.stand, Stand::Taken { .. }))
}
