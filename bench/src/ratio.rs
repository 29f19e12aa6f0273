//! The one rule by which two systems are compared, in the table, in its verdicts and in the JSON: the median of the rounds' ratios.
//!
//! Both sides of a ratio are measured in the same round, so what made a round slow for both is not in it. The spread is the median distance
//! of the rounds' ratios from their median: one lucky round does not widen it. Of fewer than three rounds it would say nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A figure's values, by round.
pub(crate) type Rounds = BTreeMap<u32, f64>;

/// Rounds that make a spread.
const LEAST_ROUNDS: usize = 3;

/// For below a table.
pub(crate) const EXPLANATION: &str = "Figures are medians of the rounds. A ratio is the median of the rounds' ratios (not the ratio of the medians), and ± is how far these are \
     from it: the median of their distances, which is left out with fewer than three rounds. Where what is wanted lies within ±, it is reached \
     or missed within the noise.";

/// How many times one thing is another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) spread: Option<f64>,
}

impl Ratio {
    /// Of what was measured in the same rounds; `None` where there is no such round.
    pub(crate) fn of(ours: &Rounds, theirs: &Rounds) -> Option<Ratio> {
        let ratio = |(round, ours): (&u32, &f64)| Some(ours / theirs.get(round)?);
        Ratio::of_all(ours.iter().filter_map(ratio).collect())
    }

    /// Of what is compared with a number: with one, once.
    pub(crate) fn to_one(ours: &Rounds) -> Option<Ratio> {
        Ratio::of_all(ours.values().copied().collect())
    }

    fn of_all(ratios: Vec<f64>) -> Option<Ratio> {
        let is_enough = ratios.len() >= LEAST_ROUNDS;
        let distances = |median: f64| ratios.iter().map(|ratio| (ratio - median).abs()).collect();
        let median = median(ratios.clone())?;
        let spread = self::median(distances(median)).filter(|_| is_enough);
        Some(Ratio { median, spread })
    }

    /// Whether it is at least or at most so much, in words.
    pub(crate) fn verdict(self, at_least: bool, times: f64) -> &'static str {
        let is_reached = |ratio: f64| if at_least { ratio >= times } else { ratio <= times };
        let spread = self.spread.unwrap_or_default();
        let whole = [self.median - spread, self.median + spread].map(is_reached);
        match (is_reached(self.median), whole[0] == whole[1]) {
            (true, true) => "yes",
            (true, false) => "yes, within the noise",
            (false, true) => "no",
            (false, false) => "no, within the noise",
        }
    }

    pub(crate) fn text(self, readable: impl Fn(f64) -> String) -> String {
        let spread = self.spread.map(|spread| format!(" ± {}", readable(spread)));
        format!("{}{}", readable(self.median), spread.unwrap_or_default())
    }

    pub(crate) fn json(self) -> Value {
        json!({"median": self.median, "spread": self.spread})
    }
}

/// The middle one, or the mean of the two in the middle; `None` where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => Some(values[middle]),
        _ => Some((values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Rounds {
        (1..).zip(values.iter().copied()).collect()
    }

    fn ratio(ours: &[f64], theirs: &[f64]) -> Ratio {
        Ratio::of(&rounds(ours), &rounds(theirs)).unwrap()
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_and_not_of_the_medians() {
        // The medians are 2 and 2, the rounds' ratios 0.5, 0.25 and 9.
        let skewed = ratio(&[1.0, 2.0, 9.0], &[2.0, 8.0, 1.0]);
        assert_eq!(skewed, Ratio { median: 0.5, spread: Some(0.25) });
        // A round in which the machine was slow for both is no noise.
        assert_eq!(ratio(&[18.0, 9.0, 2.0], &[9.0, 4.5, 1.0]), Ratio { median: 2.0, spread: Some(0.0) });
    }

    #[test]
    fn rounds_that_one_side_lacks_do_not_count() {
        let some = Ratio::of(&rounds(&[2.0, 4.0]), &Rounds::from([(2, 1.0), (3, 7.0)]));
        assert_eq!(some, Some(Ratio { median: 4.0, spread: None }));
        assert_eq!(Ratio::of(&rounds(&[2.0]), &Rounds::new()), None);
        assert_eq!(Ratio::to_one(&rounds(&[2.0, 4.0])), Some(Ratio { median: 3.0, spread: None }));
    }

    #[test]
    fn fewer_than_three_rounds_have_no_spread() {
        for ours in [&[2.0][..], &[2.0, 3.0]] {
            let ratio = ratio(ours, &[1.0, 1.0]);
            assert_eq!(ratio.spread, None);
            assert!(!ratio.text(|value| format!("{value}")).contains('±'));
            assert!(!ratio.verdict(true, 2.2).contains("noise"));
        }
    }

    #[test]
    fn noise_is_told_on_both_sides_of_what_is_wanted() {
        let verdict = |median, at_least| Ratio { median, spread: Some(0.25) }.verdict(at_least, 2.0);
        assert_eq!(
            [1.5, 1.875, 2.125, 2.5].map(|median| verdict(median, true)),
            ["no", "no, within the noise", "yes, within the noise", "yes"]
        );
        assert_eq!(
            [1.5, 1.875, 2.125, 2.5].map(|median| verdict(median, false)),
            ["yes", "yes, within the noise", "no, within the noise", "no"]
        );
    }

    #[test]
    fn one_lucky_round_is_not_enough() {
        let lucky = ratio(&[1.7, 1.8, 1.75, 1.0, 9.0], &[1.0; 5]);
        assert_eq!(lucky.verdict(true, 2.0), "no");
    }
}
