//! The key that an index's owner sends or a KMS unwraps. Never a cipher key itself: only derived from.

use crate::error::KeyError;
use crate::kdf::Kdf;
use crate::secret::Secret;
use sealdex_core::IndexId;
use zeroize::Zeroize;

/// An index's 32-byte key.
pub struct IndexKey(Secret);

impl IndexKey {
    /// Reads 64 hexadecimal digits of either case. ASCII white space between bytes is skipped, as Python's
    /// `bytes.fromhex` does.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut decoded = Ok(0);
        let key = Secret::fill_with(|out| decoded = decode_hex(text, out));
        match decoded? {
            Secret::BYTES => Ok(Self(key)),
            bytes => Err(KeyError::WrongLength { bytes }),
        }
    }

    /// A fresh random key, for an index whose key a provider wraps.
    pub fn generate() -> Self {
        Self(Secret::generate())
    }

    /// Reads 32 bytes, as a provider unwraps them. Whoever holds `bytes` zeroises them.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != Secret::BYTES {
            return Err(KeyError::WrongLength { bytes: bytes.len() });
        }
        Ok(Self(Secret::fill_with(|out| out.copy_from_slice(bytes))))
    }

    /// The key's bytes, to be handed to the KMS that wraps them. For key providers alone, which neither store nor log
    /// nor compare them, and zeroise what they copy.
    pub fn expose_for_wrapping(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Takes a key as it is.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Secret::fill_with(|out| out.copy_from_slice(&bytes));
        bytes.zeroize();
        Self(key)
    }

    /// The key's bytes, to be digested.
    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }

    /// One of the keys this one stands for. What one of them tells says nothing about another.
    pub(crate) fn derive(&self, label: &[u8], index: IndexId) -> Secret {
        Kdf::new(&self.0).derive(label, &[&index.0.to_be_bytes()])
    }
}

/// Writes the bytes that `text` spells to `out`, as many as fit, and returns how many there are.
fn decode_hex(text: &str, out: &mut [u8]) -> Result<usize, KeyError> {
    let mut bytes = 0;
    let mut characters = text.chars();
    while let Some(high) = characters.find(|character| !is_python_space(*character)) {
        let low = characters.next().ok_or(KeyError::NotHex)?;
        let value = digit(high)? << 4 | digit(low)?;
        if let Some(place) = out.get_mut(bytes) {
            *place = value;
        }
        bytes += 1;
    }
    Ok(bytes)
}

fn digit(character: char) -> Result<u8, KeyError> {
    character
        .to_digit(16)
        .map(|value| value as u8)
        .ok_or(KeyError::NotHex)
}

/// Vertical tab is white space to Python, and not to `is_ascii_whitespace`.
fn is_python_space(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\x0b'
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn error(text: &str) -> KeyError {
        IndexKey::from_hex(text).err().unwrap()
    }

    fn spells_0_to_31(text: &str) -> bool {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        IndexKey::from_hex(text).unwrap().0.expose() == &bytes
    }

    #[test]
    fn hex_is_read_as_python_reads_it() {
        assert!(spells_0_to_31(HEX));
        assert!(spells_0_to_31(&HEX.to_uppercase()));
        assert!(spells_0_to_31(&format!(
            " \t{}\r\n\x0b\x0c{} ",
            &HEX[..20],
            &HEX[20..]
        )));
    }

    #[test]
    fn what_is_not_hex_is_refused() {
        let within_a_byte = format!("{} {}", &HEX[..21], &HEX[21..]);
        let with = |character: &str| format!("{}{character}{}", &HEX[..20], &HEX[21..]);
        for text in [
            &within_a_byte,
            &HEX[..63],
            &with("g"),
            &with("+"),
            &with("\u{0661}"),
            &with("\0"),
        ] {
            assert_eq!(error(text), KeyError::NotHex, "{text:?}");
        }
    }

    #[test]
    fn only_32_bytes_are_a_key() {
        for (text, bytes) in [("", 0), (" ", 0), (&HEX[2..], 31), (&format!("{HEX}00"), 33)] {
            assert_eq!(error(text), KeyError::WrongLength { bytes });
        }
    }

    #[test]
    fn bytes_are_read_as_they_are_exposed() {
        let key = IndexKey::generate();
        let same = IndexKey::from_slice(key.expose_for_wrapping()).unwrap();
        assert_eq!(same.expose_for_wrapping(), key.expose_for_wrapping());
        assert_ne!(
            key.expose_for_wrapping(),
            IndexKey::generate().expose_for_wrapping()
        );
        for bytes in [0, 31, 33] {
            let error = IndexKey::from_slice(&vec![1; bytes]).err();
            assert_eq!(error, Some(KeyError::WrongLength { bytes }));
        }
    }

    #[test]
    fn both_ways_to_a_key_give_the_same() {
        let bytes = std::array::from_fn(|i| i as u8);
        let label = crate::labels::WRAP;
        let of_bytes = IndexKey::from_bytes(bytes).derive(label, IndexId(1));
        let of_hex = IndexKey::from_hex(HEX).unwrap().derive(label, IndexId(1));
        assert_eq!(of_bytes.expose(), of_hex.expose());
    }
}
