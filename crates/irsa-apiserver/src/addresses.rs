//! Addresses of a private network: the cluster IPs of services, the addresses of pods.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use parking_lot::Mutex;

use crate::status::{Result, Status};

/// The addresses of one IPv4 network, and which of them are taken.
#[derive(Debug)]
pub(crate) struct Addresses {
    first: u32,
    count: u32,
    // Offsets from the first, and where to look next.
    taken: Mutex<(HashSet<u32>, u32)>,
}

impl Addresses {
    /// The addresses of an IPv4 network in CIDR form; `purpose` names it in the error.
    ///
    /// # Errors
    /// 400 when it is not an IPv4 network with a prefix of 8 to 28 bits.
    pub(crate) fn parse(purpose: &str, network: &str) -> Result<Self> {
        let bad = || {
            Status::bad_request(format!(
                "{purpose} network {network:?} is not an IPv4 network such as 10.100.0.0/16 (prefix 8 to 28)"
            ))
        };
        let (address, prefix) = network.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u32 = prefix.parse().map_err(|_| bad())?;
        if !(8..=28).contains(&prefix) {
            return Err(bad());
        }
        let size = 1_u32 << (32 - prefix);
        Ok(Self {
            first: u32::from(address) & !(size - 1),
            count: size,
            taken: Mutex::new((HashSet::from([0, size - 1]), 10)),
        })
    }

    /// The address of the service `kubernetes`.
    pub(crate) fn first(&self) -> String {
        Ipv4Addr::from(self.first + 1).to_string()
    }

    /// An address that nobody has.
    pub(crate) fn take(&self) -> Option<String> {
        let mut taken = self.taken.lock();
        for _ in 0..self.count {
            let offset = taken.1;
            taken.1 = (taken.1 + 1) % self.count;
            // The first one is only given to those who ask for it: the service `kubernetes`.
            if offset != 1 && taken.0.insert(offset) {
                return Some(Ipv4Addr::from(self.first + offset).to_string());
            }
        }
        None
    }

    /// Takes a certain address; `false` when it is outside the network or taken.
    pub(crate) fn take_this(&self, address: &str) -> bool {
        let Some(offset) = self.offset(address) else {
            return false;
        };
        self.taken.lock().0.insert(offset)
    }

    /// Gives an address back.
    pub(crate) fn release(&self, address: &str) {
        if let Some(offset) = self.offset(address)
            && offset > 1
            && offset < self.count - 1
        {
            self.taken.lock().0.remove(&offset);
        }
    }

    fn offset(&self, address: &str) -> Option<u32> {
        let address: Ipv4Addr = address.parse().ok()?;
        u32::from(address)
            .checked_sub(self.first)
            .filter(|offset| *offset < self.count)
    }
}
