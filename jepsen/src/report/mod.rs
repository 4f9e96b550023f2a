//! One static page of a run: verdict and findings first, then what happened when.
//!
//! The page needs nothing beside itself: no script, no font, no other file. Everything that comes from a run is escaped.
//! Drawings are aggregated to pixels, so that a history of any length makes a page of a few megabytes at most.

mod axis;
mod close;
mod cycle;
mod faults;
mod findings;
mod html;
mod lanes;
mod nodes;
mod partials;
mod plots;
#[cfg(test)]
mod tests;

use crate::checker::{Evidence, Verdict};
use crate::history::{Folder, Op};
use crate::runner::Ruling;
use axis::Axis;
use html::E;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

/// Name of the page in the folder of its run.
pub const FILE: &str = "report.html";

/// Everything that is drawn.
struct Page<'a> {
    evidence: &'a Evidence,
    /// `None` when the run was not judged.
    ruling: Option<&'a Ruling>,
    axis: Axis,
    bands: Vec<faults::Band>,
    /// Operations by their index.
    ops: HashMap<u64, &'a Op>,
    /// Those that findings name.
    named: HashSet<u64>,
}

/// Draws the run of a folder and writes the page into it; returns its path.
///
/// # Errors
/// Those of the file system, and `InvalidData` for what is not a record of a run. A run that was not judged is drawn
/// without a verdict.
pub fn write(folder: &Folder) -> io::Result<PathBuf> {
    let evidence = Evidence::read(folder)?;
    let ruling = match folder.read_json::<Ruling>("verdict.json") {
        Ok(ruling) => Some(ruling),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let path = folder.file(FILE);
    std::fs::write(&path, render(&evidence, ruling.as_ref()))?;
    Ok(path)
}

/// The page.
pub fn render(evidence: &Evidence, ruling: Option<&Ruling>) -> String {
    let ops: HashMap<u64, &Op> = evidence.history.ops.iter().map(|op| (op.index, op)).collect();
    let judgements = ruling.map_or(&[][..], |ruling| &ruling.judgements);
    let named = judgements
        .iter()
        .flat_map(|j| &j.findings)
        .flat_map(|f| f.ops.iter().copied())
        .collect();
    let axis = Axis::of(evidence);
    let page = Page {
        evidence,
        ruling,
        bands: faults::bands(&evidence.faults, axis.end_ns),
        axis,
        ops,
        named,
    };
    let mut out = String::with_capacity(1 << 20);
    page.head(&mut out);
    page.verdict(&mut out);
    findings::draw(&page, &mut out);
    out.push_str("<h2 id=\"timeline\">Timeline</h2>\n");
    faults::draw(&page, &mut out);
    nodes::draw(&page, &mut out);
    lanes::draw(&page, &mut out);
    out.push_str("<h2 id=\"plots\">Latency and rate</h2>\n");
    plots::draw(&page, &mut out);
    faults::table(&page, &mut out);
    page.configuration(&mut out);
    out.push_str("</main></body></html>\n");
    out
}

impl Page<'_> {
    fn head(&self, out: &mut String) {
        let meta = &self.evidence.meta;
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>{}: {} seed {}</title><style>{}</style></head><body><main>\n\
             <h1>{} <small>{}</small></h1>\n\
             <p>{} on {} members for {} s under {}, seed <b>{}</b>, began {}{}</p>\n",
            E(self.word()),
            E(&meta.target),
            meta.seed,
            html::STYLE,
            E(&meta.target),
            E(&meta.version),
            E(&meta.workloads.join(", ")),
            meta.nodes,
            meta.time_s,
            E(if meta.faults.is_empty() {
                "no faults".to_owned()
            } else {
                meta.faults.join(", ")
            }),
            meta.seed,
            E(&meta.began),
            meta.bug
                .as_ref()
                .map_or_else(String::new, |bug| format!(", with the seeded bug <b>{}</b>", E(bug))),
        );
    }

    fn word(&self) -> &'static str {
        match self.ruling.map(|ruling| ruling.verdict) {
            Some(Verdict::Pass) => "pass",
            Some(Verdict::Fail) => "fail",
            Some(Verdict::Unknown) => "unknown",
            None => "not judged",
        }
    }

    /// What was said, checker by checker.
    fn verdict(&self, out: &mut String) {
        let ops = &self.evidence.history.ops;
        let ended = |f: fn(&Op) -> bool| ops.iter().filter(|op| f(op)).count();
        let _ = write!(
            out,
            "<p class=\"verdict {}\" id=\"verdict\">{}</p>\n<nav><a href=\"#findings\">findings</a> \
             <a href=\"#timeline\">timeline</a> <a href=\"#plots\">latency and rate</a> <a href=\"#faults\">faults</a> \
             <a href=\"#configuration\">configuration</a>{}</nav>\n\
             <p>{} operations: {} ok, {} failed, {} with an unknown end; {} lines of faults and effects.</p>\n",
            self.word().replace(' ', "-"),
            self.word(),
            if self.first_error().is_some() {
                " <a href=\"#first-error\"><b>jump to the first error</b></a>"
            } else {
                ""
            },
            ops.len(),
            ended(Op::is_ok),
            ended(Op::is_fail),
            ended(Op::is_info),
            self.evidence.faults.len(),
        );
        let Some(ruling) = self.ruling else { return };
        out.push_str(
            "<table id=\"checkers\"><tr><th>checker<th>verdict<th>findings<th>unknown because<th>looked at</tr>\n",
        );
        for judgement in &ruling.judgements {
            let word = match judgement.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "fail",
                Verdict::Unknown => "unknown",
            };
            let stats: Vec<String> = judgement
                .stats
                .iter()
                .map(|(what, count)| format!("{what}: {count}"))
                .collect();
            let _ = writeln!(
                out,
                "<tr><td>{}<td class=\"{word}\">{word}<td>{}<td>{}<td class=\"small\">{}</tr>",
                E(&judgement.checker),
                judgement.findings.len(),
                E(judgement.unknown.join("; ")),
                E(stats.join(", ")),
            );
        }
        out.push_str("</table>\n");
    }

    /// When the first operation that a finding names was called.
    fn first_error(&self) -> Option<&Op> {
        self.named
            .iter()
            .filter_map(|index| self.ops.get(index).copied())
            .min_by_key(|op| op.call_ns)
    }

    fn configuration(&self, out: &mut String) {
        out.push_str("<h2 id=\"configuration\">Configuration</h2>\n<table>\n");
        for (name, value) in &self.evidence.meta.options {
            let _ = writeln!(out, "<tr><th>{}<td>{}</tr>", E(name), E(value.to_string()));
        }
        out.push_str("</table>\n");
    }
}
