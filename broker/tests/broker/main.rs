//! Real brokers with real sockets on loopback: 127.0.0.1 is staff, 127.0.0.2 and so on are PCs.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start tasks and programs, read files and look at the clock"
)]

#[cfg(test)]
mod clients;
#[cfg(test)]
mod load;
#[cfg(test)]
mod mqtt;
#[cfg(test)]
mod tools;
