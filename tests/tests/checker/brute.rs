//! Small histories of one register, and whether any order explains them, found by trying every one.

use sealdex_tests::history::{Act, Moment, Seen, State, Step, Token};
use sealdex_tests::random::Random;

/// Up to seven steps that began and ended at random, and saw something at random.
pub(crate) fn random_steps(random: &mut Random) -> Vec<Step> {
    let count = 1 + random.below(7);
    let mut steps: Vec<Step> = (0..count).map(|i| random_step(i as u64, random)).collect();
    steps.sort_by_key(|step| step.begin);
    steps
}

fn random_step(number: u64, random: &mut Random) -> Step {
    let begin = random.below(20) as u64;
    let any = |random: &mut Random| Token(random.below(5) as u64);
    let act = match random.below(8) {
        0..3 => Act::Write(Some(Token(number))),
        3 => Act::Write(None),
        4 => Act::Observe(Seen::Is(Some(any(random)))),
        5 => Act::Observe(Seen::Is(None)),
        6 => Act::Observe(Seen::IsNot(any(random))),
        _ => Act::Observe(Seen::Present),
    };
    let is_open = matches!(act, Act::Write(_)) && random.chance(30);
    let end = if is_open {
        Moment::NEVER
    } else {
        Moment(begin + random.below(8) as u64)
    };
    Step {
        client: number as u32,
        begin: Moment(begin),
        end,
        act,
    }
}

/// True if some order of all answered steps and any of the open ones explains what was seen.
pub(crate) fn is_possible(steps: &[Step]) -> bool {
    let mut rest = steps.to_vec();
    is_possible_from(&mut rest, None)
}

fn is_possible_from(rest: &mut Vec<Step>, state: State) -> bool {
    if rest.iter().all(Step::is_open) {
        return true;
    }
    for i in 0..rest.len() {
        let is_first = rest.iter().all(|other| other.end >= rest[i].begin);
        let after = match rest[i].act {
            Act::Write(state) => Some(state),
            Act::Observe(seen) => seen.fits(state).then_some(state),
        };
        if let (true, Some(after)) = (is_first, after) {
            let step = rest.remove(i);
            let found = is_possible_from(rest, after);
            rest.insert(i, step);
            if found {
                return true;
            }
        }
    }
    false
}
