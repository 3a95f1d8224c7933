//! The table of hooks as Markdown: out of what dnstrace tells on each kernel, and back.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::Shown;
use crate::kernel::Kernel;

/// A line of `dnstrace hooks -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hook {
    /// Its name, whatever it is attached to.
    hook: String,
    /// The kernel's function or tracepoint.
    target: Option<String>,
    /// None if it is not attached.
    kind: Option<Kind>,
    attached: bool,
    /// Why it is not attached.
    why: Option<String>,
    lost_without: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Kprobe,
    KprobePair,
    Fentry,
    FentryPair,
    RawTracepoint,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::KprobePair => "kprobe, kretprobe",
            Self::Fentry => "fentry",
            Self::FentryPair => "fentry, fexit",
            Self::RawTracepoint => "raw tracepoint",
        }
    }
}

impl Hook {
    /// How it is attached here, and to what if that has another name; or why not.
    fn cell(&self) -> String {
        let target = self.target.as_ref().filter(|target| **target != self.hook);
        match (self.kind.filter(|_| self.attached), target) {
            (Some(kind), None) => kind.words().to_owned(),
            (Some(kind), Some(target)) => format!("{} `{target}`", kind.words()),
            (None, _) => format!("no: {}", self.why.as_deref().unwrap_or("not told why")),
        }
    }

    fn label(&self) -> String {
        format!("`{}`", self.hook)
    }
}

/// Reads JSON lines.
pub fn parse_hooks(lines: &str) -> Result<Vec<Hook>> {
    let hooks: Vec<Hook> = lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no hook: {line}")))
        .collect::<Result<_>>()?;
    ensure!(!hooks.is_empty(), "dnstrace told no hook");
    Ok(hooks)
}

/// The document. Every kernel must have told of the same hooks.
pub fn render(all: &[Shown]) -> Result<String> {
    let hooks = &all.first().context("no kernel")?.hooks;
    for shown in all {
        ensure!(
            shown.hooks.iter().map(Hook::label).eq(hooks.iter().map(Hook::label)),
            "{} tells of other hooks",
            shown.release
        );
    }
    let releases: Vec<_> = all.iter().map(|shown| shown.release.as_str()).collect();
    let mut text = format!(
        "<!-- Written by `cargo xtask kernels`: what it says is what dnstrace did there. Do not edit. -->\n\n\
         # Hooks by kernel\n\n\
         How dnstrace attaches each hook (`--attach auto`), with the module nf_conntrack loaded, on Debian's kernels\n\
         for amd64: {}.\n\n",
        releases.join(", ")
    );
    let mut head = vec!["hook".to_owned()];
    head.extend(all.iter().map(|shown| shown.kernel.series().to_owned()));
    let rows = hooks.iter().enumerate().map(|(index, hook)| {
        let cells = all.iter().filter_map(|shown| shown.hooks.get(index)).map(Hook::cell);
        [hook.label()].into_iter().chain(cells).collect()
    });
    markdown(&mut text, &[vec![head], rows.collect()].concat())?;
    text.push_str("\nWithout a hook dnstrace does not show:\n\n");
    let head = vec![vec!["hook".to_owned(), "not seen without it".to_owned()]];
    let rows = hooks.iter().map(|hook| vec![hook.label(), hook.lost_without.clone()]).collect();
    markdown(&mut text, &[head, rows].concat())?;
    Ok(text)
}

/// A table, its columns drawn together.
fn markdown(text: &mut String, rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            ensure!(!cell.contains(['|', '\n']), "not for a table: {cell}");
            write!(text, "| {cell:width$} ")?;
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                write!(text, "|{:-<1$}", "", width + 2)?;
            }
            text.push_str("|\n");
        }
    }
    Ok(())
}

/// Whether the document says of this kernel what it shows. The error names the first difference.
pub fn compare(document: &str, kernel: Kernel, hooks: &[Hook]) -> Result<()> {
    let tables = tables(document);
    let [attached, lost] = tables.as_slice() else { anyhow::bail!("there are not two tables in it") };
    let shown =
        |cell: fn(&Hook) -> String| hooks.iter().map(|hook| (hook.label(), cell(hook))).collect::<Vec<_>>();
    same(&column(attached, kernel.series())?, &shown(Hook::cell))?;
    same(&column(lost, "not seen without it")?, &shown(|hook| hook.lost_without.clone()))
}

fn same(written: &[(String, String)], shown: &[(String, String)]) -> Result<()> {
    for ((hook, written), (shown_hook, shown)) in written.iter().zip(shown) {
        ensure!(hook == shown_hook, "it has {hook} where {shown_hook} is now");
        ensure!(written == shown, "{hook}: it says {written:?}, but it is {shown:?}");
    }
    ensure!(written.len() == shown.len(), "it has {} hooks, but there are {}", written.len(), shown.len());
    Ok(())
}

/// The cells of the tables, row by row, the line below the head left out.
fn tables(document: &str) -> Vec<Vec<Vec<String>>> {
    let mut tables: Vec<Vec<Vec<String>>> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        if !inside {
            tables.push(Vec::new());
            inside = true;
        }
        if let Some(table) = tables.last_mut().filter(|_| !row.starts_with('-')) {
            table.push(row.split('|').map(|cell| cell.trim().to_owned()).collect());
        }
    }
    tables
}

/// The first cell of each row with that below `head`.
fn column(table: &[Vec<String>], head: &str) -> Result<Vec<(String, String)>> {
    let (heads, rows) = table.split_first().context("an empty table")?;
    let index = heads.iter().position(|cell| cell == head).with_context(|| format!("no column {head}"))?;
    let pair = |row: &Vec<String>| Some((row.first()?.clone(), row.get(index)?.clone()));
    rows.iter().map(|row| pair(row).with_context(|| format!("a row is too short: {row:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"hook":"__udp4_lib_err","target":"__udp4_lib_err","kind":"kprobe","attached":true,"why":null,"lost_without":"ICMP errors"}
{"hook":"early_drop","target":null,"kind":null,"attached":false,"why":"this kernel has no such function","lost_without":"a full table"}
"#;
    const NEW: &str = r#"{"hook":"__udp4_lib_err","target":"udp_err","kind":"fentry","attached":true,"why":null,"lost_without":"ICMP errors"}
{"hook":"early_drop","target":"early_drop","kind":"kprobe_pair","attached":true,"why":null,"lost_without":"a full table"}
"#;

    fn all() -> Vec<Shown> {
        let shown = |kernel, release: &str, lines| Shown {
            kernel,
            release: release.to_owned(),
            hooks: parse_hooks(lines).unwrap(),
        };
        vec![shown(Kernel::V5_10, "5.10.0-46-amd64", OLD), shown(Kernel::V7_2, "7.2.12+deb13-amd64", NEW)]
    }

    #[test]
    fn the_table_tells_how_and_to_what_and_why_not() {
        let text = render(&all()).unwrap();
        let expected = "\
| hook             | 5.10                                 | 7.2               |
|------------------|--------------------------------------|-------------------|
| `__udp4_lib_err` | kprobe                               | fentry `udp_err`  |
| `early_drop`     | no: this kernel has no such function | kprobe, kretprobe |
";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("amd64: 5.10.0-46-amd64, 7.2.12+deb13-amd64."), "{text}");
    }

    #[test]
    fn what_was_written_is_what_was_shown() {
        let text = render(&all()).unwrap();
        for shown in all() {
            compare(&text, shown.kernel, &shown.hooks).unwrap();
        }
    }

    #[test]
    fn every_difference_is_found() {
        let text = render(&all()).unwrap();
        let differs = |kernel, lines: &str| {
            format!("{:#}", compare(&text, kernel, &parse_hooks(lines).unwrap()).unwrap_err())
        };
        assert!(differs(Kernel::V5_10, NEW).contains("it says \"kprobe\", but it is \"fentry `udp_err`\""));
        assert!(differs(Kernel::V7_2, &NEW.replace("a full table", "x")).contains("`early_drop`"));
        assert!(differs(Kernel::V7_2, NEW.lines().next().unwrap()).contains("2 hooks, but there are 1"));
        assert!(differs(Kernel::V7_2, &NEW.replace("\"early_drop\"", "\"late_drop\"")).contains("late_drop"));
        assert!(differs(Kernel::V6_1, NEW).contains("no column 6.1"));
        assert!(compare("", Kernel::V7_2, &all()[1].hooks).is_err());
    }

    #[test]
    fn a_line_that_is_no_hook_is_shown() {
        let error = parse_hooks("dnstrace: cannot attach").unwrap_err();
        assert!(error.to_string().contains("dnstrace: cannot attach"), "{error}");
        assert!(parse_hooks("").is_err());
    }
}
