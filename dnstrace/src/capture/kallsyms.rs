//! The kernel's symbols, as `/proc/kallsyms` lists them.
//!
//! Two uses, each a pass over the file of 5 to 15 MB, line by line: [`Symbols`] tells whether a probe can be
//! attached to a function by its name, [`Addresses`] what function a packet was dropped in.
//!
//! A line is `ffffffffc0a01230 t nf_ct_resolve_clash [nf_conntrack]`: address, type as `nm` has it, name, and
//! the module if it is one's (before it a tab). For readers without `CAP_SYSLOG` all addresses are zero
//! (`kptr_restrict`). Lines that look otherwise are skipped.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

/// Longest line that is read, in bytes. The kernel's names end at 512 (`KSYM_NAME_LEN`), its modules' at 56.
const MAX_LINE: u64 = 1024;

/// No function is as long, in bytes: an address this far behind the last symbol is in no listed function.
const MAX_FUNCTION: u64 = 1 << 20;

/// The file of symbols could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the kernel's symbols from {}", path.display())]
pub struct KallsymsError {
    path: PathBuf,
    source: io::Error,
}

/// What the kernel has by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Type letter of the first symbol of the name: `T` is a global function, `t` a static one.
    pub kind: char,
    /// Module of the first symbol of the name; none for the kernel proper.
    pub module: Option<String>,
    /// Symbols of the name, over the kernel and all its modules, whatever their type.
    pub occurrences: u32,
}

impl Symbol {
    /// Whether a kprobe by name hits one function and no other. Since 6.6 the kernel refuses the others
    /// (`number_of_same_symbols`); before, it took the first.
    pub fn is_unique_function(&self) -> bool {
        self.occurrences == 1 && matches!(self.kind, 't' | 'T')
    }
}

/// Which of the wanted symbols the running kernel has.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    found: HashMap<String, Symbol>,
}

impl Symbols {
    /// Looks for `wanted` names in a file such as `/proc/kallsyms`. Names must be exact: what the compiler
    /// renamed (`early_drop.isra.0`) is another symbol.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(path: &Path, wanted: &[&str]) -> Result<Self, KallsymsError> {
        with_file(path, |reader| Self::read(reader, wanted))
    }

    fn read(reader: impl BufRead, wanted: &[&str]) -> io::Result<Self> {
        let wanted = wanted.iter().copied().collect::<HashSet<_>>();
        let mut found = HashMap::<String, Symbol>::new();
        each_line(reader, |line| {
            if !wanted.contains(line.name) {
                return;
            }
            match found.get_mut(line.name) {
                Some(symbol) => symbol.occurrences = symbol.occurrences.saturating_add(1),
                None => {
                    let module = line.module.map(str::to_owned);
                    found.insert(line.name.to_owned(), Symbol { kind: line.kind, module, occurrences: 1 });
                }
            }
        })?;
        Ok(Self { found })
    }

    /// What the kernel has by this name, if the name was wanted.
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.found.get(name)
    }

    /// Whether the name was wanted and is a function's, and nothing else's: see [`Symbol::is_unique_function`].
    pub fn is_unique_function(&self, name: &str) -> bool {
        self.get(name).is_some_and(Symbol::is_unique_function)
    }
}

/// A place in the kernel's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    pub function: &'a str,
    /// None for the kernel proper.
    pub module: Option<&'a str>,
    /// Bytes from the function's start.
    pub offset: u64,
}

/// The kernel's functions by address; of the modules, those that were loaded when the file was read.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// In the order of their starts, no two with the same.
    entries: Vec<Entry>,
    /// The functions' names, one after the other.
    names: String,
    modules: Vec<String>,
}

/// A function, or the end of functions: a symbol of data, which has no name here.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    /// Where in `names` its name is.
    name: u32,
    name_length: u16,
    /// Index in `modules` plus one; 0: the kernel proper.
    module: u16,
}

impl Addresses {
    /// Reads all functions of a file such as `/proc/kallsyms`: some 100,000, in about 5 MB of memory. Without
    /// addresses in the file (`kptr_restrict`) there are none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, KallsymsError> {
        with_file(path, Self::read)
    }

    fn read(reader: impl BufRead) -> io::Result<Self> {
        let mut table = Self::default();
        let mut modules = HashMap::new();
        each_line(reader, |line| table.add(&line, &mut modules))?;
        // Of several names for one address the first is taken, as the kernel's own lookup does.
        table.entries.sort_by_key(|entry| (entry.start, entry.name_length == 0));
        table.entries.dedup_by_key(|entry| entry.start);
        Ok(table)
    }

    /// Adds a line. What does not fit into an entry's numbers (a file of 4 GB, 65,535 modules) is left out.
    fn add(&mut self, line: &Line<'_>, modules: &mut HashMap<String, u16>) {
        if line.address == 0 || line.is_mapping_symbol() {
            return;
        }
        let mut entry = Entry { start: line.address, name: 0, name_length: 0, module: 0 };
        // Weak functions (`w`, `W`) are functions as well.
        if matches!(line.kind, 't' | 'T' | 'w' | 'W') {
            let place = (u32::try_from(self.names.len()), u16::try_from(line.name.len()));
            let (Ok(name), Ok(name_length)) = place else { return };
            let Some(module) = self.module(line.module, modules) else { return };
            self.names.push_str(line.name);
            entry = Entry { name, name_length, module, ..entry };
        }
        self.entries.push(entry);
    }

    /// The number that entries have for a module.
    fn module(&mut self, name: Option<&str>, known: &mut HashMap<String, u16>) -> Option<u16> {
        let Some(name) = name else { return Some(0) };
        if let Some(number) = known.get(name) {
            return Some(*number);
        }
        let number = u16::try_from(self.modules.len()).ok()?.checked_add(1)?;
        self.modules.push(name.to_owned());
        known.insert(name.to_owned(), number);
        Some(number)
    }

    /// The function around `address`. None for what is no kernel code, and if addresses were hidden.
    pub fn lookup(&self, address: u64) -> Option<Location<'_>> {
        let behind = self.entries.partition_point(|entry| entry.start <= address);
        let entry = self.entries.get(behind.checked_sub(1)?)?;
        let offset = address.checked_sub(entry.start).filter(|offset| *offset < MAX_FUNCTION)?;
        let function = self.names.get(entry.name as usize..)?.get(..usize::from(entry.name_length))?;
        let module = usize::from(entry.module).checked_sub(1).and_then(|index| self.modules.get(index));
        let location = Location { function, module: module.map(String::as_str), offset };
        (!function.is_empty()).then_some(location)
    }
}

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line<'a> {
    address: u64,
    kind: char,
    name: &'a str,
    module: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (address, rest) = line.trim_ascii_end().split_once(' ')?;
        let (kind, rest) = rest.split_once(' ')?;
        let (name, module) = match rest.split_once('\t') {
            Some((name, module)) => (name, Some(module.strip_prefix('[')?.strip_suffix(']')?)),
            None => (rest, None),
        };
        let address = u64::from_str_radix(address, 16).ok()?;
        let kind = kind.parse().ok()?;
        (!name.is_empty() && !name.contains(' ')).then_some(Self { address, kind, name, module })
    }

    /// Whether it only says that code (`$x`) or data (`$d`) begins here, perhaps within a function: arm64's modules are
    /// full of them (`is_mapping_symbol`, include/linux/module_symbol.h; listed all the same, seen on 6.1).
    fn is_mapping_symbol(&self) -> bool {
        self.name.starts_with('$')
    }
}

/// Calls `each` with every line that can be read as one. A line longer than [`MAX_LINE`] is taken in pieces, and
/// they are no lines.
fn each_line(mut reader: impl BufRead, mut each: impl FnMut(Line<'_>)) -> io::Result<()> {
    let mut bytes = Vec::new();
    while reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)? != 0 {
        if let Some(line) = str::from_utf8(&bytes).ok().and_then(Line::parse) {
            each(line);
        }
        bytes.clear();
    }
    Ok(())
}

fn with_file<T>(
    path: &Path,
    read: impl FnOnce(BufReader<File>) -> io::Result<T>,
) -> Result<T, KallsymsError> {
    File::open(path)
        .and_then(|file| read(BufReader::with_capacity(1 << 16, file)))
        .map_err(|source| KallsymsError { path: path.to_owned(), source })
}
