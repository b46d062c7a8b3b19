//! The simulated gateway. It keeps its table while it is away, as the real one does.

use std::collections::BTreeMap;

use ward_plan::SeenGateway;
use ward_types::histogram::Histogram;
use ward_types::id::InstanceId;
use ward_types::table::{Pool, Traffic};

#[derive(Default)]
pub struct Gateway {
    pub table: Vec<Pool>,
    pub traffic: BTreeMap<InstanceId, Traffic>,
    pub latency: BTreeMap<InstanceId, Histogram>,
    /// It is of a version that cannot hold requests.
    pub older: bool,
    /// A client waits for it to wake.
    pub held: bool,
    /// From a route until it is in force.
    pub takes: u64,
    /// Refuses routes until then.
    pub refuses_until: u64,
    away_until: u64,
    pending: Option<(u64, Vec<Pool>)>,
    now: u64,
}

impl Gateway {
    pub fn go_away(&mut self, now: u64, millis: u64) {
        self.now = now;
        self.away_until = self.away_until.max(now + millis);
    }

    /// Whoever drives sees nothing while an answer is still out.
    pub fn seen(&self) -> Option<SeenGateway> {
        let away = self.away_until > self.now || self.pending.is_some();
        (!away).then(|| SeenGateway {
            pools: self.table.clone(),
            traffic: self.traffic.clone(),
            latency: self.latency.clone(),
            holds: !self.older,
            held: self.held && self.table.iter().any(|pool| pool.asleep.is_some()),
        })
    }

    pub fn is_well(&self) -> bool {
        self.seen().is_some() && self.refuses_until <= self.now
    }

    pub fn apply(&mut self, table: Vec<Pool>, now: u64) {
        if self.refuses_until > now {
            return;
        }
        match self.takes {
            0 => self.table = table,
            takes => self.pending = Some((now + takes, table)),
        }
    }

    /// Whether an instance gets requests now, or might when an answer that is out arrives.
    pub fn may_name(&self, id: &InstanceId) -> bool {
        let pending = self.pending.iter().flat_map(|(_, table)| table);
        let pools = self.table.iter().chain(pending);
        pools.flat_map(|p| &p.endpoints).any(|e| e.instance == *id)
    }

    pub fn busy(&mut self, id: &InstanceId, requests: u64, upgraded: u64) {
        let traffic = self.traffic.entry(id.clone()).or_default();
        (traffic.requests, traffic.upgraded) = (requests, upgraded);
    }

    /// An instance answers so many requests, some of them badly, and takes so long for each.
    pub fn answer(&mut self, id: &InstanceId, requests: u64, failed: u64, micros: u64) {
        let traffic = self.traffic.entry(id.clone()).or_default();
        traffic.answered += requests;
        traffic.failed += failed;
        let latency = self.latency.entry(id.clone()).or_default();
        (0..requests).for_each(|_| latency.record(micros));
    }

    pub fn is_busy(&self, id: &InstanceId) -> bool {
        let traffic = self.traffic.get(id);
        traffic.is_some_and(|t| t.requests + t.upgraded > 0)
    }

    pub fn cut(&mut self, id: &InstanceId) {
        self.traffic.remove(id);
    }

    pub fn forget(&mut self, id: &InstanceId) {
        self.traffic.remove(id);
        self.latency.remove(id);
    }

    pub fn next_event(&self, now: u64) -> Option<u64> {
        let pending = self.pending.as_ref().map(|(at, _)| *at);
        let moments = [pending, Some(self.away_until), Some(self.refuses_until)];
        moments.into_iter().flatten().filter(|t| *t > now).min()
    }

    pub fn advance(&mut self, now: u64) -> Vec<String> {
        let mut lines = Vec::new();
        if self.away_until > self.now && self.away_until <= now {
            lines.push("the gateway is back".to_owned());
        }
        self.now = now;
        if let Some((_, table)) = self.pending.take_if(|(at, _)| *at <= now) {
            self.table = table;
            lines.push("the gateway has the routes in force".to_owned());
        }
        lines
    }
}
