//! Ranges of addresses, as written in CIDR notation. Looks nothing up: a name is not an address.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A network. IPv4 addresses written as IPv6 (`::ffff:10.0.0.1`) are IPv4 on both sides of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("not an address or a CIDR such as \"10.0.0.0/8\" or \"fd00::/8\"")]
    Malformed,
    #[error("bits are set beyond the prefix, so it is unclear which network is meant")]
    HostBits,
}

impl Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        // A shift by the whole width means that no bit has to agree, and yields `None`.
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(32_u32.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(128_u32.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// A bare address is that one host, in either family.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                (address, Some(parse_prefix(prefix).ok_or(CidrError::Malformed)?))
            }
            None => (text, None),
        };
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                let prefix = prefix.unwrap_or(32);
                if prefix > 32 {
                    return Err(CidrError::Malformed);
                }
                let beyond = address.to_bits().checked_shl(prefix).unwrap_or(0);
                if beyond == 0 {
                    Ok(Self { network: IpAddr::V4(address), prefix })
                } else {
                    Err(CidrError::HostBits)
                }
            }
            Ok(IpAddr::V6(address)) => {
                let prefix = prefix.unwrap_or(128);
                if prefix > 128 {
                    return Err(CidrError::Malformed);
                }
                let beyond = address.to_bits().checked_shl(prefix).unwrap_or(0);
                if beyond == 0 { Ok(Self::v6(address, prefix)) } else { Err(CidrError::HostBits) }
            }
            Err(_) => Err(CidrError::Malformed),
        }
    }
}

impl Cidr {
    fn v6(address: Ipv6Addr, prefix: u32) -> Self {
        match (address.to_ipv4_mapped(), prefix.checked_sub(96)) {
            (Some(mapped), Some(prefix)) => Self { network: IpAddr::V4(mapped), prefix },
            _ => Self { network: IpAddr::V6(address), prefix },
        }
    }
}

fn parse_prefix(text: &str) -> Option<u32> {
    let plain =
        text.bytes().all(|it| it.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::Cidr;
    use super::CidrError;

    fn contains(cidr: &str, address: &str) -> bool {
        cidr.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (cidr, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("2001:db8::/33", "2001:db8:7fff::", true),
            ("2001:db8::/33", "2001:db8:8000::", false),
        ] {
            assert_eq!(contains(cidr, address), inside, "{cidr} {address}");
        }
    }

    #[test]
    fn a_bare_address_is_exactly_one_host() {
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(!contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("2001:db8::1", "2001:db8::1"));
        assert!(!contains("2001:db8::1", "2001:db8::2"));
        assert!(!contains("2001:db8::1", "2001:db8:1::1"));
    }

    #[test]
    fn an_ipv4_address_written_as_ipv6_is_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(contains("::ffff:10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!contains("::ffff:10.0.0.0/104", "11.1.2.3"));
    }

    #[test]
    fn bits_beyond_the_prefix_are_refused() {
        for text in ["10.0.0.1/8", "0.0.0.1/0", "2001:db8::1/64", "128.0.0.0/0"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::HostBits), "{text}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0/8",
            "host",
            "fe80::1%eth0",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Malformed), "{text}");
        }
    }
}
