//! Numbers that were measured several times.

use std::time::Duration;

/// Measured values in any order, at least one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a duration as milliseconds.
    pub(crate) fn add_millis(&mut self, value: Duration) {
        self.add(value.as_secs_f64() * 1000.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied()
    }

    /// The middle value, or the mean of the two in the middle; `None` of nothing.
    pub(crate) fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let half = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            n if n % 2 == 1 => Some(sorted[half]),
            _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
        }
    }

    /// The smallest value that this share (0 to 1) of the values does not exceed; `None` of nothing.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let sorted = self.sorted();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.sorted().last().copied()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl Extend<f64> for Sample {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        self.0.extend(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Sample {
        let mut sample = Sample::default();
        sample.extend(values.iter().copied());
        sample
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(of(&[9.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]).median(), Some(3.0));
        assert_eq!(of(&[]).median(), None);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let sample = of(&hundred);
        assert_eq!(sample.quantile(0.5), Some(50.0));
        assert_eq!(sample.quantile(0.99), Some(99.0));
        assert_eq!(sample.quantile(1.0), Some(100.0));
        assert_eq!(sample.quantile(0.0), Some(1.0));
        assert_eq!((sample.max(), of(&[]).quantile(0.5)), (Some(100.0), None));
    }
}
