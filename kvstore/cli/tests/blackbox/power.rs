//! Power loss: every member's data on an ext4 of its own in a file, shut down without flushing its journal, so that
//! what was not synced is gone. What was acknowledged was synced first, and stays.

use crate::cluster::{Cluster, Kind};
use crate::failures::{converged, knob};
use crate::load::Load;
use crate::net::Net;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How often the power goes when `KEELSON_POWER_LOSSES` does not say.
const LOSSES_DEFAULT: usize = 6;
const DISK_BYTES: u64 = 1 << 30;
const RECOVERY: Duration = Duration::from_secs(30);

/// `EXT4_IOC_SHUTDOWN`, which is `_IOR('X', 125, u32)`.
const SHUTDOWN: nix::libc::c_ulong = 0x8004_587d;
/// The journal is not flushed.
const NO_LOG_FLUSH: u32 = 2;

/// An ext4 in a file, mounted where only the test sees it.
struct Disk {
    image: PathBuf,
    at: PathBuf,
    net: Net,
}

impl Disk {
    fn make(net: &Net, folder: &Path, number: usize) -> Disk {
        let disk = Disk {
            image: folder.join(format!("m{number}.img")),
            at: folder.join(format!("m{number}.disk")),
            net: net.clone(),
        };
        File::create(&disk.image).unwrap().set_len(DISK_BYTES).unwrap();
        std::fs::create_dir(&disk.at).unwrap();
        run(net, "mkfs.ext4", &["-q", "-F", disk.image.to_str().unwrap()]);
        disk.mount();
        disk
    }

    fn mount(&self) {
        run(
            &self.net,
            "mount",
            &["-o", "loop", self.image.to_str().unwrap(), self.at.to_str().unwrap()],
        );
    }

    /// From here on nothing reaches the disk any more, not even what the file system had promised itself.
    fn cut(&self) {
        self.net.inside(|| {
            let root = File::open(&self.at).unwrap();
            let how = NO_LOG_FLUSH;
            // SAFETY: the call reads one u32 through the pointer, which lives until it returns.
            let done = unsafe { nix::libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const how) };
            assert_eq!(
                done,
                0,
                "shut down {}: {}",
                self.at.display(),
                std::io::Error::last_os_error()
            );
        });
    }

    fn replug(&self) {
        run(&self.net, "umount", &[self.at.to_str().unwrap()]);
        self.mount();
    }
}

fn run(net: &Net, program: &str, args: &[&str]) {
    let out = net
        .inside(|| Command::new(program).args(args).output())
        .unwrap_or_else(|e| panic!("run {program}: {e}"));
    assert!(
        out.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn what_is_acknowledged_survives_a_power_loss() {
    let losses = knob("KEELSON_POWER_LOSSES", LOSSES_DEFAULT);
    let mut cluster = Cluster::empty(Kind::Ours);
    cluster.net = cluster.net.clone().with_mounts();
    let folder = cluster.dir.path().to_owned();
    let disks: Vec<Disk> = (1..=3)
        .map(|number| Disk::make(&cluster.net, &folder, number))
        .collect();
    let everyone = (1..=3)
        .map(|n| format!("m{n}={}", crate::cluster::peer_url(n)))
        .collect::<Vec<_>>()
        .join(",");
    for number in 1..=3 {
        let dir = disks[number - 1].at.join("data");
        let flags = [
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--snapshot-count=200",
            "--snapshot-catchup-entries=50",
        ];
        cluster.add_at(number, &dir, "new", &everyone, &flags);
        cluster.spawn(number);
    }
    cluster.wait_healthy();
    let load = Load::start(&cluster, 4, "load/");
    load.wait_acks(50, RECOVERY);
    let mut revision = 0;
    for loss in 0..losses {
        // By turns the power of all, of the leader, of a majority.
        let leader = cluster.leader();
        let victims: Vec<usize> = match loss % 3 {
            0 => vec![1, 2, 3],
            1 => vec![leader],
            _ => vec![leader, leader % 3 + 1],
        };
        let acked = load.acks();
        for victim in &victims {
            disks[victim - 1].cut();
        }
        for victim in &victims {
            cluster.member(*victim).kill();
            disks[victim - 1].replug();
            cluster.spawn(*victim);
        }
        cluster.wait_healthy();
        load.wait_acks(acked + 50, RECOVERY);
        for number in 1..=3 {
            let now = cluster.status(number).expect("a healthy member")["header"]["revision"]
                .as_i64()
                .unwrap();
            revision = revision.max(now);
        }
        assert!(
            revision > acked as i64,
            "loss {loss}: revision {revision} after {acked} writes"
        );
    }
    let report = load.finish();
    report.check();
    converged(&cluster);
    for number in 1..=3 {
        report.check_store(&cluster, number);
    }
    println!(
        "{losses} power losses, {} writes acknowledged, {} unknown",
        report.acked.len(),
        report.unknown
    );
    // The mounts go with the namespace; while it lives the files cannot be removed.
    for disk in &disks {
        cluster.member(1).kill();
        cluster.member(2).kill();
        cluster.member(3).kill();
        run(&cluster.net, "umount", &[disk.at.to_str().unwrap()]);
    }
}
