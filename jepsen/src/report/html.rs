//! Text in a page.

use std::fmt;

/// Text, escaped for content and for quoted attributes.
pub(super) struct E<T>(pub T);

impl<T: AsRef<str>> fmt::Display for E<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_ref();
        while let Some(at) =
            rest.find(|c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || (c.is_control() && c != '\n'))
        {
            f.write_str(&rest[..at])?;
            let c = rest[at..].chars().next().unwrap_or_default();
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_str("\u{fffd}")?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Characters of a value that a table shows.
const SHOWN_CHARS: usize = 240;

/// The beginning of a text that may be long.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A time for people.
#[allow(clippy::cast_precision_loss)]
pub(super) fn seconds(ns: u64) -> String {
    format!("{:.4} s", ns as f64 / 1e9)
}

/// How the page looks.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--ok:#4a8f5c;--fail:#d98c21;--info:#8a6fd1;--bad:#d12f3f;--line:#8886}\
body{font:14px/1.45 system-ui,sans-serif;margin:0}main{max-width:1460px;margin:0 auto;padding:0 16px 60px}\
h1 small{font-weight:400;opacity:.7}h2{margin-top:2em;border-bottom:1px solid var(--line)}\
table{border-collapse:collapse}th,td{text-align:left;padding:2px 10px 2px 0;vertical-align:top;border-bottom:1px solid var(--line)}\
td.mono,pre,code{font-family:ui-monospace,monospace;font-size:12px;overflow-wrap:anywhere}.small{font-size:12px;opacity:.8}\
pre{white-space:pre-wrap;max-height:30em;overflow:auto}nav a{margin-right:1em}\
.verdict{font-size:22px;font-weight:700;display:inline-block;padding:4px 16px;border-radius:4px;color:#fff;background:#777}\
.verdict.pass{background:var(--ok)}.verdict.fail{background:var(--bad)}td.fail{color:var(--bad);font-weight:700}\
td.pass{color:var(--ok)}td.unknown{font-weight:700}\
section.finding{border-left:4px solid var(--bad);padding:2px 0 2px 14px;margin:18px 0}\
svg{display:block;max-width:100%;height:auto;overflow:visible}svg text{font:11px ui-monospace,monospace;fill:currentColor}\
.ok{fill:var(--ok)}.failed{fill:var(--fail)}.open{fill:var(--info)}.named{fill:var(--bad)}\
.axis{stroke:var(--line);stroke-width:1}.edge{stroke:currentColor;stroke-width:1.4;fill:none}.first{stroke:var(--bad);stroke-width:1.5}\
.leader{fill:#2f7fd1}.follower{fill:#9db7cf}.learner{fill:#b9a86b}.none{fill:#d98c21}\
.p50{stroke:#4a8f5c}.p95{stroke:#d98c21}.p99{stroke:#d12f3f}.max{stroke:#8886}.plot{fill:none;stroke-width:1.2}\
.revision{stroke:#8a6fd1}.legend span{margin-right:1.2em}.legend i{display:inline-block;width:11px;height:11px;margin-right:4px}";
