//! A dense table of numbers, one row per item or query. It knows no file format and no metric.

/// Rows of equal width, one after another in memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows<T> {
    width: usize,
    values: Vec<T>,
}

impl<T: Copy + Default> Rows<T> {
    /// Takes row-major `values`, whose number is a multiple of `width`, which is at least 1.
    pub(super) fn new(width: usize, values: Vec<T>) -> Self {
        assert!(
            width > 0 && values.len().is_multiple_of(width),
            "values must fill whole rows"
        );
        Self { width, values }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Numbers per row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// One row; `row` is below [`Rows::len`].
    pub(super) fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// All rows, in order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[T]> {
        self.values.chunks_exact(self.width)
    }

    /// All numbers, row by row.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// Only the rows for which `keep` holds, in order.
    pub(super) fn filtered(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept = self.iter().enumerate().filter(|(row, _)| keep(*row));
        Self {
            width: self.width,
            values: kept.flat_map(|(_, row)| row.iter().copied()).collect(),
        }
    }

    /// The same rows, each filled up to `width` with zeros. A narrower `width` changes nothing.
    pub(super) fn padded(self, width: usize) -> Self {
        if width <= self.width {
            return self;
        }
        let mut values = Vec::with_capacity(self.len() * width);
        for row in self.iter() {
            values.extend_from_slice(row);
            values.resize(values.len() + width - self.width, T::default());
        }
        Self { width, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_appends_zeros_to_each_row() {
        let padded = Rows::new(2, vec![1, 2, 3, 4]).padded(3);
        assert_eq!(padded, Rows::new(3, vec![1, 2, 0, 3, 4, 0]));
        assert_eq!(padded.clone().padded(2), padded);
    }

    #[test]
    fn filtering_keeps_the_order() {
        let rows = Rows::new(1, vec![10, 11, 12, 13]);
        assert_eq!(rows.filtered(|row| row % 2 == 1), Rows::new(1, vec![11, 13]));
        assert_eq!(rows.filtered(|_| false).len(), 0);
    }
}
