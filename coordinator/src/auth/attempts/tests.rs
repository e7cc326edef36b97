//! Whom the limit keeps out, whom it does not, and what is remembered of either.

use super::*;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const DAY: Duration = Duration::from_secs(86_400);

/// Shows `secret` where `right` alone is right. `Err` holds the seconds to wait.
fn show(
    attempts: &Attempts<IpAddr>,
    from: IpAddr,
    secret: &str,
    right: &str,
    now: Instant,
) -> Result<bool, u32> {
    let shown = (from, attempts.fingerprints.of_text(secret));
    let look = || if secret == right { Ok(()) } else { Err(()) };
    attempts.judge_at(shown, look, now).map(|judged| judged.is_ok())
}

#[test]
fn attempts_run_out_and_come_back() {
    let (attempts, start) = (Attempts::new(3), Instant::now());
    let show = |from, secret, now| show(&attempts, from, secret, "right", now);
    for _ in 0..3 {
        assert_eq!(show(A, "wrong", start), Ok(false));
    }
    assert_eq!(show(A, "wrong", start), Err(20));
    assert_eq!(
        show(A, "right", start),
        Err(20),
        "a right guess is not told either"
    );
    assert_eq!(show(B, "wrong", start), Ok(false), "another address has its own");
    let later = start + Duration::from_secs(20);
    assert_eq!(show(A, "wrong", later), Ok(false));
    assert_eq!(show(A, "wrong", later), Err(20));
    assert_eq!(show(A, "right", start + Duration::from_secs(41)), Ok(true));
}

#[test]
fn beyond_the_limit_nothing_is_looked_at() {
    let (attempts, looks) = (Attempts::new(1), Cell::new(0));
    for _ in 0..10 {
        let look = || {
            looks.set(looks.get() + 1);
            Err::<(), _>(())
        };
        let _ = attempts.judge(Some(A), |f| f.of_text("wrong"), look);
    }
    assert_eq!(looks.get(), 1);
}

#[test]
fn a_right_secret_is_recognised_for_good_and_no_other_is_told_beside_it() {
    let (attempts, start) = (Attempts::new(2), Instant::now());
    let look = |secret: &str| {
        if ["mine", "another's"].contains(&secret) {
            Ok(())
        } else {
            Err(())
        }
    };
    let show = |secret: &str, now| {
        let shown = (A, attempts.fingerprints.of_text(secret));
        let judged = attempts.judge_at(shown, || look(secret), now);
        judged.map(|judged| judged.is_ok())
    };
    assert_eq!(show("mine", start), Ok(true));
    for later in [Duration::ZERO, WINDOW * 2, DAY] {
        let now = start + later;
        while show("wrong", now).is_ok() {}
        assert_eq!(show("mine", now), Ok(true), "{later:?}");
        assert!(
            show("another's", now).is_err(),
            "a right guess beside a known secret, after {later:?}"
        );
    }
}

#[test]
fn a_secret_that_was_exchanged_is_a_guess_from_then_on() {
    let (attempts, now) = (Attempts::new(1), Instant::now());
    assert_eq!(show(&attempts, A, "old", "old", now), Ok(true));
    assert_eq!(show(&attempts, A, "old", "new", now), Ok(false), "and counts");
    assert!(show(&attempts, A, "old", "new", now).is_err());
    assert!(show(&attempts, A, "new", "new", now).is_err());
    attempts.remember(Some(A), |f| f.of_text("new"));
    assert_eq!(
        show(&attempts, A, "new", "new", now),
        Ok(true),
        "whoever set it knows it"
    );
}

#[test]
fn no_limit_and_no_address_limit_nothing() {
    let wrong = || Err::<(), _>(());
    for _ in 0..100 {
        let unlimited = Attempts::new(0).judge(Some(A), |f| f.of_text("wrong"), wrong);
        assert_eq!(unlimited, Ok(Err(())));
        let local = Attempts::<IpAddr>::new(1).judge(None, |f| f.of_text("wrong"), wrong);
        assert_eq!(local, Ok(Err(())));
    }
}

#[test]
fn guesses_side_by_side_are_no_more_than_one_by_one() {
    let (attempts, looks) = (Attempts::new(3), std::sync::atomic::AtomicU32::new(0));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (attempts, looks) = (&attempts, &looks);
            scope.spawn(move || {
                let look = || {
                    looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                    Err::<(), _>(())
                };
                let _ = attempts.judge(Some(A), |f| f.of_text(&format!("guess {n}")), look);
            });
        }
    });
    assert_eq!(looks.into_inner(), 3);
}

#[test]
fn what_is_remembered_is_bounded_and_strangers_displace_nobody_who_works() {
    let (attempts, start) = (Attempts::new(1), Instant::now());
    assert_eq!(show(&attempts, A, "right", "right", start), Ok(true));
    for n in 0..3 * SOURCES_MAX as u32 {
        let stranger = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n));
        let _ = show(&attempts, stranger, "wrong", "right", start);
    }
    assert!(attempts.sources.lock().buckets.len() <= SOURCES_MAX);
    while show(&attempts, A, "wrong", "right", start).is_ok() {}
    assert_eq!(show(&attempts, A, "right", "right", start), Ok(true));

    for n in 0..3 * KNOWN_MAX as u32 {
        let now = start + Duration::from_millis(u64::from(n));
        let _ = show(&attempts, B, &n.to_string(), &n.to_string(), now);
        assert_eq!(show(&attempts, A, "right", "right", now), Ok(true));
    }
    assert!(attempts.sources.lock().known.len() <= KNOWN_MAX);
    while show(&attempts, A, "wrong", "right", start + DAY).is_ok() {}
    assert_eq!(
        show(&attempts, A, "right", "right", start + DAY),
        Ok(true),
        "whoever came lately stays"
    );
}
