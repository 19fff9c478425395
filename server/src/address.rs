//! What stands for a client where connections and allowances are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The client behind an address: whoever has one IPv6 address has 2⁶⁴ of them.
pub fn of_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// Whether it is this machine's own, that of a proxy behind which everybody stands: nothing is counted for it alone.
pub fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_addresses_is_one_client() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(of_client(ip("2001:db8::1")), of_client(ip("2001:db8::ffff:1")));
        assert_ne!(of_client(ip("2001:db8::1")), of_client(ip("2001:db8:0:1::1")));
        assert_eq!(of_client(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn this_machine_has_addresses_of_both_families() {
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_here(here.parse().unwrap()), "{here}");
        }
        assert!(!is_here("::ffff:192.0.2.1".parse().unwrap()));
    }
}
