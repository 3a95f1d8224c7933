//! Public resolvers that speak DNS over HTTPS on addresses of their own, so that a connection to their port 443 is that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that their operators publish.
pub const RESOLVERS: &[IpAddr] = &[
    // Cloudflare
    v4(1, 1, 1, 1),
    v4(1, 0, 0, 1),
    v4(1, 1, 1, 2),
    v4(1, 0, 0, 2),
    v4(1, 1, 1, 3),
    v4(1, 0, 0, 3),
    v6(0x2606_4700_4700_0000, 0x1111),
    v6(0x2606_4700_4700_0000, 0x1001),
    v6(0x2606_4700_4700_0000, 0x1112),
    v6(0x2606_4700_4700_0000, 0x1002),
    v6(0x2606_4700_4700_0000, 0x1113),
    v6(0x2606_4700_4700_0000, 0x1003),
    // Google
    v4(8, 8, 8, 8),
    v4(8, 8, 4, 4),
    v6(0x2001_4860_4860_0000, 0x8888),
    v6(0x2001_4860_4860_0000, 0x8844),
    // Quad9
    v4(9, 9, 9, 9),
    v4(149, 112, 112, 112),
    v4(9, 9, 9, 10),
    v4(149, 112, 112, 10),
    v4(9, 9, 9, 11),
    v4(149, 112, 112, 11),
    v6(0x2620_00fe_0000_0000, 0xfe),
    v6(0x2620_00fe_0000_0000, 0x9),
    v6(0x2620_00fe_0000_0000, 0x10),
    v6(0x2620_00fe_0000_0000, 0x11),
    // Cisco OpenDNS
    v4(208, 67, 222, 222),
    v4(208, 67, 220, 220),
    // AdGuard
    v4(94, 140, 14, 14),
    v4(94, 140, 15, 15),
    // AliDNS
    v4(223, 5, 5, 5),
    v4(223, 6, 6, 6),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// From the two halves.
const fn v6(prefix: u64, host: u64) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits((prefix as u128) << 64 | host as u128))
}
