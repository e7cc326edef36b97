//! Whether two lists of measurements come from one source: Welch's t-test (B. L. Welch, 1947), as dudect uses it on times
//! (O. Reparaz, J. Balasch, I. Verbauwhede, "dude, is my code constant time?", 2017).

/// Beyond this, chance is no explanation any more; the bound that dudect and TVLA use.
pub const T_MAX: f64 = 4.5;

/// Welch's t of two samples, after the slowest tenth of all together is left out: what the scheduler did to a request says
/// nothing about its key.
pub fn t_without_outliers(one: &[f64], other: &[f64]) -> f64 {
    let mut all: Vec<f64> = one.iter().chain(other).copied().collect();
    all.sort_by(f64::total_cmp);
    let limit = all[(all.len() * 9 / 10).min(all.len() - 1)];
    let kept = |sample: &[f64]| {
        sample
            .iter()
            .copied()
            .filter(|&x| x <= limit)
            .collect::<Vec<f64>>()
    };
    t(&kept(one), &kept(other))
}

fn t(one: &[f64], other: &[f64]) -> f64 {
    let ((mean_one, error_one), (mean_other, error_other)) = (moments(one), moments(other));
    (mean_one - mean_other) / (error_one + error_other).sqrt()
}

/// The mean, and the square of its standard error.
fn moments(sample: &[f64]) -> (f64, f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn sample(random: &mut Random, mean: f64) -> Vec<f64> {
        (0..20_000).map(|_| mean + f64::from(random.normal())).collect()
    }

    #[test]
    fn a_small_difference_is_told_and_none_is_not() {
        let mut random = Random::new(1);
        for _ in 0..20 {
            let (one, same, slower) = (
                sample(&mut random, 10.0),
                sample(&mut random, 10.0),
                sample(&mut random, 10.1),
            );
            assert!(t_without_outliers(&one, &same).abs() < T_MAX);
            assert!(t_without_outliers(&slower, &one) > T_MAX);
        }
    }

    #[test]
    fn a_few_that_waited_long_do_not_hide_a_difference() {
        let mut random = Random::new(2);
        let (mut one, mut slower) = (sample(&mut random, 10.0), sample(&mut random, 10.2));
        for n in 0..200 {
            one[n] += 10_000.0;
            slower[n] += 5_000.0;
        }
        assert!(t(&slower, &one) < T_MAX);
        assert!(t_without_outliers(&slower, &one) > T_MAX);
    }

    #[test]
    fn t_is_what_the_textbook_says() {
        let (one, other) = ([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0]);
        // Means 2.5 and 4, variances 5/3 and 4: -1.5 / sqrt(5/12 + 4/3).
        assert!((t(&one, &other) + 1.133_893_419).abs() < 1e-8);
    }
}
