//! The checker of histories under test: it accepts what a correct deployment shows, and refuses what a broken one does, in a few lines
//! that a reader can follow. Nothing that it says of a real deployment is worth more than this.
#![allow(clippy::unwrap_used)]

mod brute;
mod model;
mod mutation;

use model::{BUGS, Bug, Shape, run};
use mutation::{MUTATIONS, mutate};
use proptest::prelude::*;
use sealdex_tests::history::{
    Act, Call, Effect, Findings, History, Id, Kind, Moment, Operation, Token, Verdict, check, verdict,
};
use sealdex_tests::random::Random;
use std::time::Instant;

const SHAPE: Shape = Shape {
    clients: 6,
    ids: 40,
    operations: 6_000,
    unanswered: 5,
    lists: 100,
};

fn shapes() -> impl Strategy<Value = Shape> {
    (1..12u32, 1..8u32, 1..600usize, 0..40usize, 0..500usize).prop_map(
        |(clients, ids, operations, unanswered, lists)| Shape {
            clients,
            ids,
            operations,
            unanswered,
            lists,
        },
    )
}

proptest! {
    #[test]
    fn a_correct_deployment_is_never_accused(shape in shapes(), seed: u64) {
        let findings = check(&run(shape, seed, None));
        prop_assert!(findings.is_clean(), "{}", told(&findings));
    }

    #[test]
    fn one_wrong_answer_in_a_correct_history_is_found(seed: u64, which in 0..MUTATIONS.len()) {
        let shape = Shape { ids: 6, operations: 800, ..SHAPE };
        let mut history = run(shape, seed, None);
        let mutated = mutate(&mut history, MUTATIONS[which], &mut Random::new(seed));
        prop_assume!(mutated.is_some());
        let findings = check(&history);
        prop_assert_eq!(findings.violations.len(), 1, "{}", told(&findings));
        prop_assert_eq!(Some(findings.violations[0].subject), mutated);
        prop_assert!(findings.violations[0].evidence.len() <= 6, "{}", told(&findings));
    }
}

/// Of small random histories, right and wrong ones alike, the search must say what trying every order says.
#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut random = Random::new(7);
    let mut counts = [0; 2];
    for _ in 0..20_000 {
        let steps = brute::random_steps(&mut random);
        let possible = brute::is_possible(&steps);
        let wanted = if possible {
            Verdict::Possible
        } else {
            Verdict::Impossible
        };
        assert_eq!(verdict(&steps), wanted, "{steps:#?}");
        counts[usize::from(possible)] += 1;
    }
    assert!(
        counts.iter().all(|count| *count > 2_000),
        "hardly any of one kind: {counts:?}"
    );
}

#[test]
fn every_planted_bug_is_found() {
    for bug in BUGS {
        for seed in 0..5 {
            let findings = check(&run(SHAPE, seed, Some(bug)));
            let wanted = expected(bug);
            let found: Vec<Kind> = wanted
                .iter()
                .copied()
                .filter(|kind| findings.count(*kind) > 0)
                .collect();
            assert!(!found.is_empty(), "{bug:?}, seed {seed}: {}", told(&findings));
            let evidence = findings
                .violations
                .iter()
                .map(|violation| violation.evidence.len());
            let longest = evidence.max().unwrap();
            assert!(
                longest <= 8,
                "{bug:?}, seed {seed}: evidence of {longest} steps\n{}",
                told(&findings)
            );
        }
    }
}

/// The kinds of violation of which a bug must show at least one.
fn expected(bug: Bug) -> &'static [Kind] {
    match bug {
        Bug::StaleRead | Bug::DoubleApply => &[Kind::Stale, Kind::Resurrected],
        Bug::LostWrite => &[Kind::Lost, Kind::Unfound],
        Bug::ForgottenTombstone => &[Kind::Resurrected],
        Bug::RefusedWrite | Bug::Invention => &[Kind::Phantom],
        Bug::CachedGrant => &[Kind::Revoked],
        Bug::LateGrant => &[Kind::Denied],
        Bug::BlindQuery => &[Kind::Unfound],
        Bug::HalfListing => &[Kind::Lost],
        Bug::Duplicate => &[Kind::Twice],
    }
}

#[test]
fn a_long_history_is_judged_whole() {
    let shape = Shape {
        clients: 16,
        ids: 3_000,
        operations: 150_000,
        unanswered: 5,
        lists: 10,
    };
    let mut history = run(shape, 1, None);
    let start = Instant::now();
    let findings = check(&history);
    println!(
        "{} operations, {} steps of {} registers, judged in {:?}",
        history.0.len(),
        findings.steps,
        findings.subjects,
        start.elapsed()
    );
    assert!(findings.is_clean(), "{}", told(&findings));
    for mutation in MUTATIONS {
        let whole = history.clone();
        let subject = mutate(&mut history, mutation, &mut Random::new(1)).unwrap();
        let findings = check(&history);
        assert_eq!(findings.violations.len(), 1, "{mutation:?}");
        assert_eq!(findings.violations[0].subject, subject, "{mutation:?}");
        history = whole;
    }
}

/// Few ids and many writes without an answer are what makes the search long.
#[test]
fn crowded_registers_are_decided() {
    let crowded = |clients, ids, unanswered| Shape {
        clients,
        ids,
        operations: 20_000,
        unanswered,
        lists: 100,
    };
    for seed in 0..3 {
        let start = Instant::now();
        let findings = check(&run(crowded(20, 2, 20), seed, None));
        assert!(findings.is_clean(), "{}", told(&findings));
        println!(
            "{} steps of crowded registers, judged in {:?}",
            findings.steps,
            start.elapsed()
        );
        let findings = check(&run(crowded(8, 4, 10), seed, Some(Bug::StaleRead)));
        assert!(
            findings.count(Kind::Stale) > 0 && findings.undecided.is_empty(),
            "{}",
            told(&findings)
        );
        println!("... and with a bug {:?}", start.elapsed());
    }
}

#[test]
fn a_violation_is_told_in_the_steps_that_matter() {
    let id = Id(17);
    let write = |token| Call::Upsert {
        items: vec![(id, Token(token))],
        effect: Effect::Acknowledged,
    };
    let read = |token| Call::Get {
        ids: vec![id],
        items: Some(vec![(id, Token(token))]),
    };
    let calls = [
        write(1),
        read(1),
        write(2),
        read(2),
        read(2),
        write(3),
        read(3),
        read(1),
        read(3),
    ];
    let operations = calls.into_iter().enumerate().map(|(i, call)| Operation {
        client: i as u32,
        begin: Moment(i as u64 * 10_000),
        end: Some(Moment(i as u64 * 10_000 + 5_000)),
        call,
    });
    let findings = check(&History(operations.collect()));
    assert_eq!(
        findings.violations[0].to_string(),
        "item 17 was read in an older version; no order of these steps explains what was seen:\n  \
         client 0     0.000000 s to   0.000005 s  writes 1\n  \
         client 2     0.000020 s to   0.000025 s  writes 2\n  \
         client 7     0.000070 s to   0.000075 s  sees 1\n"
    );
    let [_, _, Act::Observe(_)] = findings.violations[0]
        .evidence
        .iter()
        .map(|step| step.act)
        .collect::<Vec<_>>()[..]
    else {
        panic!("{}", told(&findings));
    };
}

#[test]
fn a_history_outlives_its_run() {
    let history = run(
        Shape {
            operations: 500,
            ..SHAPE
        },
        3,
        None,
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    history.write(&path).unwrap();
    assert_eq!(History::read(&path).unwrap(), history);
}

fn told(findings: &Findings) -> String {
    let violations: String = findings
        .violations
        .iter()
        .take(3)
        .map(ToString::to_string)
        .collect();
    format!(
        "{} violations, {} registers undecided\n{violations}",
        findings.violations.len(),
        findings.undecided.len()
    )
}
