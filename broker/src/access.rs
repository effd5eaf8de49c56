//! Who may do what: section 7 of the contract as one function, [`allows`].
//!
//! From who a client is (its address, or a staff user) and what it wants to do to yes or a [`Refusal`].
//! Invariants: a PC reaches the topics of its own address alone, spelled in their one true form, never by a
//! wildcard; nobody reaches anything outside the root; only what the contract says is retained.

use std::net::IpAddr;

use labwatch_contract::topic::{Leaf, Root, Topic, TopicError};
use serde::Deserialize;

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Staff by a user name and its password, or, without one, by a direct connection from this very machine.
    Staff(Option<String>),
    /// A PC, by the address it connects from (an IPv4-mapped one is its IPv4 one).
    Pc(IpAddr),
}

impl Who {
    /// Whether it is staff.
    pub(crate) fn is_staff(&self) -> bool {
        matches!(self, Self::Staff(_))
    }
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed<'a> {
    /// Send a message.
    Publish {
        /// The topic's text.
        topic: &'a str,
        /// Whether it is to be kept.
        retain: bool,
    },
    /// Receive what matches a filter.
    Subscribe {
        /// The filter's text.
        filter: &'a str,
    },
    /// Leave a message for the case that it is lost.
    Will {
        /// The topic's text.
        topic: &'a str,
        /// Whether it is to be kept.
        retain: bool,
        /// What it says.
        payload: &'a [u8],
    },
}

/// Why a deed is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not a topic of the contract.
    #[error("{0}")]
    Topic(#[from] TopicError),
    /// A topic of somebody else.
    #[error("it may not write there")]
    Write,
    /// A filter that reaches beyond its own topics.
    #[error("it may not read that")]
    Read,
    /// The contract keeps no message of this topic.
    #[error("messages of this topic are not retained")]
    Retain,
    /// A will that does not say `offline`, `lost`.
    #[error("its will says something else than offline, lost")]
    Will,
}

/// Longest filter, in bytes.
const MAX_FILTER: usize = 256;

/// Whether `who` may do `deed`.
///
/// # Errors
/// The [`Refusal`] that says why not.
pub(crate) fn allows(root: &Root, who: &Who, deed: Deed<'_>) -> Result<(), Refusal> {
    match (deed, who) {
        (Deed::Publish { topic, retain }, _) => writes(root, who, topic, retain).map(drop),
        (Deed::Will { topic, retain, .. }, Who::Staff(_)) => {
            writes(root, who, topic, retain).map(drop)
        }
        (
            Deed::Will {
                topic,
                retain,
                payload,
            },
            Who::Pc(_),
        ) => match writes(root, who, topic, retain)? {
            Topic::Pc(_, Leaf::Status) if says_lost(payload) => Ok(()),
            Topic::Pc(_, Leaf::Status) => Err(Refusal::Will),
            _ => Err(Refusal::Write),
        },
        (Deed::Subscribe { filter }, Who::Staff(_)) => {
            staff_reads(root, filter).then_some(()).ok_or(Refusal::Read)
        }
        (Deed::Subscribe { filter }, Who::Pc(address)) => {
            match root.parse(filter).map_err(|_| Refusal::Read)? {
                Topic::AgentPolicy => Ok(()),
                Topic::Pc(of, Leaf::Ack | Leaf::Status) if of == *address => Ok(()),
                _ => Err(Refusal::Read),
            }
        }
    }
}

fn writes(root: &Root, who: &Who, text: &str, retain: bool) -> Result<Topic, Refusal> {
    let topic = root.parse(text)?;
    if retain && !topic.is_retained() {
        return Err(Refusal::Retain);
    }
    match (who, &topic) {
        (Who::Staff(_), _) => Ok(topic),
        (Who::Pc(address), Topic::Pc(of, leaf)) if of == address && *leaf != Leaf::Ack => Ok(topic),
        (Who::Pc(_), _) => Err(Refusal::Write),
    }
}

/// Any valid filter whose first level is the root itself, so neither `#` nor `$share/…`.
fn staff_reads(root: &Root, filter: &str) -> bool {
    let first = filter.split('/').next().unwrap_or_default();
    first == root.to_string()
        && filter.len() <= MAX_FILTER
        && !filter.contains('\0')
        && rumqttd::protocol::valid_filter(filter)
}

fn says_lost(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Will {
        event: Event,
        lab: Lab,
    }
    #[derive(Deserialize)]
    struct Event {
        action: String,
    }
    #[derive(Deserialize)]
    struct Lab {
        reason: String,
    }
    serde_json::from_slice::<Will>(payload)
        .is_ok_and(|will| will.event.action == "offline" && will.lab.reason == "lost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOST: &[u8] = br#"{"event":{"action":"offline"},"lab":{"reason":"lost"}}"#;

    fn pc() -> Who {
        Who::Pc("10.0.0.7".parse().unwrap())
    }

    fn publish(who: &Who, topic: &str, retain: bool) -> Result<(), Refusal> {
        allows(&Root::default(), who, Deed::Publish { topic, retain })
    }

    fn subscribe(who: &Who, filter: &str) -> Result<(), Refusal> {
        allows(&Root::default(), who, Deed::Subscribe { filter })
    }

    fn will(who: &Who, topic: &str, payload: &[u8]) -> Result<(), Refusal> {
        let deed = Deed::Will {
            topic,
            retain: topic.ends_with("status"),
            payload,
        };
        allows(&Root::default(), who, deed)
    }

    #[test]
    fn a_pc_writes_its_own_topics_and_no_others() {
        for leaf in [
            "usb",
            "net",
            "net/intranet",
            "net/internet",
            "net/interface",
            "status",
            "health",
        ] {
            assert_eq!(
                publish(&pc(), &format!("lab/10.0.0.7/{leaf}"), false),
                Ok(())
            );
            assert_eq!(
                publish(&pc(), &format!("lab/10.0.0.8/{leaf}"), false),
                Err(Refusal::Write)
            );
        }
        for topic in [
            "lab/10.0.0.7/ack",
            "lab/policy",
            "lab/policy/agents",
            "lab/alerts/a",
            "lab/checkpoint",
        ] {
            assert_eq!(publish(&pc(), topic, false), Err(Refusal::Write), "{topic}");
        }
        for topic in [
            "lab/10.0.0.7/#",
            "lab/+/usb",
            "lab/010.0.0.7/usb",
            "other/10.0.0.7/usb",
            "$SYS/x",
            "",
        ] {
            assert!(publish(&pc(), topic, false).is_err(), "{topic}");
        }
    }

    #[test]
    fn only_its_status_is_retained() {
        assert_eq!(publish(&pc(), "lab/10.0.0.7/status", true), Ok(()));
        assert_eq!(
            publish(&pc(), "lab/10.0.0.7/usb", true),
            Err(Refusal::Retain)
        );
        let staff = Who::Staff(None);
        assert_eq!(publish(&staff, "lab/policy", true), Ok(()));
        assert_eq!(
            publish(&staff, "lab/10.0.0.7/ack", true),
            Err(Refusal::Retain)
        );
    }

    #[test]
    fn a_pc_reads_its_acks_its_status_and_the_agents_policy() {
        for filter in [
            "lab/10.0.0.7/ack",
            "lab/10.0.0.7/status",
            "lab/policy/agents",
        ] {
            assert_eq!(subscribe(&pc(), filter), Ok(()), "{filter}");
        }
        for filter in [
            "#",
            "lab/#",
            "lab/+/ack",
            "lab/10.0.0.7/#",
            "lab/10.0.0.7/+",
            "lab/10.0.0.8/ack",
            "lab/10.0.0.7/usb",
            "lab/policy",
            "lab/policy/#",
            "$SYS/#",
            "$share/g/lab/10.0.0.7/ack",
        ] {
            assert_eq!(subscribe(&pc(), filter), Err(Refusal::Read), "{filter}");
        }
    }

    #[test]
    fn staff_reads_and_writes_everything_under_the_root_and_nothing_else() {
        let staff = Who::Staff(Some("anna".into()));
        for filter in ["lab/#", "lab/+/usb", "lab/10.0.0.8/ack", "lab/+/net/#"] {
            assert_eq!(subscribe(&staff, filter), Ok(()), "{filter}");
        }
        for filter in [
            "#",
            "+/x",
            "$SYS/#",
            "$share/g/lab/#",
            "lab2/#",
            "lab/a+",
            "lab/#/x",
            "",
        ] {
            assert_eq!(subscribe(&staff, filter), Err(Refusal::Read), "{filter}");
        }
        for topic in ["lab/10.0.0.8/usb", "lab/10.0.0.8/ack", "lab/alerts/a/ack"] {
            assert_eq!(publish(&staff, topic, false), Ok(()), "{topic}");
        }
        assert!(publish(&staff, "elsewhere", false).is_err());
    }

    #[test]
    fn a_will_says_offline_and_lost_on_the_pcs_own_status() {
        assert_eq!(will(&pc(), "lab/10.0.0.7/status", LOST), Ok(()));
        assert_eq!(
            will(&pc(), "lab/10.0.0.8/status", LOST),
            Err(Refusal::Write)
        );
        assert_eq!(will(&pc(), "lab/10.0.0.7/usb", LOST), Err(Refusal::Write));
        for other in [
            &br#"{"event":{"action":"online"},"lab":{"reason":"started"}}"#[..],
            br#"{"event":{"action":"offline"},"lab":{"reason":"shutdown"}}"#,
            b"offline, lost",
            b"",
        ] {
            assert_eq!(
                will(&pc(), "lab/10.0.0.7/status", other),
                Err(Refusal::Will)
            );
        }
        assert_eq!(will(&Who::Staff(None), "lab/alerts/x", b"bye"), Ok(()));
    }

    proptest! {
        #[test]
        fn whatever_a_pc_may_do_names_its_own_address(
            own: IpAddr, text in "(lab/)?[ -~]{0,40}", other: IpAddr, leaf in "[a-z/+#]{0,12}",
        ) {
            let own = own.to_canonical();
            let who = Who::Pc(own);
            for text in [text, format!("lab/{other}/{leaf}")] {
                let mine = text.starts_with(&format!("lab/{own}/"));
                prop_assert!(mine || publish(&who, &text, false).is_err());
                prop_assert!(mine || text == "lab/policy/agents" || subscribe(&who, &text).is_err());
            }
        }
    }
}
