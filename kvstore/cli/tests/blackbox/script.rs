//! Scripts of commands, run line by line against a cluster. A line is what one would type after `etcdctl`, quoted as
//! in a shell; what follows on lines that begin with `|` is its standard input. In front may stand
//!
//! - `!`: the command must fail on a real etcd (without it, it must succeed: so that a script says what it means);
//! - `?`: either way;
//! - `NAME=/pattern/`: the pattern's first group in the output becomes `$NAME` for later lines, and is masked;
//! - `[utl]`: etcdutl; `[http]`: a request `METHOD PATH [BODY]` to member 1; `[http N]`: to member N;
//! - `[lines N]`: the command does not end by itself: it is interrupted when it has printed that many lines, and only
//!   they count;
//! - `[start NAME]`, `[lines N of NAME]`, `[stop NAME]`: a command that runs beside later ones, the wait for what it
//!   prints, and its end;
//! - `[env NAME=VALUE]`: one more variable of its environment;
//! - `[until]`: the command is repeated until it succeeds, for what a cluster grants only after a while;
//! - `[sort]`: the lines of its output are in no promised order.
//!
//! `$ALL` is the list of client addresses, `$DIR` a folder, `$1`, `$2`… the address of a member.

use crate::cluster::{Cluster, client_port, client_url, peer, wait_child};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bound of one command.
const STEP: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Succeeds,
    Fails,
    Either,
}

#[derive(Clone, Debug)]
enum What {
    Ctl,
    Utl,
    Http(usize),
    Until,
    Lines(usize),
    Start(String),
    LinesOf(usize, String),
    Stop(String),
}

/// One line of a script.
#[derive(Clone, Debug)]
pub struct Step {
    pub place: String,
    wish: Wish,
    what: What,
    capture: Option<(String, Regex)>,
    env: Vec<(String, String)>,
    sort: bool,
    words: String,
    input: String,
}

/// What one step came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub place: String,
    pub line: String,
    /// The exit code, or the status of an HTTP answer; -1 for a signal, -2 when the lines waited for did not come.
    pub code: i32,
    pub out: String,
    pub err: String,
    /// Whether a real etcd may answer so; otherwise the script itself is wrong.
    pub as_wished: bool,
}

pub fn parse(name: &str, text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if let Some(input) = line.strip_prefix('|') {
            let step = steps
                .last_mut()
                .unwrap_or_else(|| panic!("{place}: input without a command"));
            step.input.push_str(input.strip_prefix(' ').unwrap_or(input));
            step.input.push('\n');
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        steps.push(parse_line(&place, line));
    }
    steps
}

fn parse_line(place: &str, line: &str) -> Step {
    let mut step = Step {
        place: place.to_owned(),
        wish: Wish::Succeeds,
        what: What::Ctl,
        capture: None,
        env: Vec::new(),
        sort: false,
        words: String::new(),
        input: String::new(),
    };
    let capture = Regex::new(r"^([A-Z]+)=/((?:[^/\\]|\\.)*)/").unwrap();
    let mut rest = line.trim();
    loop {
        if let Some(after) = rest.strip_prefix('!') {
            (step.wish, rest) = (Wish::Fails, after.trim_start());
        } else if let Some(after) = rest.strip_prefix('?') {
            (step.wish, rest) = (Wish::Either, after.trim_start());
        } else if let Some(found) = capture.captures(rest) {
            step.capture = Some((found[1].to_owned(), Regex::new(&found[2]).unwrap()));
            rest = rest[found[0].len()..].trim_start();
        } else if let Some((inner, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            let words: Vec<&str> = inner.split_whitespace().collect();
            match words.as_slice() {
                ["utl"] => step.what = What::Utl,
                ["http"] => step.what = What::Http(1),
                ["http", n] => step.what = What::Http(n.parse().unwrap()),
                ["lines", n] => step.what = What::Lines(n.parse().unwrap()),
                ["lines", n, "of", name] => step.what = What::LinesOf(n.parse().unwrap(), (*name).to_owned()),
                ["start", name] => step.what = What::Start((*name).to_owned()),
                ["stop", name] => step.what = What::Stop((*name).to_owned()),
                ["until"] => step.what = What::Until,
                ["sort"] => step.sort = true,
                ["env", pair] => {
                    let (name, value) = pair.split_once('=').unwrap();
                    step.env.push((name.to_owned(), value.to_owned()));
                }
                _ => panic!("{place}: [{inner}] is not known"),
            }
            rest = after.trim_start();
        } else {
            step.words = rest.to_owned();
            return step;
        }
    }
}

/// The words of a shell line: quotes, and backslashes within double ones.
fn split(place: &str, line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some('n') => word.push('\n'),
                            Some(other) => word.push(other),
                            None => panic!("{place}: ends in a backslash"),
                        },
                        Some(other) => word.push(other),
                        None => panic!("{place}: a quote is open"),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A process whose output is read as it comes.
struct Running {
    child: Child,
    out: Arc<Printed>,
    err: Arc<Printed>,
    readers: Vec<JoinHandle<()>>,
    /// Open until the command is interrupted: an interactive one ends with its input.
    stdin: Option<ChildStdin>,
    line: String,
}

#[derive(Default)]
struct Printed {
    text: Mutex<String>,
    more: Condvar,
}

fn reader(from: impl Read + Send + 'static) -> (Arc<Printed>, JoinHandle<()>) {
    let printed = Arc::new(Printed::default());
    let to = printed.clone();
    let handle = std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            to.text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            to.more.notify_all();
            line.clear();
        }
    });
    (printed, handle)
}

impl Running {
    /// Waits for this many lines of output; whether they came within the bound.
    fn wait_lines(&self, count: usize) -> bool {
        let deadline = Instant::now() + STEP;
        let mut text = self.out.text.lock().unwrap();
        while text.lines().count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.readers.iter().all(JoinHandle::is_finished) {
                return text.lines().count() >= count;
            }
            text = self
                .out
                .more
                .wait_timeout(text, left.min(Duration::from_millis(100)))
                .unwrap()
                .0;
        }
        true
    }

    fn interrupt(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT);
    }

    /// The end, which is forced when it does not come.
    fn finish(mut self) -> (ExitStatus, String, String) {
        let status = wait_child(&mut self.child, STEP).unwrap_or_else(|| {
            let _ = self.child.kill();
            self.child.wait().unwrap()
        });
        drop(self.stdin);
        for reader in self.readers {
            reader.join().unwrap();
        }
        let text = |p: &Printed| p.text.lock().unwrap().clone();
        (status, text(&self.out), text(&self.err))
    }
}

/// A script on its way through a cluster.
pub struct Player<'a> {
    cluster: &'a Cluster,
    /// Captured values and fixed ones, by name.
    values: BTreeMap<String, String>,
    /// What is masked, in the order of capture.
    masked: Vec<(String, String)>,
    running: BTreeMap<String, Running>,
}

impl<'a> Player<'a> {
    pub fn new(cluster: &'a Cluster) -> Player<'a> {
        let dir = cluster.dir.path().join("files");
        std::fs::create_dir_all(&dir).unwrap();
        let dir = dir.to_str().unwrap().to_owned();
        let mut values = BTreeMap::from([("ALL".to_owned(), cluster.endpoints()), ("DIR".to_owned(), dir.clone())]);
        for member in &cluster.members {
            values.insert(member.number.to_string(), client_url(member.number));
        }
        Player {
            cluster,
            values,
            masked: vec![(dir, "<DIR>".to_owned())],
            running: BTreeMap::new(),
        }
    }

    pub fn play(&mut self, steps: &[Step]) -> Vec<Outcome> {
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn fill(&self, place: &str, text: &str) -> String {
        let name = Regex::new(r"\$([A-Z]+|[0-9])").unwrap();
        name.replace_all(text, |found: &regex::Captures| {
            self.values
                .get(&found[1])
                .cloned()
                .unwrap_or_else(|| panic!("{place}: ${} has no value", &found[1]))
        })
        .into_owned()
    }

    fn step(&mut self, step: &Step) -> Outcome {
        let line = self.fill(&step.place, &step.words);
        let (code, mut out, err) = match &step.what {
            What::Http(number) => self.http(&step.place, *number, &line),
            What::LinesOf(count, name) => {
                let running = self
                    .running
                    .get(name)
                    .unwrap_or_else(|| panic!("{}: {name} does not run", step.place));
                let enough = running.wait_lines(*count);
                (if enough { 0 } else { -2 }, String::new(), String::new())
            }
            What::Stop(name) => {
                let running = self
                    .running
                    .remove(name)
                    .unwrap_or_else(|| panic!("{}: {name} does not run", step.place));
                running.interrupt();
                ended(running.finish())
            }
            What::Start(name) => {
                let running = self.launch(step, &line, "ETCDCTL");
                assert!(
                    self.running.insert(name.clone(), running).is_none(),
                    "{}: {name} runs already",
                    step.place
                );
                (0, String::new(), String::new())
            }
            What::Lines(count) => {
                let running = self.launch(step, &line, "ETCDCTL");
                let enough = running.wait_lines(*count);
                running.interrupt();
                let (code, out, err) = ended(running.finish());
                let lines: Vec<&str> = out.lines().take(*count).collect();
                (if enough { code } else { -2 }, lines.join("\n"), err)
            }
            What::Until => {
                let deadline = Instant::now() + STEP;
                loop {
                    let (code, out, err) = ended(self.launch(step, &line, "ETCDCTL").finish());
                    if code == 0 || Instant::now() > deadline {
                        break (code, out, err);
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            What::Ctl => ended(self.launch(step, &line, "ETCDCTL").finish()),
            What::Utl => ended(self.launch(step, &line, "ETCDUTL").finish()),
        };
        if let Some((name, pattern)) = &step.capture {
            // Nothing found: the difference shows in the output; later lines go on with a word that is no id.
            let value = pattern
                .captures(&out)
                .and_then(|c| c.get(1))
                .map(|m| m.as_str().to_owned());
            if let Some(value) = &value {
                self.hide(name, value);
            }
            self.values
                .insert(name.clone(), value.unwrap_or_else(|| "none".to_owned()));
        }
        // Masked first: what is in the order of ids is in no order without them.
        out = self.mask(&out);
        if step.sort {
            let mut lines: Vec<&str> = out.lines().collect();
            lines.sort_unstable();
            out = lines.join("\n");
        }
        let as_wished = match (&step.what, step.wish) {
            (What::Http(_), _) | (_, Wish::Either) => true,
            (What::Lines(_) | What::LinesOf(..), _) => code != -2,
            (What::Stop(_), _) => true,
            (_, Wish::Succeeds) => code == 0,
            (_, Wish::Fails) => code != 0,
        };
        Outcome {
            place: step.place.clone(),
            line: step.words.clone(),
            code,
            out,
            err: self.mask(&err),
            as_wished,
        }
    }

    fn launch(&self, step: &Step, line: &str, program: &str) -> Running {
        let mut command = Command::new(peer(program));
        command.args(split(&step.place, line));
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("ETCDCTL_")) {
            command.env_remove(name);
        }
        for (name, value) in &step.env {
            command.env(name, self.fill(&step.place, value));
        }
        command.current_dir(&self.values["DIR"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.cluster.net.inside(|| command.spawn()).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.fill(&step.place, &step.input);
        let (out, first) = reader(child.stdout.take().unwrap());
        let (err, second) = reader(child.stderr.take().unwrap());
        // One that does not read its input is no error: it shows in the answer.
        let _ = stdin.write_all(input.as_bytes());
        let open = matches!(step.what, What::Lines(_) | What::Start(_));
        Running {
            child,
            out,
            err,
            readers: vec![first, second],
            stdin: open.then_some(stdin),
            line: line.to_owned(),
        }
    }

    fn http(&self, place: &str, number: usize, line: &str) -> (i32, String, String) {
        let words = split(place, line);
        let body = words.get(2).map_or("", String::as_str);
        match self.cluster.net.http(client_port(number), &words[0], &words[1], body) {
            Ok(answer) => (i32::from(answer.status), one_line_each(&answer.body), answer.kind),
            Err(e) => (-1, String::new(), e.to_string()),
        }
    }

    /// Masks a captured value from here on, in the bases that ids are written in.
    fn hide(&mut self, name: &str, value: &str) {
        let mut forms = vec![value.to_owned()];
        if let Ok(number) = value.parse::<i64>() {
            forms.push(format!("{number:x}"));
        }
        if let Ok(number) = u64::from_str_radix(value, 16) {
            forms.push(number.to_string());
            forms.push(number.cast_signed().to_string());
        }
        self.masked
            .extend(forms.into_iter().map(|form| (form, format!("<{name}>"))));
    }

    fn mask(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, name) in &self.masked {
            text = text.replace(value.as_str(), name);
        }
        text
    }
}

impl Drop for Player<'_> {
    fn drop(&mut self) {
        for (name, mut running) in std::mem::take(&mut self.running) {
            let _ = running.child.kill();
            let _ = running.child.wait();
            if !std::thread::panicking() {
                panic!("{name} still runs at the end of the script: {}", running.line);
            }
        }
    }
}

/// JSON without the spaces that Go's encoder puts in by chance; other text as it is.
fn one_line_each(body: &str) -> String {
    let lines: Vec<String> = body
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).map_or_else(|_| line.to_owned(), |json| json.to_string())
        })
        .collect();
    lines.join("\n")
}

fn ended((status, out, err): (ExitStatus, String, String)) -> (i32, String, String) {
    (status.code().unwrap_or(-1), out, err)
}
