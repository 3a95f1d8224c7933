//! Enums: the numbers behind the kernel's names, and the names behind its numbers.
//!
//! Pahole before 1.24 (kernels before about 6.0) did not record whether an enum is signed: a negative value of
//! such a kernel reads as the unsigned number with the same 32 bits.

use super::{Btf, Kind, format, unanimous};

const ENUMS: &[Kind] = &[Kind::Enum, Kind::Enum64];

impl Btf {
    /// Value of an enumerator of a named enum: `("iter_type", "ITER_UBUF")`. None if there is no such, or if
    /// enums of the same name disagree on it.
    pub fn enum_value(&self, name: &str, enumerator: &str) -> Option<i64> {
        let values = self.named(ENUMS, name).into_iter();
        unanimous(values.filter_map(|(_, found)| self.value(found, enumerator)))
    }

    /// All enumerators of a named enum with their values, in the order of the declaration. Empty if there is no
    /// such enum, or if several of the same name differ.
    pub fn enum_values(&self, name: &str) -> Vec<(String, i64)> {
        let defined = self.named(ENUMS, name).into_iter().map(|(_, found)| {
            values(found).map(|(name, value)| (self.string(name), value)).collect::<Vec<_>>()
        });
        // An enum without enumerators is a forward declaration.
        unanimous(defined.filter(|values| !values.is_empty())).unwrap_or_default()
    }

    /// Value of an enumerator of any enum, named or not: `"NF_INET_FORWARD"`. None if there is no such, or if
    /// enums disagree on it.
    pub fn enumerator(&self, name: &str) -> Option<i64> {
        unanimous(self.of_kinds(ENUMS).filter_map(|found| self.value(found, name)))
    }

    fn value(&self, found: format::Type<'_>, enumerator: &str) -> Option<i64> {
        values(found).find(|(name, _)| self.is_name(*name, enumerator)).map(|(_, value)| value)
    }
}

/// Name and value of each enumerator. An unsigned value above [`i64::MAX`] is left out: no kernel enum that
/// dnstrace asks for has one.
fn values(found: format::Type<'_>) -> impl Iterator<Item = (u32, i64)> {
    let is_signed = found.flag;
    let narrow = found.enumerators32().iter().map(move |item| {
        let value = item.value.get();
        (item.name.get(), if is_signed { i64::from(value.cast_signed()) } else { i64::from(value) })
    });
    let wide = found.enumerators64().iter().filter_map(move |item| {
        let value = u64::from(item.high.get()) << 32 | u64::from(item.low.get());
        let value = if is_signed { value.cast_signed() } else { i64::try_from(value).ok()? };
        Some((item.name.get(), value))
    });
    narrow.chain(wide)
}
