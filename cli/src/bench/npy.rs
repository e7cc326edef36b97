//! Reads numpy's `.npy` files: two-dimensional, C order, little-endian. It knows no metric and writes nothing.
//!
//! Layout (NEP 1): `\x93NUMPY`, version u8.u8, header length (u16, from version 2 on u32), a Python dictionary with
//! `descr`, `fortran_order` and `shape`, then the elements.

use super::format::FormatError;
use super::rows::Rows;
use half::f16;
use std::io::Read;

/// At most `limit` rows of a floating-point array of `length` bytes, header included.
pub(super) fn read_vectors(file: impl Read, length: u64, limit: usize) -> Result<Rows<f32>, FormatError> {
    let mut array = Array::open(file, length)?;
    match array.element.as_str() {
        "<f4" => array.read(limit, |b: [u8; 4]| Ok(f32::from_le_bytes(b))),
        "<f2" => array.read(limit, |b: [u8; 2]| Ok(f16::from_le_bytes(b).to_f32())),
        "<f8" => array.read(limit, |b: [u8; 8]| Ok(f64::from_le_bytes(b) as f32)),
        _ => Err(array.wrong_element("little-endian float32, float16 or float64")),
    }
}

/// At most `limit` rows of an integer array: row numbers of neighbours.
pub(super) fn read_neighbours(file: impl Read, length: u64, limit: usize) -> Result<Rows<u32>, FormatError> {
    let mut array = Array::open(file, length)?;
    match array.element.as_str() {
        "<i4" => array.read(limit, |b: [u8; 4]| neighbour(i32::from_le_bytes(b).into())),
        "<i8" => array.read(limit, |b: [u8; 8]| neighbour(i64::from_le_bytes(b))),
        "<u4" => array.read(limit, |b: [u8; 4]| Ok(u32::from_le_bytes(b))),
        _ => Err(array.wrong_element("little-endian int32, int64 or uint32")),
    }
}

fn neighbour(found: i64) -> Result<u32, i64> {
    u32::try_from(found).map_err(|_| found)
}

struct Array<R> {
    file: R,
    element: String,
    rows: usize,
    width: usize,
    /// Bytes after the header.
    left: u64,
}

impl<R: Read> Array<R> {
    fn open(mut file: R, length: u64) -> Result<Self, FormatError> {
        let (header, consumed) = read_header(&mut file)?;
        if value_of(&header, "fortran_order")
            .ok_or(FormatError::Header("fortran_order"))?
            .starts_with("True")
        {
            return Err(FormatError::Fortran);
        }
        let (rows, width) = match shape(&header)?[..] {
            [rows, width] => (rows, width),
            ref other => return Err(FormatError::Shape(other.len())),
        };
        if rows == 0 || width == 0 {
            return Err(FormatError::Empty);
        }
        Ok(Self {
            element: element(&header)?,
            file,
            rows,
            width,
            left: length.saturating_sub(consumed),
        })
    }

    fn read<T: Copy + Default, const SIZE: usize>(
        &mut self,
        limit: usize,
        decode: impl Fn([u8; SIZE]) -> Result<T, i64>,
    ) -> Result<Rows<T>, FormatError> {
        let expected = self.rows as u128 * self.width as u128 * SIZE as u128;
        if expected > u128::from(self.left) {
            return Err(FormatError::Truncated {
                expected,
                found: self.left,
            });
        }
        let rows = self.rows.min(limit);
        let mut values = Vec::with_capacity(rows * self.width);
        let mut bytes = vec![0; self.width * SIZE];
        for row in 0..rows {
            self.file.read_exact(&mut bytes)?;
            for piece in bytes.as_chunks::<SIZE>().0 {
                values.push(decode(*piece).map_err(|found| FormatError::Neighbour { row, found })?);
            }
        }
        Ok(Rows::new(self.width, values))
    }

    fn wrong_element(self, wanted: &'static str) -> FormatError {
        FormatError::Element {
            found: self.element,
            wanted,
        }
    }
}

/// The dictionary's text and how many bytes came before the elements.
fn read_header(file: &mut impl Read) -> Result<(String, u64), FormatError> {
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|_| FormatError::NotNpy)?;
    if !start.starts_with(b"\x93NUMPY") {
        return Err(FormatError::NotNpy);
    }
    let (length, prefix) = if start[6] == 1 {
        let mut bytes = [0; 2];
        file.read_exact(&mut bytes)?;
        (u32::from(u16::from_le_bytes(bytes)), 10)
    } else {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes)?;
        (u32::from_le_bytes(bytes), 12)
    };
    let mut header = String::new();
    file.take(length.into())
        .read_to_string(&mut header)
        .map_err(|_| FormatError::Header("text"))?;
    if header.len() as u64 != u64::from(length) {
        return Err(FormatError::Header("length"));
    }
    Ok((header, prefix + u64::from(length)))
}

/// What follows `'key':` in the dictionary.
fn value_of<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let after = quoted.iter().find_map(|key| header.split_once(key.as_str()))?.1;
    Some(after.trim_start().strip_prefix(':')?.trim_start())
}

fn element(header: &str) -> Result<String, FormatError> {
    let value = value_of(header, "descr").ok_or(FormatError::Header("descr"))?;
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let inner = quote
        .and_then(|quote| value[1..].split_once(quote))
        .ok_or(FormatError::Header("descr"))?
        .0;
    Ok(inner.to_owned())
}

fn shape(header: &str) -> Result<Vec<usize>, FormatError> {
    let inside = value_of(header, "shape")
        .and_then(|value| value.strip_prefix('('))
        .and_then(|value| value.split_once(')'))
        .ok_or(FormatError::Header("shape"))?
        .0;
    let lengths = inside
        .split(',')
        .map(str::trim)
        .filter(|length| !length.is_empty());
    lengths
        .map(|length| length.parse().map_err(|_| FormatError::Header("shape")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, elements: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(elements);
        bytes
    }

    fn vectors(bytes: &[u8]) -> Result<Rows<f32>, FormatError> {
        read_vectors(bytes, bytes.len() as u64, usize::MAX)
    }

    fn header(element: &str, shape: &str) -> String {
        format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}   \n")
    }

    #[test]
    fn reads_the_three_float_types() {
        let values = [1.0f32, -2.5, 0.0, 4.0, 5.0, 6.0];
        let expected = Rows::new(3, values.to_vec());
        let f4: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let f8: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
        let f2: Vec<u8> = values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect();
        for (name, elements) in [("<f4", f4), ("<f8", f8), ("<f2", f2)] {
            assert_eq!(
                vectors(&npy(&header(name, "(2, 3)"), &elements)).unwrap(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_limit_reads_only_the_first_rows() {
        let elements: Vec<u8> = [1.0f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes = npy(&header("<f4", "(3, 1)"), &elements);
        assert_eq!(
            read_vectors(&bytes[..], bytes.len() as u64, 2).unwrap(),
            Rows::new(1, vec![1.0, 2.0])
        );
    }

    #[test]
    fn reads_a_version_2_header_with_keys_in_another_order() {
        let header = "{\"shape\": (1, 1), \"descr\": \"<i8\", \"fortran_order\": False}\n";
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&7i64.to_le_bytes());
        assert_eq!(
            read_neighbours(&bytes[..], bytes.len() as u64, 9).unwrap(),
            Rows::new(1, vec![7])
        );
    }

    #[test]
    fn malformed_files_are_named_for_what_is_wrong() {
        use FormatError as E;
        let four = 1.0f32.to_le_bytes();
        type Expected = fn(&E) -> bool;
        let cases: [(Vec<u8>, Expected); 11] = [
            (b"PK\x03\x04 an npz archive".to_vec(), |e| matches!(e, E::NotNpy)),
            (b"\x93NUM".to_vec(), |e| matches!(e, E::NotNpy)),
            (npy("", &four), |e| matches!(e, E::Header(_))),
            (npy("{'descr': '<f4', 'fortran_order': False}", &four), |e| {
                matches!(e, E::Header("shape"))
            }),
            (npy(&header("<f4", "(x, 1)"), &four), |e| {
                matches!(e, E::Header("shape"))
            }),
            (npy(&header("<f4", "(1,)"), &four), |e| matches!(e, E::Shape(1))),
            (npy(&header("<f4", "(0, 4)"), &[]), |e| matches!(e, E::Empty)),
            (npy(&header(">f4", "(1, 1)"), &four), |e| {
                matches!(e, E::Element { .. })
            }),
            (npy(&header("<f4", "(2, 1)"), &four), |e| {
                matches!(
                    e,
                    E::Truncated {
                        expected: 8,
                        found: 4
                    }
                )
            }),
            (
                npy(&header("<f4", "(18446744073709551615, 4294967295)"), &four),
                |e| matches!(e, E::Truncated { .. }),
            ),
            (
                npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1)}", &four),
                |e| matches!(e, E::Fortran),
            ),
        ];
        for (number, (bytes, expected)) in cases.iter().enumerate() {
            let error = vectors(bytes).expect_err("malformed");
            assert!(expected(&error), "case {number}: {error:?}");
        }
    }

    #[test]
    fn a_negative_neighbour_is_refused() {
        let bytes = npy(&header("<i4", "(1, 1)"), &(-1i32).to_le_bytes());
        let error = read_neighbours(&bytes[..], bytes.len() as u64, 1).expect_err("negative");
        assert!(
            matches!(error, FormatError::Neighbour { row: 0, found: -1 }),
            "{error:?}"
        );
    }
}
