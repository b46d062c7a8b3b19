//! What backups are restored in: a new database that nobody needs, and the databases of a new environment.

use ward_postgres::{CopyPlace, Place};
use ward_types::keeper::{InstanceFacts, LogSpec};
use ward_types::release::Release;

use super::{ComposeError, Composed, Composer, LOG_BYTES};

impl Composer {
    /// A new PostgreSQL of the version that the database has, in which a backup of it is tried.
    pub(super) async fn drill(
        &self,
        facts: InstanceFacts,
        release: &Release,
    ) -> Result<Composed, ComposeError> {
        let (env, name, role) = (facts.env.clone(), facts.component.clone(), facts.role);
        let missing = || ComposeError::NoComponent {
            release: release.id.to_string(),
            component: name.clone(),
        };
        let spec = release.spec.databases.get(&name).ok_or_else(missing)?;
        let own = self.opener.own(&env, &name).await?;
        let place = Place {
            started: facts.started,
            dir: self.engine.instance_dir(&env, &facts.id),
            host_id: self.engine.host_id(&env, &name),
            log: LogSpec {
                file: self.engine.log_file(&facts),
                max_bytes: LOG_BYTES,
            },
            gateway_links: self.engine.gateway_links(),
            id: facts.id,
        };
        let spec = own.drill(spec, role, place);
        let spec = spec.map_err(|source| ComposeError::Database {
            database: name.clone(),
            source: Box::new(source),
        })?;
        Ok(Composed { spec, given: None })
    }

    /// What fills a database of a new environment with a backup, which is written to it.
    pub(super) async fn restore(&self, mut facts: InstanceFacts) -> Result<Composed, ComposeError> {
        let (env, name) = (facts.env.clone(), facts.component.clone());
        let own = vec![(env.clone(), name.clone())];
        let opened = self.opener.opened(&facts.id, Vec::new(), own).await?;
        facts.passwords = Some(opened.passwords());
        let to = opened.databases.first();
        let to = to.ok_or_else(|| ComposeError::NoOriginal { env: env.clone() })?;
        let place = CopyPlace {
            dir: self.engine.instance_dir(&env, &facts.id),
            host_id: self.engine.host_id(&env, &name),
            log: LogSpec {
                file: self.engine.log_file(&facts),
                max_bytes: LOG_BYTES,
            },
            gateway_links: self.engine.gateway_links(),
            from: None,
            to: self.engine.current_link(&env, &name),
            facts,
        };
        let spec = to.database.copy_of(None, place);
        let given = Some(opened.given);
        Ok(Composed { spec, given })
    }
}
