//! What the scanner finds: everything that is planted, and nothing in noise.
#![allow(clippy::unwrap_used)]

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealdex_tests::random::Random;

const SECRET: &[u8] = b"k7Qz/w+9pLm2?RxVt4Nb~Hs8";

fn noise(random: &mut Random, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| random.word() as u8).collect()
}

fn planted(random: &mut Random, canary: &[u8]) -> Vec<u8> {
    let before = random.below(5_000);
    [noise(random, before), canary.to_vec(), noise(random, 777)].concat()
}

#[test]
fn every_form_of_a_planted_text_is_found_and_noise_is_not() {
    let mut random = Random::new(1);
    let mut scanner = Scanner::default();
    scanner.add_text("secret", SECRET);
    for (form, bytes) in forms(SECRET) {
        assert!(
            !scanner.scan(&planted(&mut random, &bytes), 1).is_empty(),
            "{form}"
        );
        let part = &bytes[3..3 + RUN_BYTES];
        assert!(
            !scanner.scan(&planted(&mut random, part), 1).is_empty(),
            "a run of {form}"
        );
    }
    assert_eq!(scanner.scan(&noise(&mut random, 4_000_000), 1), []);
}

#[test]
fn base64_of_a_longer_text_is_found_wherever_the_secret_stands_in_it() {
    let mut random = Random::new(2);
    let mut scanner = Scanner::default();
    scanner.add_text("secret", SECRET);
    for before in 0..6 {
        let whole = [noise(&mut random, before), SECRET.to_vec(), noise(&mut random, 5)].concat();
        assert!(
            !scanner.scan(STANDARD.encode(&whole).as_bytes(), 1).is_empty(),
            "after {before} bytes"
        );
    }
}

#[test]
fn any_run_of_a_planted_vector_is_found() {
    let mut random = Random::new(3);
    let vector = random.vector(40);
    let mut scanner = Scanner::default();
    scanner.add_vector("vector", &vector);
    for (form, bytes, step) in vector_forms(&vector) {
        let run = vector_run_bytes(step);
        for start in (0..=bytes.len() - run).step_by(step) {
            let found = scanner.scan(&planted(&mut random, &bytes[start..start + run]), 1);
            assert!(!found.is_empty(), "{form} from byte {start}");
        }
    }
    let long = vector
        .iter()
        .find(|x| x.to_string().len() >= DECIMAL_BYTES_MIN)
        .unwrap();
    let log = format!("query [{long}, 0.5]");
    assert!(!scanner.scan(log.as_bytes(), 1).is_empty(), "decimal text");
    assert_eq!(scanner.scan(&noise(&mut random, 4_000_000), 1), []);
}

#[test]
fn a_folder_is_scanned_whole_and_file_names_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
    std::fs::write(
        folder.path().join("a/b/000012.sst"),
        planted(&mut Random::new(4), SECRET),
    )
    .unwrap();
    std::fs::write(folder.path().join("a/name-with-canary-of-letters"), b"harmless").unwrap();
    let mut scanner = Scanner::default();
    scanner.add_text("secret", SECRET);
    scanner.add_text("name", b"canary-of-letters");
    let report = scanner.scan_folder(folder.path()).unwrap();
    assert_eq!(report.files, 2);
    let found: Vec<&str> = report.finds.iter().map(|find| find.what.as_str()).collect();
    assert!(
        found.contains(&"secret as raw bytes") && found.contains(&"name as raw bytes"),
        "{found:?}"
    );
}

#[test]
fn what_stands_across_two_pieces_of_a_file_is_found_once_and_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    let mut scanner = Scanner::default();
    scanner.add_text("secret", &SECRET[..RUN_BYTES]);
    for at in [
        0,
        PIECE_BYTES - RUN_BYTES - 1,
        PIECE_BYTES - 5,
        PIECE_BYTES,
        2 * PIECE_BYTES - 1,
    ] {
        let mut bytes = vec![0; 2 * PIECE_BYTES + 100];
        bytes[at..at + RUN_BYTES].copy_from_slice(&SECRET[..RUN_BYTES]);
        std::fs::write(&file, &bytes).unwrap();
        let report = scanner.scan_folder(folder.path()).unwrap();
        let places: Vec<usize> = report.finds.iter().map(|find| find.offset).collect();
        assert_eq!((places, report.bytes), (vec![at], bytes.len() as u64));
    }
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error_that_names_it() {
    let error = Scanner::default()
        .scan_folder(Path::new("/absent/folder"))
        .err()
        .unwrap();
    assert!(error.to_string().contains("/absent/folder"), "{error}");
}

#[test]
fn one_number_of_a_vector_is_no_find() {
    let mut random = Random::new(5);
    let vector = random.vector(40);
    let mut scanner = Scanner::default();
    scanner.add_vector("vector", &vector);
    for (form, bytes, step) in vector_forms(&vector) {
        let one = planted(&mut random, &bytes[..step]);
        assert_eq!(scanner.scan(&one, 1), [], "{form}: such bytes come by chance");
    }
}
