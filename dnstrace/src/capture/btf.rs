//! A walker over the kernel's BTF: where a field lies, what an enumerator's value is.
//!
//! Our own, as aya-obj does not export member offsets and btf-rs is under the LGPL. It reads what the format's
//! description (Documentation/bpf/btf.rst) calls the type and the string section and trusts neither: every
//! read is checked, every chain of types is bounded.

use std::{collections::HashMap, fs, io, path::Path};

/// Types behind one another (typedef of const of ...) and structs inside structs that are followed.
const MAX_DEPTH: u32 = 32;

/// Why BTF did not tell what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    #[error("{path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("not BTF of this machine's byte order, or cut short at byte {0}")]
    Format(usize),
    #[error("no struct {0} in the kernel's BTF")]
    NoStruct(String),
    #[error("the kernel's BTF has several structs {0}")]
    Ambiguous(String),
    #[error("no field {0} in the kernel's BTF")]
    NoField(String),
    #[error("{0} is a bit-field")]
    Bitfield(String),
}

/// Parsed BTF.
#[derive(Debug)]
pub struct Btf {
    /// By type id, minus one: id 0 is void.
    types: Vec<Type>,
    /// Structs and unions, enums, by name.
    structs: HashMap<String, Vec<u32>>,
    enums: HashMap<String, u32>,
}

#[derive(Debug)]
enum Type {
    /// Members of a struct or union.
    Struct {
        members: Vec<Member>,
    },
    Enum {
        values: Vec<(String, i64)>,
    },
    /// Typedef, const, volatile, restrict or type tag of another type.
    Alias {
        of: u32,
    },
    /// What no path leads through.
    Other,
}

#[derive(Debug)]
struct Member {
    /// Empty for an anonymous struct or union.
    name: String,
    of: u32,
    /// Offset from the start of the struct.
    bits: u32,
    is_bitfield: bool,
}

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_ENUM64: u32 = 19;

impl Btf {
    /// Reads BTF from a file such as `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// If it cannot be read or is not BTF.
    pub fn load(path: &Path) -> Result<Self, BtfError> {
        let bytes =
            fs::read(path).map_err(|error| BtfError::Read { path: path.display().to_string(), error })?;
        Self::from_bytes(&bytes)
    }

    /// Parses BTF.
    ///
    /// # Errors
    /// If it is not BTF of this machine's byte order, or ends early.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BtfError> {
        const MAGIC: u16 = 0xeb9f;
        let mut header = Reader { bytes, at: 0 };
        if header.u16()? != MAGIC {
            return Err(BtfError::Format(0));
        }
        header.u16()?; // version and flags
        let header_length = header.u32()? as usize;
        let [type_offset, type_length, string_offset, string_length] =
            [header.u32()?, header.u32()?, header.u32()?, header.u32()?];
        let section = |offset: u32, length: u32| {
            let start = header_length.saturating_add(offset as usize);
            bytes.get(start..start.saturating_add(length as usize)).ok_or(BtfError::Format(start))
        };
        let strings = section(string_offset, string_length)?;
        let mut reader = Reader { bytes: section(type_offset, type_length)?, at: 0 };
        let mut btf = Self { types: Vec::new(), structs: HashMap::new(), enums: HashMap::new() };
        while reader.at < reader.bytes.len() {
            btf.read_type(&mut reader, strings)?;
        }
        Ok(btf)
    }

    fn read_type(&mut self, reader: &mut Reader<'_>, strings: &[u8]) -> Result<(), BtfError> {
        const FORWARD: u32 = 7;
        let name = string(strings, reader.u32()?);
        let info = reader.u32()?;
        let size_or_type = reader.u32()?;
        let (count, kind, flag) = (info & 0xffff, info >> 24 & 0x1f, info >> 31 == 1);
        let id = u32::try_from(self.types.len()).unwrap_or(u32::MAX).saturating_add(1);
        let parsed = match kind {
            KIND_STRUCT | KIND_UNION => {
                self.structs.entry(name).or_default().push(id);
                let members = (0..count).map(|_| member(reader, strings, flag)).collect::<Result<_, _>>()?;
                Type::Struct { members }
            }
            KIND_ENUM | KIND_ENUM64 => {
                self.enums.entry(name).or_insert(id);
                let values = (0..count)
                    .map(|_| enumerator(reader, strings, kind == KIND_ENUM64, flag))
                    .collect::<Result<_, _>>()?;
                Type::Enum { values }
            }
            // typedef, volatile, const, restrict, type tag
            8..=11 | 18 => Type::Alias { of: size_or_type },
            // int, variable, declaration tag: one word; array: three; prototype, section: per parameter.
            1 | 14 | 17 => reader.skip(4)?,
            3 => reader.skip(12)?,
            13 => reader.skip(8 * count as usize)?,
            15 => reader.skip(12 * count as usize)?,
            // pointer, function, float
            2 | 12 | 16 | FORWARD => Type::Other,
            _ => return Err(BtfError::Format(reader.at)),
        };
        self.types.push(parsed);
        Ok(())
    }

    /// Byte offset of a field inside a struct: `sock.__sk_common.skc_net.net`. Anonymous structs and unions on
    /// the way need no mention; pointers are not followed.
    ///
    /// # Errors
    /// If struct or field do not exist, the struct's name is not unique where it matters, or the field is a
    /// bit-field.
    pub fn offset(&self, path: &str) -> Result<u32, BtfError> {
        let (name, fields) = path.split_once('.').ok_or_else(|| BtfError::NoField(path.to_owned()))?;
        let candidates = self.structs.get(name).ok_or_else(|| BtfError::NoStruct(name.to_owned()))?;
        let mut found = candidates.iter().filter_map(|id| self.walk(*id, fields)).collect::<Vec<_>>();
        found.dedup();
        match found[..] {
            [] => Err(BtfError::NoField(path.to_owned())),
            [(_, true)] => Err(BtfError::Bitfield(path.to_owned())),
            [(bits, false)] => Ok(bits / 8),
            _ => Err(BtfError::Ambiguous(name.to_owned())),
        }
    }

    /// Bit offset of `fields` in the struct `id`, and whether it is a bit-field.
    fn walk(&self, id: u32, fields: &str) -> Option<(u32, bool)> {
        let mut id = id;
        let mut bits = 0u32;
        let mut is_bitfield = false;
        for field in fields.split('.') {
            let (of, offset, bitfield) = self.member(id, field, MAX_DEPTH)?;
            id = of;
            bits = bits.checked_add(offset)?;
            is_bitfield = bitfield;
        }
        Some((bits, is_bitfield))
    }

    /// Type, bit offset and bit-field flag of the member `field` of struct `id`, through anonymous members.
    fn member(&self, id: u32, field: &str, depth: u32) -> Option<(u32, u32, bool)> {
        let depth = depth.checked_sub(1)?;
        let Type::Struct { members } = self.resolve(id)? else { return None };
        for member in members {
            if member.name == field {
                return Some((member.of, member.bits, member.is_bitfield));
            }
            if member.name.is_empty()
                && let Some((of, bits, is_bitfield)) = self.member(member.of, field, depth)
            {
                return Some((of, member.bits.checked_add(bits)?, is_bitfield));
            }
        }
        None
    }

    /// The type behind aliases.
    fn resolve(&self, id: u32) -> Option<&Type> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.types.get(id.checked_sub(1)? as usize)? {
                Type::Alias { of } => id = *of,
                found => return Some(found),
            }
        }
        None
    }

    /// Value of an enumerator: `enum_value("cgroup_subsys_id", "memory_cgrp_id")`.
    pub fn enum_value(&self, name: &str, enumerator: &str) -> Option<i64> {
        self.enum_values(name).iter().find(|(name, _)| name == enumerator).map(|(_, value)| *value)
    }

    /// All enumerators of an enum with their values; none if there is no such enum.
    pub fn enum_values(&self, name: &str) -> &[(String, i64)] {
        match self.enums.get(name).and_then(|id| self.resolve(*id)) {
            Some(Type::Enum { values }) => values,
            _ => &[],
        }
    }
}

fn member(reader: &mut Reader<'_>, strings: &[u8], kind_flag: bool) -> Result<Member, BtfError> {
    let (name, of, offset) = (string(strings, reader.u32()?), reader.u32()?, reader.u32()?);
    // With the kind flag the upper 8 bits are the width of a bit-field, 0 for a plain member.
    let (bits, width) = if kind_flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
    Ok(Member { name, of, bits, is_bitfield: width != 0 || bits % 8 != 0 })
}

fn enumerator(
    reader: &mut Reader<'_>,
    strings: &[u8],
    wide: bool,
    signed: bool,
) -> Result<(String, i64), BtfError> {
    let name = string(strings, reader.u32()?);
    let low = reader.u32()?;
    let value = match (wide, signed) {
        (true, _) => (u64::from(reader.u32()?) << 32 | u64::from(low)) as i64,
        (false, true) => i64::from(low as i32),
        (false, false) => i64::from(low),
    };
    Ok((name, value))
}

/// The NUL-terminated string at `offset`; empty if there is none.
fn string(strings: &[u8], offset: u32) -> String {
    let rest = strings.get(offset as usize..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned()
}

/// Words of a section, one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u16(&mut self) -> Result<u16, BtfError> {
        self.take().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, BtfError> {
        self.take().map(u32::from_ne_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BtfError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let word = rest.first_chunk::<N>().ok_or(BtfError::Format(self.at))?;
        self.at += N;
        Ok(*word)
    }

    fn skip(&mut self, bytes: usize) -> Result<Type, BtfError> {
        let next = self.at.saturating_add(bytes);
        if next > self.bytes.len() {
            return Err(BtfError::Format(self.at));
        }
        self.at = next;
        Ok(Type::Other)
    }
}
