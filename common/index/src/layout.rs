//! What every plaintext layout in this crate is read and written with: one error and one cursor.
//!
//! The bytes come out of an authenticated record, so a layout that does not parse is a fault of ours or of another
//! version. It is still never a panic, nor an allocation larger than the input warrants.

use sealdex_core::ErrorCode;

/// Bytes that are not what their layout says. Names the layout, never its contents.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LayoutError {
    /// Written by a version that this one does not know.
    #[error("{0} was written by an unknown version: use the release that wrote it, or a later one")]
    Version(&'static str),
    /// Ends early, runs on, or holds a value that its layout rules out.
    #[error("{0} is damaged: restore it from a backup or another replica")]
    Damaged(&'static str),
}

impl LayoutError {
    /// What it means to a caller.
    pub fn code(self) -> ErrorCode {
        ErrorCode::Corrupt
    }
}

/// A cursor over a layout. Each read is checked against the end.
///
/// Its reads are always inlined: left to the compiler, they are calls that return through memory, and a filter over a
/// column of distinct strings takes three times as long.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    layout: &'static str,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte; errors will name `layout`.
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8], layout: &'static str) -> Self {
        Self { bytes, layout }
    }

    /// Reads the version byte and refuses all but `known`.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), LayoutError> {
        if self.u8()? == known {
            Ok(())
        } else {
            Err(LayoutError::Version(self.layout))
        }
    }

    /// Reads the version byte, which must be one of `known`.
    pub(crate) fn version_of(&mut self, known: &[u8]) -> Result<u8, LayoutError> {
        let version = self.u8()?;
        match known.contains(&version) {
            true => Ok(version),
            false => Err(LayoutError::Version(self.layout)),
        }
    }

    #[inline(always)]
    pub(crate) fn u8(&mut self) -> Result<u8, LayoutError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, LayoutError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline(always)]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(self.damaged())?;
        self.bytes = rest;
        Ok(*head)
    }

    #[inline(always)]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], LayoutError> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(self.damaged())?;
        self.bytes = rest;
        Ok(head)
    }

    /// An unsigned LEB128 number, as [`put_varint`] writes it.
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, LayoutError> {
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(self.damaged());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    /// A [`varint`](Self::varint) that is a length or a count.
    #[inline(always)]
    pub(crate) fn len(&mut self) -> Result<usize, LayoutError> {
        usize::try_from(self.varint()?).map_err(|_| self.damaged())
    }

    /// A [`varint`](Self::varint) that is at most `max`.
    #[inline(always)]
    pub(crate) fn count(&mut self, max: u32) -> Result<u32, LayoutError> {
        let count = u32::try_from(self.varint()?).ok().filter(|count| *count <= max);
        count.ok_or(self.damaged())
    }

    /// Bytes that are preceded by their length.
    #[inline(always)]
    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], LayoutError> {
        let len = self.len()?;
        self.bytes(len)
    }

    /// Text that is preceded by its length in bytes.
    pub(crate) fn text(&mut self) -> Result<&'a str, LayoutError> {
        std::str::from_utf8(self.prefixed()?).map_err(|_| self.damaged())
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has not been read.
    #[inline(always)]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Refuses bytes behind the last field.
    pub(crate) fn finish(&self) -> Result<(), LayoutError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.damaged())
        }
    }

    #[inline(always)]
    pub(crate) fn damaged(&self) -> LayoutError {
        LayoutError::Damaged(self.layout)
    }
}

/// Appends an unsigned LEB128 number: seven bits a byte, the lowest first, the high bit set on all but the last.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `bytes` behind their length.
pub(crate) fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive_a_round_trip(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes, "test");
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_number_above_64_bits_is_refused() {
        for last in [0x02, 0x7f, 0x80] {
            let mut bytes = vec![0xff; 9];
            bytes.push(last);
            assert_eq!(
                Reader::new(&bytes, "test").varint(),
                Err(LayoutError::Damaged("test"))
            );
        }
    }

    #[test]
    fn reading_stops_at_the_end() {
        assert_eq!(
            Reader::new(&[5, b'a', b'b'], "test").text(),
            Err(LayoutError::Damaged("test"))
        );
        assert_eq!(
            Reader::new(&[1, 0xff], "test").text(),
            Err(LayoutError::Damaged("test"))
        );
        assert_eq!(
            Reader::new(&[0x80], "test").varint(),
            Err(LayoutError::Damaged("test"))
        );
        assert_eq!(
            Reader::new(&[2], "test").version(1),
            Err(LayoutError::Version("test"))
        );
    }
}
