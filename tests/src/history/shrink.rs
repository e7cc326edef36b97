//! Cuts a register's impossible steps down to the few that a reader needs to see that they are.

use super::order::{Verdict, verdict};
use super::record::Moment;
use super::step::{Act, Step};

/// The fewest steps found that are still impossible, in the order in which they began.
pub(super) fn smallest(steps: &[Step]) -> Vec<Step> {
    let mut steps = shortest_beginning(steps);
    let mut size = steps.len() / 2;
    while size > 0 {
        let before = steps.len();
        drop_what_does_not_matter(&mut steps, size);
        // Once more at the same size if something went, for one step may have held another.
        if size > 1 || steps.len() == before {
            size /= 2;
        }
    }
    steps
}

fn is_impossible(steps: &[Step]) -> bool {
    verdict(steps) == Verdict::Impossible
}

/// What had happened by the moment from which there was no order any more. An order of a history holds one of each beginning of it,
/// so the moment can be found by halving.
fn shortest_beginning(steps: &[Step]) -> Vec<Step> {
    let mut ends: Vec<Moment> = steps
        .iter()
        .map(|step| step.end)
        .filter(|end| *end != Moment::NEVER)
        .collect();
    ends.sort_unstable();
    let first = ends.partition_point(|end| !is_impossible(&until(steps, *end)));
    match ends.get(first) {
        Some(end) => until(steps, *end),
        None => steps.to_vec(),
    }
}

/// What was known at a moment: writes under way then may still happen or not, observations under way are not made yet.
fn until(steps: &[Step], moment: Moment) -> Vec<Step> {
    let begun = steps.iter().filter(|step| step.begin <= moment);
    let known = begun.filter_map(|step| match step.act {
        _ if step.end <= moment => Some(*step),
        Act::Write(_) => Some(Step {
            end: Moment::NEVER,
            ..*step
        }),
        Act::Observe(_) => None,
    });
    known.collect()
}

/// Goes through the steps in groups of `size`, the latest first, and leaves out each group without which they are as impossible.
fn drop_what_does_not_matter(steps: &mut Vec<Step>, size: usize) {
    let mut end = steps.len();
    while end > 0 {
        let begin = end.saturating_sub(size);
        let rest: Vec<Step> = [&steps[..begin], &steps[end..]].concat();
        if every_value_has_its_writer(&rest) && is_impossible(&rest) {
            *steps = rest;
        }
        end = begin;
    }
}

/// Else what is left would be impossible for another reason than the whole was: a value seen and, for want of the step, never written.
/// A value that the whole history does not write either is what is wrong with it, and is reported without shrinking.
fn every_value_has_its_writer(steps: &[Step]) -> bool {
    steps.iter().all(|step| !is_phantom(step, steps))
}

/// True for the observation of something that no write of `steps` can have left by then.
pub(super) fn is_phantom(step: &Step, steps: &[Step]) -> bool {
    let Act::Observe(seen) = step.act else {
        return false;
    };
    let leaves_it = |write: &Step| matches!(write.act, Act::Write(state) if seen.fits(state));
    !seen.fits(None)
        && !steps
            .iter()
            .any(|write| leaves_it(write) && write.begin <= step.end)
}
