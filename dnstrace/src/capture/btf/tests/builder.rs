//! Writes BTF.

use std::collections::HashMap;

use super::super::{Btf, Kind};

/// BTF in the making. Each method that adds a type returns its id.
#[derive(Debug)]
pub struct Builder {
    types: Vec<u8>,
    next_id: u32,
    strings: Vec<u8>,
    first_string: u32,
    written: HashMap<String, u32>,
}

/// Name, type, offset in bits.
pub type Plain<'a> = (&'a str, u32, u32);

impl Builder {
    pub fn new() -> Self {
        // A base's first string is the empty one.
        Self { types: Vec::new(), next_id: 1, strings: vec![0], first_string: 0, written: HashMap::new() }
    }

    /// Of a module, on top of its kernel's.
    pub fn on_top_of(base: &Btf) -> Self {
        Self {
            next_id: base.end_id(),
            first_string: u32::try_from(base.end_string()).unwrap(),
            strings: Vec::new(),
            ..Self::new()
        }
    }

    pub fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(offset) = self.written.get(name) {
            return *offset;
        }
        let offset = self.first_string + u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.written.insert(name.to_owned(), offset);
        offset
    }

    /// Any type: `count` elements are described by the words of `tail`.
    pub fn add(&mut self, kind: Kind, name: &str, flag: bool, count: usize, word: u32, tail: &[u32]) -> u32 {
        let info = (kind as u32) << 24 | u32::from(flag) << 31 | u32::from(u16::try_from(count).unwrap());
        let name = self.name(name);
        for word in [name, info, word].iter().chain(tail) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.next_id += 1;
        self.next_id - 1
    }

    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.add(Kind::Int, name, false, 0, size, &[size * 8])
    }

    /// A type that stands for another one, or points to it.
    pub fn of(&mut self, kind: Kind, name: &str, of: u32) -> u32 {
        self.add(kind, name, false, 0, of, &[])
    }

    pub fn array(&mut self, of: u32, length: u32) -> u32 {
        self.add(Kind::Array, "", false, 0, 0, &[of, of, length])
    }

    pub fn structure(&mut self, name: &str, size: u32, members: &[Plain<'_>]) -> u32 {
        self.aggregate(Kind::Struct, name, false, size, members)
    }

    pub fn union(&mut self, name: &str, size: u32, members: &[Plain<'_>]) -> u32 {
        self.aggregate(Kind::Union, name, false, size, members)
    }

    /// Struct or union; with the flag a member's offset has the bit-field's width in its upper 8 bits.
    pub fn aggregate(&mut self, kind: Kind, name: &str, flag: bool, size: u32, members: &[Plain<'_>]) -> u32 {
        let tail = members.iter().flat_map(|(name, of, bits)| [self.name(name), *of, *bits]);
        let tail = tail.collect::<Vec<_>>();
        self.add(kind, name, flag, members.len(), size, &tail)
    }

    pub fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, u32)]) -> u32 {
        let tail = values.iter().flat_map(|(name, value)| [self.name(name), *value]).collect::<Vec<_>>();
        self.add(Kind::Enum, name, signed, values.len(), 4, &tail)
    }

    pub fn enumeration64(&mut self, name: &str, signed: bool, values: &[(&str, u64)]) -> u32 {
        let tail = values
            .iter()
            .flat_map(|(name, value)| [self.name(name), *value as u32, (*value >> 32) as u32])
            .collect::<Vec<_>>();
        self.add(Kind::Enum64, name, signed, values.len(), 8, &tail)
    }

    pub fn prototype(&mut self, parameters: &[(&str, u32)]) -> u32 {
        let tail = parameters.iter().flat_map(|(name, of)| [self.name(name), *of]).collect::<Vec<_>>();
        self.add(Kind::Prototype, "", false, parameters.len(), 0, &tail)
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let lengths = [self.types.len(), self.strings.len()].map(|length| u32::try_from(length).unwrap());
        let [types, strings] = lengths;
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[1, 0]);
        for word in [24, 0, types, types, strings] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }

    pub fn btf(&self) -> Btf {
        Btf::from_bytes(&self.bytes()).unwrap()
    }
}
