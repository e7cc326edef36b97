//! Who may hold a connection. Every address has a share of them, a part of all is kept for addresses that hold few, and
//! a newcomer takes the place of a connection that only waits. Knows nothing of HTTP; a connection says what it is at.

use super::server::ServerOptions;
use parking_lot::Mutex;
use sealdex_telemetry::{Open, metrics};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Of all connections, one in so many is kept for addresses that hold few.
const RESERVE_SHARE: usize = 8;

/// As many connections are few.
const FEW: usize = 8;

/// Connections beyond all others that are told to come back later.
const LOBBY_MAX: usize = 64;

/// A body of which nothing comes for so long has stalled: its connection may be given to another.
const STALL: Duration = Duration::from_secs(1);

/// A connection that was used keeps its place for so long after. A client of an address that opens many goes on working.
const IDLE_GRACE: Duration = Duration::from_secs(5);

/// All connections of a server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections {
    table: Arc<Mutex<Table>>,
    draining: Arc<AtomicBool>,
}

struct Table {
    max: usize,
    per_address: usize,
    seated: usize,
    of_address: HashMap<IpAddr, Vec<Arc<Holder>>>,
    lobby: Vec<Arc<Holder>>,
}

/// How a connection came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It is served.
    Seated,
    /// There was no room: it is told so, and only whether the server is healthy.
    Lobby,
}

/// A connection's place. Given up when it is dropped.
pub(super) struct Seat {
    pub(super) holder: Arc<Holder>,
    pub(super) admission: Admission,
    connections: Connections,
    _open: Option<Open<'static>>,
}

/// What is known of one connection.
pub(super) struct Holder {
    address: IpAddr,
    state: Mutex<State>,
    displaced: Notify,
}

struct State {
    stage: Stage,
    since: Instant,
    /// Whether a request of it was answered.
    served: bool,
    displaced: bool,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Nothing of a request has come yet.
    Idle,
    /// The head of a request is coming.
    Head,
    /// The body of a request is coming, which nothing was done about yet.
    Body,
    /// A request is under way.
    Request,
}

/// A connection whose place was taken by another.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Displaced;

impl Connections {
    pub(super) fn new(options: &ServerOptions) -> Self {
        let table = Table {
            max: options.connections_max,
            per_address: options.connections_per_address,
            seated: 0,
            of_address: HashMap::new(),
            lobby: Vec::new(),
        };
        Self {
            table: Arc::new(Mutex::new(table)),
            draining: Arc::default(),
        }
    }

    /// From now on every answer is its connection's last.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Finds a place for a connection from `peer`; `None` if there is not even one to refuse it at.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Seat> {
        let holder = Arc::new(Holder::new(owner(peer)));
        let admission = self.table.lock().admit(&holder);
        let seated = admission == Some(Admission::Seated);
        if !seated {
            metrics().connections.refused();
        }
        Some(Seat {
            holder,
            admission: admission?,
            connections: self.clone(),
            _open: seated.then(|| metrics().connections.opened()),
        })
    }
}

impl Seat {
    /// Whether the connection is to end with its next answer.
    pub(super) fn is_to_end(&self) -> bool {
        self.connections.draining.load(Ordering::Relaxed)
    }
}

impl Table {
    fn admit(&mut self, holder: &Arc<Holder>) -> Option<Admission> {
        if self.has_room_for(holder.address) {
            self.seated += 1;
            self.of_address
                .entry(holder.address)
                .or_default()
                .push(holder.clone());
            return Some(Admission::Seated);
        }
        if self.lobby.len() >= LOBBY_MAX {
            // Those that have had their answer are no better than those that still wait for it.
            let first = displace_one(self.lobby.iter(), Duration::ZERO, |_, since| since)?;
            leave(&mut self.lobby, &first);
        }
        self.lobby.push(holder.clone());
        Some(Admission::Lobby)
    }

    /// Whether one more connection of `address` fits, if need be in the place of one that waits.
    fn has_room_for(&mut self, address: IpAddr) -> bool {
        let held = self.of_address.get(&address).map_or(0, Vec::len);
        let reserve = self.max / RESERVE_SHARE;
        if held >= self.per_address || (held >= FEW && self.seated + reserve >= self.max) {
            return self.displace(|owner, _| owner == address);
        }
        // Never at the expense of another address that holds no more.
        self.seated < self.max || self.displace(|owner, others| owner == address || others > held)
    }

    /// Takes the place of a waiting connection of those addresses that `may` accepts by name and number of connections.
    fn displace(&mut self, may: impl Fn(IpAddr, usize) -> bool) -> bool {
        let candidates = self
            .of_address
            .iter()
            .filter(|(address, of)| may(**address, of.len()));
        // One that was never served before all others.
        let order = |served: bool, since: Instant| (served, since);
        let Some(displaced) = displace_one(candidates.flat_map(|(_, of)| of), IDLE_GRACE, order) else {
            return false;
        };
        self.remove(&displaced);
        true
    }

    fn remove(&mut self, holder: &Arc<Holder>) {
        if leave(&mut self.lobby, holder) {
            return;
        }
        if let Some(of) = self.of_address.get_mut(&holder.address)
            && leave(of, holder)
        {
            self.seated -= 1;
            if of.is_empty() {
                self.of_address.remove(&holder.address);
            }
        }
    }
}

/// Displaces the one that goes first by `order`, of whether it was ever served and since when it waits. One that was
/// served keeps its place for `grace`.
fn displace_one<'a, O: Ord>(
    holders: impl Iterator<Item = &'a Arc<Holder>> + Clone,
    grace: Duration,
    order: impl Fn(bool, Instant) -> O,
) -> Option<Arc<Holder>> {
    loop {
        let waiting = holders.clone().filter_map(|holder| {
            let (served, since) = holder.waiting(grace)?;
            Some((order(served, since), holder))
        });
        let (_, first) = waiting.min_by(|(a, _), (b, _)| a.cmp(b))?;
        // One that has begun a request since it was looked at stays.
        if first.displace() {
            metrics().connections.displaced();
            return Some(first.clone());
        }
    }
}

fn leave(holders: &mut Vec<Arc<Holder>>, holder: &Arc<Holder>) -> bool {
    match holders.iter().position(|other| Arc::ptr_eq(other, holder)) {
        Some(at) => {
            holders.swap_remove(at);
            true
        }
        None => false,
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.table.lock().remove(&self.holder);
    }
}

impl Holder {
    fn new(address: IpAddr) -> Self {
        Self {
            address,
            state: Mutex::new(State {
                stage: Stage::Idle,
                since: Instant::now(),
                served: false,
                displaced: false,
            }),
            displaced: Notify::new(),
        }
    }

    /// What the connection is at, and since when.
    pub(super) fn stage(&self) -> (Stage, Instant) {
        let state = self.state.lock();
        (state.stage, state.since)
    }

    /// Bytes have come: the beginning of a head, unless a request is under way.
    pub(super) fn received(&self) {
        let mut state = self.state.lock();
        if state.stage == Stage::Idle {
            state.enter(Stage::Head);
        }
    }

    /// A head is complete.
    pub(super) fn begin_request(&self) -> Result<(), Displaced> {
        let mut state = self.state.lock();
        if state.displaced {
            return Err(Displaced);
        }
        state.enter(Stage::Request);
        Ok(())
    }

    /// More of the request's body is needed than has come.
    pub(super) fn body_awaited(&self) {
        let mut state = self.state.lock();
        if state.stage == Stage::Request {
            state.enter(Stage::Body);
        }
    }

    /// Some of the body has come, or nobody waits for it any more.
    pub(super) fn body_came(&self) {
        let mut state = self.state.lock();
        if state.stage == Stage::Body {
            state.enter(Stage::Request);
        }
    }

    /// The answer is on its way.
    pub(super) fn end_request(&self) {
        let mut state = self.state.lock();
        state.served = true;
        state.enter(Stage::Idle);
    }

    /// The client has taken some more of an answer, which may go on long after it was handed over.
    pub(super) fn sent(&self) {
        let mut state = self.state.lock();
        if state.stage == Stage::Idle {
            state.since = Instant::now();
        }
    }

    /// Resolves when the connection's place was taken.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }

    /// Whether a connection that waits was ever served, and since when it waits; `None` if it does not, or has a claim to
    /// its place: a body that goes on coming, or `grace` after a request.
    fn waiting(&self, grace: Duration) -> Option<(bool, Instant)> {
        let state = self.state.lock();
        let (served, keeps) = match state.stage {
            Stage::Request => return None,
            // Whatever was served before, this is half a request.
            Stage::Body => (false, STALL),
            Stage::Idle | Stage::Head if state.served => (true, grace),
            Stage::Idle | Stage::Head => (false, Duration::ZERO),
        };
        let waits = !state.displaced && state.since.elapsed() >= keeps;
        waits.then_some((served, state.since))
    }

    fn displace(&self) -> bool {
        let mut state = self.state.lock();
        if state.stage == Stage::Request || state.displaced {
            return false;
        }
        state.displaced = true;
        self.displaced.notify_one();
        true
    }
}

impl State {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}

/// Whose share a connection counts to: an IPv6 subscriber has a whole /64.
fn owner(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(max: usize, per_address: usize) -> Connections {
        Connections::new(&ServerOptions {
            connections_max: max,
            connections_per_address: per_address,
            ..ServerOptions::default()
        })
    }

    fn ip(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    /// Connections with a request under way, which cannot be displaced.
    fn busy(connections: &Connections, from: IpAddr, count: usize) -> Vec<Seat> {
        let seats: Vec<Seat> = (0..count).map(|_| connections.admit(from).unwrap()).collect();
        for seat in &seats {
            assert_eq!(seat.admission, Admission::Seated);
            seat.holder.begin_request().unwrap();
        }
        seats
    }

    /// As if it had been at the same for so long.
    fn wait(seat: &Seat, time: Duration) {
        let mut state = seat.holder.state.lock();
        state.since = state.since.checked_sub(time).unwrap();
    }

    fn is_displaced(seat: &Seat) -> bool {
        seat.holder.state.lock().displaced
    }

    #[test]
    fn an_address_gets_its_share_and_others_theirs() {
        let connections = connections(100, 10);
        let mut held = busy(&connections, ip(2), 10);
        let refused = connections.admit(ip(2)).unwrap();
        assert_eq!(refused.admission, Admission::Lobby);
        let others = busy(&connections, ip(3), 10);
        held.pop();
        assert_eq!(connections.admit(ip(2)).unwrap().admission, Admission::Seated);
        drop((refused, others, held));
        let table = connections.table.lock();
        assert_eq!(
            (table.seated, table.lobby.len(), table.of_address.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn the_last_places_are_for_those_who_hold_few() {
        let connections = connections(64, 64);
        let many = busy(&connections, ip(2), 56);
        assert_eq!(connections.admit(ip(2)).unwrap().admission, Admission::Lobby);
        let few = busy(&connections, ip(3), 8);
        assert_eq!(connections.admit(ip(4)).unwrap().admission, Admission::Lobby);
        // A waiting connection of an address that holds more makes room.
        many[7].holder.end_request();
        assert_eq!(connections.admit(ip(4)).unwrap().admission, Admission::Lobby);
        wait(&many[7], IDLE_GRACE);
        let newcomer = connections.admit(ip(4)).unwrap();
        assert_eq!(newcomer.admission, Admission::Seated);
        assert!(is_displaced(&many[7]) && few.iter().all(|seat| !is_displaced(seat)));
        assert_eq!(many[7].holder.begin_request(), Err(Displaced));
    }

    #[test]
    fn those_never_served_make_room_first_and_then_those_idle_longest() {
        let connections = connections(100, 3);
        let [old, young, half] = [(); 3].map(|()| connections.admit(ip(2)).unwrap());
        for seat in [&old, &young] {
            seat.holder.received();
            seat.holder.begin_request().unwrap();
            seat.holder.end_request();
        }
        wait(&old, IDLE_GRACE * 2);
        wait(&young, IDLE_GRACE);
        half.holder.received();
        assert_eq!(half.holder.stage().0, Stage::Head);
        let first = busy(&connections, ip(2), 1);
        assert!(is_displaced(&half) && !is_displaced(&old) && !is_displaced(&young));
        let second = busy(&connections, ip(2), 1);
        assert!(is_displaced(&old) && !is_displaced(&young));
        drop((half, old, first, second));
        assert_eq!(connections.table.lock().seated, 1);
    }

    #[test]
    fn a_body_that_stalls_makes_room_and_one_that_comes_does_not() {
        let connections = connections(100, 3);
        let [used, stalled, coming] = [(); 3].map(|()| connections.admit(ip(2)).unwrap());
        for seat in [&used, &stalled, &coming] {
            seat.holder.begin_request().unwrap();
            seat.holder.body_awaited();
            wait(seat, 2 * STALL);
        }
        used.holder.end_request();
        wait(&used, 2 * IDLE_GRACE);
        coming.holder.body_came();
        coming.holder.body_awaited();
        let newcomer = busy(&connections, ip(2), 1);
        assert!(is_displaced(&stalled) && !is_displaced(&used) && !is_displaced(&coming));
        drop(newcomer);
    }

    #[test]
    fn the_lobby_is_bounded_and_those_in_it_longest_make_room() {
        let connections = connections(8, 1);
        let _seated = busy(&connections, ip(2), 1);
        let lobby: Vec<Seat> = (0..LOBBY_MAX)
            .map(|_| connections.admit(ip(2)).unwrap())
            .collect();
        let newcomer = connections.admit(ip(2)).unwrap();
        assert_eq!(newcomer.admission, Admission::Lobby);
        assert!(is_displaced(&lobby[0]) && !is_displaced(&lobby[1]));
        assert_eq!(connections.table.lock().lobby.len(), LOBBY_MAX);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let v6 = |text: &str| owner(text.parse().unwrap());
        assert_eq!(v6("2001:db8:1:2::3"), v6("2001:db8:1:2:ffff::9"));
        assert_ne!(v6("2001:db8:1:2::3"), v6("2001:db8:1:3::3"));
        assert_eq!(v6("::ffff:192.0.2.7"), v6("192.0.2.7"));
        assert_ne!(v6("::ffff:192.0.2.7"), v6("::ffff:192.0.2.8"));
    }
}
