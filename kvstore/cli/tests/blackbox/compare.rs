//! Two transcripts side by side.

use crate::cluster::{Cluster, Kind};
use crate::script::{Outcome, Player, parse};
use regex::Regex;
use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

/// Differences shown before the rest is only counted.
const SHOWN_MAX: usize = 25;

/// What two runs of the same server may differ in: times, terms, log indexes, sizes on disk, addresses in memory.
static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r#""ts":"[^"]*""#, r#""ts":"<time>""#),
        (r"0x[0-9a-f]{6,}", "<pointer>"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[0-9.,]*(Z|[+-]\d{4})?", "<time>"),
        (r"[0-9.]+(ns|µs|ms|s)\b", "<duration>"),
        (
            r#""(raft_term|raftTerm|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":"?\d+"?"#,
            r#""$1":<n>"#,
        ),
        (
            r#""(RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : \d+"#,
            r#""$1" : <n>"#,
        ),
        (r"[0-9.]+ (B|kB|MB)\b", "<size>"),
        (r#""ttl":\d+"#, r#""ttl":<n>"#),
        (r#""TTL" : \d+"#, r#""TTL" : <n>"#),
        // What a JSON parser says of bad input is its own.
        (r#""proto:(?:[^"\\]|\\.)*""#, r#""proto: <reason>""#),
        (r"\d+%", "<percent>"),
        (r#""token":"[A-Za-z]{16}\.\d+""#, r#""token":"<token>""#),
        (r"(?m)^[0-9a-f]{7,8}, (\d+), (\d+), <size>", "<hash>, $1, $2, <size>"),
        (
            r"(true|false), (true|false), \d+, \d+, \d+,",
            "$1, $2, <term>, <index>, <applied>,",
        ),
        (r"-{2,}", "--"),
        (r"[ \t]{2,}", " "),
        (
            r"│ (true|false) │ (true|false) │ \d+ │ \d+ │ \d+ │",
            "│ $1 │ $2 │ <term> │ <index> │ <applied> │",
        ),
        (r"─{2,}", "─"),
    ]
    .into_iter()
    .map(|(pattern, by)| (Regex::new(pattern).unwrap(), by))
    .collect()
});

pub fn mask(text: &str) -> String {
    // The client's own log tells of its retries, as many as the moment needs.
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains(r#"client","caller":"v3@"#))
        .collect();
    let mut text = kept.into_iter().map(members_sorted).collect::<Vec<_>>().join("\n");
    for (pattern, by) in MASKS.iter() {
        text = pattern.replace_all(&text, *by).into_owned();
    }
    text
}

/// `member add` lists the members in the order of ids that are drawn by chance.
fn members_sorted(line: &str) -> String {
    let Some(list) = line
        .strip_prefix("ETCD_INITIAL_CLUSTER=\"")
        .and_then(|l| l.strip_suffix('"'))
    else {
        return line.to_owned();
    };
    let mut members: Vec<&str> = list.split(',').collect();
    members.sort_unstable();
    format!("ETCD_INITIAL_CLUSTER={}", members.join(","))
}

/// Plays a script of the folder `scripts` against a real etcd and against ours, and compares what comes back.
/// Several members are led by the second, so that what goes to the first is forwarded.
pub fn same_script(name: &str, size: usize, flags: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scripts")
        .join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let steps = parse(name, &text);
    let play = |kind| {
        let cluster = Cluster::start(kind, size, flags);
        if size > 1 {
            cluster.lead_by(2);
        }
        cluster.wait_versions();
        Player::new(&cluster).play(&steps)
    };
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| play(Kind::Etcd));
        let ours = scope.spawn(|| play(Kind::Ours));
        (theirs.join().expect("etcd's side"), ours.join().expect("our side"))
    });
    judge(&theirs, &ours);
}

/// Fails with every step whose exit code or output differs.
pub fn judge(theirs: &[Outcome], ours: &[Outcome]) {
    assert_eq!(theirs.len(), ours.len());
    assert!(!theirs.is_empty(), "nothing was compared");
    let mut report = String::new();
    let mut different = 0;
    for (a, b) in theirs.iter().zip(ours) {
        if !a.as_wished {
            different += 1;
            let _ = writeln!(
                report,
                "{}: {}\n  the script is wrong: etcd exits with {}\n{}{}",
                a.place, a.line, a.code, a.out, a.err
            );
            continue;
        }
        let (left, right) = (plain(a), plain(b));
        if left != right {
            different += 1;
            if different <= SHOWN_MAX {
                let _ = writeln!(report, "{}: {}\n{}", a.place, a.line, lines_apart(&left, &right));
            }
        }
    }
    assert!(
        different == 0,
        "{different} of {} steps differ (- etcd, + ours):\n{report}",
        theirs.len()
    );
}

fn plain(o: &Outcome) -> String {
    format!("exit {}\n{}\n--\n{}", o.code, mask(&o.out), mask(&o.err))
}

/// Lines that one side has and the other has not, in place.
pub fn lines_apart(left: &str, right: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (left.lines().collect(), right.lines().collect());
    let same_head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let same_tail = a[same_head..]
        .iter()
        .rev()
        .zip(b[same_head..].iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let mut out = String::new();
    for line in &a[same_head..a.len() - same_tail] {
        let _ = writeln!(out, "  - {line}");
    }
    for line in &b[same_head..b.len() - same_tail] {
        let _ = writeln!(out, "  + {line}");
    }
    out
}
