//! The heartbeat's figures: load, memory, disk, by sysinfo and `statvfs(3)`.

use std::path::PathBuf;

use labwatch_contract::health::{Health, HealthEvent, HealthLab};
use labwatch_contract::{event::Host, time::Timestamp};
use rustix::fs::statvfs;
use sysinfo::{MemoryRefreshKind, System};

/// Measures this PC.
pub(crate) struct Meter {
    system: Option<System>,
    state_dir: PathBuf,
}

/// The agent's own figures in a heartbeat.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    /// Frames that the kernel could not hand over, since the agent's start.
    pub(crate) capture_dropped: u64,
    /// Events that the recorder has not confirmed.
    pub(crate) backlog_events: u64,
    /// Milliseconds since boot.
    pub(crate) uptime_ms: u64,
    /// What the agent cannot see.
    pub(crate) degraded: Vec<String>,
}

impl Meter {
    /// The disk that is measured is the one with the journals. Figures that the system does not give stay 0.
    #[must_use]
    pub(crate) fn new(state_dir: PathBuf) -> Self {
        Self {
            system: System::new().ok(),
            state_dir,
        }
    }

    /// A heartbeat; the load is that since the last one.
    pub(crate) fn measure(&mut self, time: Timestamp, host: Host, own: Own) -> Health {
        let event = HealthEvent {
            action: "heartbeat".to_owned(),
        };
        let (cpu_percent, memory_used_percent) = self.system.as_mut().map(load).unwrap_or_default();
        let lab = HealthLab {
            cpu_percent,
            memory_used_percent,
            disk_used_percent: self.disk_used_percent(),
            load_1m: System::load_average()
                .map(|load| load.one)
                .unwrap_or_default(),
            capture_dropped: own.capture_dropped,
            backlog_events: own.backlog_events,
            uptime_ms: own.uptime_ms,
            degraded: own.degraded,
        };
        Health {
            timestamp: time,
            event,
            host,
            lab,
        }
    }

    fn disk_used_percent(&self) -> f32 {
        let Ok(disk) = statvfs(&self.state_dir) else {
            return 0.0;
        };
        percent(disk.f_blocks.saturating_sub(disk.f_bfree), disk.f_blocks)
    }
}

/// Load of all cores and memory in use, in percent.
fn load(system: &mut System) -> (f32, f32) {
    system.refresh_cpu_usage();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    (
        system.global_cpu_usage(),
        percent(system.used_memory(), system.total_memory()),
    )
}

/// In tenths of a percent, so that a heartbeat stays short.
fn percent(part: u64, whole: u64) -> f32 {
    let tenths = part
        .saturating_mul(1000)
        .checked_div(whole)
        .unwrap_or_default();
    f32::from(u16::try_from(tenths).unwrap_or(1000)) / 10.0
}

#[cfg(test)]
mod tests {
    use labwatch_contract::event::Boot;

    use super::*;

    #[test]
    fn a_heartbeat_holds_figures_of_this_pc() {
        let host = Host {
            ip: [10, 0, 0, 1].into(),
            name: "pc".into(),
            id: "x".into(),
            mac: None,
            boot: Boot::default(),
        };
        let mut meter = Meter::new("/".into());
        let health = meter.measure(
            "2026-11-22T09:31:05Z".parse().unwrap(),
            host,
            Own::default(),
        );
        let figures = [
            health.lab.cpu_percent,
            health.lab.memory_used_percent,
            health.lab.disk_used_percent,
        ];
        assert!(
            figures.iter().all(|figure| (0.0..=100.0).contains(figure)),
            "{figures:?}"
        );
        assert!(health.lab.memory_used_percent > 0.0 && health.lab.disk_used_percent > 0.0);
    }

    #[test]
    fn a_percentage_of_nothing_is_zero() {
        assert_eq!(percent(1, 0), 0.0);
        assert_eq!(percent(1, 3), 33.3);
    }
}
