//! A scale and its ticks. It knows no drawing.

/// The steps at which linear axes are marked, smallest first.
const STEPS: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];

/// More ticks than this are hard to read.
const TICKS_MAX: usize = 10;

/// Where values lie on a length of 1, and which of them are marked.
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Ascending; the first and the last are the ends.
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// Shares from somewhat below the least of `values` up to 1.
    pub(super) fn shares(values: impl Iterator<Item = f64>) -> Self {
        let low = values.fold(0.995, f64::min).max(0.0);
        let enough = |step: &&f64| (1.0 - low) / **step <= (TICKS_MAX - 2) as f64;
        let step = STEPS.iter().find(enough).copied().unwrap_or(0.2);
        let steps = ((1.0 - low) / step - 1e-9).ceil().max(1.0) as usize;
        let ticks: Vec<f64> = (0..=steps).rev().map(|back| 1.0 - back as f64 * step).collect();
        Self {
            low: ticks[0],
            high: 1.0,
            logarithmic: false,
            ticks,
        }
    }

    /// Positive values of any size: 1, 2 and 5 times the powers of ten around them, or the powers alone.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let greatest = values.fold(0.0, f64::max).max(least);
        let between = |leading: &[f64]| {
            let powers = (least.log10().floor() as i32)..=(greatest.log10().ceil() as i32 + 1);
            let marks: Vec<f64> = powers
                .flat_map(|power| leading.iter().map(move |digit| digit * 10f64.powi(power)))
                .collect();
            let first = marks.iter().rposition(|mark| *mark <= least).unwrap_or(0);
            let last = marks.iter().position(|mark| *mark > greatest);
            marks[first..=last.unwrap_or(marks.len() - 1)].to_vec()
        };
        let fine = between(&[1.0, 2.0, 5.0]);
        let ticks = if fine.len() <= TICKS_MAX {
            fine
        } else {
            between(&[1.0])
        };
        Self {
            low: ticks[0],
            high: ticks[ticks.len() - 1],
            logarithmic: true,
            ticks,
        }
    }

    /// From 0 at the low end to 1 at the high one.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_end_at_one_and_begin_at_a_round_number_below_the_least() {
        for (least, low) in [
            (0.913, 0.9),
            (0.42, 0.4),
            (0.999, 0.995),
            (1.0, 0.995),
            (0.0, 0.0),
        ] {
            let axis = Axis::shares([1.0, least].into_iter());
            assert!((axis.ticks[0] - low).abs() < 0.011, "{least}: {:?}", axis.ticks);
            assert!(axis.ticks.len() <= TICKS_MAX && axis.ticks.len() >= 2);
            assert!(axis.place(least) >= -1e-9 && (axis.place(1.0) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_logarithmic_axis_encloses_its_values_and_gives_each_decade_the_same_length() {
        for (least, greatest, ticks) in [
            (150.0, 900.0, 4),
            (1000.0, 1000.0, 2),
            (0.3, 40_000.0, 7),
            (1.0, 10.0, 5),
        ] {
            let axis = Axis::logarithmic([least, greatest].into_iter());
            assert_eq!(axis.ticks.len(), ticks, "{:?}", axis.ticks);
            assert!(axis.place(least) >= 0.0 && axis.place(greatest) <= 1.0);
        }
        let axis = Axis::logarithmic([1.0, 99.0].into_iter());
        assert_eq!(axis.ticks, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert!((axis.place(10.0) - 0.5).abs() < 1e-9);
    }
}
