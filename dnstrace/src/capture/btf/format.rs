//! The records as they lie in the file.

use std::ops::Range;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, native_endian::U32};

use super::BtfError;

/// Where the two sections lie in the file.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) types: Range<usize>,
    pub(super) strings: Range<usize>,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 2],
    version: u8,
    flags: u8,
    /// Of the header itself; the sections' offsets count from there.
    length: U32,
    types: U32,
    types_length: U32,
    strings: U32,
    strings_length: U32,
}

/// What every type begins with.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Record {
    name: U32,
    /// Bits 0 to 15: number of elements; 24 to 28: kind; 31: the kind flag. The others are zero.
    info: U32,
    word: U32,
}

/// A member of a struct or union.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Member {
    pub(super) name: U32,
    pub(super) of: U32,
    /// In bits. With the kind flag: bits 0 to 23, and the bit-field's width (0: none) above.
    pub(super) offset: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Enumerator32 {
    pub(super) name: U32,
    pub(super) value: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Enumerator64 {
    pub(super) name: U32,
    pub(super) low: U32,
    pub(super) high: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Array {
    pub(super) of: U32,
    pub(super) index: U32,
    pub(super) length: U32,
}

/// A parameter of a function; `name` and `of` both 0 for the `...` of a variadic one.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Parameter {
    pub(super) name: U32,
    pub(super) of: U32,
}

/// Kinds of types, by their number in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Int = 1,
    Pointer = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Forward = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Function = 12,
    Prototype = 13,
    Variable = 14,
    DataSection = 15,
    Float = 16,
    DeclarationTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

impl Kind {
    /// In the order of their numbers.
    const ALL: [Self; 19] = [
        Self::Int,
        Self::Pointer,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Forward,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Function,
        Self::Prototype,
        Self::Variable,
        Self::DataSection,
        Self::Float,
        Self::DeclarationTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number.checked_sub(1)? as usize).copied()
    }

    /// Bytes behind the record, for `count` elements.
    pub(super) fn tail_length(self, count: usize) -> usize {
        match self {
            Self::Int | Self::Variable | Self::DeclarationTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::DataSection | Self::Enum64 => 12 * count,
            Self::Enum | Self::Prototype => 8 * count,
            _ => 0,
        }
    }

    /// Another name, or another way to hold, the type that the record's word names.
    pub(super) fn is_alias(self) -> bool {
        matches!(self, Self::Typedef | Self::Volatile | Self::Const | Self::Restrict | Self::TypeTag)
    }

    /// Whether [`Btf`](super::Btf) answers questions by this kind's names.
    pub(super) fn is_asked_by_name(self) -> bool {
        matches!(
            self,
            Self::Struct | Self::Union | Self::Enum | Self::Enum64 | Self::Typedef | Self::Function
        )
    }

    pub(super) fn has_members(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }
}

/// One type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type<'a> {
    /// Offset of its name.
    pub(super) name: u32,
    pub(super) kind: Kind,
    /// Struct and union: members can be bit-fields; enum: values are signed; forward: it is a union.
    pub(super) flag: bool,
    /// A size in bytes or another type's id, as the kind has it.
    pub(super) word: u32,
    tail: &'a [u8],
}

impl<'a> Type<'a> {
    /// The type whose record `bytes` begin with; none if they do not hold a whole one of a known kind.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        const RESERVED: u32 = 0x60ff_0000;
        let (record, rest) = Record::ref_from_prefix(bytes).ok()?;
        let info = record.info.get();
        let kind = Kind::from_number(kind_number(info))?;
        let tail = rest.get(..kind.tail_length((info & 0xffff) as usize))?;
        let flag = info >> 31 == 1;
        (info & RESERVED == 0).then_some(Self {
            name: record.name.get(),
            kind,
            flag,
            word: record.word.get(),
            tail,
        })
    }

    /// Members of a struct or union; none of any other kind.
    pub(super) fn members(self) -> &'a [Member] {
        if self.kind.has_members() { self.elements() } else { &[] }
    }

    /// Enumerators of an enum of 32 bits; none of any other kind.
    pub(super) fn enumerators32(self) -> &'a [Enumerator32] {
        if self.kind == Kind::Enum { self.elements() } else { &[] }
    }

    /// Enumerators of an enum of 64 bits; none of any other kind.
    pub(super) fn enumerators64(self) -> &'a [Enumerator64] {
        if self.kind == Kind::Enum64 { self.elements() } else { &[] }
    }

    /// Parameters of a prototype; none of any other kind.
    pub(super) fn parameters(self) -> &'a [Parameter] {
        if self.kind == Kind::Prototype { self.elements() } else { &[] }
    }

    pub(super) fn array(self) -> Option<&'a Array> {
        if self.kind == Kind::Array { Array::ref_from_bytes(self.tail).ok() } else { None }
    }

    fn elements<T: FromBytes + Immutable + Unaligned>(self) -> &'a [T] {
        // `read` cut the tail to a multiple of the element's size: the empty slice is never the answer to an
        // honest question.
        <[T]>::ref_from_bytes(self.tail).unwrap_or_default()
    }

    fn length(self) -> usize {
        size_of::<Record>() + self.tail.len()
    }
}

fn kind_number(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Reads the header.
pub(super) fn sections(bytes: &[u8]) -> Result<Sections, BtfError> {
    const MAGIC: u16 = 0xeb9f;
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| BtfError::NotBtf)?;
    match u16::from_ne_bytes(header.magic) {
        MAGIC => {}
        magic if magic == MAGIC.swap_bytes() => return Err(BtfError::ForeignByteOrder),
        _ => return Err(BtfError::NotBtf),
    }
    if header.version != 1 {
        return Err(BtfError::Version(header.version));
    }
    let section = |name, offset: U32, length: U32| {
        let end = |start: usize| start.checked_add(length.get() as usize);
        (header.length.get() as usize)
            .checked_add(offset.get() as usize)
            .and_then(|start| Some(start..end(start)?))
            .filter(|range| range.end <= bytes.len())
            .ok_or(BtfError::Section(name))
    };
    Ok(Sections {
        types: section("type", header.types, header.types_length)?,
        strings: section("string", header.strings, header.strings_length)?,
    })
}

/// Where the records of the type section begin; `first` is the id of the first one.
pub(super) fn records(bytes: &[u8], types: Range<usize>, first: u32) -> Result<Vec<u32>, BtfError> {
    let mut records = Vec::new();
    let mut at = types.start;
    while at < types.end {
        let rest = bytes.get(at..types.end).unwrap_or_default();
        let found = Type::read(rest).ok_or_else(|| {
            let info = Record::ref_from_prefix(rest).map_or(0, |(record, _)| record.info.get());
            let id = u32::try_from(records.len()).unwrap_or(u32::MAX).saturating_add(first);
            BtfError::Record { id, kind: kind_number(info) }
        })?;
        records.push(u32::try_from(at).map_err(|_| BtfError::Section("type"))?);
        at += found.length();
    }
    Ok(records)
}
