//! Limits seen from outside: garbage on the ports, thousands of connections, a watcher that never reads.

use crate::cluster::{BOUND, Cluster, Kind, client_port, eventually};
use crate::failures::knob;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CONNECTIONS_DEFAULT: usize = 10_000;
/// Resident memory that a member may have after abuse, bytes.
const RESIDENT_MAX: u64 = 1 << 30;

/// xorshift64*: the same garbage in every run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 ^= self.0 >> 12;
                self.0 ^= self.0 << 25;
                self.0 ^= self.0 >> 27;
                (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
            })
            .collect()
    }
}

fn resident(cluster: &mut Cluster, number: usize) -> u64 {
    let pid = cluster.member(number).pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The preface of HTTP/2 with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[test]
fn garbage_ends_nothing() {
    let mut cluster = Cluster::start(Kind::Ours, 3, &[]);
    cluster.ctl_ok(&["put", "a", "1"]);
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let mut pieces: Vec<Vec<u8>> = vec![
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /v3/kv/range HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"POST /v3/kv/range HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
        [b"GET /".as_slice(), &[b'x'; 200_000], b" HTTP/1.1\r\n\r\n"].concat(),
        [b"GET / HTTP/1.1\r\n".as_slice(), &b"x: y\r\n".repeat(50_000), b"\r\n"].concat(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        Vec::new(),
        // A frame that says it is 16 MB, a stream of id 0, headers that are none.
        [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        [PREFACE, &[0, 0, 4, 1, 4, 0, 0, 0, 0, 1, 2, 3, 4]].concat(),
        [
            PREFACE,
            &[
                0, 0, 8, 1, 5, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ]
        .concat(),
    ];
    for n in 0..40 {
        let mut piece = if n % 2 == 0 { PREFACE.to_vec() } else { Vec::new() };
        piece.extend(noise.bytes(1 + n * 97));
        pieces.push(piece);
    }
    for port in [client_port(1), client_port(1) + 1, client_port(2), client_port(2) + 1] {
        for piece in &pieces {
            let mut stream = cluster.net.connect(port).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            // It may hang up before it has read everything.
            let _ = stream.write_all(piece);
            let _ = stream.read(&mut [0; 4096]);
        }
    }
    for number in 1..=3 {
        assert!(!cluster.member(number).ended(), "member {number} has ended");
        assert!(resident(&mut cluster, number) < RESIDENT_MAX);
    }
    cluster.wait_healthy();
    assert_eq!(cluster.ctl_ok(&["get", "a", "--print-value-only"]).trim(), "1");
}

/// Connections that say nothing, and then some that do.
#[test]
fn thousands_of_connections() {
    let wanted = knob("KEELSON_CONNECTIONS", CONNECTIONS_DEFAULT);
    let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let needed = wanted as u64 + 1_000;
    assert!(hard >= needed, "{needed} open files are needed; ulimit -Hn says {hard}");
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, soft.max(needed), hard).unwrap();
    let mut cluster = Cluster::start(Kind::Ours, 1, &[]);
    let port = client_port(1);
    let mut held: Vec<TcpStream> = cluster.net.inside(|| {
        (0..wanted)
            .map(|n| {
                let mut stream =
                    TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|e| panic!("connection {n}: {e}"));
                // Half of them stay half open; the others are HTTP/2.
                if n % 2 == 0 {
                    stream.write_all(PREFACE).unwrap();
                }
                stream
            })
            .collect()
    });
    // Those that spoke are answered with the settings of the server.
    for stream in held.iter_mut().step_by(2 * 97) {
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("settings");
        assert_eq!(head[3], 4, "the first frame is settings");
    }
    assert_eq!(cluster.ctl_ok(&["put", "a", "1"]).trim(), "OK");
    let rss = resident(&mut cluster, 1);
    println!("{wanted} connections: {} MiB resident", rss >> 20);
    assert!(rss < RESIDENT_MAX, "{rss} bytes with {wanted} connections");
    drop(held);
    eventually("the connections to be given back", BOUND, || {
        let pid = cluster.member(1).pid().unwrap();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        if open < 200 {
            Ok(())
        } else {
            Err(format!("{open} open files"))
        }
    });
    assert_eq!(cluster.ctl_ok(&["get", "a", "--print-value-only"]).trim(), "1");
}

/// One that watches everything and reads nothing costs bounded memory and holds up nobody.
#[test]
fn a_watcher_that_never_reads() {
    let mut cluster = Cluster::start(Kind::Ours, 1, &["--unsafe-no-fsync"]);
    let port = client_port(1);
    // Over the gateway: one request, and then silence with a window of the kernel's size.
    let mut deaf: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = cluster.net.connect(port).unwrap();
            let body = r#"{"create_request":{"key":"AA==","range_end":"AA==","prev_kv":true}}"#;
            write!(
                stream,
                "POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            stream
        })
        .collect();
    for stream in &mut deaf {
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.read_exact(&mut [0; 9]).expect("the start of an answer");
    }
    let before = resident(&mut cluster, 1);
    let value = "x".repeat(100_000);
    let began = Instant::now();
    for n in 0..1_000 {
        let body = format!(r#"{{"key":"{}","value":"{}"}}"#, "a2V5", value);
        let answer = cluster.net.http(port, "POST", "/v3/kv/put", &body).unwrap();
        assert_eq!(answer.status, 200, "put {n}: {}", answer.body);
    }
    let took = began.elapsed();
    let after = resident(&mut cluster, 1);
    println!(
        "1,000 writes of 100 kB beside 20 deaf watchers: {took:?}, {} MiB more resident",
        after.saturating_sub(before) >> 20
    );
    assert!(after < RESIDENT_MAX, "{after} bytes resident");
    // One that does read gets every event meanwhile.
    let out = cluster.ctl_ok(&["get", "key", "--keys-only", "-w", "json"]);
    let all: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all["kvs"][0]["version"], 1_000);
}

/// Requests up to the limit are taken, larger ones are refused, and the limit can be moved.
#[test]
fn sizes_of_requests() {
    let mut cluster = Cluster::start(Kind::Ours, 1, &["--max-request-bytes=3000000", "--max-txn-ops=3"]);
    let put = |cluster: &Cluster, size: usize| {
        let text = "x".repeat(size);
        let body = format!(r#"{{"key":"YQ==","value":"{text}"}}"#);
        cluster.net.http(client_port(1), "POST", "/v3/kv/put", &body).unwrap()
    };
    // Base64: four characters are three bytes.
    let fits = put(&cluster, 3_900_000);
    assert_eq!(fits.status, 200, "{}", fits.body);
    let large = put(&cluster, 4_000_200);
    assert_eq!(large.status, 400, "{}", large.body);
    assert!(large.body.contains("request is too large"), "{}", large.body);
    assert!(!cluster.member(1).ended());
}
