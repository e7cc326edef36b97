//! Reads the `.fvecs` and `.ivecs` files of the TEXMEX collections: each row is its width (i32), then that many
//! little-endian f32 or i32. It knows no metric and writes nothing.

use super::format::FormatError;
use super::rows::Rows;
use std::io::{self, Read};

/// At most `limit` vectors of an `.fvecs` file of `length` bytes.
pub(super) fn read_vectors(file: impl Read, length: u64, limit: usize) -> Result<Rows<f32>, FormatError> {
    read(file, length, limit, |bytes| Ok(f32::from_le_bytes(bytes)))
}

/// At most `limit` rows of neighbours of an `.ivecs` file of `length` bytes.
pub(super) fn read_neighbours(file: impl Read, length: u64, limit: usize) -> Result<Rows<u32>, FormatError> {
    read(file, length, limit, |bytes| {
        let found = i32::from_le_bytes(bytes);
        u32::try_from(found).map_err(|_| found.into())
    })
}

fn read<T: Copy + Default>(
    mut file: impl Read,
    length: u64,
    limit: usize,
    decode: impl Fn([u8; 4]) -> Result<T, i64>,
) -> Result<Rows<T>, FormatError> {
    let Some(width) = read_width(&mut file)? else {
        return Err(FormatError::Empty);
    };
    let row_bytes = 4 + width as u128 * 4;
    if width == 0 || row_bytes > u128::from(length) {
        return Err(FormatError::Truncated {
            expected: row_bytes,
            found: length,
        });
    }
    let announced = (u128::from(length).div_ceil(row_bytes) * row_bytes).max(row_bytes);
    let mut values = Vec::new();
    let mut bytes = vec![0; width * 4];
    for row in 0..limit.max(1) {
        if row > 0 {
            match read_width(&mut file)? {
                None => break,
                Some(found) if found != width => {
                    return Err(FormatError::Ragged {
                        row,
                        expected: width,
                        found: found as i64,
                    });
                }
                Some(_) => {}
            }
        }
        file.read_exact(&mut bytes).map_err(|_| FormatError::Truncated {
            expected: announced,
            found: length,
        })?;
        for piece in bytes.as_chunks::<4>().0 {
            values.push(decode(*piece).map_err(|found| FormatError::Neighbour { row, found })?);
        }
    }
    Ok(Rows::new(width, values))
}

/// The width in front of a row; `None` at the end of the file.
fn read_width(file: &mut impl Read) -> Result<Option<usize>, FormatError> {
    let mut bytes = [0; 4];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Some(u32::from_le_bytes(bytes) as usize)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Vec<u8> {
        let mut bytes = (values.len() as i32).to_le_bytes().to_vec();
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }

    fn vectors(bytes: &[u8], limit: usize) -> Result<Rows<f32>, FormatError> {
        read_vectors(bytes, bytes.len() as u64, limit)
    }

    #[test]
    fn reads_rows_up_to_the_limit() {
        let bytes = [row(&[1.0, 2.0]), row(&[3.0, 4.0])].concat();
        assert_eq!(
            vectors(&bytes, 9).unwrap(),
            Rows::new(2, vec![1.0, 2.0, 3.0, 4.0])
        );
        assert_eq!(vectors(&bytes, 1).unwrap(), Rows::new(2, vec![1.0, 2.0]));
    }

    #[test]
    fn reads_neighbours() {
        let bytes: Vec<u8> = [2i32, 7, 9].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(
            read_neighbours(&bytes[..], 12, 5).unwrap(),
            Rows::new(2, vec![7, 9])
        );
        let negative: Vec<u8> = [1i32, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
        let error = read_neighbours(&negative[..], 8, 5).expect_err("negative");
        assert!(
            matches!(error, FormatError::Neighbour { row: 0, found: -1 }),
            "{error:?}"
        );
    }

    #[test]
    fn malformed_files_are_named_for_what_is_wrong() {
        use FormatError as E;
        let ragged = [row(&[1.0, 2.0]), row(&[3.0])].concat();
        assert!(matches!(
            vectors(&ragged, 9),
            Err(E::Ragged {
                row: 1,
                expected: 2,
                found: 1
            })
        ));
        let cut = &row(&[1.0, 2.0])[..10];
        assert!(matches!(
            vectors(cut, 9),
            Err(E::Truncated {
                expected: 12,
                found: 10
            })
        ));
        let second_cut = [row(&[1.0]), row(&[2.0])[..6].to_vec()].concat();
        assert!(matches!(
            vectors(&second_cut, 9),
            Err(E::Truncated {
                expected: 16,
                found: 14
            })
        ));
        assert!(matches!(vectors(&[], 9), Err(E::Empty)));
        assert!(matches!(vectors(&[0; 8], 9), Err(E::Truncated { .. })));
        assert!(matches!(
            vectors(&(-1i32).to_le_bytes(), 9),
            Err(E::Truncated { .. })
        ));
    }
}
