//! Labwatch's MQTT broker: rumqttd's router behind a listener that knows who may say what.
//!
//! ```text
//! socket --front--> client --access--> exchange --> rumqttd's router --> exchange --> client --> socket
//!           |          |                  `-- retained, lag
//!         quota     registry (client ids), window (packet ids)
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`settings`] | from what was typed to what is used |
//! | [`front`] | the listeners, and the broker as a whole |
//! | `client` | one connection from CONNECT to its end |
//! | `access` | who may do what (pure) |
//! | `packet` | MQTT 3.1.1 on the wire (pure) |
//! | [`quota`], `retained`, `lag`, `window` | limits, retained messages, slow subscribers, packet ids (pure) |
//! | `registry` | client ids, and taking over from an older connection |
//! | `exchange` | the way through rumqttd's router |
//! | `probe` | whether the router still delivers |
//! | [`password`] | the staff's passwords |
//! | `tls` | certificate and key |

mod access;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: waits for clients and looks at the clock"
)]
mod client;
mod exchange;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: listens, and looks at the clock for quotas"
)]
pub mod front;
mod lag;
pub mod packet;
pub mod password;
#[expect(
    clippy::disallowed_methods,
    reason = "shell: a thread that ends the process when the router hangs"
)]
mod probe;
pub mod quota;
mod registry;
mod retained;
pub mod settings;
mod tls;
mod window;

pub use front::{Broker, run};
