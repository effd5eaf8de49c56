//! Devices of all classes by their interfaces: what each is told to be.
//!
//! The layouts are facts of public sources, one word a row: `class` (the class codes of usb.org, as usb.ids and systemd's
//! `20-usb-classes.hwdb` list them), `gadget` (the functions and gadgets of Linux `drivers/usb/gadget`), `driver` (the
//! tables of ids and interfaces in Linux drivers, as `modules.alias` has them), `recorded` (this crate's `fixtures/uevents`).
//! Interfaces of one configuration are divided by blanks, configurations by `|`.

mod usb_support;

use std::collections::BTreeSet;

use labwatch_agent::usb::{
    descriptors::{kinds, outline},
    drivers::Drivers,
};
use usb_support::descriptors;

/// Name, ids, interfaces, what it is told to be, source.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const DEVICES: [Row; 78] = [
    (
        "stick, bulk only",
        "46f4:0001",
        "08:06:50",
        "storage",
        "recorded",
    ),
    (
        "stick, UAS with bulk only as its other setting",
        "174c:55aa",
        "08:06:50 08:06:62",
        "storage",
        "class",
    ),
    (
        "disk, UAS alone",
        "152d:0578",
        "08:06:62",
        "storage",
        "class",
    ),
    (
        "floppy drive, UFI",
        "0644:0000",
        "08:04:00",
        "storage",
        "class",
    ),
    (
        "optical drive, MMC-5",
        "0e8d:1806",
        "08:02:50",
        "storage",
        "class",
    ),
    (
        "tape drive, QIC-157",
        "03f0:0225",
        "08:03:50",
        "storage",
        "class",
    ),
    (
        "reader, control/bulk/interrupt",
        "0644:1000",
        "08:01:00",
        "storage",
        "class",
    ),
    (
        "g_mass_storage",
        "0525:a4a5",
        "08:06:50",
        "storage",
        "gadget",
    ),
    (
        "phone, MTP as still image",
        "46f4:0004",
        "06:01:01",
        "phone",
        "recorded",
    ),
    ("camera, PTP", "04a9:3218", "06:01:01", "phone", "class"),
    (
        "phone, MTP and adb",
        "18d1:4ee2",
        "06:01:01 ff:42:01",
        "phone",
        "driver",
    ),
    (
        "phone, adb alone",
        "18d1:4ee7",
        "ff:42:01",
        "phone",
        "driver",
    ),
    (
        "phone in fastboot",
        "18d1:4ee0",
        "ff:42:03",
        "phone",
        "driver",
    ),
    (
        "iPhone, PTP, multiplexer and tethering",
        "05ac:12a8",
        "06:01:01 | 06:01:01 ff:fe:02 | 06:01:01 ff:fe:02 ff:fd:01",
        "phone+network",
        "driver",
    ),
    (
        "phone, RNDIS tethering",
        "18d1:4ee3",
        "e0:01:03 0a:00:00",
        "network",
        "driver",
    ),
    (
        "phone, RNDIS and adb",
        "18d1:4ee4",
        "e0:01:03 0a:00:00 ff:42:01",
        "phone+network",
        "driver",
    ),
    (
        "phone, MIDI",
        "18d1:4ee8",
        "01:01:00 01:03:00",
        "audio",
        "class",
    ),
    (
        "phone, PTP and storage",
        "0bb4:0c02",
        "06:01:01 08:06:50",
        "storage+phone",
        "class",
    ),
    (
        "network card, ECM",
        "0525:a4a1",
        "02:06:00 0a:00:00",
        "network",
        "gadget",
    ),
    (
        "network card, RNDIS and ECM",
        "0525:a4a2",
        "02:02:ff 0a:00:00 | 02:06:00 0a:00:00",
        "network",
        "recorded",
    ),
    (
        "network card, NCM",
        "0525:a4a6",
        "02:0d:00 0a:00:01",
        "network",
        "gadget",
    ),
    (
        "network card, EEM",
        "0525:a4a7",
        "02:0c:07",
        "network",
        "gadget",
    ),
    (
        "modem, MBIM",
        "1199:9071",
        "02:0e:00 0a:00:02",
        "network",
        "class",
    ),
    (
        "RNDIS as a miscellaneous device",
        "0421:0001",
        "ef:04:01 0a:00:00",
        "network",
        "driver",
    ),
    (
        "RTL8153 by its second configuration",
        "0bda:8153",
        "ff:ff:00 | 02:06:00 0a:00:00",
        "network",
        "driver",
    ),
    (
        "RTL8152, vendor's own alone",
        "0bda:8152",
        "ff:ff:00",
        "network",
        "driver",
    ),
    (
        "AX88179, vendor's own alone",
        "0b95:1790",
        "ff:ff:00",
        "network",
        "driver",
    ),
    (
        "RTL8188EU wireless stick",
        "0bda:8179",
        "ff:ff:ff",
        "network",
        "driver",
    ),
    (
        "MT7601U wireless stick",
        "148f:7601",
        "ff:ff:ff",
        "network",
        "driver",
    ),
    (
        "AR9271 wireless stick",
        "0cf3:9271",
        "ff:00:00",
        "network",
        "driver",
    ),
    (
        "modem, QMI beside serial ports",
        "1199:68a2",
        "ff:ff:ff ff:00:00",
        "network",
        "driver",
    ),
    ("keyboard", "0627:0001", "03:01:01", "keyboard", "recorded"),
    (
        "keyboard with media keys",
        "046d:c31c",
        "03:01:01 03:00:00",
        "keyboard",
        "class",
    ),
    (
        "receiver of keyboard and mouse",
        "046d:c534",
        "03:01:01 03:01:02",
        "keyboard+mouse",
        "class",
    ),
    (
        "receiver with a third interface",
        "046d:c52b",
        "03:01:01 03:01:02 03:00:00",
        "keyboard+mouse",
        "class",
    ),
    ("mouse", "0627:0001", "03:01:02", "mouse", "recorded"),
    (
        "mouse that says keyboard too",
        "1532:0067",
        "03:00:02 03:00:01 03:00:01",
        "keyboard+mouse",
        "class",
    ),
    ("tablet", "0627:0001", "03:00:00", "other", "recorded"),
    (
        "g_hid as a keyboard",
        "0525:a4ac",
        "03:01:01",
        "keyboard",
        "gadget",
    ),
    (
        "security key, FIDO",
        "1050:0120",
        "03:00:00",
        "other",
        "class",
    ),
    (
        "security key that types",
        "1050:0407",
        "03:01:01 03:00:00 0b:00:00",
        "keyboard",
        "class",
    ),
    (
        "gamepad",
        "045e:028e",
        "ff:5d:01 ff:5d:03",
        "other",
        "driver",
    ),
    (
        "bluetooth adapter",
        "0a12:0001",
        "e0:01:01 e0:01:01",
        "bluetooth",
        "class",
    ),
    (
        "bluetooth adapter of a vendor's own class",
        "0a5c:21e8",
        "ff:01:01",
        "bluetooth",
        "driver",
    ),
    (
        "bluetooth adapter with AMP",
        "0a12:0002",
        "e0:01:01 e0:01:04",
        "bluetooth",
        "class",
    ),
    (
        "wireless and bluetooth in one",
        "0bda:b720",
        "e0:01:01 ff:ff:ff",
        "network+bluetooth",
        "driver",
    ),
    (
        "headset",
        "046d:0a44",
        "01:01:00 01:02:00 01:02:00 03:00:00",
        "audio",
        "class",
    ),
    (
        "sound card of class 3",
        "1235:8219",
        "01:01:30 01:02:30",
        "audio",
        "class",
    ),
    (
        "g_audio",
        "1d6b:0101",
        "01:01:20 01:02:20 01:02:20",
        "audio",
        "gadget",
    ),
    (
        "g_midi",
        "17b3:0004",
        "01:01:00 01:03:00",
        "audio",
        "gadget",
    ),
    (
        "webcam",
        "046d:0825",
        "0e:01:00 0e:02:00 01:01:00 01:02:00",
        "audio+video",
        "class",
    ),
    (
        "camera alone",
        "0c45:6366",
        "0e:01:00 0e:02:00",
        "video",
        "class",
    ),
    (
        "g_webcam",
        "1d6b:0102",
        "0e:01:00 0e:02:00",
        "video",
        "gadget",
    ),
    (
        "audio/video device",
        "1d6b:ffff",
        "10:01:00 10:02:00",
        "video",
        "class",
    ),
    (
        "television stick",
        "0bda:2838",
        "ff:ff:ff ff:ff:ff",
        "video",
        "driver",
    ),
    ("printer", "03f0:0053", "07:01:02", "printer", "class"),
    (
        "printer, IEEE 1284.4",
        "04b8:0005",
        "07:01:03",
        "printer",
        "class",
    ),
    (
        "printer with scanner and card slot",
        "04a9:1746",
        "07:01:02 ff:00:00 08:06:50",
        "storage+printer",
        "class",
    ),
    (
        "printer by IPP over USB",
        "03f0:0c2a",
        "07:01:04 07:01:04",
        "printer",
        "class",
    ),
    ("g_printer", "0525:a4a8", "07:01:02", "printer", "gadget"),
    ("hub", "0409:55aa", "09:00:00", "hub", "recorded"),
    (
        "hub with several translators",
        "05e3:0610",
        "09:00:01 09:00:02",
        "hub",
        "class",
    ),
    ("hub of USB 3", "05e3:0612", "09:00:00", "hub", "class"),
    (
        "smart card reader",
        "08e6:4433",
        "0b:00:00",
        "other",
        "recorded",
    ),
    (
        "serial adapter, vendor's own",
        "0403:6001",
        "ff:ff:ff",
        "other",
        "driver",
    ),
    (
        "serial adapter, CDC ACM",
        "2341:0043",
        "02:02:01 0a:00:00",
        "other",
        "class",
    ),
    (
        "g_serial",
        "0525:a4a7",
        "02:02:01 0a:00:00",
        "other",
        "gadget",
    ),
    (
        "g_zero",
        "0525:a4a0",
        "ff:00:00 | ff:00:00",
        "other",
        "gadget",
    ),
    ("firmware update", "0483:df11", "fe:01:01", "other", "class"),
    ("billboard", "2109:0101", "11:00:00", "other", "class"),
    (
        "test and measurement",
        "0957:0588",
        "fe:03:01",
        "other",
        "class",
    ),
    (
        "card reader of the vendor's own class",
        "0bda:0129",
        "ff:06:50",
        "storage",
        "driver",
    ),
    (
        "stick that types",
        "0781:5581",
        "08:06:50 03:01:01",
        "storage+keyboard",
        "recorded",
    ),
    (
        "stick that types by another configuration",
        "0781:5582",
        "08:06:50 | 03:01:01",
        "storage+keyboard",
        "class",
    ),
    (
        "stick with a network card",
        "1d6b:0104",
        "08:06:50 02:06:00 0a:00:00",
        "storage+network",
        "gadget",
    ),
    (
        "g_multi",
        "1d6b:0105",
        "e0:01:03 0a:00:00 02:02:01 0a:00:00 08:06:50 | 02:06:00 0a:00:00 02:02:01 0a:00:00 08:06:50",
        "storage+network",
        "gadget",
    ),
    (
        "keyboard with a network card",
        "1d6b:0106",
        "03:01:01 02:0d:00 0a:00:01",
        "network+keyboard",
        "gadget",
    ),
    (
        "dock: network, sound, hub",
        "17ef:3082",
        "02:06:00 0a:00:00 01:01:00 01:02:00 09:00:00",
        "network+audio+hub",
        "class",
    ),
];

/// What the tables of Linux 6.1 say of the rows of source `driver`.
const ALIASES: &str = "\
alias usb:v0BDAp8152d*dc*dsc*dp*ic*isc*ip*in* r8152
alias usb:v0B95p1790d*dc*dsc*dp*icFFiscFFip00in* ax88179_178a
alias usb:v0BDAp8179d*dc*dsc*dp*ic*isc*ip*in* r8188eu
alias usb:v148Fp7601d*dc*dsc*dp*ic*isc*ip*in* mt7601u
alias usb:v0CF3p9271d*dc*dsc*dp*ic*isc*ip*in* ath9k_htc
alias usb:v1199p68A2d*dc*dsc*dp*ic*isc*ip*in08* qmi_wwan
alias usb:v1199p68A2d*dc*dsc*dp*ic*isc*ip*in* qcserial
alias usb:v0A5Cp*d*dc*dsc*dp*icFFisc01ip01in* btusb
alias usb:v0BDApB720d*dc*dsc*dp*icFFiscFFipFFin* rtl8xxxu
alias usb:v0BDAp2838d*dc*dsc*dp*ic*isc*ip*in* dvb_usb_rtl28xxu
alias usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in* ftdi_sio
alias usb:v045Ep*d*dc*dsc*dp*icFFisc5Dip01in* xpad
alias usb:v0BDAp0129d*dc*dsc*dp*ic*isc*ip*in* rtsx_usb
alias usb:v*p*d*dc*dsc*dp*ic03isc*ip*in* usbhid
alias usb:v*p*d*dc*dsc*dp*ic02isc02ip01in* cdc_acm
";
const PATHS: &str = "\
kernel/drivers/net/usb/r8152.ko: kernel/drivers/net/mii.ko
kernel/drivers/net/usb/ax88179_178a.ko:
kernel/drivers/staging/r8188eu/r8188eu.ko:
kernel/drivers/net/wireless/mediatek/mt7601u/mt7601u.ko:
kernel/drivers/net/wireless/ath/ath9k/ath9k_htc.ko:
kernel/drivers/net/wireless/realtek/rtl8xxxu/rtl8xxxu.ko:
kernel/drivers/net/usb/qmi_wwan.ko:
kernel/drivers/usb/serial/qcserial.ko:
kernel/drivers/bluetooth/btusb.ko:
kernel/drivers/media/usb/dvb-usb-v2/dvb-usb-rtl28xxu.ko:
kernel/drivers/usb/serial/ftdi_sio.ko:
kernel/drivers/input/joystick/xpad.ko:
kernel/drivers/misc/cardreader/rtsx_usb.ko:
kernel/drivers/hid/usbhid/usbhid.ko:
kernel/drivers/usb/class/cdc-acm.ko:
";

#[test]
fn each_device_is_told_to_be_what_it_is() {
    for (name, ids, interfaces, expected, source) in DEVICES {
        let outline = outline(&descriptors(ids, interfaces));
        let driven = Drivers::of(&outline).map_or_else(BTreeSet::new, |mut drivers| {
            ALIASES.lines().for_each(|line| drivers.take_alias(line));
            PATHS.lines().for_each(|line| drivers.take_path(line));
            drivers.kinds()
        });
        let told: Vec<_> = kinds(&outline, &driven)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(told.join("+"), expected, "{name} ({ids}, {source})");
        let count = interfaces.replace('|', " ").split_whitespace().count();
        assert!(outline.interfaces.len() <= count, "{name}");
    }
}
