//! What the system's own list of USB ids calls a device that gives no name: from a line of `usb.ids` or of
//! udevd's `20-usb-vendor-model.hwdb` to a vendor's and a product's name.
//!
//! `usb.ids` has `1234  Vendor` and, below it and indented by a tab, `5678  Product`; further lists (classes,
//! languages) follow under words. The hwdb has `usb:v1234*` or `usb:v1234p5678*` and below it, indented by a blank,
//! `ID_VENDOR_FROM_DATABASE=` or `ID_MODEL_FROM_DATABASE=`. Either list is walked through line by line and not
//! kept. Lines of any other shape say nothing. Sources: the head of `usb.ids`, hwdb(7).

use super::snapshot::tidy;

/// The names of one device; each `None` where the list has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The vendor's.
    pub vendor: Option<String>,
    /// The product's.
    pub product: Option<String>,
}

/// Looks for one device in a list that is fed line by line.
#[derive(Debug)]
pub struct Search {
    vendor: u16,
    product: u16,
    at: Place,
    found: Names,
}

/// To what the lines that follow belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    Vendor,
    Product,
}

impl Search {
    /// For the device with these ids (hex); `None` where they are none.
    #[must_use]
    pub fn new(vendor: &str, product: &str) -> Option<Self> {
        let number = |hex: &str| u16::from_str_radix(hex.trim(), 16).ok();
        Some(Self {
            vendor: number(vendor)?,
            product: number(product)?,
            at: Place::Elsewhere,
            found: Names::default(),
        })
    }

    /// Takes the next line in, without its end. Returns `false` when no later line can say more.
    pub fn take(&mut self, line: &str) -> bool {
        if let Some(pattern) = line.strip_prefix("usb:v") {
            self.at = self.place(pattern);
        } else if let Some(property) = line.strip_prefix(' ') {
            self.take_property(property);
        } else if let Some(product) = line.strip_prefix('\t') {
            self.take_product(product);
        } else if !line.is_empty() && !line.starts_with('#') {
            // The next vendor of usb.ids: that of ours is over.
            if self.at == Place::Vendor && self.found.vendor.is_some() {
                return false;
            }
            self.at = Place::Elsewhere;
            if let Some(name) = entry(line, self.vendor) {
                self.at = Place::Vendor;
                self.found.vendor = tidy(name);
            }
        }
        self.found.product.is_none() || self.found.vendor.is_none()
    }

    /// What was found.
    #[must_use]
    pub fn end(self) -> Names {
        self.found
    }

    /// What a hwdb pattern (`1234*`, `1234p5678*`) is about.
    fn place(&self, pattern: &str) -> Place {
        let is = |hex: Option<&str>, id| {
            hex.and_then(|hex| u16::from_str_radix(hex, 16).ok()) == Some(id)
        };
        if !is(pattern.get(..4), self.vendor) {
            return Place::Elsewhere;
        }
        match pattern.get(4..) {
            Some("*") => Place::Vendor,
            Some(rest) if rest.starts_with('p') && is(rest.get(1..5), self.product) => {
                Place::Product
            }
            _ => Place::Elsewhere,
        }
    }

    fn take_property(&mut self, property: &str) {
        match (self.at, property.split_once('=')) {
            (Place::Vendor, Some(("ID_VENDOR_FROM_DATABASE", name))) => {
                self.found.vendor = tidy(name);
            }
            (Place::Product, Some(("ID_MODEL_FROM_DATABASE", name))) => {
                self.found.product = tidy(name);
            }
            _ => {}
        }
    }

    fn take_product(&mut self, line: &str) {
        if self.at == Place::Vendor
            && let Some(name) = entry(line, self.product)
        {
            self.found.product = tidy(name);
        }
    }
}

/// The name in `1234  Name`, where the number is `id`.
fn entry(line: &str, id: u16) -> Option<&str> {
    let (number, name) = line.split_once("  ")?;
    let known = number.len() == 4 && u16::from_str_radix(number, 16) == Ok(id);
    known.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USB_IDS: &str = "# a comment\n\n0001  First\n\t0001  Wrong one\n0951  Kingston Technology\n\t1665  Other stick\n\t1666  DataTraveler 100\n\t\t00  an interface\n0952  Next\n\t1666  Not this\nC 08  Mass Storage\n\t06  SCSI\n";
    const HWDB: &str = "# hwdb\n\nusb:v0951*\n ID_VENDOR_FROM_DATABASE=Kingston Technology\n\nusb:v0951p1665*\n ID_MODEL_FROM_DATABASE=Other stick\n\nusb:v0951p1666*\n ID_MODEL_FROM_DATABASE=DataTraveler 100\n\nusb:v0952p1666*\n ID_MODEL_FROM_DATABASE=Not this\n";

    fn look(list: &str, vendor: &str, product: &str) -> Names {
        let mut search = Search::new(vendor, product).unwrap();
        let _ = list.lines().all(|line| search.take(line));
        search.end()
    }

    #[test]
    fn both_lists_name_the_same_device() {
        let expected = Names {
            vendor: Some("Kingston Technology".into()),
            product: Some("DataTraveler 100".into()),
        };
        assert_eq!(look(USB_IDS, "0951", "1666\n"), expected);
        assert_eq!(look(HWDB, "0951", "1666"), expected);
    }

    #[test]
    fn of_an_unknown_product_the_vendor_is_named() {
        for list in [USB_IDS, HWDB] {
            let names = look(list, "0951", "ffff");
            assert_eq!(names.vendor.as_deref(), Some("Kingston Technology"));
            assert_eq!(names.product, None);
            assert_eq!(look(list, "4242", "1666"), Names::default());
        }
        assert!(Search::new("", "1666").is_none());
    }

    #[test]
    fn the_walk_ends_as_soon_as_all_is_known() {
        for list in [USB_IDS, HWDB] {
            let mut search = Search::new("0951", "1666").unwrap();
            let lines = list.lines().take_while(|line| search.take(line)).count();
            assert!(lines < list.lines().count() - 2, "{lines}");
        }
    }

    proptest! {
        #[test]
        fn no_lines_make_it_panic(lines in proptest::collection::vec("(usb:v|\t| |#)?[ -~ä]{0,12}", 0..40)) {
            let mut search = Search::new("0951", "1666").unwrap();
            for line in &lines {
                search.take(line);
            }
        }
    }
}
