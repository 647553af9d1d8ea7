//! What `/metrics` answers: Prometheus' text format, read strictly. Whoever answers at a URL may be anybody: what is longer than
//! [`BYTES_MAX`], or not of the format, is refused as a whole.

use std::collections::BTreeMap;

/// The longest answer, in bytes: twenty times what a ledger says.
pub(super) const BYTES_MAX: usize = 8 << 20;

/// The series of one moment.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    metrics: BTreeMap<String, Vec<Sample>>,
}

/// One of them.
#[derive(Debug)]
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|it| it == value))
    }
}

impl Exposition {
    /// Reads a text.
    ///
    /// # Errors
    /// The number of the first line that is not of the format.
    pub(super) fn parse(text: &str) -> Result<Exposition, usize> {
        let mut metrics: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (name, sample) = sample(line).ok_or(at + 1)?;
            metrics.entry(name.to_owned()).or_default().push(sample);
        }
        Ok(Exposition { metrics })
    }

    /// The sum of the series of a metric that have these labels; nothing where there are none.
    pub(super) fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let of = self.samples(metric, labels).map(|sample| sample.value);
        of.reduce(|sum, value| sum + value)
    }

    /// The same by the values of a label.
    pub(super) fn sums(&self, metric: &str, labels: &[(&str, &str)], by: &str) -> BTreeMap<&str, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.samples(metric, labels) {
            if let Some(value) = sample.labels.get(by) {
                *sums.entry(value.as_str()).or_default() += sample.value;
            }
        }
        sums
    }

    /// What is no number says nothing.
    fn samples(&self, metric: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        let of_metric = self.metrics.get(metric).into_iter().flatten();
        of_metric.filter(move |sample| sample.value.is_finite() && sample.has(labels))
    }
}

/// `name{label="value",...} value [timestamp]`.
fn sample(line: &str) -> Option<(&str, Sample)> {
    let (name, mut rest) = name(line)?;
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, after) = self::name(inside)?;
            let (value, after) = quoted(after.strip_prefix("=\"")?)?;
            labels.insert(label.to_owned(), value);
            inside = match after.strip_prefix(',') {
                Some(next) => next,
                None => after.starts_with('}').then_some(after)?,
            };
        }
        rest = inside.strip_prefix('}')?;
    }
    let mut words = rest.strip_prefix(' ')?.split(' ').filter(|word| !word.is_empty());
    let value = words.next()?.parse().ok()?;
    let timestamp_is_one = words.next().is_none_or(|word| word.parse::<f64>().is_ok());
    (timestamp_is_one && words.next().is_none()).then_some((name, Sample { labels, value }))
}

/// A name, and what stands behind it.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    name.starts_with(|c: char| !c.is_ascii_digit()).then_some((name, rest))
}

/// A label's value up to its closing quote, and what stands behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        value.push(match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            },
            c => c,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_and_summed_by_their_labels() {
        let text = "# HELP a Help\n# TYPE a counter\na{x=\"1\",y=\"p\"} 2\na{x=\"1\",y=\"q\"} 3.5 1700000000000\na{x=\"2\",y=\"p\",} 4\n\n\
                    b 1e3\nc{x=\"a\\\"b\\\\c\\nd\"} NaN\nd{} +Inf\n";
        let read = Exposition::parse(text).expect("of the format");
        assert_eq!(read.sum("a", &[]), Some(9.5));
        assert_eq!(read.sum("a", &[("x", "1")]), Some(5.5));
        assert_eq!(read.sum("a", &[("x", "1"), ("y", "q")]), Some(3.5));
        assert_eq!(read.sum("a", &[("x", "9")]), None);
        assert_eq!(read.sums("a", &[], "y"), BTreeMap::from([("p", 6.0), ("q", 3.5)]));
        assert_eq!((read.sum("b", &[]), read.sum("c", &[]), read.sum("d", &[])), (Some(1000.0), None, None));
        assert_eq!(read.metrics["c"][0].labels["x"], "a\"b\\c\nd");
    }

    #[test]
    fn what_is_not_of_the_format_is_refused_by_its_line() {
        let rows = [
            "<html>",
            "a",
            "a ",
            "a one",
            "a 1 2 3",
            "a 1 soon",
            "1a 1",
            "a{x} 1",
            "a{x=1} 1",
            "a{x=\"1} 1",
            "a{x=\"1\" 1",
            "a{x=\"1\"y=\"2\"} 1",
            "a{x=\"\\t\"} 1",
            "a{1=\"x\"} 1",
            "a{x=\"1\"}1",
            "a\u{e4} 1",
            " a 1",
        ];
        for row in rows {
            assert_eq!(Exposition::parse(&format!("b 1\n{row}\n")).err(), Some(2), "{row:?}");
        }
    }
}
