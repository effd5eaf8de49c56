//! What a USB device says it can do: from the bytes of sysfs `descriptors` to an outline to kinds.
//!
//! `descriptors` holds the device descriptor and every configuration's descriptors one after the other, each
//! with its length and type in front; the interfaces of a configuration that is not active stand nowhere else.
//! Invariant: whatever the bytes, reading ends, takes no longer than their length and keeps at most
//! [`MAX_INTERFACES`]; a descriptor shorter than its kind is passed over, a length that leads nowhere ends the
//! list. Sources: USB 2.0 section 9.6, the class codes of usb.org, Linux `Documentation/ABI/testing/sysfs-bus-usb`.

use std::{collections::BTreeSet, fmt};

use labwatch_contract::event::usb::DeviceKind;

use super::drivers::Numbers;

/// Most interfaces that are kept of one device.
pub const MAX_INTERFACES: usize = 64;

const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;

/// The vendor's own class, as phones of before the MTP class give it, and network sticks too.
const VENDOR_OWN: Interface = Interface {
    class: 0xff,
    subclass: 0xff,
    protocol: 0,
};

/// Bytes at least that an interrupt endpoint for MTP's events takes; a network stick's has 2.
const MTP_EVENT: u16 = 8;

/// The class of an interface: what it says it can do. Written as `08:06:50`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// `bInterfaceClass`.
    pub class: u8,
    /// `bInterfaceSubClass`.
    pub subclass: u8,
    /// `bInterfaceProtocol`.
    pub protocol: u8,
}

impl Interface {
    /// Reads the three decimal numbers of a uevent's `INTERFACE=8/6/80` or `TYPE=9/0/1`.
    #[must_use]
    pub fn from_uevent(text: &str) -> Option<Self> {
        let mut numbers = text.split('/').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            class: next()?,
            subclass: next()?,
            protocol: next()?,
        })
    }

    /// What its class alone says; `None` where that is nothing, as for the vendor's own class.
    #[must_use]
    pub fn kind(self) -> Option<DeviceKind> {
        Some(match (self.class, self.subclass, self.protocol) {
            (0x01, ..) => DeviceKind::Audio,
            // Ethernet, EEM, NCM and MBIM; RNDIS in its three guises; an iPhone's tethering.
            (0x02, 0x06 | 0x0c | 0x0d | 0x0e, _) | (0x02, 0x02, 0xff) => DeviceKind::Network,
            (0xe0, 0x01, 0x03) | (0xef, 0x04, 0x01) | (0xff, 0xfd, 0x01) => DeviceKind::Network,
            (0x03, _, 0x01) => DeviceKind::Keyboard,
            (0x03, _, 0x02) => DeviceKind::Mouse,
            // Still imaging (PTP, MTP); Android's adb and fastboot; Apple's multiplexer.
            (0x06, ..) | (0xff, 0x42, 0x01 | 0x03) | (0xff, 0xfe, 0x02) => DeviceKind::Phone,
            (0x07, ..) => DeviceKind::Printer,
            (0x08, ..) => DeviceKind::Storage,
            (0x09, ..) => DeviceKind::Hub,
            (0x0e | 0x10, ..) => DeviceKind::Video,
            (0xe0, 0x01, 0x01 | 0x04) => DeviceKind::Bluetooth,
            _ => return None,
        })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            class,
            subclass,
            protocol,
        } = self;
        write!(f, "{class:02x}:{subclass:02x}:{protocol:02x}")
    }
}

/// What the descriptors of one device say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The numbers of the device descriptor, where there is one.
    pub device: Option<Numbers>,
    /// The interfaces of all configurations, in the order of the bytes. Alternate settings of one interface are
    /// told once, unless their classes differ.
    pub interfaces: Vec<Interface>,
    /// An interface of the vendor's own class has the endpoints of MTP: bulk in, bulk out, interrupt in.
    pub shaped_as_mtp: bool,
}

/// Reads the descriptors of one device.
#[must_use]
pub fn outline(descriptors: &[u8]) -> Outline {
    let mut reader = Reader::default();
    for descriptor in walk(descriptors) {
        reader.take(descriptor);
    }
    reader.close();
    reader.outline
}

#[derive(Default)]
struct Reader {
    outline: Outline,
    configuration: usize,
    seen: BTreeSet<(usize, u8, Interface)>,
    /// Address, transfer type and longest packet of the endpoints of a [`VENDOR_OWN`] interface.
    endpoints: Option<Vec<(u8, u8, u16)>>,
}

impl Reader {
    fn take(&mut self, descriptor: &[u8]) {
        match *descriptor {
            [
                _,
                DEVICE,
                _,
                _,
                class,
                subclass,
                protocol,
                _,
                v0,
                v1,
                p0,
                p1,
                r0,
                r1,
                ..,
            ] => {
                self.outline.device.get_or_insert(Numbers {
                    vendor: u16::from_le_bytes([v0, v1]),
                    product: u16::from_le_bytes([p0, p1]),
                    release: u16::from_le_bytes([r0, r1]),
                    class: Interface {
                        class,
                        subclass,
                        protocol,
                    },
                });
            }
            [_, CONFIGURATION, ..] => self.configuration += 1,
            [_, INTERFACE, number, _, _, class, subclass, protocol, ..] => {
                let interface = Interface {
                    class,
                    subclass,
                    protocol,
                };
                self.close();
                self.endpoints = (interface == VENDOR_OWN).then(Vec::new);
                let known = &mut self.outline.interfaces;
                if known.len() < MAX_INTERFACES
                    && self.seen.insert((self.configuration, number, interface))
                {
                    known.push(interface);
                }
            }
            [_, ENDPOINT, address, attributes, low, high, ..] => {
                if let Some(endpoints) = &mut self.endpoints {
                    let longest = u16::from_le_bytes([low, high]);
                    endpoints.push((address & 0x80, attributes & 3, longest));
                }
            }
            _ => {}
        }
    }

    /// An interface is over: was it one for MTP?
    fn close(&mut self) {
        if let Some([(0x80, 2, _), (0, 2, _), (0x80, 3, longest)]) =
            self.endpoints.take().as_deref()
        {
            self.outline.shaped_as_mtp |= *longest >= MTP_EVENT;
        }
    }
}

/// What a device can do by its outline and by the drivers that the kernel has for it, each kind once; `other` where
/// none is known.
#[must_use]
pub fn kinds(outline: &Outline, driven: &BTreeSet<DeviceKind>) -> Vec<DeviceKind> {
    let said = outline.interfaces.iter().filter_map(|known| known.kind());
    let mut kinds: BTreeSet<_> = said.chain(driven.iter().copied()).collect();
    // A network stick may have the same endpoints.
    if outline.shaped_as_mtp && !kinds.contains(&DeviceKind::Network) {
        kinds.insert(DeviceKind::Phone);
    }
    if kinds.is_empty() {
        return vec![DeviceKind::Other];
    }
    kinds.into_iter().collect()
}

/// The single descriptors, each with its length and type in front.
fn walk(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        let (descriptor, tail) = rest.split_at_checked(length)?;
        rest = tail;
        (length >= 2).then_some(descriptor)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: [u8; 9] = [9, CONFIGURATION, 32, 0, 1, 1, 0, 0x80, 50];

    fn interface(number: u8, alternate: u8, class: [u8; 3]) -> [u8; 9] {
        let [class, subclass, protocol] = class;
        [
            9, INTERFACE, number, alternate, 2, class, subclass, protocol, 0,
        ]
    }

    fn written(descriptors: &[u8]) -> Vec<String> {
        outline(descriptors)
            .interfaces
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_interfaces_of_every_configuration_are_told() {
        let descriptors = [
            CONFIG,
            interface(0, 0, [2, 2, 0xff]),
            interface(1, 0, [10, 0, 0]),
            CONFIG,
            interface(0, 0, [2, 6, 0]),
            interface(1, 0, [10, 0, 0]),
            interface(1, 1, [10, 0, 0]),
        ];
        assert_eq!(
            written(&descriptors.concat()),
            ["02:02:ff", "0a:00:00", "02:06:00", "0a:00:00"]
        );
    }

    #[test]
    fn another_class_in_an_alternate_setting_is_told() {
        let descriptors = [
            CONFIG,
            interface(0, 0, [8, 6, 0x50]),
            interface(0, 1, [8, 6, 0x62]),
        ];
        assert_eq!(written(&descriptors.concat()), ["08:06:50", "08:06:62"]);
    }

    #[test]
    fn malformed_lengths_end_the_list_or_are_passed_over() {
        let good = interface(0, 0, [3, 1, 1]);
        assert_eq!(written(&[&good[..], &[0, 4, 0, 0]].concat()), ["03:01:01"]);
        assert_eq!(written(&[&good[..], &[1, 4]].concat()), ["03:01:01"]);
        assert_eq!(written(&[&[3, 4, 9][..], &good].concat()), ["03:01:01"]);
        assert_eq!(
            written(&[&good[..], &[255, 4, 1, 0, 2, 8, 6, 80, 0]].concat()),
            ["03:01:01"]
        );
        assert_eq!(written(&[]), [""; 0]);
    }

    #[test]
    fn kinds_follow_the_classes() {
        for (class, kind) in [
            ([0x08, 6, 0x50], DeviceKind::Storage),
            ([0x06, 1, 1], DeviceKind::Phone),
            ([0x02, 0x0d, 0], DeviceKind::Network),
            ([0xe0, 1, 3], DeviceKind::Network),
            ([0xef, 4, 1], DeviceKind::Network),
            ([0x03, 1, 1], DeviceKind::Keyboard),
            ([0x03, 0, 2], DeviceKind::Mouse),
            ([0x03, 0, 0], DeviceKind::Other),
            ([0xe0, 1, 1], DeviceKind::Bluetooth),
            ([0x01, 1, 0], DeviceKind::Audio),
            ([0x0e, 1, 0], DeviceKind::Video),
            ([0x07, 1, 2], DeviceKind::Printer),
            ([0x09, 0, 0], DeviceKind::Hub),
            ([0x0b, 0, 0], DeviceKind::Other),
        ] {
            assert_eq!(
                kinds(&outline(&interface(0, 0, class)), &BTreeSet::new()),
                [kind],
                "{class:?}"
            );
        }
        assert_eq!(
            kinds(&Outline::default(), &BTreeSet::new()),
            [DeviceKind::Other]
        );
    }

    #[test]
    fn a_phones_own_class_is_told_from_a_network_sticks_by_the_endpoints() {
        let endpoint =
            |address, attributes, longest| [7, ENDPOINT, address, attributes, longest, 0, 6];
        let device = |endpoints: [[u8; 7]; 3]| {
            let own = interface(0, 0, [0xff, 0xff, 0]);
            let all = [&own[..], &endpoints.concat()].concat();
            kinds(&outline(&all), &BTreeSet::new())
        };
        let phone = [
            endpoint(0x81, 2, 64),
            endpoint(1, 2, 64),
            endpoint(0x82, 3, 28),
        ];
        assert_eq!(device(phone), [DeviceKind::Phone]);
        let rtl8153 = [
            endpoint(0x81, 2, 64),
            endpoint(2, 2, 64),
            endpoint(0x83, 3, 2),
        ];
        assert_eq!(device(rtl8153), [DeviceKind::Other]);
        let ax88179 = [
            endpoint(0x81, 3, 8),
            endpoint(0x82, 2, 64),
            endpoint(3, 2, 64),
        ];
        assert_eq!(device(ax88179), [DeviceKind::Other]);
        let driven = BTreeSet::from([DeviceKind::Network]);
        let own = interface(0, 0, [0xff, 0xff, 0]);
        let all = [&own[..], &phone.concat()].concat();
        assert_eq!(kinds(&outline(&all), &driven), [DeviceKind::Network]);
    }

    #[test]
    fn a_uevents_decimal_numbers_are_read() {
        let stick = Interface::from_uevent("8/6/80").unwrap();
        assert_eq!(stick.to_string(), "08:06:50");
        for text in ["", "8", "8/6", "8/6/256", "8/6/x", "-1/0/0"] {
            assert_eq!(Interface::from_uevent(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let found = outline(&bytes);
            prop_assert!(found.interfaces.len() <= MAX_INTERFACES);
            prop_assert!(!kinds(&found, &BTreeSet::new()).is_empty());
        }
    }
}
