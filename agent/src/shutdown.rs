//! Whether the PC is being shut down: the one thing that tells a farewell in the evening from a stopped agent.
//!
//! systemd says `stopping` from the moment a shutdown, reboot or halt begins (`systemctl is-system-running`,
//! systemctl(1)). It is asked once, at the agent's end, and given half a second. No systemd, no answer or another
//! answer: the agent was stopped.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long systemd may take to answer; the farewell must still get out.
const ANSWER: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Asks `systemctl` (a name or a path).
pub(crate) fn is_under_way(systemctl: &str) -> bool {
    let asked = Command::new(systemctl)
        .arg("is-system-running")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    asked.is_ok_and(|child| answer(child).trim() == "stopping")
}

/// What it printed; nothing when it took too long.
fn answer(mut child: Child) -> String {
    let until = Instant::now() + ANSWER;
    while Instant::now() < until {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            let mut text = String::new();
            let said = child.stdout.take().map(|out| out.take(64));
            // Text that is none is no answer.
            let _ = said.map(|mut out| out.read_to_string(&mut text));
            return text;
        }
        sleep(LOOK_EVERY);
    }
    // It hangs: what becomes of it is nobody's concern any more.
    let _ = child.kill();
    let _ = child.wait();
    String::new()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn systemctl(dir: &Path, script: &str) -> String {
        let path = dir.join("systemctl");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn only_stopping_is_a_shutdown() {
        let dir = tempfile::tempdir().unwrap();
        for (script, under_way) in [
            (
                "test $1 = is-system-running && echo stopping && exit 1",
                true,
            ),
            ("echo running", false),
            ("echo degraded; exit 1", false),
            ("exit 1", false),
            ("sleep 60", false),
        ] {
            assert_eq!(
                is_under_way(&systemctl(dir.path(), script)),
                under_way,
                "{script}"
            );
        }
        assert!(!is_under_way("/nonexistent/systemctl"));
    }
}
