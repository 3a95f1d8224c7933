//! A strict reader of OpenMetrics text: what Prometheus would refuse or misread is an error here.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, bail, ensure};

/// All samples of a text.
#[derive(Debug, Default)]
pub struct Exposition {
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A family of samples, as `# TYPE` declares it.
struct Family {
    name: String,
    kind: String,
}

impl Exposition {
    /// The sum of the samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|has| has == value))
        };
        self.samples.iter().filter(|sample| sample.name == name).filter(has).map(|sample| sample.value).sum()
    }
}

/// Reads a text.
///
/// # Errors
/// If it breaks a rule of OpenMetrics 1.0, with the line.
pub fn parse(text: &str) -> Result<Exposition> {
    let body = text.strip_suffix("# EOF\n").context("it does not end with # EOF")?;
    let mut exposition = Exposition::default();
    let (mut families, mut family) = (HashSet::new(), None);
    for line in body.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => describe(comment, &mut families, &mut family).context(line.to_owned())?,
            None => {
                let sample = sample(line).context(line.to_owned())?;
                let family = family.as_ref().context("a sample before its TYPE")?;
                belongs(&sample, family).context(line.to_owned())?;
                exposition.samples.push(sample);
            }
        }
    }
    let mut seen = HashSet::new();
    for sample in &exposition.samples {
        ensure!(seen.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
    }
    histograms(&exposition)?;
    Ok(exposition)
}

fn describe(comment: &str, families: &mut HashSet<String>, family: &mut Option<Family>) -> Result<()> {
    let mut words = comment.splitn(3, ' ');
    let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
        bail!("a comment of less than three words");
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    ensure!(name.bytes().all(is_name), "no name");
    match what {
        "HELP" => {}
        "UNIT" => ensure!(name.ends_with(&format!("_{rest}")), "the unit is not in the name"),
        "TYPE" => {
            ensure!(families.insert(name.to_owned()), "the family comes twice");
            ensure!(["counter", "gauge", "histogram", "info"].contains(&rest), "no type");
            *family = Some(Family { name: name.to_owned(), kind: rest.to_owned() });
        }
        _ => bail!("an unknown comment"),
    }
    Ok(())
}

/// `name{label="value",...} 1.5`
fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    let value = match rest.strip_prefix('{') {
        None => rest.strip_prefix(' ').context("no value")?,
        Some(mut rest) => loop {
            let (label, after) = rest.split_once("=\"").context("no label")?;
            let (value, after) = quoted(after)?;
            ensure!(labels.insert(label.to_owned(), value).is_none(), "a label twice");
            match after.strip_prefix(',') {
                Some(further) => rest = further,
                None => break after.strip_prefix("} ").context("no end of labels")?,
            }
        },
    };
    let value: f64 = value.parse().context("no number")?;
    ensure!(value.is_finite() && value >= 0.0, "no count");
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quotation mark, and what is behind that.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((value, text.get(index + 1..).unwrap_or_default())),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => bail!("an unknown escape"),
            },
            _ => value.push(character),
        }
    }
    bail!("a label without end")
}

fn belongs(sample: &Sample, family: &Family) -> Result<()> {
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "histogram" => &["_sum", "_count", "_bucket"],
        "info" => &["_info"],
        _ => &[""],
    };
    let suffix = sample.name.strip_prefix(family.name.as_str()).context("of another family")?;
    ensure!(suffixes.contains(&suffix), "no sample of a {}", family.kind);
    ensure!((suffix == "_bucket") == sample.labels.contains_key("le"), "le belongs to buckets");
    Ok(())
}

/// A histogram's name and labels.
type Series = (String, Vec<(String, String)>);

/// Buckets grow up to the count, which is that of +Inf.
fn histograms(exposition: &Exposition) -> Result<()> {
    let mut last: BTreeMap<Series, (f64, f64)> = BTreeMap::new();
    for sample in &exposition.samples {
        let Some(name) = sample.name.strip_suffix("_bucket") else { continue };
        let le = sample.labels.get("le").context("no le")?;
        let le = if le == "+Inf" { f64::INFINITY } else { le.parse()? };
        let others = sample.labels.iter().filter(|(label, _)| *label != "le");
        let others = others.map(|(label, value)| (label.clone(), value.clone())).collect();
        let before = last.insert((name.to_owned(), others), (le, sample.value));
        let (le_before, count_before) = before.unwrap_or((f64::NEG_INFINITY, 0.0));
        ensure!(le > le_before && sample.value >= count_before, "buckets do not grow: {sample:?}");
    }
    for ((name, labels), (le, count)) in &last {
        let labels: Vec<_> = labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
        let told = exposition.sum(&format!("{name}_count"), &labels);
        ensure!(le.is_infinite() && *count == told, "{name}{labels:?}: {count} is not {told}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    const HISTOGRAM: &str = "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 1.5\n\
                             a_seconds_count 2\na_seconds_bucket{le=\"1\"} 1\na_seconds_bucket{le=\"+Inf\"} 2\n# EOF\n";

    #[test]
    fn what_is_right_is_read() {
        let text = "# HELP q Queries.\n# TYPE q counter\nq_total{pod=\"a\\\\b\\\"c\\n\"} 3\nq_total{pod=\"d\"} 4\n# EOF\n";
        let exposition = parse(text).unwrap();
        assert_eq!(exposition.sum("q_total", &[]), 7.0);
        assert_eq!(exposition.sum("q_total", &[("pod", "a\\b\"c\n")]), 3.0);
        parse(HISTOGRAM).unwrap();
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let wrong = [
            "# TYPE q counter\nq_total 1\n".to_owned(),
            "q_total 1\n# EOF\n".to_owned(),
            "# TYPE q counter\nq 1\n# EOF\n".to_owned(),
            "# TYPE q counter\nq_total 1\nq_total 2\n# EOF\n".to_owned(),
            "# TYPE q counter\nq_total{a=\"b} 1\n# EOF\n".to_owned(),
            "# TYPE q counter\nq_total{a=\"\\x\"} 1\n# EOF\n".to_owned(),
            "# TYPE q counter\n# TYPE q counter\nq_total 1\n# EOF\n".to_owned(),
            "# TYPE q counter\nq_total one\n# EOF\n".to_owned(),
            HISTOGRAM.replace("count 2", "count 3"),
            HISTOGRAM.replace("\"1\"} 1", "\"1\"} 5"),
            HISTOGRAM.replace("UNIT a_seconds seconds", "UNIT a_seconds bytes"),
        ];
        for text in wrong {
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
