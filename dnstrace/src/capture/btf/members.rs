//! Paths over the members of structs: `sock.__sk_common.skc_net.net`.
//!
//! A path names a struct or union, then member after member inside that one object. Members of anonymous
//! structs and unions belong to the struct around them, as in C, at any depth.

use std::collections::{HashSet, VecDeque};

use super::{Btf, BtfError, Kind, MAX_CHAIN, format};

/// Of a 64-bit kernel: dnstrace runs on no other.
const POINTER_SIZE: u32 = 8;

/// A member, seen from the start of the path's struct.
#[derive(Clone, Copy, Debug)]
struct Field {
    bits: u32,
    /// In bits; 0: not a bit-field.
    bitfield_width: u32,
    of: u32,
}

impl Field {
    fn is_bitfield(self) -> bool {
        self.bitfield_width != 0 || !self.bits.is_multiple_of(8)
    }
}

impl Btf {
    /// Offset in bytes of the member that `path` names: `sk_buff.transport_header`.
    ///
    /// # Errors
    /// If struct or member do not exist, the member is a bit-field, or structs of one name disagree on it.
    pub fn offset(&self, path: &str) -> Result<u32, BtfError> {
        Ok(self.byte_field(path)?.bits / 8)
    }

    /// Offset of the first path that exists, for members that were renamed or moved:
    /// `["iov_iter.__iov", "iov_iter.iov"]`.
    ///
    /// # Errors
    /// If none exists; or as [`Btf::offset`] if the first that exists is a bit-field or ambiguous.
    pub fn first_offset(&self, paths: &[&str]) -> Result<u32, BtfError> {
        for path in paths {
            match self.offset(path) {
                Err(BtfError::NoStruct(_) | BtfError::NoMember { .. } | BtfError::NotAStruct { .. }) => {}
                found => return found,
            }
        }
        Err(BtfError::NoneOf(paths.join(", ")))
    }

    /// Offset in bits of any member, also of a bit-field.
    ///
    /// # Errors
    /// If struct or member do not exist, or structs of one name disagree on it.
    pub fn bit_offset(&self, path: &str) -> Result<u32, BtfError> {
        Ok(self.field(path)?.bits)
    }

    /// Size in bytes of the member that `path` names; of all elements of an array.
    ///
    /// # Errors
    /// As [`Btf::offset`].
    pub fn member_size(&self, path: &str) -> Result<u32, BtfError> {
        self.size(self.byte_field(path)?.of).ok_or_else(|| BtfError::NoSize(path.to_owned()))
    }

    /// Whether the member that `path` names is a pointer.
    ///
    /// # Errors
    /// As [`Btf::offset`].
    pub fn member_is_pointer(&self, path: &str) -> Result<bool, BtfError> {
        Ok(self.is_pointer(self.byte_field(path)?.of))
    }

    /// Size in bytes of the struct or union `name`.
    ///
    /// # Errors
    /// If there is none, or there are several and their sizes differ.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        let structs = self.structs(name);
        let mut sizes = structs.iter().map(|(_, found)| found.word);
        let first = sizes.next().ok_or_else(|| BtfError::NoStruct(name.to_owned()))?;
        if sizes.all(|size| size == first) { Ok(first) } else { Err(BtfError::Ambiguous(name.to_owned())) }
    }

    fn structs(&self, name: &str) -> Vec<(u32, format::Type<'_>)> {
        self.named(&[Kind::Struct, Kind::Union], name)
    }

    fn byte_field(&self, path: &str) -> Result<Field, BtfError> {
        let field = self.field(path)?;
        if field.is_bitfield() { Err(BtfError::Bitfield(path.to_owned())) } else { Ok(field) }
    }

    /// The member on which all structs of the name agree that have it.
    fn field(&self, path: &str) -> Result<Field, BtfError> {
        // A component without a name would find the first anonymous member.
        let (name, members) = path
            .split_once('.')
            .filter(|_| path.split('.').all(|name| !name.is_empty()))
            .ok_or_else(|| BtfError::Path(path.to_owned()))?;
        let mut agreed: Option<Field> = None;
        let mut missing = BtfError::NoStruct(name.to_owned());
        for (id, _) in self.structs(name) {
            match (self.walk(id, path, members), agreed) {
                (Ok(field), None) => agreed = Some(field),
                (Ok(field), Some(other)) if self.is_same(field, other) => {}
                (Ok(_), Some(_)) => return Err(BtfError::Ambiguous(path.to_owned())),
                (Err(error), _) => missing = error,
            }
        }
        agreed.ok_or(missing)
    }

    /// Follows `members` from the struct `id`.
    fn walk(&self, id: u32, path: &str, members: &str) -> Result<Field, BtfError> {
        let mut field = Field { bits: 0, bitfield_width: 0, of: id };
        let mut within = "";
        for member in members.split('.') {
            let container = self.resolve(field.of).filter(|(_, found)| found.kind.has_members());
            let Some((id, found)) = container else {
                return Err(BtfError::NotAStruct { path: path.to_owned(), member: within.to_owned() });
            };
            let inner = self
                .member(id, member)
                .and_then(|inner| Some(Field { bits: field.bits.checked_add(inner.bits)?, ..inner }));
            field = inner.ok_or_else(|| BtfError::NoMember {
                path: path.to_owned(),
                member: member.to_owned(),
                within: self.describe(found, within),
            })?;
            within = member;
        }
        Ok(field)
    }

    /// `struct sk_buff`, or `union (type of ns)` where it has no name but the member's.
    fn describe(&self, found: format::Type<'_>, member: &str) -> String {
        let kind = if found.kind == Kind::Union { "union" } else { "struct" };
        match self.string(found.name) {
            name if name.is_empty() => format!("{kind} (type of {member})"),
            name => format!("{kind} {name}"),
        }
    }

    /// The member `name` of the struct or union `id`, through anonymous members.
    fn member(&self, id: u32, name: &str) -> Option<Field> {
        // No type is searched twice: damaged BTF can tie types into a knot, or into a tree without end.
        let mut seen = HashSet::new();
        let mut waiting = VecDeque::from([(id, 0u32)]);
        while let Some((id, start)) = waiting.pop_front() {
            let Some((id, found)) = self.resolve(id) else { continue };
            if !seen.insert(id) {
                continue;
            }
            for member in found.members() {
                let raw = member.offset.get();
                let (offset, bitfield_width) =
                    if found.flag { (raw & 0x00ff_ffff, raw >> 24) } else { (raw, 0) };
                let Some(bits) = start.checked_add(offset) else { continue };
                if self.is_name(member.name.get(), name) {
                    return Some(Field { bits, bitfield_width, of: member.of.get() });
                }
                if member.name.get() == 0 {
                    waiting.push_back((member.of.get(), bits));
                }
            }
        }
        None
    }

    /// Whether two members of the same path can be read by the same program.
    fn is_same(&self, one: Field, other: Field) -> bool {
        let layout =
            |field: Field| (field.bits, field.bitfield_width, self.size(field.of), self.is_pointer(field.of));
        layout(one) == layout(other)
    }

    fn is_pointer(&self, id: u32) -> bool {
        self.resolve(id).is_some_and(|(_, found)| found.kind == Kind::Pointer)
    }

    /// In bytes; none for functions, forward declarations and `void`.
    fn size(&self, id: u32) -> Option<u32> {
        let (mut id, mut elements) = (id, 1u32);
        for _ in 0..MAX_CHAIN {
            let found = self.get(id)?;
            match found.kind {
                Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => {
                    return found.word.checked_mul(elements);
                }
                Kind::Pointer => return POINTER_SIZE.checked_mul(elements),
                Kind::Array => {
                    let array = found.array()?;
                    elements = elements.checked_mul(array.length.get())?;
                    id = array.of.get();
                }
                kind if kind.is_alias() => id = found.word,
                _ => return None,
            }
        }
        None
    }
}
