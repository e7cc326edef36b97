//! Looks for an order of one register's steps that agrees with the clock and explains every observation.
//!
//! The search of Wing and Gong (1993) with the memory of Lowe (2017): put one step after another, only steps that nothing left over
//! must precede; where that ends, take back; never go on from the same place twice. Three facts keep it short, and lose no order:
//!
//! - An observation that fits may be put next at once, for it changes nothing. So only writes are chosen.
//! - A value is written once. So nothing is put over it while somebody who saw it is left.
//! - A write without an answer can wait: it matters only right before an observation that does not fit without it.
//! - Of several such writes of the same it does not matter which one is taken, and two values that nobody saw are the same.

use super::record::{Moment, Token};
use super::step::{Act, Seen, State, Step};
use std::collections::{HashMap, HashSet};

/// Whether a register's steps can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Possible,
    /// There is none.
    Impossible,
    /// None was found among the places that the search may look at.
    Undecided,
}

/// More places than this are not looked at for one register.
const PLACES_MAX: usize = 500_000;

/// Judges the steps of one register, which holds nothing at first.
pub fn verdict(steps: &[Step]) -> Verdict {
    Search::new(steps).run()
}

struct Search {
    /// Steps that did happen, in the order in which they began.
    required: Steps,
    /// Writes that may have happened, in the order in which they began.
    open: Steps,
    state: State,
    /// What was put so far, in that order.
    put: Vec<Put>,
    /// How many are left who saw a value.
    left: HashMap<Token, usize>,
    visited: HashSet<Place>,
}

/// Steps, and which of them were put.
struct Steps {
    steps: Vec<Step>,
    put: Vec<bool>,
    /// All before this one were put.
    first: usize,
    /// None from this one on was put.
    end: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Put {
    Required(usize),
    Open(usize),
}

/// Where a search stands: what was put, but not in which order, and what the register holds.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    required: (usize, Vec<u64>),
    open: (usize, Vec<u64>),
    state: State,
}

/// A place that was reached, and the writes not yet tried from there.
struct Branch {
    put: usize,
    state: State,
    untried: Vec<Put>,
}

impl Search {
    fn new(steps: &[Step]) -> Self {
        let mut steps = steps.to_vec();
        steps.sort_by_key(|step| step.begin);
        forget_values_that_nobody_saw(&mut steps);
        let mut left = HashMap::new();
        for token in steps.iter().filter_map(Step::value_seen) {
            *left.entry(token).or_default() += 1;
        }
        let (open, required) = steps.into_iter().partition(Step::is_open);
        Self {
            required: Steps::new(required),
            open: Steps::new(open),
            state: None,
            put: Vec::new(),
            left,
            visited: HashSet::new(),
        }
    }

    fn run(mut self) -> Verdict {
        let mut branches: Vec<Branch> = Vec::new();
        loop {
            self.put_what_fits();
            if self.required.all_put() {
                return Verdict::Possible;
            }
            if self.visited.insert(self.place()) {
                if self.visited.len() > PLACES_MAX {
                    return Verdict::Undecided;
                }
                branches.push(Branch {
                    put: self.put.len(),
                    state: self.state,
                    untried: self.choices(),
                });
            }
            loop {
                let Some(branch) = branches.last_mut() else {
                    return Verdict::Impossible;
                };
                self.take_back(branch);
                match branch.untried.pop() {
                    Some(choice) => break self.put(choice),
                    None => branches.pop(),
                };
            }
        }
    }

    fn put_what_fits(&mut self) {
        loop {
            let (next, _) = self.required.next();
            let before = self.put.len();
            for i in next {
                if matches!(self.required.steps[i].act, Act::Observe(seen) if seen.fits(self.state)) {
                    self.put(Put::Required(i));
                }
            }
            if self.put.len() == before {
                return;
            }
        }
    }

    /// The writes that may come next; the likeliest is the last.
    fn choices(&self) -> Vec<Put> {
        if self
            .state
            .is_some_and(|token| self.left.get(&token).is_some_and(|left| *left > 0))
        {
            return Vec::new();
        }
        let (next, deadline) = self.required.next();
        let mut open = Vec::new();
        let mut writes = Vec::new();
        for i in next {
            match self.required.steps[i].act {
                Act::Write(_) => writes.push(i),
                Act::Observe(seen) => self.add_open_writes(seen, deadline, &mut open),
            }
        }
        // Who was answered first was probably served first.
        writes.sort_by_key(|i| std::cmp::Reverse(self.required.steps[*i].end));
        let open = open.into_iter().map(|(_, put)| put);
        open.chain(writes.into_iter().map(Put::Required)).collect()
    }

    /// The open writes that make `seen` fit, one of each state.
    fn add_open_writes(&self, seen: Seen, deadline: Moment, choices: &mut Vec<(State, Put)>) {
        for i in self.open.first..self.open.steps.len() {
            let step = &self.open.steps[i];
            if step.begin > deadline {
                return;
            }
            let Act::Write(state) = step.act else { continue };
            let is_new = choices.iter().all(|(other, _)| *other != state);
            if is_new && !self.open.put[i] && seen.fits(state) {
                choices.push((state, Put::Open(i)));
            }
        }
    }

    fn put(&mut self, put: Put) {
        let step = match put {
            Put::Required(i) => self.required.put(i),
            Put::Open(i) => self.open.put(i),
        };
        if let Act::Write(state) = step.act {
            self.state = state;
        }
        if let Some(left) = step.value_seen().and_then(|token| self.left.get_mut(&token)) {
            *left -= 1;
        }
        self.put.push(put);
    }

    fn take_back(&mut self, to: &Branch) {
        for put in self.put.drain(to.put..) {
            let step = match put {
                Put::Required(i) => self.required.take_back(i),
                Put::Open(i) => self.open.take_back(i),
            };
            if let Some(left) = step.value_seen().and_then(|token| self.left.get_mut(&token)) {
                *left += 1;
            }
        }
        self.state = to.state;
    }

    fn place(&self) -> Place {
        Place {
            required: self.required.place(),
            open: self.open.place(),
            state: self.state,
        }
    }
}

impl Steps {
    fn new(steps: Vec<Step>) -> Self {
        let put = vec![false; steps.len()];
        Self {
            steps,
            put,
            first: 0,
            end: 0,
        }
    }

    fn all_put(&self) -> bool {
        self.first == self.steps.len()
    }

    /// The steps that nothing left over must precede, and the end of the one of them that ends first.
    fn next(&self) -> (Vec<usize>, Moment) {
        let mut deadline = Moment::NEVER;
        let mut next = Vec::new();
        for i in self.first..self.steps.len() {
            if self.steps[i].begin > deadline {
                break;
            }
            if !self.put[i] {
                deadline = deadline.min(self.steps[i].end);
                next.push(i);
            }
        }
        (next, deadline)
    }

    fn put(&mut self, i: usize) -> Step {
        self.put[i] = true;
        self.end = self.end.max(i + 1);
        while self.put.get(self.first) == Some(&true) {
            self.first += 1;
        }
        self.steps[i]
    }

    fn take_back(&mut self, i: usize) -> Step {
        self.put[i] = false;
        self.first = self.first.min(i);
        while self.end > 0 && !self.put[self.end - 1] {
            self.end -= 1;
        }
        self.steps[i]
    }

    /// Which steps were put: all before a first one, and a bit for each after it.
    fn place(&self) -> (usize, Vec<u64>) {
        let mut bits = Vec::new();
        let after = self.put.get(self.first..self.end).unwrap_or_default();
        for (i, _) in after.iter().enumerate().filter(|(_, put)| **put) {
            bits.resize(i / 64 + 1, 0);
            bits[i / 64] |= 1 << (i % 64);
        }
        (self.first, bits)
    }
}

/// Makes all values the same that no observation names.
fn forget_values_that_nobody_saw(steps: &mut [Step]) {
    let named: HashSet<Token> = steps.iter().filter_map(Step::value_named).collect();
    for step in steps {
        if let Act::Write(Some(token)) = &mut step.act
            && !named.contains(token)
        {
            *token = UNSEEN;
        }
    }
}

impl Step {
    /// The value that was seen.
    fn value_seen(&self) -> Option<Token> {
        match self.act {
            Act::Observe(Seen::Is(state)) => state,
            Act::Observe(Seen::IsNot(_) | Seen::Present) | Act::Write(_) => None,
        }
    }

    /// The value that was seen or not found.
    fn value_named(&self) -> Option<Token> {
        match self.act {
            Act::Observe(Seen::IsNot(token)) => Some(token),
            _ => self.value_seen(),
        }
    }
}

/// No client counts so far.
const UNSEEN: Token = Token(u64::MAX - 1);
