//! Rules on topic `net/interface`: new interfaces, VPNs, second default routes, links that flap, gaps in the capture.
//!
//! Which interfaces a PC has is known from its traffic reports and earlier notices ([`Links`], 32 at most). What leads
//! around the lab's cable, an interface that the PC did not have before, and a default route beside another one are
//! warnings. Upkeep raises nothing: a lease that is renewed, an IPv6 address that changes by the day (RFC 8981), a router
//! that advertises itself.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use labwatch_contract::{
    alert::Severity,
    event::{
        Action, Fields, Occurrence,
        interface::{Interface, InterfaceKind},
    },
    text::harmless,
    time::Timestamp,
};

use super::{Incomplete, Rule, Verdict, because, some};

const WAY_OUT: Rule = Rule::lasting("interface", "interface-way-out", "Another way out came up");
const NEW: Rule = Rule::lasting(
    "interface",
    "interface-new",
    "Interface that was not there before",
);
const CAME: Rule = Rule::lasting("interface", "interface-up", "Network interface came up");
const WENT: Rule = Rule::ending("interface", "interface-down", "Network interface went down");
const FLAPS: Rule = Rule::new("link", "link-flapping", "Network link comes and goes");
const MOVED: Rule = Rule::new("address", "address-changed", "Network address changed");
const ROUTE: Rule = Rule::new("route", "route-changed", "Default route changed");
const SECOND: Rule = Rule::lasting("route", "route-second", "Second default route");
const NO_ROUTE: Rule = Rule::ending("route", "route-gone", "Default route gone");
const GAP: Rule = Rule::new("capture", "capture-gap", "Packets not seen");
pub(super) const RULES: &[Rule] = &[
    WAY_OUT, NEW, CAME, WENT, FLAPS, MOVED, ROUTE, SECOND, NO_ROUTE, GAP,
];

/// A rule, how grave it is, and what happened.
type Judged = (Rule, Severity, &'static str);

const ROUTE_GONE: Judged = (NO_ROUTE, Severity::Info, "default route gone");

/// Most interfaces of one PC that are remembered.
const MOST: usize = 32;
/// So many changes of one link within [`FLAP_WINDOW`] are flapping.
const FLAPPING: usize = 4;
const FLAP_WINDOW: Duration = Duration::from_secs(60);

/// The interfaces of one PC, as far as it has told.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: BTreeMap<String, Link>,
}

#[derive(Debug, Default)]
struct Link {
    gateway: Option<IpAddr>,
    /// Whether its default route was told as a second one.
    is_second: bool,
    changes: VecDeque<Timestamp>,
}

impl Links {
    /// Takes in that the PC has an interface.
    pub(super) fn know(&mut self, name: &str) {
        if self.known.len() < MOST && !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), Link::default());
        }
    }

    /// What the rules say of an event, `own` being the address that the PC is known by.
    pub(super) fn judge(
        &mut self,
        occurrence: &Occurrence,
        own: IpAddr,
    ) -> Result<Vec<Verdict>, Incomplete> {
        let fields = &occurrence.fields;
        if occurrence.action == Action::CaptureGap {
            return Ok(vec![gap(fields)]);
        }
        let interface = interface(fields)?;
        let judged = self.meets(&occurrence.action, interface, own);
        let flaps = self.flaps(occurrence, interface);
        let is_second = judged.is_some_and(|(rule, ..)| rule == SECOND);
        let lost_route = self.note(&occurrence.action, interface, is_second);
        judged
            .into_iter()
            .chain(lost_route)
            .chain(flaps)
            .map(|(rule, severity, happened)| interface_verdict(fields, rule, severity, happened))
            .collect()
    }

    fn meets(&self, action: &Action, interface: &Interface, own: IpAddr) -> Option<Judged> {
        let out = leads_out(interface.kind);
        Some(match action {
            Action::InterfaceUp if out => (WAY_OUT, Severity::Warning, "network interface up"),
            Action::InterfaceUp if self.is_new(interface) => (
                NEW,
                Severity::Warning,
                "network interface up that was not there before",
            ),
            Action::InterfaceUp => (CAME, Severity::Info, "network interface up"),
            Action::InterfaceDown => (WENT, Severity::Info, "network interface down"),
            Action::AddressChanged if !out && holds(interface, own) => return None,
            Action::AddressChanged => (MOVED, Severity::Info, "network address changed"),
            Action::RouteChanged => return self.route(interface, out),
            _ => return None,
        })
    }

    fn route(&self, interface: &Interface, out: bool) -> Option<Judged> {
        let Some(gateway) = interface.gateway else {
            return Some(ROUTE_GONE);
        };
        let others = self
            .known
            .iter()
            .filter(|(name, _)| **name != interface.name);
        if others.into_iter().any(|(_, link)| link.gateway.is_some()) {
            return Some((SECOND, Severity::Warning, "second default route"));
        }
        let same = self
            .known
            .get(&interface.name)
            .is_some_and(|link| link.gateway == Some(gateway));
        // A router that advertises itself by its link-local address is the network's own.
        let is_router = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
        match (out, same || is_router) {
            (true, _) => Some((ROUTE, Severity::Warning, "default route changed")),
            (false, true) => None,
            (false, false) => Some((ROUTE, Severity::Info, "default route changed")),
        }
    }

    /// Whether it is a card of another kind than what the PC has shown so far.
    fn is_new(&self, interface: &Interface) -> bool {
        let is_card = matches!(
            interface.kind,
            InterfaceKind::Ethernet | InterfaceKind::Other
        );
        is_card && !self.known.is_empty() && !self.known.contains_key(&interface.name)
    }

    /// That a link comes and goes, beside where it is by now.
    fn flaps(&mut self, occurrence: &Occurrence, interface: &Interface) -> Option<Judged> {
        let came_or_went = [Action::InterfaceUp, Action::InterfaceDown];
        let link = self.known.get_mut(&interface.name);
        let link = link.filter(|_| came_or_went.contains(&occurrence.action))?;
        let time = occurrence.time;
        link.changes
            .retain(|change| time.since(*change) < FLAP_WINDOW);
        link.changes.push_back(time);
        if link.changes.len() > FLAPPING {
            link.changes.pop_front();
        }
        let flaps = link.changes.len() == FLAPPING;
        flaps.then_some((FLAPS, Severity::Technical, "network link comes and goes"))
    }

    /// Takes in what an interface says; that its second default route went with it, which no notice of its own says.
    fn note(&mut self, action: &Action, interface: &Interface, is_second: bool) -> Option<Judged> {
        self.know(&interface.name);
        let link = self.known.get_mut(&interface.name)?;
        let gone = *action == Action::InterfaceDown;
        link.gateway = interface.gateway.filter(|_| !gone);
        let was_second = link.is_second && link.gateway.is_none();
        link.is_second = (link.is_second || is_second) && link.gateway.is_some();
        (was_second && gone).then_some(ROUTE_GONE)
    }
}

/// Whether it is a way around the lab's own cable.
fn leads_out(kind: InterfaceKind) -> bool {
    matches!(
        kind,
        InterfaceKind::Wifi | InterfaceKind::Usb | InterfaceKind::Tunnel
    )
}

fn holds(interface: &Interface, own: IpAddr) -> bool {
    interface
        .addresses
        .iter()
        .any(|network| network.addr().to_canonical() == own)
}

fn interface(fields: &Fields) -> Result<&Interface, Incomplete> {
    fields
        .lab
        .interface
        .as_ref()
        .ok_or(Incomplete("lab.interface"))
}

fn interface_verdict(
    fields: &Fields,
    rule: Rule,
    severity: Severity,
    happened: &str,
) -> Result<Verdict, Incomplete> {
    let interface = interface(fields)?;
    let name = harmless(&interface.name);
    let mut text = format!("{happened}: {name}, {}", kind_in_words(interface.kind));
    if let Some(ssid) = &interface.ssid {
        text += &format!(" \"{}\"", harmless(ssid));
    }
    if !interface.addresses.is_empty() {
        text += &format!(", {}", some(&interface.addresses));
    }
    if let Some(gateway) = interface.gateway {
        text += &format!(", gateway {gateway}");
    }
    if let Some(device) = &fields.device {
        let product = device.product.name.as_deref().unwrap_or(&device.product.id);
        text += &format!(", usb device {}", harmless(product));
    }
    Ok(Verdict {
        rule,
        severity,
        object: name,
        text,
    })
}

fn kind_in_words(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Ethernet => "ethernet",
        InterfaceKind::Wifi => "wifi",
        InterfaceKind::Usb => "network card on usb",
        InterfaceKind::Tunnel => "tunnel or VPN",
        InterfaceKind::Bridge => "bridge",
        InterfaceKind::Virtual => "virtual",
        InterfaceKind::Other => "other kind",
    }
}

fn gap(fields: &Fields) -> Verdict {
    let interface = fields.lab.interface.as_ref();
    let name = interface.map(|interface| harmless(&interface.name));
    let place = name
        .as_deref()
        .map(|name| format!(" on {name}"))
        .unwrap_or_default();
    let reason = because(fields);
    Verdict {
        rule: GAP,
        severity: Severity::Technical,
        object: name.unwrap_or_default(),
        text: format!("packets were not seen for a moment{place}{reason}"),
    }
}
