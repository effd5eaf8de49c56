//! One kernel uevent: from the bytes of a netlink message to a value.
//!
//! A message of group 1 of `NETLINK_KOBJECT_UEVENT` is `action@devpath`, then `KEY=VALUE` pairs, each ended by
//! a NUL. Invariant: a parsed syspath is absolute below `/sys` and has no `..`, so it may be joined to the
//! sysfs root. udevd's messages (they start with `libudev`) and anything else that is no kernel message give
//! a [`UeventError`]; bytes that are no UTF-8 are replaced. Source: `lib/kobject_uevent.c` of Linux.

use std::collections::BTreeMap;

/// Longest message that is read, in bytes. The kernel's own are at most about 4 KiB (a path and 2 KiB of pairs).
pub const MAX_MESSAGE: usize = 16 * 1024;

/// Most pairs that are kept; the kernel writes at most 64.
const MAX_PROPERTIES: usize = 128;

/// What the kernel says of one of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// What happened to it.
    pub action: Action,
    /// Its path below `/sys`, as `/devices/pci0000:00/0000:00:04.0/usb2/2-1`.
    pub syspath: String,
    properties: BTreeMap<String, String>,
}

/// What happened to a kernel object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It came.
    Add,
    /// It went.
    Remove,
    /// A driver took it.
    Bind,
    /// Any other word: `change`, `unbind`, `move`, `online`, `offline`.
    Other,
}

/// Why a message is no kernel uevent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UeventError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// udevd's own format, which any program may send.
    #[error("a message of udevd, not of the kernel")]
    Libudev,
    /// It does not start with `action@/path`, or the path is no plain one.
    #[error("no action@/path at the start")]
    Header,
    /// The pairs `ACTION` or `DEVPATH` say something else than its start.
    #[error("its start and its pairs contradict each other")]
    Contradiction,
}

impl Uevent {
    /// The value of a pair, where the message has it; of a doubled key the first.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// `SUBSYSTEM`, or nothing.
    #[must_use]
    pub fn subsystem(&self) -> &str {
        self.get("SUBSYSTEM").unwrap_or_default()
    }

    /// `DEVTYPE`, or nothing.
    #[must_use]
    pub fn device_type(&self) -> &str {
        self.get("DEVTYPE").unwrap_or_default()
    }
}

/// Whether a message says that it is about one of these subsystems, without reading it whole: most of a flood
/// is about none of them.
#[must_use]
pub fn is_about(message: &[u8], subsystems: &[&str]) -> bool {
    let mut parts = message.split(|byte| *byte == 0);
    let subsystem = parts.find_map(|part| part.strip_prefix(b"SUBSYSTEM="));
    subsystem.is_some_and(|own| subsystems.iter().any(|name| name.as_bytes() == own))
}

/// Reads one message.
///
/// # Errors
/// [`UeventError`] when it is no kernel uevent.
pub fn parse(message: &[u8]) -> Result<Uevent, UeventError> {
    if message.len() > MAX_MESSAGE {
        return Err(UeventError::TooLong);
    }
    if message.starts_with(b"libudev\0") {
        return Err(UeventError::Libudev);
    }
    let mut parts = message
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy);
    let header = parts.next().unwrap_or_default();
    let (action, syspath) = header.split_once('@').ok_or(UeventError::Header)?;
    if !is_plain(syspath) {
        return Err(UeventError::Header);
    }
    let mut properties = BTreeMap::new();
    for part in parts.take(MAX_PROPERTIES) {
        if let Some((key, value)) = part.split_once('=') {
            properties
                .entry(key.to_owned())
                .or_insert_with(|| value.to_owned());
        }
    }
    for (key, said) in [("ACTION", action), ("DEVPATH", syspath)] {
        if properties.get(key).is_some_and(|value| value != said) {
            return Err(UeventError::Contradiction);
        }
    }
    Ok(Uevent {
        action: Action::from(action),
        syspath: syspath.to_owned(),
        properties,
    })
}

impl From<&str> for Action {
    fn from(word: &str) -> Self {
        match word {
            "add" => Self::Add,
            "remove" => Self::Remove,
            "bind" => Self::Bind,
            _ => Self::Other,
        }
    }
}

fn is_plain(syspath: &str) -> bool {
    let levels = syspath.strip_prefix('/').map(|path| path.split('/'));
    levels.is_some_and(|mut levels| levels.all(|level| !matches!(level, "" | "." | "..")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STICK: &[u8] =
        b"add@/devices/pci0/usb2/2-1\0ACTION=add\0DEVPATH=/devices/pci0/usb2/2-1\0\
        SUBSYSTEM=usb\0DEVTYPE=usb_device\0PRODUCT=46f4/1/0\0SEQNUM=1017\0SEQNUM=2\0";

    #[test]
    fn a_message_of_the_kernel_is_read() {
        let uevent = parse(STICK).unwrap();
        assert_eq!(uevent.action, Action::Add);
        assert_eq!(uevent.syspath, "/devices/pci0/usb2/2-1");
        assert_eq!(
            (uevent.subsystem(), uevent.device_type()),
            ("usb", "usb_device")
        );
        assert_eq!(uevent.get("SEQNUM"), Some("1017"));
        assert_eq!(uevent.get("SERIAL"), None);
    }

    #[test]
    fn what_is_no_message_of_the_kernel_is_refused() {
        let long = vec![b'a'; MAX_MESSAGE + 1];
        for (message, why) in [
            (&b""[..], UeventError::Header),
            (b"add", UeventError::Header),
            (b"add@", UeventError::Header),
            (b"add@devices/x\0", UeventError::Header),
            (b"add@/devices/../../etc\0", UeventError::Header),
            (b"add@/devices//x\0", UeventError::Header),
            (b"libudev\0\xfe\xed\xca\xfe", UeventError::Libudev),
            (
                b"add@/devices/x\0ACTION=remove\0",
                UeventError::Contradiction,
            ),
            (
                b"add@/devices/x\0DEVPATH=/devices/y\0",
                UeventError::Contradiction,
            ),
            (&long, UeventError::TooLong),
        ] {
            assert_eq!(
                parse(message),
                Err(why),
                "{}",
                String::from_utf8_lossy(message)
            );
        }
    }

    #[test]
    fn what_a_message_is_about_is_told_without_reading_it() {
        assert!(is_about(STICK, &["block", "usb"]));
        assert!(!is_about(STICK, &["net"]));
        assert!(!is_about(b"add@/devices/x\0", &["usb"]));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let uevent = parse(b"change@/devices/x\0NAME=\xff\xfe\0=\0no pair\0").unwrap();
        assert_eq!(uevent.action, Action::Other);
        assert_eq!(uevent.get("NAME"), Some("\u{fffd}\u{fffd}"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&message);
        }

        #[test]
        fn a_changed_message_gives_a_plain_path_or_an_error(at in 0..STICK.len(), byte: u8) {
            let mut message = STICK.to_vec();
            message[at] = byte;
            if let Ok(uevent) = parse(&message) {
                prop_assert!(uevent.syspath.starts_with('/'));
                prop_assert!(!uevent.syspath.contains("/.."));
            }
        }
    }
}
