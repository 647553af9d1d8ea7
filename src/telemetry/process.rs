//! What the process takes of the machine.

/// What was seen of it.
pub(super) struct Seen {
    pub(super) cpu_seconds: u64,
    pub(super) open_fds: usize,
    pub(super) max_fds: u64,
    pub(super) resident_bytes: u64,
    pub(super) start_seconds: f64,
}

/// Looks now; nothing where the operating system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn look() -> Option<Seen> {
    use procfs::process::{LimitValue, Process};
    use procfs::{boot_time_secs, page_size, ticks_per_second};

    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let max_fds = match process.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => most,
        LimitValue::Unlimited => u64::MAX,
    };
    let ticks = ticks_per_second();
    let since_boot = std::time::Duration::from_millis(stat.starttime.saturating_mul(1000) / ticks);
    let boot = std::time::Duration::from_secs(boot_time_secs().ok()?);
    Some(Seen {
        cpu_seconds: (stat.utime + stat.stime) / ticks,
        open_fds: process.fd_count().ok()?,
        max_fds,
        resident_bytes: stat.rss.saturating_mul(page_size()),
        start_seconds: (boot + since_boot).as_secs_f64(),
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn look() -> Option<Seen> {
    None
}
