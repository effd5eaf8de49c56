//! The sample settings that are shipped, as their two readers take them.

use std::{fs, path::Path, process::Command};

/// The autostart entry has them read by a shell, the unit by systemd, which takes what stands between single quotes as it is.
#[test]
fn each_sample_setting_is_the_same_to_a_shell_and_to_systemd() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/etc/notifier.env");
    let sample = fs::read_to_string(path).unwrap();
    let settings: Vec<(&str, &str)> = sample
        .lines()
        .map(|line| line.trim_start_matches('#'))
        .filter(|line| line.starts_with("LABWATCH_"))
        .map(|line| line.split_once('=').unwrap())
        .collect();
    assert!(settings.iter().any(|(name, _)| *name == "LABWATCH_EXEC"));
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("notifier.env");
    for (name, value) in settings {
        fs::write(&file, format!("{name}={value}\n")).unwrap();
        let read = Command::new("/bin/sh")
            .args(["-c", "set -a; . \"$1\"; printenv \"$2\"", "sh"])
            .args([file.as_os_str(), name.as_ref()])
            .env("HOME", room.path())
            .output()
            .unwrap();
        let quoted = value.strip_prefix('\'');
        let quoted = quoted.and_then(|value| value.strip_suffix('\''));
        let to_systemd = quoted.unwrap_or(value);
        assert_eq!(
            String::from_utf8_lossy(&read.stdout),
            format!("{to_systemd}\n")
        );
    }
}
