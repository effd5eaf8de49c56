//! How much one address, one IPv6 /64 and all clients together may do.
//!
//! Owns a book of accounts: connections are counted, messages and bytes are drawn from token buckets. A bucket may go into
//! debt, and the answer is how long to wait until the debt is paid; so a burst passes, a flood is slowed to the rate, and
//! the caller ends whoever stays over that of his own address. Staff is not booked here. Bounded: accounts that have
//! nothing to say are forgotten, and beyond 65,536 of them no stranger is let in.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    str::FromStr,
    time::{Duration, Instant},
};

/// Most addresses and networks that are remembered.
const MAX_ACCOUNTS: usize = 65_536;
/// From here on a new client makes idle accounts go.
const SWEEP_AT: usize = 4_096;
/// A bucket holds what flows into it in this time: a PC that was away for long may send what it has kept.
const BURST_SECONDS: u32 = 20;

/// A limit for one address, one IPv6 /64 and all together: `16,3072,4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// For one address.
    pub address: u32,
    /// For one IPv6 /64; a whole lab may live in one.
    pub network: u32,
    /// For all together.
    pub all: u32,
}

/// A text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not three numbers from 1, none smaller than the one before: for an address, an IPv6 /64, all"
)]
pub struct LimitError(String);

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let numbers: Result<Vec<u32>, _> =
            text.split(',').map(|part| part.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[address, network, all]) if 0 < address && address <= network && network <= all => {
                Ok(Self {
                    address,
                    network,
                    all,
                })
            }
            _ => Err(LimitError(text.to_owned())),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.address, self.network, self.all)
    }
}

/// What clients that are not staff may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Connections at a time.
    pub connections: Limit,
    /// Packets a second, with bursts of 20 seconds' worth.
    pub messages: Limit,
    /// Bytes a second, with bursts of 20 seconds' worth.
    pub bytes: Limit,
}

/// Who pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Payer {
    Address(IpAddr),
    Network(u64),
    All,
}

impl Payer {
    fn limit(self, limit: Limit) -> u32 {
        match self {
            Self::Address(_) => limit.address,
            Self::Network(_) => limit.network,
            Self::All => limit.all,
        }
    }
}

fn payers(address: IpAddr) -> impl Iterator<Item = Payer> {
    let network = match address.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64)
            .ok()
            .map(Payer::Network),
    };
    [
        Some(Payer::Address(address.to_canonical())),
        network,
        Some(Payer::All),
    ]
    .into_iter()
    .flatten()
}

/// How long somebody may stay over the quota while being slowed down to it.
const FLOOD: Duration = Duration::from_secs(30);

/// How long to wait before the next packet is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Until the debt of the address itself is paid.
    pub(crate) own: Duration,
    /// Until those of its network and of all are paid as well: no shorter.
    pub(crate) whole: Duration,
}

/// Since when a connection is over the quota of its address without a pause.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    /// Takes what [`Accounts::spend`] said; whether the connection has been over its quota for too long. Nobody is
    /// ended for a debt that others have made.
    pub(crate) fn is_at_end(&mut self, wait: Wait, now: Instant) -> bool {
        if wait.own.is_zero() {
            self.0 = None;
            return false;
        }
        let since = *self.0.get_or_insert(now);
        now.saturating_duration_since(since) >= FLOOD
    }
}

#[derive(Debug)]
struct Bucket {
    level: f64,
    rate: f64,
    size: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u32, size: u32, now: Instant) -> Self {
        Self {
            level: size.into(),
            rate: rate.into(),
            size: size.into(),
            at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + gone * self.rate).min(self.size);
        self.at = now;
    }

    /// Draws, if need be into debt; how long until it is paid.
    fn draw(&mut self, amount: u32, now: Instant) -> Duration {
        self.fill(now);
        self.level -= f64::from(amount);
        Duration::try_from_secs_f64(-self.level / self.rate).unwrap_or_default()
    }

    /// Draws one if there is one.
    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let there = self.level >= 1.0;
        if there {
            self.level -= 1.0;
        }
        there
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= self.size
    }
}

#[derive(Debug)]
struct Account {
    connections: u32,
    messages: Bucket,
    bytes: Bucket,
    logins: Bucket,
    complaints: Bucket,
    swallowed: u64,
}

impl Account {
    fn new(payer: Payer, quotas: &Quotas, now: Instant) -> Self {
        let bucket = |limit: Limit| {
            let rate = payer.limit(limit);
            Bucket::new(rate, rate.saturating_mul(BURST_SECONDS), now)
        };
        Self {
            connections: 0,
            messages: bucket(quotas.messages),
            bytes: bucket(quotas.bytes),
            logins: Bucket::new(1, 10, now),
            complaints: Bucket::new(1, 10, now),
            swallowed: 0,
        }
    }

    fn is_idle(&mut self, now: Instant) -> bool {
        self.connections == 0
            && self.complaints.is_full(now)
            && self.messages.is_full(now)
            && self.bytes.is_full(now)
            && self.logins.is_full(now)
    }
}

/// The accounts of all who are not staff.
#[derive(Debug)]
pub(crate) struct Accounts {
    quotas: Quotas,
    accounts: HashMap<Payer, Account>,
}

impl Accounts {
    /// Nobody yet.
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            accounts: HashMap::new(),
        }
    }

    /// Books a connection, unless the address, its network or all together have too many.
    pub(crate) fn connect(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.accounts.len() >= SWEEP_AT {
            self.accounts.retain(|_, account| !account.is_idle(now));
        }
        let limit = self.quotas.connections;
        let known = |payer| self.accounts.get(&payer).map(|account| account.connections);
        let free = payers(address).all(|payer| match known(payer) {
            Some(connections) => connections < payer.limit(limit),
            None => self.accounts.len() < MAX_ACCOUNTS,
        });
        if free {
            for payer in payers(address) {
                self.account(payer, now).connections += 1;
            }
        }
        free
    }

    /// Takes a connection off the books.
    pub(crate) fn disconnect(&mut self, address: IpAddr) {
        for payer in payers(address) {
            if let Some(account) = self.accounts.get_mut(&payer) {
                account.connections = account.connections.saturating_sub(1);
            }
        }
    }

    /// Books one packet of this size; how long its sender has to wait now.
    pub(crate) fn spend(&mut self, address: IpAddr, bytes: usize, now: Instant) -> Wait {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut wait = Wait::default();
        for payer in payers(address) {
            let account = self.account(payer, now);
            let messages = account.messages.draw(1, now);
            let debt = messages.max(account.bytes.draw(bytes, now));
            if matches!(payer, Payer::Address(_)) {
                wait.own = debt;
            }
            wait.whole = wait.whole.max(debt);
        }
        wait
    }

    /// Whether a password from this address may be tried now; trying one costs the broker much.
    pub(crate) fn may_log_in(&mut self, address: IpAddr, now: Instant) -> bool {
        self.account(Payer::Address(address.to_canonical()), now)
            .logins
            .take(now)
    }

    /// Whether to warn about this address now, and how many warnings were swallowed since the last.
    pub(crate) fn complain(&mut self, address: IpAddr, now: Instant) -> Option<u64> {
        let payer = Payer::Address(address.to_canonical());
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&payer) {
            return None;
        }
        let account = self.account(payer, now);
        match account.complaints.take(now) {
            true => Some(std::mem::take(&mut account.swallowed)),
            false => {
                account.swallowed += 1;
                None
            }
        }
    }

    fn account(&mut self, payer: Payer, now: Instant) -> &mut Account {
        let quotas = &self.quotas;
        self.accounts
            .entry(payer)
            .or_insert_with(|| Account::new(payer, quotas, now))
    }
}

#[cfg(test)]
mod tests;
