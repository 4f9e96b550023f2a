//! Runs flows and the real clients.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

/// Bound of a wait when a flow gives none.
pub const WAIT: Duration = Duration::from_secs(60);
/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(100);

/// One thing that a user does. Those that are `always` run whatever the filter says.
pub struct Flow {
    pub name: &'static str,
    pub always: bool,
    pub run: fn(&Cluster),
}

pub fn flow(name: &'static str, run: fn(&Cluster)) -> Flow {
    Flow {
        name,
        always: false,
        run,
    }
}

/// The cluster under test: its name, and a kubeconfig that is nobody's.
pub struct Cluster {
    pub name: String,
    pub dir: PathBuf,
}

/// What a command printed.
#[derive(Debug)]
pub struct Printed {
    pub out: String,
    pub err: String,
    pub ok: bool,
}

impl Printed {
    fn of(o: Output) -> Self {
        Printed {
            out: String::from_utf8_lossy(&o.stdout).into_owned(),
            err: String::from_utf8_lossy(&o.stderr).into_owned(),
            ok: o.status.success(),
        }
    }
}

impl Cluster {
    pub fn new() -> Self {
        let name = format!("e2e-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        Cluster { name, dir }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The binary under test, with arguments; the cluster's name is added.
    pub fn keelson(&self, args: &[&str]) -> Printed {
        Self::keelson_named(&self.name, &self.kubeconfig(), args)
    }

    pub fn keelson_named(name: &str, kubeconfig: &Path, args: &[&str]) -> Printed {
        let mut c = Command::new(env!("CARGO_BIN_EXE_keelson"));
        c.args(args).args(["--name", name]).env("KUBECONFIG", kubeconfig);
        Printed::of(c.output().unwrap())
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(tool("KUBECTL", "kubectl"));
        c.args(args).env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.dir);
        c
    }

    /// kubectl, whatever comes of it.
    pub fn try_kubectl(&self, args: &[&str]) -> Printed {
        Printed::of(self.command(args).output().unwrap())
    }

    /// kubectl, which must succeed; returns its standard output.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let p = self.try_kubectl(args);
        assert!(p.ok, "kubectl {}: {}{}", args.join(" "), p.out, p.err);
        p.out
    }

    /// kubectl with a manifest on its standard input.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> String {
        let p = self.try_kubectl_with(args, input);
        assert!(p.ok, "kubectl {}: {}{}", args.join(" "), p.out, p.err);
        p.out
    }

    pub fn try_kubectl_with(&self, args: &[&str], input: &str) -> Printed {
        use std::io::Write;
        use std::process::Stdio;
        let mut c = self.command(args);
        let mut child = c
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to = child.stdin.take().unwrap();
        let text = input.to_owned();
        let feeder = std::thread::spawn(move || drop(to.write_all(text.as_bytes())));
        let p = Printed::of(child.wait_with_output().unwrap());
        feeder.join().unwrap();
        p
    }

    /// `keelson status -o json`.
    pub fn status(&self) -> serde_json::Value {
        let p = self.keelson(&["status", "-o", "json"]);
        serde_json::from_str(&p.out).unwrap_or_else(|e| panic!("status: {e}: {}{}", p.out, p.err))
    }

    /// A JSON object of the API.
    pub fn get(&self, args: &[&str]) -> serde_json::Value {
        let mut all = vec!["get", "-o", "json"];
        all.extend(args);
        serde_json::from_str(&self.kubectl(&all)).unwrap()
    }
}

/// A client from the environment (the test command builds them), else from the PATH.
pub fn tool(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| name.into(), PathBuf::from)
}

pub fn run_tool(program: &Path, args: &[&str]) -> Printed {
    Printed::of(
        Command::new(program)
            .args(args)
            .output()
            .unwrap_or_else(|e| panic!("run {}: {e}", program.display())),
    )
}

/// Waits until `look` finds something; fails with `what` and the last thing seen when the bound is over.
pub fn eventually<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        match look() {
            Ok(t) => return t,
            Err(seen) if Instant::now() > deadline => panic!("{what}: not within {bound:?}; last seen: {seen}"),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Runs the flows; prints a line each and a closing line in libtest's form.
pub fn run(cluster: Cluster, flows: Vec<Flow>, filter: Option<&str>) -> ExitCode {
    let chosen: Vec<Flow> = flows
        .into_iter()
        .filter(|f| f.always || filter.is_none_or(|x| f.name.contains(x)))
        .collect();
    println!("\nrunning {} tests", chosen.len());
    let (mut passed, mut failed) = (0, Vec::new());
    let began = Instant::now();
    for f in &chosen {
        let at = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (f.run)(&cluster)));
        let seconds = at.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {} ... ok ({seconds:.1} s)", f.name);
            }
            Err(_) => {
                failed.push(f.name);
                println!("test {} ... FAILED ({seconds:.1} s)", f.name);
                if f.name == "up" {
                    break;
                }
            }
        }
    }
    if !failed.is_empty() {
        let log = Path::new("/var/lib/keelson")
            .join(&cluster.name)
            .join("log/keelson.log");
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(60).collect();
        println!("last lines of the cluster's log:");
        tail.iter().rev().for_each(|l| println!("  {l}"));
        println!("failures: {}", failed.join(", "));
    }
    let purge = cluster.keelson(&["down", "--purge"]);
    if !purge.ok && !purge.err.contains("there is no cluster") {
        println!("purge: {}{}", purge.out, purge.err);
    }
    let _ = std::fs::remove_dir_all(&cluster.dir);
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    if failed.is_empty() && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
