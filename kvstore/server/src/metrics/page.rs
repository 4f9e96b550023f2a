//! Prometheus' text format, version 0.0.4. Families have a type and no help: what a name means is in etcd's
//! documentation.

use super::instruments::Histogram;
use std::fmt::Write;

/// Labels of a sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Default)]
pub struct Page {
    text: String,
}

/// As Go prints numbers (`%g`): with an exponent from a million on, and below a ten-thousandth.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent @ -4..=5) if value != 0.0 || exponent == 0 => format!("{value}"),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => scientific,
    }
}

impl Page {
    pub fn into_text(self) -> String {
        self.text
    }

    pub fn family(&mut self, name: &str, kind: &str) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
    }

    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.text.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.text, " {}", number(value));
    }

    fn labels(&mut self, labels: Labels<'_>, bound: Option<&str>) {
        let bound = bound.map(|b| ("le", b));
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            let _ = write!(self.text, "{separator}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
    }

    pub fn gauge(&mut self, name: &str, value: f64) {
        self.family(name, "gauge");
        self.sample(name, &[], value);
    }

    pub fn counter(&mut self, name: &str, value: u64) {
        self.family(name, "counter");
        self.sample(name, &[], float(value));
    }

    pub fn histogram(&mut self, name: &str, histogram: &Histogram) {
        self.family(name, "histogram");
        self.histogram_sample(name, &[], histogram);
    }

    pub fn histogram_sample(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let (buckets, count, sum) = histogram.read();
        let bounds = buckets.iter().map(|(bound, below)| (number(*bound), *below));
        for (bound, below) in bounds.chain([("+Inf".to_owned(), count)]) {
            self.text.push_str(name);
            self.text.push_str("_bucket");
            self.labels(labels, Some(&bound));
            let _ = writeln!(self.text, " {below}");
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, float(count));
    }
}

/// Counts are far below 2^53, where this is exact.
pub fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        let check = |value: f64, text: &str| assert_eq!(number(value), text);
        check(0.0, "0");
        check(0.001, "0.001");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(524_288.0, "524288");
        check(1_048_576.0, "1.048576e+06");
        check(-1.0, "-1");
        check(f64::INFINITY, "+Inf");
    }

    #[test]
    fn samples_and_histograms_are_written_as_prometheus_reads_them() {
        let mut page = Page::default();
        page.gauge("a", 1.5);
        page.family("b_total", "counter");
        page.sample("b_total", &[("x", "say \"hi\"\n"), ("y", "\\")], 2_147_483_648.0);
        let histogram = Histogram::new(vec![0.001, 0.5]);
        histogram.observe(0.25);
        page.histogram("c", &histogram);
        let expected = "# TYPE a gauge\na 1.5\n# TYPE b_total counter\n\
            b_total{x=\"say \\\"hi\\\"\\n\",y=\"\\\\\"} 2.147483648e+09\n# TYPE c histogram\n\
            c_bucket{le=\"0.001\"} 0\nc_bucket{le=\"0.5\"} 1\nc_bucket{le=\"+Inf\"} 1\nc_sum 0.25\nc_count 1\n";
        assert_eq!(page.into_text(), expected);
    }
}
