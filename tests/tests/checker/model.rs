//! A deployment too simple to be wrong, in simulated time, with clients that record what they do. It can be given one bug.

use sealdex_tests::history::{Call, Effect, History, Id, Moment, Operation, State, Token, User};
use sealdex_tests::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Clients that work at the same time.
    pub(crate) clients: u32,
    /// Ids that they share.
    pub(crate) ids: u32,
    /// Operations in all.
    pub(crate) operations: usize,
    /// How many in a hundred get no answer.
    pub(crate) unanswered: usize,
    /// How many in ten thousand list everything.
    pub(crate) lists: usize,
}

/// What may be wrong with a deployment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bug {
    /// A read is answered from a replica that is behind.
    StaleRead,
    /// An acknowledged write never happens.
    LostWrite,
    /// A deletion is forgotten after a while.
    ForgottenTombstone,
    /// A write that was refused happens.
    RefusedWrite,
    /// A read returns what nobody wrote.
    Invention,
    /// A write that got no answer happens, and again later, over what came after it.
    DoubleApply,
    /// A node goes on serving a revoked user.
    CachedGrant,
    /// A node does not know a user yet whose creation was acknowledged.
    LateGrant,
    /// A query overlooks an item.
    BlindQuery,
    /// A list leaves an item out.
    HalfListing,
    /// An answer holds an item twice.
    Duplicate,
}

pub(crate) const BUGS: [Bug; 11] = [
    Bug::StaleRead,
    Bug::LostWrite,
    Bug::ForgottenTombstone,
    Bug::RefusedWrite,
    Bug::Invention,
    Bug::DoubleApply,
    Bug::CachedGrant,
    Bug::LateGrant,
    Bug::BlindQuery,
    Bug::HalfListing,
    Bug::Duplicate,
];

/// The history of one run, which follows from shape, seed and bug alone.
pub(crate) fn run(shape: Shape, seed: u64, bug: Option<Bug>) -> History {
    let mut model = Model {
        shape,
        bug,
        random: Random::new(seed),
        agenda: BTreeMap::new(),
        events: 0,
        operations: Vec::new(),
        items: BTreeMap::new(),
        versions: BTreeMap::new(),
        behind: BTreeMap::new(),
        users: BTreeSet::new(),
        minted: Vec::new(),
    };
    for client in 0..shape.clients {
        model.at(u64::from(client), Event::Ask(client));
    }
    while let Some(((now, _), event)) = model.agenda.pop_first() {
        model.happen(now, event);
    }
    History(model.operations)
}

enum Event {
    /// A client begins its next operation.
    Ask(u32),
    /// An operation takes effect on one item.
    Touch(usize, Id),
    /// An operation takes effect on its user.
    TouchUser(usize),
    /// An operation is answered.
    Answer(usize),
    /// A deleted item comes back, by [`Bug::ForgottenTombstone`].
    Rise(Id, Token),
}

struct Model {
    shape: Shape,
    bug: Option<Bug>,
    random: Random,
    agenda: BTreeMap<(u64, u64), Event>,
    events: u64,
    operations: Vec<Operation>,
    items: BTreeMap<Id, Token>,
    /// All that was ever asked to be written under an id.
    versions: BTreeMap<Id, Vec<Token>>,
    /// What a replica knows that is behind: the version before.
    behind: BTreeMap<Id, Token>,
    users: BTreeSet<User>,
    minted: Vec<User>,
}

impl Model {
    fn at(&mut self, time: u64, event: Event) {
        self.events += 1;
        self.agenda.insert((time, self.events), event);
    }

    fn happen(&mut self, now: u64, event: Event) {
        match event {
            Event::Ask(client) => self.ask(now, client),
            Event::Touch(operation, id) => self.touch(now, operation, id),
            Event::TouchUser(operation) => self.touch_user(operation),
            Event::Answer(operation) => {
                self.operations[operation].end = Some(Moment(now));
                // Only now does anybody know the user's token.
                if let Call::Mint {
                    user,
                    effect: Effect::Acknowledged,
                } = self.operations[operation].call
                {
                    self.minted.push(user);
                }
                let next = now + self.delay(20);
                self.at(next, Event::Ask(self.operations[operation].client));
            }
            Event::Rise(id, token) => {
                self.items.entry(id).or_insert(token);
            }
        }
    }

    fn delay(&mut self, max: usize) -> u64 {
        1 + self.random.below(max) as u64
    }

    fn has(&mut self, bug: Bug, percent: usize) -> bool {
        self.bug == Some(bug) && self.random.chance(percent)
    }

    fn ask(&mut self, now: u64, client: u32) {
        if self.operations.len() == self.shape.operations {
            return;
        }
        let effect = match () {
            () if self.random.chance(self.shape.unanswered) => Effect::Unknown,
            () if self.random.chance(3) => Effect::Refused,
            () => Effect::Acknowledged,
        };
        let call = self.choose(effect);
        let operation = self.operations.len();
        self.operations.push(Operation {
            client,
            begin: Moment(now),
            end: None,
            call,
        });
        let answer = self.schedule_effects(now, operation, effect);
        match effect {
            Effect::Unknown => self.at(now + GIVES_UP_AFTER, Event::Ask(client)),
            Effect::Acknowledged | Effect::Refused => {
                let answer = answer + self.delay(20);
                self.at(answer, Event::Answer(operation));
            }
        }
    }

    /// Decides when the operation takes effect where; returns the time of the last effect.
    fn schedule_effects(&mut self, now: u64, operation: usize, effect: Effect) -> u64 {
        let (ids, user) = touched(&self.operations[operation].call, self.shape.ids);
        let mut last = now;
        let (is_open, is_refused) = (effect == Effect::Unknown, effect == Effect::Refused);
        let is_write = is_write(&self.operations[operation].call);
        let events = ids.into_iter().map(|id| Event::Touch(operation, id));
        for event in events.chain(user.map(|_| Event::TouchUser(operation))) {
            if is_refused && is_write && !self.has(Bug::RefusedWrite, 50) || is_open && self.random.chance(50)
            {
                continue;
            }
            let time = now + self.delay(if is_open { LATE } else { 50 });
            last = last.max(time);
            if let Event::Touch(operation, id) = event
                && is_open
                && self.has(Bug::DoubleApply, 100)
            {
                self.at(time + LATE as u64, Event::Touch(operation, id));
            }
            self.at(time, event);
        }
        last
    }

    fn choose(&mut self, effect: Effect) -> Call {
        let is_answered = effect != Effect::Unknown;
        if self.random.below(10_000) < self.shape.lists {
            return Call::List {
                ids: is_answered.then(Vec::new),
            };
        }
        match self.random.below(100) {
            0..40 => Call::Upsert {
                items: self
                    .some_ids()
                    .into_iter()
                    .map(|id| (id, self.version(id)))
                    .collect(),
                effect,
            },
            40..50 => Call::Delete {
                ids: self.some_ids(),
                effect,
            },
            50..75 => Call::Get {
                ids: self.some_ids(),
                items: is_answered.then(Vec::new),
            },
            75..90 => self.query(is_answered),
            _ => self.user_call(effect),
        }
    }

    fn query(&mut self, is_answered: bool) -> Call {
        let id = Id(self.random.below(self.shape.ids as usize) as u32);
        let versions = self.versions.get(&id).map_or(&[][..], Vec::as_slice);
        let recent = &versions[versions.len().saturating_sub(3)..];
        match recent.len() {
            0 => Call::Get {
                ids: vec![id],
                items: is_answered.then(Vec::new),
            },
            count => Call::Query {
                wanted: (id, recent[self.random.below(count)]),
                rows: is_answered.then(Vec::new),
            },
        }
    }

    fn user_call(&mut self, effect: Effect) -> Call {
        let choice = self.random.below(10);
        match self.minted.len() {
            count if count == 0 || choice == 0 => Call::Mint {
                user: User(self.operations.len() as u32),
                effect,
            },
            count => {
                let user = self.minted[self.random.below(count)];
                match choice {
                    1 => Call::Revoke { user, effect },
                    _ => Call::Act {
                        user,
                        served: (effect != Effect::Unknown).then_some(false),
                    },
                }
            }
        }
    }

    fn some_ids(&mut self) -> Vec<Id> {
        let count = 1 + self.random.below(4.min(self.shape.ids as usize));
        let first = self.random.below(self.shape.ids as usize) as u32;
        (0..count as u32)
            .map(|i| Id((first + i) % self.shape.ids))
            .collect()
    }

    fn version(&mut self, id: Id) -> Token {
        self.events += 1;
        let token = Token(self.events);
        self.versions.entry(id).or_default().push(token);
        token
    }

    fn touch(&mut self, now: u64, operation: usize, id: Id) {
        let state = self.seen(id, operation);
        let blind = self.has(Bug::BlindQuery, 5);
        let left_out = self.has(Bug::HalfListing, 2);
        let copies = 1 + usize::from(self.has(Bug::Duplicate, 2));
        let lost = self.has(Bug::LostWrite, 3);
        let forgotten = self.has(Bug::ForgottenTombstone, 20);
        match &mut self.operations[operation].call {
            Call::Upsert { items, .. } => {
                let written = items.iter().find(|(other, _)| *other == id);
                if let (Some((_, token)), false) = (written, lost) {
                    let older = self.items.insert(id, *token);
                    self.behind.extend(older.map(|older| (id, older)));
                }
            }
            Call::Delete { .. } => {
                let older = self.items.remove(&id);
                self.behind.extend(older.map(|older| (id, older)));
                if let (Some(token), true) = (older, forgotten) {
                    self.at(now + LATE as u64, Event::Rise(id, token));
                }
            }
            Call::Get {
                items: Some(rows), ..
            } => {
                rows.extend(
                    state
                        .into_iter()
                        .flat_map(|token| std::iter::repeat_n((id, token), copies)),
                );
            }
            Call::Query {
                wanted,
                rows: Some(rows),
            } if state == Some(wanted.1) && !blind => {
                rows.extend(std::iter::repeat_n((id, wanted.1), copies));
            }
            Call::List { ids: Some(ids) } if state.is_some() && !left_out => {
                ids.extend(std::iter::repeat_n(id, copies));
            }
            _ => {}
        }
    }

    /// What a reader is told.
    fn seen(&mut self, id: Id, operation: usize) -> State {
        let now = self.items.get(&id).copied();
        if !matches!(self.operations[operation].call, Call::Get { .. }) {
            return now;
        }
        if self.has(Bug::Invention, 2) {
            return Some(Token(u64::MAX - 7));
        }
        match self.behind.get(&id).copied() {
            Some(older) if self.has(Bug::StaleRead, 5) => Some(older),
            _ => now,
        }
    }

    fn touch_user(&mut self, operation: usize) {
        let (cached, unknown) = (self.has(Bug::CachedGrant, 30), self.has(Bug::LateGrant, 5));
        match &mut self.operations[operation].call {
            Call::Mint { user, .. } => {
                self.users.insert(*user);
            }
            Call::Revoke { user, .. } => {
                self.users.remove(user);
            }
            Call::Act {
                user,
                served: Some(served),
            } => {
                *served = (self.users.contains(user) || cached) && !unknown;
            }
            _ => {}
        }
    }
}

fn is_write(call: &Call) -> bool {
    matches!(
        call,
        Call::Upsert { .. } | Call::Delete { .. } | Call::Mint { .. } | Call::Revoke { .. }
    )
}

/// The items and the user that a call is about.
fn touched(call: &Call, ids_in_all: u32) -> (Vec<Id>, Option<User>) {
    match call {
        Call::Upsert { items, .. } => (items.iter().map(|(id, _)| *id).collect(), None),
        Call::Delete { ids, .. } => (ids.clone(), None),
        Call::Get { ids, items: Some(_) } => (ids.clone(), None),
        Call::Query {
            wanted,
            rows: Some(_),
        } => (vec![wanted.0], None),
        Call::List { ids: Some(_) } => ((0..ids_in_all).map(Id).collect(), None),
        Call::Mint { user, .. } | Call::Revoke { user, .. } => (Vec::new(), Some(*user)),
        Call::Act {
            user,
            served: Some(_),
        } => (Vec::new(), Some(*user)),
        Call::Get { .. } | Call::Query { .. } | Call::List { .. } | Call::Act { .. } => (Vec::new(), None),
    }
}

/// A client waits this long for an answer.
const GIVES_UP_AFTER: u64 = 200;

/// An operation without an answer may take effect this much later.
const LATE: usize = 2_000;
