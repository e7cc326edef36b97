//! A set of a block's rows, as a bitmap.

/// Which of `rows` rows are in. Rows count from 0.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RowSet {
    /// Bit `row % 64` of word `row / 64`; bits behind the last row are 0.
    words: Vec<u64>,
    rows: u32,
}

impl RowSet {
    /// No row.
    pub fn none(rows: u32) -> Self {
        Self {
            words: vec![0; rows.div_ceil(u64::BITS) as usize],
            rows,
        }
    }

    /// Every row.
    pub fn all(rows: u32) -> Self {
        Self {
            words: vec![u64::MAX; rows.div_ceil(u64::BITS) as usize],
            rows,
        }
        .trimmed()
    }

    /// The rows whose outcome is true; one outcome per row.
    pub(super) fn from_outcomes(rows: u32, mut outcomes: impl Iterator<Item = bool>) -> Self {
        let mut set = Self::none(rows);
        for (word, first) in set.words.iter_mut().zip((0..rows).step_by(u64::BITS as usize)) {
            for bit in 0..u64::BITS.min(rows - first) {
                *word |= u64::from(outcomes.next().expect("one outcome per row")) << bit;
            }
        }
        set
    }

    /// Takes `row` in.
    pub(super) fn insert(&mut self, row: u32) {
        self.words[(row / u64::BITS) as usize] |= 1 << (row % u64::BITS);
    }

    /// How many rows there are, in or not.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// How many rows are in.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no row is in.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether `row` is in; false for a row that does not exist.
    pub fn contains(&self, row: u32) -> bool {
        let word = self.words.get((row / u64::BITS) as usize);
        word.is_some_and(|word| word >> (row % u64::BITS) & 1 == 1)
    }

    /// The rows that are in, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.words
            .iter()
            .zip((0..).step_by(u64::BITS as usize))
            .flat_map(|(word, first)| {
                let mut left = *word;
                std::iter::from_fn(move || {
                    let bit = (left != 0).then(|| left.trailing_zeros())?;
                    left &= left - 1;
                    Some(first + bit)
                })
            })
    }

    /// The bitmap: row `r` is bit `r % 64` of word `r / 64`, and bits behind the last row are 0.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Keeps the rows that are also in `other`, a set over the same rows.
    pub fn and(&mut self, other: &RowSet) {
        self.merge(other, |a, b| a & b);
    }

    /// Adds the rows of `other`, a set over the same rows.
    pub fn or(&mut self, other: &RowSet) {
        self.merge(other, |a, b| a | b);
    }

    /// The rows that are not in.
    pub fn complement(mut self) -> Self {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trimmed()
    }

    fn merge(&mut self, other: &RowSet, merge: impl Fn(u64, u64) -> u64) {
        assert_eq!(self.rows, other.rows, "sets over different rows");
        self.words
            .iter_mut()
            .zip(&other.words)
            .for_each(|(a, b)| *a = merge(*a, *b));
    }

    fn trimmed(mut self) -> Self {
        let beyond = self.words.len() as u32 * u64::BITS - self.rows;
        if let Some(last) = self.words.last_mut() {
            *last &= u64::MAX >> beyond;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_as_a_vector_of_flags(pairs in proptest::collection::vec(any::<(bool, bool)>(), 0..200)) {
            let rows = pairs.len() as u32;
            let a = RowSet::from_outcomes(rows, pairs.iter().map(|pair| pair.0));
            let mut b = RowSet::none(rows);
            (0..).zip(&pairs).filter(|(_, pair)| pair.1).for_each(|(row, _)| b.insert(row));
            let (mut both, mut either) = (a.clone(), a.clone());
            both.and(&b);
            either.or(&b);
            let not = a.clone().complement();
            for (row, (in_a, in_b)) in (0..).zip(&pairs) {
                prop_assert_eq!(a.contains(row), *in_a);
                prop_assert_eq!(both.contains(row), *in_a && *in_b);
                prop_assert_eq!(either.contains(row), *in_a || *in_b);
                prop_assert_eq!(not.contains(row), !in_a);
            }
            prop_assert!(!not.contains(rows) && !RowSet::all(rows).contains(rows));
            prop_assert_eq!(a.count() + not.count(), rows);
            prop_assert_eq!(RowSet::all(rows).count(), rows);
            prop_assert_eq!(RowSet::none(rows).is_empty(), true);
            let listed: Vec<u32> = a.iter().collect();
            let expected: Vec<u32> = (0..rows).filter(|row| a.contains(*row)).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
