//! What a process shows of itself over HTTP, read as Prometheus reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// One page: its status and its body. An empty body and status 0 when nobody is there.
pub fn page(address: &str, path: &str) -> (u16, String) {
    read(address, path).unwrap_or_default()
}

fn read(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

/// The metrics of one process.
#[derive(Debug, Default)]
pub struct Scrape {
    /// Names with their types.
    pub types: BTreeMap<String, String>,
    /// Names that have a help text.
    pub helped: BTreeSet<String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    pub fn of(address: &str) -> Self {
        let (status, text) = page(address, "/metrics");
        assert_eq!(status, 200, "{address} shows no metrics: {text}");
        Self::read(&text)
    }

    fn read(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                scrape.types.insert(name.to_owned(), kind.to_owned());
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                scrape.helped.insert(rest.split(' ').next().unwrap_or_default().to_owned());
            } else {
                scrape.samples.push(sample(line));
            }
        }
        scrape
    }

    /// The labels that the series of a family have, without those of a histogram's buckets.
    pub fn labels(&self, family: &str) -> BTreeSet<Vec<String>> {
        let ends = ["", "_bucket", "_sum", "_count"].map(|end| format!("{family}{end}"));
        let ours = self.samples.iter().filter(|sample| ends.contains(&sample.name));
        ours.map(|sample| sample.labels.keys().filter(|label| *label != "le").cloned().collect()).collect()
    }

    /// The sum of all series of that name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).map(String::as_str) == Some(value))
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }
}

/// `name{label="value",…} 1`; no value of ours holds a quote or a comma.
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
    let labels = labels.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect();
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    Sample { name: name.to_owned(), labels, value }
}
