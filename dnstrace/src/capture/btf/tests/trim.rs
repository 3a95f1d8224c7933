//! Cuts a kernel's BTF down to what is asked for, so that a fixture is some kilobytes instead of megabytes.
//!
//! What is kept is kept as it was: anonymous structs and unions, typedefs and arrays on the way, sizes, offsets,
//! bit-field flags. A pointer becomes one to `void`, a struct behind a parameter's pointer a forward declaration.

use std::collections::{BTreeSet, HashMap};

use super::{
    super::{
        Btf, Kind,
        format::{Member, Type},
    },
    builder::Builder,
};

/// What shall be kept.
#[derive(Debug, Default)]
pub struct Trim {
    /// Indices of members, by struct or union.
    members: HashMap<u32, BTreeSet<usize>>,
    /// Enums, typedefs of tracepoints, functions: kept with all that they say. And the paths' structs.
    roots: BTreeSet<u32>,
}

impl Trim {
    /// Keeps a member; nothing if this kernel does not have it.
    pub fn keep_member(&mut self, btf: &Btf, path: &str) {
        let (name, members) = path.split_once('.').unwrap();
        for (id, _) in btf.named(&[Kind::Struct, Kind::Union], name) {
            let mut route = Vec::new();
            let mut at = Some(id);
            for member in members.split('.') {
                at = at.and_then(|id| find(btf, id, member, &mut route));
            }
            if at.is_some() {
                self.roots.insert(id);
                for (id, index) in route {
                    self.members.entry(id).or_default().insert(index);
                }
            }
        }
    }

    pub fn keep(&mut self, btf: &Btf, kinds: &[Kind], name: &str) {
        self.roots.extend(btf.named(kinds, name).into_iter().map(|(id, _)| id));
    }

    /// The file.
    pub fn finish(&self, btf: &Btf) -> Vec<u8> {
        let mut copy = Copy { btf, trim: self, out: Builder::new(), done: HashMap::new() };
        for id in &self.roots {
            match btf.get(*id).unwrap().kind {
                Kind::Function | Kind::Typedef => copy.callable(*id),
                _ => copy.layout(*id),
            };
        }
        copy.out.bytes()
    }
}

/// The type of the member `name` of `id`; its way there, through anonymous members, is added to `route`.
fn find(btf: &Btf, id: u32, name: &str, route: &mut Vec<(u32, usize)>) -> Option<u32> {
    let (id, found) = btf.resolve(id)?;
    for (index, member) in found.members().iter().enumerate() {
        let length = route.len();
        route.push((id, index));
        if btf.is_name(member.name.get(), name) {
            return Some(member.of.get());
        }
        let inner = (member.name.get() == 0).then(|| find(btf, member.of.get(), name, route)).flatten();
        if inner.is_some() {
            return inner;
        }
        route.truncate(length);
    }
    None
}

struct Copy<'a> {
    btf: &'a Btf,
    trim: &'a Trim,
    out: Builder,
    /// Ids in `out`, by id in `btf` and whether it was copied as a part of a callable.
    done: HashMap<(u32, bool), u32>,
}

impl Copy<'_> {
    /// Copies what has a layout; pointers are cut.
    fn layout(&mut self, id: u32) -> u32 {
        self.once(id, false, |copy, found, name| match found.kind {
            Kind::Pointer => copy.out.of(Kind::Pointer, "", 0),
            Kind::Array => {
                let array = found.array().unwrap();
                let of = copy.layout(array.of.get());
                copy.out.array(of, array.length.get())
            }
            Kind::Struct | Kind::Union => copy.aggregate(id, found, name),
            Kind::Enum | Kind::Enum64 => copy.enumeration(id, found, name),
            kind if kind.is_alias() => {
                let of = copy.layout(found.word);
                copy.out.of(kind, name, of)
            }
            kind => copy.out.add(kind, name, found.flag, 0, found.word, &vec![0; kind.tail_length(0) / 4]),
        })
    }

    fn aggregate(&mut self, id: u32, found: Type<'_>, name: &str) -> u32 {
        let kept = self.trim.members.get(&id).into_iter().flatten();
        let members = kept
            .map(|index| {
                let Member { name, of, offset } = &found.members()[*index];
                (self.btf.string(name.get()), self.layout(of.get()), offset.get())
            })
            .collect::<Vec<_>>();
        let members = members.iter().map(|(name, of, bits)| (name.as_str(), *of, *bits)).collect::<Vec<_>>();
        self.out.aggregate(found.kind, name, found.flag, found.word, &members)
    }

    /// With its enumerators only if it was asked for itself.
    fn enumeration(&mut self, id: u32, found: Type<'_>, name: &str) -> u32 {
        let is_wanted = self.trim.roots.contains(&id);
        let mut tail = Vec::new();
        for item in found.enumerators32().iter().filter(|_| is_wanted) {
            tail.extend([self.out.name(&self.btf.string(item.name.get())), item.value.get()]);
        }
        for item in found.enumerators64().iter().filter(|_| is_wanted) {
            let name = self.out.name(&self.btf.string(item.name.get()));
            tail.extend([name, item.low.get(), item.high.get()]);
        }
        let count = tail.len() * 4 / found.kind.tail_length(1);
        self.out.add(found.kind, name, found.flag, count, found.word, &tail)
    }

    /// Copies functions and what their parameters are called.
    fn callable(&mut self, id: u32) -> u32 {
        self.once(id, true, |copy, found, name| match found.kind {
            Kind::Prototype => {
                let parameters = found
                    .parameters()
                    .iter()
                    .map(|parameter| {
                        (copy.btf.string(parameter.name.get()), copy.callable(parameter.of.get()))
                    })
                    .collect::<Vec<_>>();
                let parameters = parameters.iter().map(|(name, of)| (name.as_str(), *of)).collect::<Vec<_>>();
                copy.out.prototype(&parameters)
            }
            Kind::Struct | Kind::Union | Kind::Forward => {
                let is_union = found.kind == Kind::Union || found.kind == Kind::Forward && found.flag;
                copy.out.add(Kind::Forward, name, is_union, 0, 0, &[])
            }
            Kind::Pointer | Kind::Function => {
                let of = copy.callable(found.word);
                copy.out.of(found.kind, name, of)
            }
            kind if kind.is_alias() => {
                let of = copy.callable(found.word);
                copy.out.of(kind, name, of)
            }
            _ => copy.layout(id),
        })
    }

    /// Copies a type by `copy` unless that was done before; `void` stays `void`.
    fn once(
        &mut self,
        id: u32,
        as_callable: bool,
        copy: impl FnOnce(&mut Self, Type<'_>, &str) -> u32,
    ) -> u32 {
        let Some(found) = self.btf.get(id) else { return 0 };
        if let Some(done) = self.done.get(&(id, as_callable)) {
            return *done;
        }
        let name = self.btf.string(found.name);
        let copied = copy(self, found, &name);
        self.done.insert((id, as_callable), copied);
        copied
    }
}
