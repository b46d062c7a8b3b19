//! Many environments at rest, to measure what looking after them costs.

use crate::simulation::Simulation;
use crate::specs;

/// Environments of five services each, all at rest.
pub struct Fleet(Vec<Simulation>);

impl Fleet {
    /// So many, each deployed once.
    #[must_use]
    pub fn at_rest(environments: usize) -> Self {
        let deployed = (0..environments).map(|number| {
            let mut simulation = Simulation::new(&format!("s{number}/prod"), None);
            simulation.world().deploy(specs::five());
            simulation.settle();
            simulation
        });
        Self(deployed.collect())
    }

    /// One full pass: each is observed, planned and checked. How many had anything left to do.
    pub fn pass(&mut self) -> usize {
        let turned = self.0.iter_mut().map(Simulation::is_busy);
        turned.filter(|busy| *busy).count()
    }
}
