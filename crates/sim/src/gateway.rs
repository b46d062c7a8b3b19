//! The simulated gateway. It keeps its table while it is away, as the real one does.

use std::collections::BTreeMap;

use ward_plan::SeenGateway;
use ward_types::id::InstanceId;
use ward_types::table::{Pool, Traffic};

#[derive(Default)]
pub(crate) struct Gateway {
    pub(crate) table: Vec<Pool>,
    traffic: BTreeMap<InstanceId, Traffic>,
    /// From a route until it is in force.
    pub(crate) takes: u64,
    /// Refuses routes until then.
    pub(crate) refuses_until: u64,
    pub(crate) away_until: u64,
    /// A client waits for it to wake.
    pub(crate) held: bool,
    pending: Option<(u64, Vec<Pool>)>,
}

impl Gateway {
    fn is_here(&self, now: u64) -> bool {
        self.away_until <= now
    }

    /// Whoever drives sees nothing while an answer is still out.
    pub(crate) fn seen(&self, now: u64) -> Option<SeenGateway> {
        let silent = !self.is_here(now) || self.pending.is_some();
        (!silent).then(|| SeenGateway {
            pools: self.table.clone(),
            traffic: self.traffic.clone(),
            latency: BTreeMap::new(),
            holds: true,
            held: self.held,
        })
    }

    /// Whether it would do at once what it is asked.
    pub(crate) fn is_well(&self, now: u64) -> bool {
        self.seen(now).is_some() && self.refuses_until <= now
    }

    pub(crate) fn apply(&mut self, table: Vec<Pool>, now: u64) -> Result<(), String> {
        if self.refuses_until > now || !self.is_here(now) {
            return Err("the gateway does not take the table".into());
        }
        match self.takes {
            0 => self.table = table,
            takes => self.pending = Some((now + takes, table)),
        }
        Ok(())
    }

    /// Whether an instance gets requests now, or might when an answer that is out arrives.
    pub(crate) fn may_name(&self, id: &InstanceId) -> bool {
        let pending = self.pending.iter().flat_map(|(_, table)| table);
        let pools = self.table.iter().chain(pending);
        pools.flat_map(|p| &p.endpoints).any(|e| e.instance == *id)
    }

    /// So many requests and long connections are under way on an instance that is in the table.
    pub(crate) fn busy(&mut self, id: &InstanceId, requests: u64, upgraded: u64) {
        let traffic = Traffic {
            requests,
            upgraded,
            ..Traffic::default()
        };
        if self.may_name(id) {
            self.traffic.insert(id.clone(), traffic);
        }
    }

    /// An instance in the table answers a request.
    pub(crate) fn answer(&mut self, id: &InstanceId) {
        self.traffic.entry(id.clone()).or_default().answered += 1;
    }

    /// Requests and long connections.
    pub(crate) fn under_way(&self, id: &InstanceId) -> (u64, u64) {
        let traffic = self.traffic.get(id).copied().unwrap_or_default();
        (traffic.requests, traffic.upgraded)
    }

    pub(crate) fn is_busy(&self, id: &InstanceId) -> bool {
        let traffic = self.traffic.get(id);
        traffic.is_some_and(|t| t.requests + t.upgraded > 0)
    }

    /// What was under way on an instance has ended.
    pub(crate) fn cut(&mut self, id: &InstanceId) {
        self.traffic.remove(id);
    }

    /// Everything that was under way has ended.
    pub(crate) fn calm(&mut self) {
        self.traffic.clear();
        (self.takes, self.refuses_until, self.held) = (0, 0, false);
    }

    pub(crate) fn next_event(&self, now: u64) -> Option<u64> {
        let pending = self.pending.as_ref().map(|(at, _)| *at);
        let moments = [pending, Some(self.away_until), Some(self.refuses_until)];
        moments.into_iter().flatten().filter(|t| *t > now).min()
    }

    /// Puts into force what is due; whether anything was.
    pub(crate) fn advance(&mut self, now: u64) -> bool {
        let due = self.pending.take_if(|(at, _)| *at <= now);
        let any = due.is_some();
        if let Some((_, table)) = due {
            self.table = table;
        }
        any
    }
}
