//! Reading one number of a page in the Prometheus text format.
//!
//! The invariant: a series is found by its whole name and exactly its labels.

/// Finds a series such as `aggregator_trades_total` or `aggregator_rejected_total{reason="not_json"}`.
pub fn value(page: &str, series: &str) -> Option<f64> {
    let line =
        page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line[series.len()..].split_whitespace().next()?.parse().ok()
}

/// Adds up all series of a name, whatever their labels.
pub fn sum(page: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let number = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    page.lines().filter(of_name).filter_map(number).sum()
}

#[cfg(test)]
mod tests {
    use super::{sum, value};

    const PAGE: &str = "# HELP a_total x\na_total 3\na_total_more 4\nb{x=\"1\"} 5\nb{x=\"2\"} 6.5\n";

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        assert_eq!(value(PAGE, "a_total"), Some(3.0));
        assert_eq!(value(PAGE, "b{x=\"2\"}"), Some(6.5));
        assert_eq!(value(PAGE, "b"), None);
        assert_eq!(sum(PAGE, "b"), 11.5);
    }
}
