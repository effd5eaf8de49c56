//! What the kernel would make of an interface whose class says nothing: from the module tables of the running
//! kernel to a kind.
//!
//! Most network sticks have the vendor's own class (`ff`) alone. Their driver knows them by their numbers: a line
//! `alias usb:v0BDAp8153d*dc*dsc*dp*icFFisc*ip*in* r8152` of `modules.alias` names it, a line
//! `kernel/drivers/net/usb/r8152.ko: …` of `modules.dep` says by its folder what it drives. Lines of another shape
//! say nothing; a pattern takes time in proportion to its length times that of the text at most. Sources:
//! modules.dep(5), Linux `scripts/mod/file2alias.c`.

use std::collections::BTreeSet;

use labwatch_contract::event::usb::DeviceKind;

use super::descriptors::{Interface, Outline};

/// Folders of the kernel's tree, and what the drivers in them drive.
const FOLDERS: [(&str, DeviceKind); 10] = [
    ("/drivers/net/", DeviceKind::Network),
    ("/drivers/staging/r8188eu/", DeviceKind::Network),
    ("/drivers/bluetooth/", DeviceKind::Bluetooth),
    ("/drivers/usb/storage/", DeviceKind::Storage),
    ("/drivers/misc/cardreader/", DeviceKind::Storage),
    ("/drivers/memstick/", DeviceKind::Storage),
    ("/drivers/mmc/", DeviceKind::Storage),
    ("/drivers/media/", DeviceKind::Video),
    ("/drivers/isdn/", DeviceKind::Network),
    ("/sound/", DeviceKind::Audio),
];

/// Most drivers of one device that are looked at.
const MAX_DRIVERS: usize = 16;

/// The drivers of one device, found by feeding it `modules.alias`, then `modules.dep`, line by line.
#[derive(Debug)]
pub struct Drivers {
    modaliases: Vec<String>,
    names: BTreeSet<String>,
    kinds: BTreeSet<DeviceKind>,
}

impl Drivers {
    /// Asks about the interfaces whose class says nothing. `None` where there are none, or no device descriptor.
    #[must_use]
    pub fn of(outline: &Outline) -> Option<Self> {
        let device = outline.device?;
        let unknown = outline
            .interfaces
            .iter()
            .filter(|known| known.kind().is_none());
        let modaliases: BTreeSet<_> = unknown
            .map(|interface| device.modalias(*interface))
            .collect();
        (!modaliases.is_empty()).then(|| Self {
            modaliases: modaliases.into_iter().collect(),
            names: BTreeSet::new(),
            kinds: BTreeSet::new(),
        })
    }

    /// A line of `modules.alias`.
    pub fn take_alias(&mut self, line: &str) {
        let Some((pattern, name)) = line
            .strip_prefix("alias usb:")
            .and_then(|rest| rest.rsplit_once(' '))
        else {
            return;
        };
        // The end names an interface by its number: the device has it, or the driver would not ask for it.
        let pattern = pattern
            .rsplit_once("in")
            .map_or(pattern, |(start, _)| start);
        let own = |text: &String| matches(pattern.as_bytes(), text.as_bytes());
        if self.names.len() < MAX_DRIVERS && self.modaliases.iter().any(own) {
            self.names.insert(name.trim().replace('-', "_"));
        }
    }

    /// Whether no driver was found, so that nothing more needs to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A line of `modules.dep`.
    pub fn take_path(&mut self, line: &str) {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        let name = file.split('.').next().unwrap_or_default().replace('-', "_");
        if self.names.contains(&name) {
            let folder = FOLDERS.iter().find(|(folder, _)| path.contains(folder));
            self.kinds.extend(folder.map(|(_, kind)| *kind));
        }
    }

    /// What the drivers drive.
    #[must_use]
    pub fn kinds(self) -> BTreeSet<DeviceKind> {
        self.kinds
    }
}

/// The numbers of a device descriptor that drivers look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// `bcdDevice`.
    pub release: u16,
    /// Class, subclass and protocol of the device as a whole.
    pub class: Interface,
}

impl Numbers {
    /// As sysfs writes `modalias`, without `usb:` and without the number of the interface.
    fn modalias(self, interface: Interface) -> String {
        let Self {
            vendor,
            product,
            release,
            class,
        } = self;
        format!(
            "v{vendor:04X}p{product:04X}d{release:04X}dc{:02X}dsc{:02X}dp{:02X}ic{:02X}isc{:02X}ip{:02X}",
            class.class,
            class.subclass,
            class.protocol,
            interface.class,
            interface.subclass,
            interface.protocol
        )
    }
}

/// A pattern with `*`, `?` and `[0-9A]`, against a whole text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut left) = (pattern, text);
    // Where to go on when the text after the last `*` does not fit.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            again = Some((after, left));
            rest = after;
            continue;
        }
        match (one(rest, left.first().copied()), left) {
            (Some(after), [_, tail @ ..]) => (rest, left) = (after, tail),
            (_, []) => return rest.is_empty(),
            _ => match again {
                Some((after, [_, tail @ ..])) => {
                    again = Some((after, tail));
                    (rest, left) = (after, tail);
                }
                _ => return false,
            },
        }
    }
}

/// What of the pattern is left when its first place fits the byte.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (set, rest) = rest.split_at_checked(end)?;
            in_set(set, byte).then(|| rest.get(1..)).flatten()
        }
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => None,
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    loop {
        match set {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                set = rest;
            }
            [single, rest @ ..] => {
                if *single == byte {
                    return true;
                }
                set = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALIASES: &str = "# Aliases\nalias usb:v0BDAp8153d*dc*dsc*dp*icFFisc*ip*in* r8152\nalias usb:v0BDAp8153d*dc*dsc*dp*ic02isc06ip00in* r8153_ecm\nalias usb:v0BDApB812d*dc*dsc*dp*icFFiscFFipFFin* rtw88-8822bu\nalias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb_storage\nalias pci:v00008086d*sv*sd*bc*sc*i* e1000\nalias usb:v03F0p012Ad[0-9]*dc*dsc*dp*icFFisc*ip*in* ftdi_sio\n";
    const PATHS: &str = "kernel/drivers/net/usb/r8152.ko: kernel/drivers/net/mii.ko\nkernel/drivers/net/wireless/realtek/rtw88/rtw88_8822bu.ko.xz:\nkernel/drivers/usb/serial/ftdi_sio.ko: x\n";

    fn ask(vendor: u16, product: u16, classes: &[(u8, u8, u8)]) -> Option<Vec<DeviceKind>> {
        let interface = |&(class, subclass, protocol): &(u8, u8, u8)| Interface {
            class,
            subclass,
            protocol,
        };
        let mut drivers = Drivers::of(&Outline {
            device: Some(Numbers {
                vendor,
                product,
                release: 0x3000,
                class: interface(&(0, 0, 0)),
            }),
            interfaces: classes.iter().map(interface).collect(),
            ..Outline::default()
        })?;
        ALIASES.lines().for_each(|line| drivers.take_alias(line));
        PATHS.lines().for_each(|line| drivers.take_path(line));
        Some(drivers.kinds().into_iter().collect())
    }

    #[test]
    fn a_network_stick_of_the_vendors_own_class_is_known_by_its_driver() {
        assert_eq!(
            ask(0x0bda, 0x8153, &[(255, 255, 0)]),
            Some(vec![DeviceKind::Network])
        );
        assert_eq!(
            ask(0x0bda, 0xb812, &[(255, 255, 255)]),
            Some(vec![DeviceKind::Network])
        );
    }

    #[test]
    fn a_serial_adapter_and_an_unknown_device_have_no_kind_by_their_driver() {
        assert_eq!(ask(0x03f0, 0x012a, &[(255, 255, 255)]), Some(vec![]));
        assert_eq!(ask(0x4242, 0x0001, &[(255, 255, 255)]), Some(vec![]));
    }

    #[test]
    fn nothing_is_asked_of_a_device_whose_classes_say_all() {
        assert_eq!(ask(0x0bda, 0x8153, &[(8, 6, 0x50), (3, 1, 1)]), None);
    }

    #[test]
    fn a_pattern_fits_a_whole_text() {
        for (pattern, text, fits) in [
            ("v*p*in*", "v12p34in00", true),
            ("v*p*in*", "v12p34", false),
            ("v12", "v123", false),
            ("v[0-9A]?", "vA9", true),
            ("v[0-9A]?", "vB9", false),
            ("v[0-9", "v1", false),
            ("***", "", true),
            ("", "", true),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                fits,
                "{pattern} {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(alias usb:)?[ -~]{0,60}") {
            let mut drivers = Drivers { modaliases: vec!["v12p34".into()], names: BTreeSet::new(), kinds: BTreeSet::new() };
            drivers.take_alias(&line);
            drivers.take_path(&line);
        }

        #[test]
        fn a_text_fits_itself_with_any_part_replaced(text in "[a-z]{1,20}", at in 0..20_usize, length in 0..20_usize) {
            let (at, end) = (at.min(text.len()), (at + length).min(text.len()).max(at.min(text.len())));
            let pattern = format!("{}*{}", &text[..at], &text[end..]);
            prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
