//! Addresses and prefixes as values that range queries can use.
//!
//! IPv4 is a number of 32 bits. IPv6 does not fit 64, so it is 32 hex digits, which sort as the addresses do and by
//! which files are pruned just as well. What is no address, or of the other family, has no value.

use std::net::IpAddr;

use ipnet::IpNet;

fn address(text: Option<&str>) -> Option<IpAddr> {
    text?.parse().ok()
}

fn prefix(text: Option<&str>) -> Option<IpNet> {
    text?.parse().ok()
}

fn number_of(address: IpAddr) -> Option<u64> {
    match address {
        IpAddr::V4(address) => Some(u64::from(u32::from(address))),
        IpAddr::V6(_) => None,
    }
}

fn hex_of(address: IpAddr) -> Option<String> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(format!("{:032x}", u128::from(address))),
    }
}

pub(super) fn number(text: Option<&str>) -> Option<u64> {
    number_of(address(text)?)
}

pub(super) fn hex(text: Option<&str>) -> Option<String> {
    hex_of(address(text)?)
}

/// A prefix's length in bits.
pub(super) fn length(text: Option<&str>) -> Option<u64> {
    Some(u64::from(prefix(text)?.prefix_len()))
}

pub(super) fn first_number(text: Option<&str>) -> Option<u64> {
    number_of(prefix(text)?.network())
}

pub(super) fn last_number(text: Option<&str>) -> Option<u64> {
    number_of(prefix(text)?.broadcast())
}

pub(super) fn first_hex(text: Option<&str>) -> Option<String> {
    hex_of(prefix(text)?.network())
}

pub(super) fn last_hex(text: Option<&str>) -> Option<String> {
    hex_of(prefix(text)?.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_first_and_the_last_of_its_addresses() {
        let check = |text: &str, bits: u64, numbers: Option<(u64, u64)>, hex: Option<(&str, &str)>| {
            let text = Some(text);
            assert_eq!(length(text), Some(bits));
            assert_eq!(first_number(text).zip(last_number(text)), numbers);
            let found = first_hex(text).zip(last_hex(text));
            assert_eq!(found, hex.map(|(first, last)| (first.to_owned(), last.to_owned())));
        };
        check("10.1.0.0/16", 16, Some((0x0a01_0000, 0x0a01_ffff)), None);
        check("0.0.0.0/0", 0, Some((0, 0xffff_ffff)), None);
        check("192.0.2.1/32", 32, Some((0xc000_0201, 0xc000_0201)), None);
        let (first, last) = ("20010db8000000000000000000000000", "20010db8ffffffffffffffffffffffff");
        check("2001:db8::/32", 32, None, Some((first, last)));
    }

    #[test]
    fn hex_digits_sort_as_the_addresses_do() {
        let addresses = ["::1", "2001:db8::9", "2001:db8::10", "fe80::1"].map(|text| hex(Some(text)).unwrap());
        assert!(addresses.is_sorted());
        assert_eq!((number(Some("203.0.113.17")), hex(Some("203.0.113.17"))), (Some(0xcb00_7111), None));
        assert_eq!((number(Some("10.0.0.999")), length(Some("10.0.0.0/99")), hex(None)), (None, None, None));
    }
}
