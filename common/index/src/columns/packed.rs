//! Rows of small numbers, 1, 2 or 4 bytes each.

use crate::layout::{LayoutError, Reader};

/// Numbers in their stored width, little-endian.
#[derive(Clone, Copy)]
pub(super) enum Packed<'a> {
    One(&'a [u8]),
    Two(&'a [[u8; 2]]),
    Four(&'a [[u8; 4]]),
}

/// Appends `numbers`, each as wide as `largest` needs.
pub(super) fn put(out: &mut Vec<u8>, numbers: impl Iterator<Item = u32>, largest: u32) {
    let width = width(largest);
    for number in numbers {
        debug_assert!(number <= largest, "{number} is above {largest}");
        out.extend_from_slice(&number.to_le_bytes()[..width]);
    }
}

/// Bytes of each number where `largest` is the largest that may occur.
pub(super) fn width(largest: u32) -> usize {
    match largest {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

impl<'a> Packed<'a> {
    /// Reads `count` numbers that [`put`] wrote with the same `largest`.
    pub(super) fn read(reader: &mut Reader<'a>, count: u32, largest: u32) -> Result<Self, LayoutError> {
        let width = width(largest);
        let bytes = reader.bytes(count as usize * width)?;
        Ok(match width {
            1 => Packed::One(bytes),
            2 => Packed::Two(bytes.as_chunks().0),
            _ => Packed::Four(bytes.as_chunks().0),
        })
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        match self {
            Packed::One(numbers) => numbers.len(),
            Packed::Two(numbers) => numbers.len(),
            Packed::Four(numbers) => numbers.len(),
        }
    }

    #[inline]
    pub(super) fn get(self, position: u32) -> Option<u32> {
        let position = position as usize;
        match self {
            Packed::One(numbers) => numbers.get(position).map(|number| (*number).into()),
            Packed::Two(numbers) => numbers
                .get(position)
                .map(|number| u16::from_le_bytes(*number).into()),
            Packed::Four(numbers) => numbers.get(position).map(|number| u32::from_le_bytes(*number)),
        }
    }

    #[inline]
    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0..self.len() as u32).map_while(move |position| self.get(position))
    }

    pub(super) fn max(self) -> Option<u32> {
        match self {
            Packed::One(numbers) => numbers.iter().max().map(|number| (*number).into()),
            Packed::Two(numbers) => numbers
                .iter()
                .map(|number| u16::from_le_bytes(*number))
                .max()
                .map(u32::from),
            Packed::Four(numbers) => numbers.iter().map(|number| u32::from_le_bytes(*number)).max(),
        }
    }

    /// Whether each number is larger than the one before it.
    pub(super) fn ascends(self) -> bool {
        self.iter().is_sorted_by(|before, after| before < after)
    }

    /// Where `number` is, if the numbers ascend.
    pub(super) fn position(self, number: u32) -> Option<u32> {
        let (mut low, mut high) = (0, self.len() as u32);
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) < Some(number) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        (self.get(low) == Some(number)).then_some(low)
    }
}
