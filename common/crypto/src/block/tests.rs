//! Blocks come back as they were sealed, and anything that is not filler is noticed.

use super::*;
use crate::{Bundle, Scope};
use proptest::prelude::*;
use sealdex_core::{IndexId, KeyEpoch, PartitionId};

const SEGMENTS: [Segment; 3] = [Segment::Codes, Segment::Identities, Segment::Metadata];

fn keys() -> DataKeys {
    Bundle::generate().data_keys(IndexId(1), KeyEpoch(1), Scope::Partition(PartitionId(1)))
}

fn address() -> BlockAddress {
    BlockAddress {
        label: ClusterLabel([1; 16]),
        generation: Generation(2),
        block: BlockId([3; 16]),
    }
}

/// Opens everything there is.
fn read(keys: &DataKeys, at: &BlockAddress, sealed: &[u8]) -> Result<(u32, [Vec<u8>; 3]), OpenError> {
    let reader = BlockReader::open(keys, at, sealed)?;
    let mut segments = [vec![], vec![], vec![]];
    for (which, out) in SEGMENTS.into_iter().zip(&mut segments) {
        reader.segment(which, out)?;
    }
    Ok((reader.rows(), segments))
}

fn seal(keys: &DataKeys, at: &BlockAddress, rows: u32, segments: &[Vec<u8>; 3]) -> Vec<u8> {
    seal_block(keys, at, rows, segments.each_ref().map(Vec::as_slice))
}

/// The bytes of a page that are authenticated.
fn before_filler(segments: &[Vec<u8>; 3]) -> usize {
    1 + SEALED_HEADER_BYTES
        + segments
            .iter()
            .map(|segment| segment.len() + SEALED_OVERHEAD)
            .sum::<usize>()
}

fn segments() -> impl Strategy<Value = [Vec<u8>; 3]> {
    let segment = || prop::collection::vec(any::<u8>(), 0..200);
    [segment(), segment(), segment()]
}

proptest! {
    #[test]
    fn come_back_as_they_were_sealed(rows in 0u32..80, segments in segments()) {
        let keys = keys();
        let sealed = seal(&keys, &address(), rows, &segments);
        prop_assert_eq!(sealed[0], if rows < PAGE_ROWS_MIN { DELTA } else { PAGE });
        prop_assert_eq!(read(&keys, &address(), &sealed), Ok((rows, segments)));
    }

    #[test]
    fn a_page_has_the_size_of_its_class(rows in PAGE_ROWS_MIN.., segments in segments()) {
        let sealed = seal(&keys(), &address(), rows, &segments);
        prop_assert_eq!(sealed.len(), size_class(before_filler(&segments)));
    }

    #[test]
    fn open_at_their_address_only(rows in 0u32..80, segments in segments(), byte in 0usize..16, bit in 0usize..8) {
        let keys = keys();
        let sealed = seal(&keys, &address(), rows, &segments);
        let mut elsewhere = [address(); 3];
        elsewhere[0].label.0[byte] ^= 1 << bit;
        elsewhere[1].generation.0 ^= 1 << (byte + bit);
        elsewhere[2].block.0[byte] ^= 1 << bit;
        for at in elsewhere {
            prop_assert_eq!(read(&keys, &at, &sealed), Err(OpenError));
        }
        prop_assert_eq!(read(&self::keys(), &address(), &sealed), Err(OpenError));
    }
}

#[test]
fn segments_do_not_move_between_blocks_or_places() {
    let (keys, segments) = (keys(), [vec![1; 40], vec![1; 40], vec![1; 40]]);
    let there = BlockAddress {
        block: BlockId([4; 16]),
        ..address()
    };
    let sealed = seal(&keys, &address(), PAGE_ROWS_MIN, &segments);
    let foreign = seal(&keys, &there, PAGE_ROWS_MIN, &segments);
    let place = |part: usize| {
        let start = 1 + SEALED_HEADER_BYTES + part * (40 + SEALED_OVERHEAD);
        start..start + 40 + SEALED_OVERHEAD
    };
    for part in 0..3 {
        let mut mixed = sealed.clone();
        mixed[place(part)].copy_from_slice(&foreign[place(part)]);
        assert_eq!(read(&keys, &address(), &mixed), Err(OpenError));
        mixed[place(part)].copy_from_slice(&sealed[place((part + 1) % 3)]);
        assert_eq!(read(&keys, &address(), &mixed), Err(OpenError));
    }
    let mut mixed = sealed;
    mixed[..=SEALED_HEADER_BYTES].copy_from_slice(&foreign[..=SEALED_HEADER_BYTES]);
    assert_eq!(read(&keys, &address(), &mixed), Err(OpenError));
}

#[test]
fn every_byte_but_filler_counts() {
    let (keys, segments) = (keys(), [vec![1; 40], vec![2; 70], vec![3; 10]]);
    for rows in [1, PAGE_ROWS_MIN] {
        let sealed = seal(&keys, &address(), rows, &segments);
        let filler = if rows < PAGE_ROWS_MIN {
            sealed.len()
        } else {
            before_filler(&segments)
        };
        for place in 0..sealed.len() {
            for flip in [0x01, 0x03, 0x80] {
                let mut damaged = sealed.clone();
                damaged[place] ^= flip;
                let expected = if place < filler {
                    Err(OpenError)
                } else {
                    Ok((rows, segments.clone()))
                };
                assert_eq!(
                    read(&keys, &address(), &damaged),
                    expected,
                    "{rows} rows, byte {place}"
                );
            }
        }
    }
}

#[test]
fn what_is_cut_or_grown_does_not_open() {
    let (keys, segments) = (keys(), [vec![1; 40], vec![2; 70], vec![3; 10]]);
    for rows in [1, PAGE_ROWS_MIN] {
        let sealed = seal(&keys, &address(), rows, &segments);
        for length in 0..sealed.len() {
            assert_eq!(
                read(&keys, &address(), &sealed[..length]),
                Err(OpenError),
                "{rows} rows, {length} bytes"
            );
        }
        assert_eq!(
            read(&keys, &address(), &[&sealed[..], &[0]].concat()),
            Err(OpenError)
        );
    }
}

#[test]
fn a_page_opens_no_more_than_it_is_asked_for() {
    let (keys, segments) = (keys(), [vec![1; 40], vec![2; 70], vec![3; 10]]);
    let mut sealed = seal(&keys, &address(), PAGE_ROWS_MIN, &segments);
    // Damage in the identities is not noticed, nor paid for, by whoever reads the codes.
    sealed[1 + SEALED_HEADER_BYTES + segments[0].len() + SEALED_OVERHEAD + 20] ^= 1;
    let reader = BlockReader::open(&keys, &address(), &sealed).unwrap();
    let mut out = Vec::new();
    reader.segment(Segment::Codes, &mut out).unwrap();
    assert_eq!(out, segments[0]);
    assert_eq!(reader.segment(Segment::Identities, &mut out), Err(OpenError));
    assert!(out.is_empty());
}

#[test]
fn filler_is_random() {
    let (keys, segments) = (keys(), [vec![0; 1_000], vec![0; 100], vec![0; 100]]);
    let start = before_filler(&segments);
    let [one, other] = [(); 2].map(|()| seal(&keys, &address(), PAGE_ROWS_MIN, &segments)[start..].to_vec());
    assert!(one.len() >= 16, "choose segments that leave filler");
    assert_ne!(one, other);
}

/// A delta whose lengths lie could come from a faulty writer only; it is refused all the same.
#[test]
fn lengths_that_do_not_add_up_are_refused() {
    let keys = keys();
    let too_long: [u32; 4] = [7, 0, 0, u32::MAX];
    let something_behind: [u32; 5] = [7, 0, 0, 0, 0];
    for plaintext in [too_long.as_slice(), &something_behind, &too_long[..3]] {
        let plaintext: Vec<u8> = plaintext.iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut sealed = vec![DELTA];
        keys.seal_into(&address().aad(RecordKind::Delta, 0), &plaintext, &mut sealed);
        assert_eq!(read(&keys, &address(), &sealed), Err(OpenError), "{plaintext:?}");
    }
}

#[test]
fn a_resealed_block_is_the_same_and_opens_under_the_new_epoch_only() {
    let segments = [vec![1; 40], vec![2; 70], vec![3; 10]];
    for rows in [1, PAGE_ROWS_MIN] {
        let bundle = Bundle::generate();
        let of = |bundle: &Bundle, epoch| bundle.partition_keys(IndexId(7), KeyEpoch(epoch), PartitionId(5));
        let next = bundle.next();
        let sealed = seal(&of(&bundle, 1), &address(), rows, &segments);
        let between = of(&next, 2).opening_also(of(&bundle, 1));
        let (told, resealed) = reseal_block(&between, &address(), &sealed).unwrap().unwrap();
        assert_eq!((told, resealed.len()), (rows, sealed.len()));
        let expected = Ok((rows, segments.clone()));
        assert_eq!(read(&of(&next, 2), &address(), &resealed), expected);
        assert_eq!(
            read(&between, &address(), &sealed),
            expected,
            "both open meanwhile"
        );
        assert_eq!(read(&of(&bundle, 1), &address(), &resealed), Err(OpenError));
        let after_a_restart = of(&next, 2).opening_also(of(&bundle, 1));
        assert_eq!(reseal_block(&after_a_restart, &address(), &resealed), Ok(None));
    }
    let keys = keys();
    for nothing in [&[][..], &[1], &[2], &[9; 200]] {
        assert_eq!(reseal_block(&keys, &address(), nothing), Err(OpenError));
    }
}
