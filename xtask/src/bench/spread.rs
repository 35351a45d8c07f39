//! Many measured values in two numbers. Deliberately absent: means, which one interrupt moves.

/// The middle and the least.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
}

/// Of values in any order.
///
/// # Errors
/// There are none; `what` should have printed them.
pub fn spread(mut values: Vec<f64>, what: &str) -> Result<Spread, String> {
    values.sort_by(f64::total_cmp);
    match (values.get(values.len() / 2), values.first()) {
        (Some(&median), Some(&min)) => Ok(Spread { median, min }),
        _ => Err(format!("{what} printed nothing")),
    }
}

/// To a hundredth.
pub fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// One number a line, as the measured programs print them.
///
/// # Errors
/// A line that is no number.
pub fn numbers(text: &str, what: &str) -> Result<Vec<f64>, String> {
    text.lines().map(|line| line.parse().map_err(|_| format!("{what} printed {line:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_least_of_unsorted_values() {
        let s = spread(vec![3.0, 1.0, 9.0, 2.0, 4.0], "a program").expect("values");
        assert_eq!((s.median, s.min), (3.0, 1.0));
        assert!(spread(Vec::new(), "a program").is_err());
        assert!(numbers("1.5\nx\n", "a program").is_err());
    }
}
