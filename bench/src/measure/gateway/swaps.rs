//! A routing table of ten thousand hosts, and what its changes cost the requests that pass meanwhile.
//!
//! A gateway of its own is driven through its control socket, as a server drives it: it is told the hundred services of an
//! environment in which one has another instance. One of its hosts is real: its requests reach the origin that runs in
//! Ward's sandbox. An acknowledgement's time is from the call to its return, the writing on the one side and the way to
//! the disk on the other included.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use ward_gateway::control::Control;
use ward_types::id::{EnvId, Generation, InstanceId, Name, Term};
use ward_types::table::{Endpoint, Pool, Table, TableChange, Version};

use super::clients::{self, Way};
use super::proxies::{HOST, Proxies, Proxy};
use crate::error::{Error, doing};
use crate::report::{Bar, Row, informs};
use crate::sample::Sample;

const HOSTS: usize = 10_000;
/// Tables of one round, one after the other.
const SWAPS: u32 = 20;
const EACH: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;
/// Requests a second to the real host: few enough that nothing waits for the processor because of them.
const RATE: f64 = 1000.0;
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// What acknowledging takes, and what requests feel of it.
pub(super) struct Bars {
    pub(super) acknowledged: Bar,
    pub(super) tail: Bar,
}

/// Times in milliseconds, and the tails of the requests beside them in microseconds.
#[derive(Default)]
struct Taken {
    alone: Sample,
    beside: Sample,
    tails_with: Sample,
    tails_without: Sample,
}

pub(super) fn measure(
    proxies: &Proxies,
    way: Way,
    bars: &Bars,
    folder: &Path,
) -> Result<Vec<Row>, Error> {
    let handle = Handle::current();
    let real = handle.block_on(real_pool(proxies))?;
    let mut gateway = Gateway::start(proxies.exe(), folder, &handle, fleet(real))?;
    let mut taken = Taken::default();
    taken.alone.extend(handle.block_on(gateway.swaps())?);
    // As long as the swaps take.
    let time = EACH * SWAPS;
    for _ in 0..ROUNDS {
        let quiet = clients::at_rate(&gateway.proxy, way, RATE, time, folder)?;
        taken.tails_without.extend(quiet.quantile(0.99));
        let (proxy, swapping) = gateway.split();
        let (busy, acknowledged) = std::thread::scope(|scope| {
            let swaps = scope.spawn(|| handle.block_on(swapping.swaps()));
            let busy = clients::at_rate(proxy, way, RATE, time, folder);
            (busy, swaps.join())
        });
        taken.tails_with.extend(busy?.quantile(0.99));
        let acknowledged = acknowledged.map_err(|_| Error::Unexpected("swaps panicked".to_owned()));
        taken.beside.extend(acknowledged??);
    }
    Ok(rows(&taken, bars))
}

fn rows(taken: &Taken, bars: &Bars) -> Vec<Row> {
    let (with, without) = (taken.tails_with.median(), taken.tails_without.max());
    let effect = with.zip(without).map(|(with, without)| with / without);
    let named = |what: &str| format!("gateway: routing table of 10,000 hosts: {what}");
    let rows = vec![
        bars.acknowledged.row(taken.beside.median()),
        bars.tail.row(effect),
        informs(named("the slowest swap"), taken.beside.max(), "ms"),
        informs(named("swap, no requests"), taken.alone.median(), "ms"),
        informs(named("p99 during swaps"), with, "µs"),
        informs(
            named("p99 without swaps"),
            taken.tails_without.median(),
            "µs",
        ),
        informs(named("p99 without swaps, worst run"), without, "µs"),
    ];
    rows.iter().for_each(Row::say);
    rows
}

/// The origin's, as Ward's own gateway knows it.
async fn real_pool(proxies: &Proxies) -> Result<Pool, Error> {
    let observed = Control::new(proxies.home()).observe().await;
    let observed = observed.map_err(|error| refused("tell its table", &error))?;
    let leads = |pool: &Arc<Pool>| pool.routes.iter().any(|route| route.host == HOST);
    let found = observed.table.pools.into_iter().find(leads);
    let found = found.map(Arc::unwrap_or_clone);
    found.ok_or_else(|| Error::Unexpected(format!("no pool of the table has {HOST}")))
}

fn refused(what: &str, error: &dyn std::error::Error) -> Error {
    let cause = error.source().map(|cause| format!(": {cause}"));
    let cause = cause.unwrap_or_default();
    Error::Unexpected(format!("a gateway did not {what}: {error}{cause}"))
}

/// The real pool in the middle of many that lead nowhere, with the same settings.
fn fleet(real: Pool) -> Table {
    let mut pools: Vec<Pool> = (0..HOSTS - 1).map(|at| pool(&real, at)).collect();
    pools.insert(HOSTS / 2, real);
    Table {
        term: Term(1),
        generation: Generation(1),
        pools: pools.into_iter().map(Arc::new).collect(),
        down: Vec::new(),
    }
}

fn pool(like: &Pool, at: usize) -> Pool {
    let name = |text: String| Name::parse(&text).expect("letters and digits are a name");
    let (env, service) = (
        name(format!("e{}", at / 100)),
        name(format!("s{}", at % 100)),
    );
    let mut pool = like.clone();
    pool.env = EnvId::new(&name("fleet".to_owned()), &env);
    // Of more than one all would have the same host.
    pool.routes.truncate(1);
    for route in &mut pool.routes {
        route.host = format!("{service}.{env}.fleet.example");
    }
    for endpoint in &mut pool.endpoints {
        *endpoint = stand_in(endpoint, &format!("{service}-r1-{at}"));
    }
    pool.service = service;
    pool
}

/// An instance that is not there.
fn stand_in(like: &Endpoint, id: &str) -> Endpoint {
    let mut endpoint = like.clone();
    endpoint.instance = InstanceId::parse(id).expect("a service, a release and a number are an id");
    let home = like.dir.parent().map_or_else(PathBuf::new, Path::to_owned);
    endpoint.dir = home.join(id);
    endpoint
}

/// A gateway that runs, and the last table that it has.
struct Gateway {
    proxy: Proxy,
    swapping: Swapping,
    child: Child,
}

struct Swapping {
    control: Control,
    table: Table,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(exe: &Path, folder: &Path, handle: &Handle, table: Table) -> Result<Self, Error> {
        let home = folder.join("fleet");
        doing(
            "make a folder for a gateway",
            std::fs::create_dir_all(&home),
        )?;
        let (http, https) = (listen()?, listen()?);
        let sockets = ward_gateway::Sockets {
            http: &http,
            https: &https,
            metrics: None,
        };
        let child = ward_gateway::spawn(exe, &home, &[], sockets);
        let child = child.map_err(|error| refused("start", &error))?;
        let address = |listener: &TcpListener| doing("see a port", listener.local_addr());
        let gateway = Self {
            proxy: Proxy::of_pid("Ward", address(&http)?, address(&https)?, child.id()),
            swapping: Swapping {
                control: Control::new(&home),
                table,
            },
            child,
        };
        handle.block_on(gateway.swapping.begin())?;
        Ok(gateway)
    }

    fn split(&mut self) -> (&Proxy, &mut Swapping) {
        (&self.proxy, &mut self.swapping)
    }

    async fn swaps(&mut self) -> Result<Vec<f64>, Error> {
        self.swapping.swaps().await
    }
}

fn listen() -> Result<TcpListener, Error> {
    doing("listen for a gateway", TcpListener::bind("127.0.0.1:0"))
}

impl Swapping {
    /// Waits for the gateway, and gives it the first table.
    async fn begin(&self) -> Result<(), Error> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            match self.control.apply(self.table.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(refused("take a table", &error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// How many milliseconds each of some swaps took, which begin evenly.
    async fn swaps(&mut self) -> Result<Vec<f64>, Error> {
        let mut ticks = tokio::time::interval(EACH);
        let mut took = Vec::new();
        for _ in 0..SWAPS {
            ticks.tick().await;
            took.push(self.swap().await?);
        }
        Ok(took)
    }

    async fn swap(&mut self) -> Result<f64, Error> {
        let from = self.table.version();
        let to = Version {
            generation: Generation(from.generation.0 + 1),
            ..from
        };
        let first = &self.table.pools[0];
        let mut changed = Pool::clone(first);
        for endpoint in &mut changed.endpoints {
            *endpoint = stand_in(endpoint, &format!("s0-r2-{}", to.generation.0));
        }
        let others = self.table.pools[1..].iter();
        let others = others.filter(|pool| pool.env == first.env).cloned();
        let change = TableChange {
            from,
            to,
            env: first.env.clone(),
            pools: std::iter::once(Arc::new(changed)).chain(others).collect(),
            down: None,
        };
        let started = Instant::now();
        let table = self.table.followed_by(&change);
        self.table = table.clone();
        let applied = self.control.change(change, table).await;
        let took = started.elapsed();
        let applied = applied.map_err(|error| refused("take a table", &error))?;
        match applied.table == to {
            true => Ok(took.as_secs_f64() * 1000.0),
            false => Err(Error::Unexpected(format!("{applied:?} is in force"))),
        }
    }
}
