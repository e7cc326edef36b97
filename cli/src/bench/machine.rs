//! Facts about this machine and about the server's process and files on it, from /proc. It knows no REST.

use super::error::BenchError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Ticks per second in /proc/*/stat: USER_HZ, which is 100 on every architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes per unit of `st_blocks`, whatever the file system's block size.
const BLOCK_BYTES: u64 = 512;

/// What figures from this machine are to be read against.
#[derive(Deserialize, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) cpu: String,
    pub(super) memory_bytes: Option<u64>,
    pub(super) kernel: String,
    /// Of the minute before the run: above 0.5 or so, something else was running.
    pub(super) load_before: String,
}

impl Machine {
    /// Reads what can be read; what cannot is left empty.
    pub(super) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            memory_bytes: memory_bytes(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// All memory of this machine, if it can be told.
pub(super) fn memory_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The server's footprint at one moment.
#[derive(Deserialize, Serialize)]
pub(super) struct Footprint {
    /// After which step it was taken.
    pub(super) stage: String,
    /// Allocated on disk, less what was there before the index.
    pub(super) disk_bytes: Option<u64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) peak_resident_bytes: Option<u64>,
}

/// Watches the server's process and data directory, as far as they were named.
pub(super) struct Watch {
    data_dir: Option<PathBuf>,
    pid: Option<u32>,
    disk_before: u64,
}

impl Watch {
    /// Starts from the directory's present size.
    pub(super) fn start(data_dir: Option<PathBuf>, pid: Option<u32>) -> Result<Self, BenchError> {
        let mut watch = Self {
            data_dir,
            pid,
            disk_before: 0,
        };
        watch.disk_before = watch.disk()?.unwrap_or(0);
        watch.footprint("before")?;
        Ok(watch)
    }

    /// Whether there is anything to see.
    pub(super) fn sees_anything(&self) -> bool {
        self.data_dir.is_some() || self.pid.is_some()
    }

    /// What the server occupies now.
    pub(super) fn footprint(&self, stage: &str) -> Result<Footprint, BenchError> {
        let status = match self.pid {
            Some(pid) => fs::read_to_string(format!("/proc/{pid}/status")).map_err(unreadable("--pid"))?,
            None => String::new(),
        };
        Ok(Footprint {
            stage: stage.to_owned(),
            disk_bytes: self.disk()?.map(|now| now.saturating_sub(self.disk_before)),
            resident_bytes: kilobytes(&status, "VmRSS:"),
            peak_resident_bytes: kilobytes(&status, "VmHWM:"),
        })
    }

    /// Starts to measure processor time.
    pub(super) fn processors(&self) -> ProcessorTime {
        let server = self.pid.and_then(|pid| processor_seconds(&pid.to_string()));
        ProcessorTime {
            pid: self.pid,
            started: Instant::now(),
            client: processor_seconds("self"),
            server,
        }
    }

    fn disk(&self) -> Result<Option<u64>, BenchError> {
        self.data_dir
            .as_deref()
            .map(allocated)
            .transpose()
            .map_err(unreadable("--data-dir"))
    }
}

/// Processor time since a moment.
pub(super) struct ProcessorTime {
    pid: Option<u32>,
    started: Instant,
    client: Option<f64>,
    server: Option<f64>,
}

impl ProcessorTime {
    /// Cores that this process and the server kept busy on average.
    pub(super) fn cores(&self) -> (Option<f64>, Option<f64>) {
        let seconds = self.started.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        let busy = |before: Option<f64>, now: Option<f64>| Some((now? - before?) / seconds);
        let server = self.pid.and_then(|pid| processor_seconds(&pid.to_string()));
        (
            busy(self.client, processor_seconds("self")),
            busy(self.server, server),
        )
    }
}

fn unreadable(name: &'static str) -> impl Fn(io::Error) -> BenchError {
    move |source| BenchError::Machine { name, source }
}

/// The line `name 1234 kB` of a /proc file.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

/// Seconds of processor time that a process has used.
fn processor_seconds(process: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name
        .split_whitespace()
        .skip(11)
        .map(|ticks| ticks.parse::<f64>().ok());
    Some((fields.next()?? + fields.next()??) / TICKS_PER_SECOND)
}

/// Bytes allocated to all files below `dir`. Files that vanish meanwhile, as a database's do, count nothing.
fn allocated(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated(&entry.path()),
            Ok(metadata) => Ok(metadata.blocks() * BLOCK_BYTES),
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => bytes += found?,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_files_below_a_directory_are_added() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::start(Some(dir.path().into()), Some(std::process::id())).unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
        fs::File::open(dir.path().join("below/file"))
            .unwrap()
            .sync_all()
            .unwrap();
        let footprint = watch.footprint("now").unwrap();
        assert!(
            (100_000..200_000).contains(&footprint.disk_bytes.unwrap()),
            "{:?}",
            footprint.disk_bytes
        );
        assert!(footprint.resident_bytes.unwrap() > 100_000);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = Watch::start(Some("/no/such/place".into()), None)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("--data-dir"), "{error}");
    }

    #[test]
    fn busy_cores_are_counted() {
        let watch = Watch::start(None, Some(std::process::id())).unwrap();
        let processors = watch.processors();
        let before = processor_seconds("self").unwrap();
        while processor_seconds("self").unwrap() < before + 0.1 {
            std::hint::black_box(before);
        }
        let (client, server) = processors.cores();
        assert!(client.unwrap() > 0.0 && server.unwrap() > 0.0);
    }

    #[test]
    fn proc_lines_are_read_in_kilobytes() {
        assert_eq!(
            kilobytes("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"),
            Some(12 * 1024)
        );
        assert_eq!(kilobytes("VmRSS: twelve kB", "VmRSS:"), None);
    }
}
