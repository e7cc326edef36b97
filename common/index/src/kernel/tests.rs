//! Every instruction set of this machine against the portable form.

use super::*;
use proptest::prelude::*;

fn float() -> impl Strategy<Value = f32> {
    prop_oneof![8 => -2.0f32..2.0, 1 => Just(0.0), 1 => -1e12f32..1e12, 1 => -1e-30f32..1e-30]
}

fn close(a: f64, b: f64, scale: f64, error: f64) -> bool {
    (a - b).abs() <= scale * error
}

/// What one of several scans reported: block, hits, sums.
type Seen = Vec<(usize, u32, [u32; BLOCK_ROWS])>;

fn scan(isa: Isa, tables: &[[u8; 32]], blocks: &[u8], limit: u32) -> Seen {
    let mut seen = Vec::new();
    pq4_scan(isa, tables, blocks, limit, &mut |block, hits, sums| {
        seen.push((block, hits, *sums))
    });
    seen
}

fn int8(isa: Isa, query: &[i16], rows: &[u8], row_bytes: usize, offset: usize) -> Vec<(usize, i32)> {
    let mut seen = Vec::new();
    int8_dots(isa, query, rows, row_bytes, offset, &mut |row, dot| {
        seen.push((row, dot))
    });
    seen
}

proptest! {
    #[test]
    fn fast_scan_gives_the_same_sums(
        tables in prop::collection::vec(prop::array::uniform32(0u8..=127), 1..70),
        blocks in 0usize..10,
        bytes in prop::collection::vec(any::<u8>(), 32 * 70 * 10),
        part in 0.0f64..=1.1,
    ) {
        let blocks = &bytes[..blocks * 32 * tables.len()];
        let limit = (tables.len() as f64 * 254.0 * part) as u32;
        let expected = scan(Isa(Level::Scalar), &tables, blocks, limit);
        for isa in Isa::available() {
            prop_assert_eq!(&scan(isa, &tables, blocks, limit), &expected, "{}", isa.name());
        }
    }

    #[test]
    fn fast_scan_gives_the_same_sums_for_long_codes(
        tables in 250usize..1_100, blocks in 1usize..7, seed: u64, least in 0u8..=127, part in 0.3f64..=0.7,
    ) {
        let mut rng = crate::rng::Rng::new(seed, 0);
        let tables: Vec<[u8; 32]> =
            (0..tables).map(|_| std::array::from_fn(|_| least + rng.below(128 - least as usize) as u8)).collect();
        let blocks: Vec<u8> = (0..blocks * 32 * tables.len()).map(|_| rng.next() as u8).collect();
        let limit = (tables.len() as f64 * 254.0 * part) as u32;
        let expected = scan(Isa(Level::Scalar), &tables, &blocks, limit);
        for isa in Isa::available() {
            prop_assert_eq!(&scan(isa, &tables, &blocks, limit), &expected, "{}", isa.name());
        }
    }

    #[test]
    fn bytes_give_the_same_products(
        query in prop::collection::vec(-300i16..=300, 1..200), offset in 0usize..9, rows in 0usize..6,
        bytes in prop::collection::vec(any::<u8>(), 6 * 210),
    ) {
        let row_bytes = offset + query.len();
        let rows = &bytes[..rows * row_bytes];
        let expected: Vec<(usize, i32)> = rows.chunks_exact(row_bytes).enumerate().map(|(row, code)| {
            let products = query.iter().zip(&code[offset..]).map(|(q, code)| i32::from(*q) * i32::from(*code as i8));
            (row, products.sum())
        }).collect();
        for isa in Isa::available() {
            prop_assert_eq!(&int8(isa, &query, rows, row_bytes, offset), &expected, "{}", isa.name());
        }
    }

    #[test]
    fn bytes_give_the_same_products_with_each_other(
        length in 1usize..150, rows in 0usize..10, bytes in prop::collection::vec(-127i8..=127, 11 * 150),
        extreme in prop::option::of(prop_oneof![Just(127i8), Just(-127)]),
    ) {
        let mut query = bytes[..length].to_vec();
        if let Some(extreme) = extreme {
            query.fill(extreme);
        }
        let rows = &bytes[150..150 + rows * length];
        let product = |row: &[i8]| -> i32 { query.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum() };
        let expected: Vec<i32> = rows.chunks_exact(length).map(product).collect();
        for isa in Isa::available() {
            let mut out = vec![7; expected.len()];
            byte_dots(isa, &query, rows, &mut out);
            prop_assert_eq!(&out, &expected, "{}", isa.name());
        }
    }

    #[test]
    fn floats_differ_by_rounding_only(
        pairs in prop::collection::vec((float(), float()), 1..300),
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let pairs = || a.iter().zip(&b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let squares: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
        let product: f64 = pairs().map(|(a, b)| a * b).sum();
        let size: f64 = pairs().map(|(a, b)| (a * b).abs()).sum();
        let (aa, bb): (f64, f64) = (pairs().map(|(a, _)| a * a).sum(), pairs().map(|(_, b)| b * b).sum());
        for isa in Isa::available() {
            prop_assert!(close(squared(isa, &a, &b).into(), squares, squares + 1e-30, 1e-5));
            prop_assert!(close(dot(isa, &a, &b).into(), product, size + 1e-30, 1e-5));
            prop_assert!(close(exact_squared(isa, &a, &b), squares, squares, 1e-12));
            let products = exact_products(isa, &a, &b);
            prop_assert!(close(products[0], product, size, 1e-12));
            prop_assert!(close(products[1], aa, aa, 1e-12) && close(products[2], bb, bb, 1e-12));
        }
    }

    #[test]
    fn matrix_products_are_products_of_rows(
        dimension in 1usize..70, a_rows in 1usize..20, b_rows in 1usize..20, seed: u64,
    ) {
        let mut rng = crate::rng::Rng::new(seed, 0);
        let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.unit() as f32 - 0.5).collect() };
        let (a, b) = (values(a_rows * dimension), values(b_rows * dimension));
        let mut expected = Vec::new();
        for a in a.chunks_exact(dimension) {
            expected.extend(b.chunks_exact(dimension).map(|b| dot(Isa(Level::Scalar), a, b)));
        }
        let near = |out: &[f32]| out.iter().zip(&expected).all(|(out, e)| (out - e).abs() <= 1e-5);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; a_rows * b_rows];
            products(isa, dimension, &a, &b, &mut out);
            prop_assert!(near(&out), "{}: {:?} {:?}", isa.name(), out, expected);
            let mut out = vec![f32::NAN; b_rows];
            dots(isa, &a[..dimension], &b, &mut out);
            prop_assert!(near(&out));
        }
    }

    #[test]
    fn codes_and_tables_are_the_same(
        dimension in 1usize..130, seed: u64, scale in prop_oneof![Just(1.0f32), Just(1e-20), Just(1e15)],
    ) {
        let mut rng = crate::rng::Rng::new(seed, 0);
        let mut value = || (rng.unit() as f32 - 0.5) * scale;
        let row: Vec<f32> = (0..dimension).map(|_| value()).collect();
        let books: Vec<[f32; 32]> = (0..dimension.div_ceil(2)).map(|_| std::array::from_fn(|_| value())).collect();
        let outcome = |isa: Isa| {
            let (mut code, mut distances) = (vec![0xaa; dimension.div_ceil(4)], vec![[-1.0; 16]; books.len()]);
            pq4_encode(isa, &books, &row, &mut code);
            let extent = pq4_distances(isa, &books, &row, &mut distances);
            (code, distances, extent)
        };
        let expected = outcome(Isa(Level::Scalar));
        for (sub, table) in expected.1.iter().enumerate() {
            let chosen = expected.0[sub / 2] >> (4 * (sub % 2)) & 15;
            prop_assert!(table[usize::from(chosen)] <= expected.2.1 * 1e-5 + f32::MIN_POSITIVE);
            prop_assert!(table.contains(&0.0) && table.iter().all(|distance| *distance <= expected.2.1));
        }
        for isa in Isa::available() {
            prop_assert_eq!(&outcome(isa), &expected, "{}", isa.name());
        }
    }
}

#[test]
fn the_largest_entries_do_not_overflow() {
    for tables in [1, 255, 256, 257, 512, 513, 4_096] {
        let (tables, blocks) = (vec![[127; 32]; tables], vec![0xff; 5 * 32 * tables]);
        let most = 254 * tables.len() as u32;
        for isa in Isa::available() {
            let seen = scan(isa, &tables, &blocks, most);
            assert_eq!(seen.len(), 5);
            assert!(
                seen.iter()
                    .all(|(_, hits, sums)| *hits == u32::MAX && sums.iter().all(|sum| *sum == most))
            );
            assert!(scan(isa, &tables, &blocks, most - 1).is_empty());
        }
    }
}

#[test]
fn the_largest_bytes_do_not_overflow() {
    for isa in Isa::available() {
        let (query, row, mut out) = (vec![127i8; 16_384], vec![-127i8; 16_384], [0]);
        byte_dots(isa, &query, &row, &mut out);
        assert_eq!(out, [-127 * 127 * 16_384]);
    }
    for dimension in [17, 512, 16_384] {
        let value = (i32::MAX / 128 / dimension as i32).min(32_767) as i16;
        let query = vec![-value; dimension];
        let rows = vec![0x80; 3 * dimension];
        for isa in Isa::available() {
            let sum = i32::from(value) * 128 * dimension as i32;
            assert_eq!(
                int8(isa, &query, &rows, dimension, 0),
                [(0, sum), (1, sum), (2, sum)]
            );
        }
    }
}
