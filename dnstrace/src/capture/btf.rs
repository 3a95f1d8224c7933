//! The kernel's own account of its types (BTF): where a field lies, what an enumerator's value is, what a
//! function takes.
//!
//! A walker of our own, as aya-obj does not export member offsets and btf-rs is under the LGPL. The format is
//! that of the kernel's `Documentation/bpf/btf.rst`, header version 1: a section of type records, numbered from
//! 1 in the order they stand in (0 is `void`), and a section of NUL-terminated strings. A module's BTF (split
//! BTF) goes on counting where vmlinux ends, in types and in string offsets.
//!
//! The bytes come from outside. So each record is checked once when it is parsed ([`format`]), every read is
//! checked again by the slice it is taken from, chains of types end after [`MAX_CHAIN`] steps, and no search
//! looks into one struct twice.
//!
//! - `members`: `"sk_buff.transport_header"` to an offset
//! - `enums`: `"iter_type"`, `"ITER_UBUF"` to a value
//! - `prototypes`: `"udp_sendmsg"` to its parameters

mod enums;
mod format;
mod members;
mod prototypes;
#[cfg(test)]
pub(in crate::capture) mod tests;

use std::{
    ffi::CStr,
    fs,
    hash::{DefaultHasher, Hasher as _},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use format::{Kind, Type};
use io::Read as _;

/// Longest chain of types that is followed (typedef of const of array of ...). Real ones have under ten.
const MAX_CHAIN: usize = 64;

/// Largest file that is read, in bytes; vmlinux has 4 to 10 MB.
const MAX_SIZE: u64 = 256 << 20;

/// Why BTF did not tell what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    #[error("cannot read the kernel's BTF from {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: larger than {MAX_SIZE} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("not BTF: it does not begin with the magic number 0xeb9f")]
    NotBtf,
    #[error("BTF of a machine with the other byte order")]
    ForeignByteOrder,
    #[error("BTF version {0}: only version 1 is known")]
    Version(u8),
    #[error("damaged BTF: the {0} section lies outside the file")]
    Section(&'static str),
    #[error("damaged BTF, or newer than this dnstrace: type {id}, kind {kind}, cannot be read")]
    Record { id: u32, kind: u32 },
    #[error("{0}: not a path such as `sk_buff.len`")]
    Path(String),
    #[error("the kernel's BTF has no struct {0}")]
    NoStruct(String),
    /// `within` is the struct that was searched, anonymous members included.
    #[error("{path}: no member {member} in {within} of this kernel's BTF")]
    NoMember { path: String, member: String, within: String },
    /// A path is inside one object.
    #[error("{path}: {member} is not a struct or union (pointers are not followed)")]
    NotAStruct { path: String, member: String },
    /// It has a [`Btf::bit_offset`] but no offset in bytes.
    #[error("{0} is a bit-field")]
    Bitfield(String),
    #[error("the kernel's BTF has several structs with {0}, and they differ")]
    Ambiguous(String),
    #[error("{0}: its type has no size")]
    NoSize(String),
    #[error("this kernel's BTF has none of {0}")]
    NoneOf(String),
}

/// Parsed BTF of a kernel, or of a module on top of its kernel's.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Where each type's record begins in `bytes`.
    records: Vec<u32>,
    strings: Range<usize>,
    /// Hash of the name and id of each type that is asked for by name, in the order of the hashes. What has the
    /// hash need not have the name.
    names: Vec<(u64, u32)>,
    base: Option<Arc<Self>>,
}

impl Btf {
    /// Reads a kernel's BTF: `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`Btf::from_bytes`].
    pub fn load(path: &Path) -> Result<Self, BtfError> {
        Self::parse(read(path)?, None)
    }

    /// Reads a module's BTF on top of its kernel's: `/sys/kernel/btf/nf_conntrack`. Questions are answered from
    /// both.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`Btf::from_bytes`].
    pub fn load_module(base: &Arc<Self>, path: &Path) -> Result<Self, BtfError> {
        Self::parse(read(path)?, Some(Arc::clone(base)))
    }

    /// Parses a kernel's BTF.
    ///
    /// # Errors
    /// If the bytes are not BTF version 1 in this machine's byte order, or are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BtfError> {
        Self::parse(bytes.to_vec(), None)
    }

    fn parse(bytes: Vec<u8>, base: Option<Arc<Self>>) -> Result<Self, BtfError> {
        let format::Sections { types, strings } = format::sections(&bytes)?;
        let first = base.as_deref().map_or(1, Self::end_id);
        let records = format::records(&bytes, types, first)?;
        let mut btf = Self { bytes, records, strings, names: Vec::new(), base };
        btf.names = btf.index();
        Ok(btf)
    }

    fn index(&self) -> Vec<(u64, u32)> {
        let own = (self.first_id()..self.end_id()).filter_map(|id| Some((id, self.get(id)?)));
        let named = own.filter(|(_, found)| found.kind.is_asked_by_name() && found.name != 0);
        let mut names = named.map(|(id, found)| (hash(self.name(found.name)), id)).collect::<Vec<_>>();
        names.sort_unstable();
        names
    }

    /// The id behind the last type.
    fn end_id(&self) -> u32 {
        // The count is bounded by MAX_SIZE / 12 and so is the base's: no sum of them comes near u32::MAX.
        self.first_id().saturating_add(u32::try_from(self.records.len()).unwrap_or(u32::MAX))
    }

    fn first_id(&self) -> u32 {
        self.base.as_deref().map_or(1, Self::end_id)
    }

    /// The offset behind the last string.
    fn end_string(&self) -> usize {
        self.first_string().saturating_add(self.strings.len())
    }

    fn first_string(&self) -> usize {
        self.base.as_deref().map_or(0, Self::end_string)
    }

    /// The type with this id; none for `void` and ids that do not exist.
    fn get(&self, id: u32) -> Option<Type<'_>> {
        match id.checked_sub(self.first_id()) {
            Some(index) => {
                let start = *self.records.get(usize::try_from(index).ok()?)?;
                Type::read(self.bytes.get(usize::try_from(start).ok()?..)?)
            }
            None => self.base.as_deref()?.get(id),
        }
    }

    /// All types of these kinds, the base's first.
    fn of_kinds(&self, kinds: &[Kind]) -> impl Iterator<Item = Type<'_>> {
        (1..self.end_id()).filter_map(|id| self.get(id)).filter(move |found| kinds.contains(&found.kind))
    }

    /// All types of these kinds with this name, the base's first.
    fn named(&self, kinds: &[Kind], name: &str) -> Vec<(u32, Type<'_>)> {
        let mut all = self.base.as_deref().map_or_else(Vec::new, |base| base.named(kinds, name));
        let hash = hash(name.as_bytes());
        let start = self.names.partition_point(|(other, _)| *other < hash);
        let candidates = self.names.iter().skip(start).take_while(|(other, _)| *other == hash);
        all.extend(
            candidates
                .filter_map(|(_, id)| Some((*id, self.get(*id)?)))
                .filter(|(_, found)| kinds.contains(&found.kind) && self.is_name(found.name, name)),
        );
        all
    }

    /// The type behind typedefs, qualifiers and tags.
    fn resolve(&self, id: u32) -> Option<(u32, Type<'_>)> {
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            let found = self.get(id)?;
            if !found.kind.is_alias() {
                return Some((id, found));
            }
            id = found.word;
        }
        None
    }

    /// The string at `offset`; empty if there is none.
    fn name(&self, offset: u32) -> &[u8] {
        let own = (offset as usize).checked_sub(self.first_string());
        let strings = match (own, self.base.as_deref()) {
            (Some(own), _) => self.bytes.get(self.strings.clone()).and_then(|all| all.get(own..)),
            (None, Some(base)) => return base.name(offset),
            (None, None) => None,
        };
        CStr::from_bytes_until_nul(strings.unwrap_or_default()).map_or(&[], CStr::to_bytes)
    }

    fn is_name(&self, offset: u32, name: &str) -> bool {
        self.name(offset) == name.as_bytes()
    }

    /// The string at `offset`; empty if there is none.
    fn string(&self, offset: u32) -> String {
        String::from_utf8_lossy(self.name(offset)).into_owned()
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

fn read(path: &Path) -> Result<Vec<u8>, BtfError> {
    let failed = |source| BtfError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    // One byte more tells a file of just the limit from a larger one.
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(BtfError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// What all of them say; none if there are none, or if they differ.
fn unanimous<T: PartialEq>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.all(|item| item == first).then_some(first)
}
