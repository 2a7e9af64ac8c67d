//! The same numbers in OpenMetrics form, for scrapers that ask for it.
//!
//! A counter's family is named without `_total` there, floats always have a point, and the end is marked.
//! Invariant: for the families that are gathered here, every sample of the Prometheus text has its
//! counterpart with the same value.

use std::fmt::{self, Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// Writes families.
///
/// # Errors
/// Never: a text takes everything.
pub(super) fn encode(families: &[MetricFamily]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for family in families {
        let kind = family.get_field_type();
        let (name, word) = match kind {
            MetricType::COUNTER => (family.name().strip_suffix("_total").unwrap_or(family.name()), "counter"),
            MetricType::HISTOGRAM => (family.name(), "histogram"),
            // Nothing else is registered; a value without a type is one of these.
            _ => (family.name(), "gauge"),
        };
        writeln!(text, "# TYPE {name} {word}")?;
        writeln!(text, "# HELP {name} {}", escaped(family.help()))?;
        for metric in family.get_metric() {
            match kind {
                MetricType::COUNTER => {
                    sample(&mut text, name, "_total", metric, None, metric.get_counter().get_value())?;
                }
                MetricType::HISTOGRAM => histogram(&mut text, name, metric)?,
                _ => sample(&mut text, name, "", metric, None, metric.get_gauge().get_value())?,
            }
        }
    }
    text.push_str("# EOF\n");
    Ok(text)
}

fn histogram(text: &mut String, name: &str, metric: &Metric) -> fmt::Result {
    let histogram = metric.get_histogram();
    for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        let bound = format!("{:?}", bucket.upper_bound());
        sample(text, name, "_bucket", metric, Some(&bound), bucket.cumulative_count() as f64)?;
    }
    let count = histogram.get_sample_count() as f64;
    sample(text, name, "_bucket", metric, Some("+Inf"), count)?;
    sample(text, name, "_sum", metric, None, histogram.get_sample_sum())?;
    sample(text, name, "_count", metric, None, count)
}

/// Writes one line.
fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    metric: &Metric,
    bound: Option<&str>,
    value: f64,
) -> fmt::Result {
    let own = metric.get_label().iter().map(|label: &LabelPair| (label.name(), label.value()));
    let labels: Vec<String> = own
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
        .collect();
    write!(text, "{name}{suffix}")?;
    if !labels.is_empty() {
        write!(text, "{{{}}}", labels.join(","))?;
    }
    match value {
        f64::INFINITY => text.write_str(" +Inf\n"),
        f64::NEG_INFINITY => text.write_str(" -Inf\n"),
        value => writeln!(text, " {value:?}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn each_kind_has_its_form_and_the_end_is_marked() {
        let registry = Registry::new();
        let plain = IntCounter::new("a_total", "A \"count\"\nof two lines").unwrap();
        plain.inc_by(3);
        let by_reason = IntCounterVec::new(Opts::new("b_total", "B"), &["reason"]).unwrap();
        by_reason.with_label_values(&["back\\slash"]).inc();
        let gauge = Gauge::new("c", "C").unwrap();
        gauge.set(f64::INFINITY);
        let seconds = Histogram::with_opts(HistogramOpts::new("d", "D").buckets(vec![0.5, 1.0])).unwrap();
        seconds.observe(0.75);
        registry.register(Box::new(plain)).unwrap();
        registry.register(Box::new(by_reason)).unwrap();
        registry.register(Box::new(gauge)).unwrap();
        registry.register(Box::new(seconds)).unwrap();
        let lines = [
            "# TYPE a counter",
            "# HELP a A \\\"count\\\"\\nof two lines",
            "a_total 3.0",
            "# TYPE b counter",
            "# HELP b B",
            "b_total{reason=\"back\\\\slash\"} 1.0",
            "# TYPE c gauge",
            "# HELP c C",
            "c +Inf",
            "# TYPE d histogram",
            "# HELP d D",
            "d_bucket{le=\"0.5\"} 0.0",
            "d_bucket{le=\"1.0\"} 1.0",
            "d_bucket{le=\"+Inf\"} 1.0",
            "d_sum 0.75",
            "d_count 1.0",
            "# EOF",
        ];
        assert_eq!(encode(&registry.gather()).unwrap(), lines.map(|line| format!("{line}\n")).concat());
    }
}
