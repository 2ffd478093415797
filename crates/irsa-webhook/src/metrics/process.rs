//! `process_*`: what every Prometheus client library tells about its process, from `/proc`. Elsewhere than on Linux
//! there are no such metrics.

use std::fmt::Error as FmtError;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks per second in `/proc/*/stat`: Linux shows a hundred to programs, whatever its own tick is.
const TICKS: f64 = 100.0;

/// Reads the process's own figures when the page is asked for.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), FmtError> {
        let Some(Figures {
            cpu_seconds,
            start_time,
            resident,
            virtual_memory,
            open_fds,
            max_fds,
        }) = figures()
        else {
            return Ok(());
        };
        let cpu = ConstCounter::new(cpu_seconds);
        let help = "User and system CPU time in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory in bytes",
                resident,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory in bytes",
                virtual_memory,
            ),
            ("process_open_fds", "Open file descriptors", open_fds),
            ("process_max_fds", "The limit of open file descriptors", max_fds),
            (
                "process_start_time_seconds",
                "When the process started, in seconds since 1970",
                start_time,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

struct Figures {
    cpu_seconds: f64,
    start_time: f64,
    resident: f64,
    virtual_memory: f64,
    open_fds: f64,
    max_fds: f64,
}

fn figures() -> Option<Figures> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in parentheses and may have any characters.
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |index: usize| fields.split_whitespace().nth(index)?.parse::<f64>().ok();
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let max_fds = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .unwrap_or(f64::INFINITY);
    let open_fds = u32::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    Some(Figures {
        cpu_seconds: (field(11)? + field(12)?) / TICKS,
        start_time: boot + field(19)? / TICKS,
        resident: kilobytes("VmRSS:")? * 1024.0,
        virtual_memory: kilobytes("VmSize:")? * 1024.0,
        open_fds: f64::from(open_fds),
        max_fds,
    })
}
