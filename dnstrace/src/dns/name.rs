//! Names in presentation form.

use std::fmt::Write as _;

use hickory_proto::rr::Name;

/// A domain name in the presentation form of RFC 1035, section 5.1, absolute: with the trailing dot, special
/// characters behind a backslash, octets that are not printable ASCII as `\DDD`. Safe for any terminal.
pub fn present(name: &Name) -> String {
    let mut text = String::new();
    for label in name.iter() {
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    text.push('\\');
                    text.push(char::from(octet));
                }
                b'!'..=b'~' => text.push(char::from(octet)),
                // Writing into a String cannot fail.
                other => _ = write!(text, "\\{other:03}"),
            }
        }
        text.push('.');
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}
