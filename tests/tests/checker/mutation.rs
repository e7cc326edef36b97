//! One wrong answer put into a correct history, such that no order can explain it.

use sealdex_tests::history::{Call, Effect, History, Id, Moment, Operation, State, Subject, Token, User};
use sealdex_tests::random::Random;

/// What is made wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mutation {
    /// A get returns a version that was replaced before it began.
    Stale,
    /// A get does not return what was there all along.
    Lost,
    /// A list leaves out what was there all along.
    Unlisted,
    /// A query does not find what was there all along.
    Unfound,
    /// A get returns what nobody wrote.
    Phantom,
    /// A get returns a version that was deleted before it began.
    Resurrected,
    /// A write whose value was seen is refused.
    Refused,
    /// A user is served after the revocation.
    Revoked,
}

pub(crate) const MUTATIONS: [Mutation; 8] = [
    Mutation::Stale,
    Mutation::Lost,
    Mutation::Unlisted,
    Mutation::Unfound,
    Mutation::Phantom,
    Mutation::Resurrected,
    Mutation::Refused,
    Mutation::Revoked,
];

/// Makes one answer wrong; returns the register it is about, or `None` if the history holds no place for it.
pub(crate) fn mutate(history: &mut History, mutation: Mutation, random: &mut Random) -> Option<Subject> {
    let first = random.below(history.0.len());
    for i in (first..history.0.len()).chain(0..first) {
        if let Some((call, subject)) = wrong(history, i, mutation) {
            history.0[i].call = call;
            return Some(subject);
        }
    }
    None
}

/// The wrong form of one operation.
fn wrong(history: &History, i: usize, mutation: Mutation) -> Option<(Call, Subject)> {
    let operation = &history.0[i];
    operation.end?;
    let mut call = operation.call.clone();
    let id = match (mutation, &mut call) {
        (
            Mutation::Stale,
            Call::Get {
                items: Some(items), ..
            },
        ) => {
            let (id, token) = items.first_mut()?;
            *token = replaced_before(history, *id, operation.begin, false)?;
            *id
        }
        (
            Mutation::Resurrected,
            Call::Get {
                ids,
                items: Some(items),
            },
        ) => {
            let id = *ids
                .iter()
                .find(|id| items.iter().all(|(found, _)| found != *id))?;
            items.push((id, replaced_before(history, id, operation.begin, true)?));
            id
        }
        (
            Mutation::Lost,
            Call::Get {
                items: Some(items), ..
            },
        ) => {
            let at = items
                .iter()
                .position(|row| was_there_all_along(history, row, operation))?;
            items.remove(at).0
        }
        (
            Mutation::Unfound,
            Call::Query {
                wanted,
                rows: Some(rows),
            },
        ) => {
            let at = rows
                .iter()
                .position(|row| row == wanted && was_there_all_along(history, row, operation))?;
            rows.remove(at).0
        }
        (Mutation::Unlisted, Call::List { ids: Some(ids) }) => {
            let at = ids.iter().position(|id| {
                let last =
                    writes(history, *id).filter(|write| write.end.is_some_and(|end| end < operation.begin));
                let token = last.last().and_then(|write| written(write, *id)).flatten();
                token.is_some_and(|token| was_there_all_along(history, &(*id, token), operation))
            })?;
            ids.remove(at)
        }
        (
            Mutation::Phantom,
            Call::Get {
                items: Some(items), ..
            },
        ) => {
            let (id, token) = items.first_mut()?;
            *token = Token(u64::MAX - 9);
            *id
        }
        (Mutation::Refused, Call::Upsert { items, effect }) if *effect == Effect::Acknowledged => {
            let [row] = items[..] else { return None };
            *effect = Effect::Refused;
            is_read(history, row).then_some(row.0)?
        }
        (
            Mutation::Revoked,
            Call::Act {
                user,
                served: Some(served),
            },
        ) => {
            if *served || !was_revoked_before(history, *user, operation.begin) {
                return None;
            }
            *served = true;
            return Some((call.clone(), Subject::User(user_of(&call)?)));
        }
        _ => return None,
    };
    Some((call, Subject::Item(id)))
}

/// Writes of an id that may have happened, in the order in which they began.
fn writes(history: &History, id: Id) -> impl Iterator<Item = &Operation> {
    history.0.iter().filter(move |operation| {
        written(operation, id).is_some() && effect(operation) != Some(Effect::Refused)
    })
}

/// What an operation writes under an id.
fn written(operation: &Operation, id: Id) -> Option<State> {
    match &operation.call {
        Call::Upsert { items, .. } => {
            let row = items.iter().find(|(other, _)| *other == id)?;
            Some(Some(row.1))
        }
        Call::Delete { ids, .. } => ids.contains(&id).then_some(None),
        _ => None,
    }
}

fn effect(operation: &Operation) -> Option<Effect> {
    match operation.call {
        Call::Upsert { effect, .. } | Call::Delete { effect, .. } | Call::Revoke { effect, .. } => {
            Some(effect)
        }
        _ => None,
    }
}

/// An acknowledged version that an acknowledged write replaced, or an acknowledged deletion removed, before `moment`.
fn replaced_before(history: &History, id: Id, moment: Moment, by_deletion: bool) -> Option<Token> {
    let acknowledged: Vec<&Operation> = writes(history, id)
        .filter(|write| write.end.is_some_and(|end| end < moment))
        .collect();
    let (last, earlier) = acknowledged.split_last()?;
    let fits = written(last, id)?.is_none() == by_deletion;
    let older = earlier.iter().rev().find(|older| older.end < Some(last.begin))?;
    written(older, id)?.filter(|_| fits)
}

/// True if a version was acknowledged before the operation began and nothing else was written from then on until the operation ended.
fn was_there_all_along(history: &History, (id, token): &(Id, Token), operation: &Operation) -> bool {
    let (mut was_written, mut may_be_gone) = (None, false);
    for write in writes(history, *id) {
        if written(write, *id) == Some(Some(*token)) {
            was_written = Some(write);
        }
    }
    let Some(own) = was_written else { return false };
    for other in writes(history, *id).filter(|other| !std::ptr::eq(*other, own)) {
        let is_over = other.end.is_some_and(|end| end < own.begin);
        may_be_gone |= !is_over && other.begin <= operation.end.unwrap_or(Moment::NEVER);
    }
    own.end.is_some_and(|end| end < operation.begin) && !may_be_gone
}

fn is_read(history: &History, row: (Id, Token)) -> bool {
    let holds = |call: &Call| matches!(call, Call::Get { items: Some(items), .. } if items.contains(&row));
    history
        .0
        .iter()
        .any(|operation| operation.end.is_some() && holds(&operation.call))
}

fn was_revoked_before(history: &History, user: User, moment: Moment) -> bool {
    history.0.iter().any(|operation| {
        matches!(operation.call, Call::Revoke { user: other, effect: Effect::Acknowledged } if other == user)
            && operation.end.is_some_and(|end| end < moment)
    })
}

fn user_of(call: &Call) -> Option<User> {
    match call {
        Call::Act { user, .. } => Some(*user),
        _ => None,
    }
}
