//! Damaged BTF: any answer is right, but there must be one.

use proptest::prelude::*;

use super::{
    super::{Btf, Kind},
    builder::Builder,
    kernels::KERNELS,
    wanted,
};

/// Asks everything of `btf`.
fn ask(btf: &Btf) {
    for path in wanted::paths() {
        let _ = (btf.offset(path), btf.bit_offset(path), btf.member_size(path), btf.member_is_pointer(path));
    }
    for id in 0..btf.end_id().saturating_add(2) {
        let Some(found) = btf.get(id) else { continue };
        let name = btf.string(found.name);
        let _ = (btf.size_of(&name), btf.enum_values(&name), btf.func_params(&name), btf.enumerator(&name));
        let _ = name.strip_prefix("btf_trace_").map(|name| btf.tracepoint_params(name));
        for member in found.members() {
            let path = format!("{name}.{}.x", btf.string(member.name.get()));
            let _ = (btf.offset(&path), btf.member_size(path.trim_end_matches(".x")));
        }
    }
}

/// One type of every kind, each of another.
fn every_kind() -> Vec<u8> {
    let mut new = Builder::new();
    let int = new.int("int", 4);
    let pointer = new.of(Kind::Pointer, "", int);
    let array = new.array(pointer, 2);
    let inner = new.structure("", 16, &[("deep", array, 0)]);
    let choice = new.union("choice", 16, &[("", inner, 0), ("flat", int, 0)]);
    new.structure("outer", 24, &[("choice", choice, 64), ("", choice, 0)]);
    let reason = new.enumeration("reason", true, &[("ONE", 1)]);
    new.enumeration64("wide", true, &[("TWO", 2)]);
    let prototype = new.prototype(&[("reason", reason), ("", 0)]);
    let function = new.of(Kind::Function, "function", prototype);
    let trace = new.of(Kind::Pointer, "", prototype);
    new.of(Kind::Typedef, "btf_trace_it", trace);
    let mut alias = int;
    for kind in [Kind::Volatile, Kind::Const, Kind::Restrict, Kind::TypeTag, Kind::Forward, Kind::Float] {
        alias = new.of(kind, "alias", alias);
    }
    let variable = new.add(Kind::Variable, "variable", false, 0, alias, &[0]);
    new.add(Kind::DataSection, ".data", false, 1, 8, &[variable, 0, 8]);
    new.add(Kind::DeclarationTag, "tag", false, 0, function, &[0]);
    new.bytes()
}

fn flip(mut bytes: Vec<u8>, flips: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (at, bit) in flips {
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
    }
    bytes
}

fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..24)
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(btf) = Btf::from_bytes(&bytes) {
            ask(&btf);
        }
    }

    #[test]
    fn random_types_are_survived(
        types in prop::collection::vec((1u32..20, any::<bool>(), 0usize..3, 0u32..24, any::<[u8; 9]>()), 0..24)
    ) {
        // Small numbers, so that types do refer to each other, in knots too.
        let mut new = Builder::new();
        for (kind, flag, count, word, tail) in types {
            let kind = Kind::from_number(kind).unwrap();
            let tail = tail.iter().map(|byte| u32::from(*byte % 24)).collect::<Vec<_>>();
            let length = kind.tail_length(count) / 4;
            let name = ["", "a", "b", "btf_trace_c"][word as usize % 4];
            new.add(kind, name, flag, count, word, &tail[..length]);
        }
        ask(&new.btf());
    }

    #[test]
    fn flipped_bits_are_survived(flips in flips()) {
        if let Ok(btf) = Btf::from_bytes(&flip(every_kind(), &flips)) {
            ask(&btf);
        }
    }
}

proptest! {
    // Larger inputs: fewer of them.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn flipped_bits_of_a_kernel_are_survived(kernel in 0..KERNELS.len(), flips in flips()) {
        if let Ok(btf) = Btf::from_bytes(&flip(KERNELS[kernel].1.to_vec(), &flips)) {
            ask(&btf);
        }
    }
}

#[test]
fn every_kind_is_read() {
    let btf = Btf::from_bytes(&every_kind()).unwrap();
    assert_eq!(btf.offset("outer.choice.deep").unwrap(), 8);
    assert_eq!(btf.enum_value("wide", "TWO"), Some(2));
    assert_eq!(btf.end_id(), 22);
}

#[test]
fn a_struct_inside_itself_ends_the_search() {
    let mut new = Builder::new();
    new.structure("knot", 8, &[("", 1, 0), ("", 2, 0)]);
    new.of(Kind::Typedef, "loop", 2);
    assert!(new.btf().offset("knot.x").is_err());
}

#[test]
fn a_tree_of_anonymous_structs_is_searched_once() {
    // Each struct holds the next one many times: 200^40 ways to the last.
    let mut new = Builder::new();
    for id in 1..=40 {
        let members = vec![("", id + 1, 0); 200];
        new.structure(if id == 1 { "tree" } else { "" }, 8, &members);
    }
    assert!(new.btf().offset("tree.x").is_err());
}

#[test]
fn sizes_do_not_overflow_and_chains_end() {
    let mut new = Builder::new();
    let int = new.int("int", 4);
    let once = new.array(int, u32::MAX);
    let own = new.array(3, 1);
    new.structure("s", 8, &[("many", once, 0), ("endless", own, 0)]);
    new.of(Kind::Function, "f", 6);
    let pointer = 7;
    new.prototype(&[("p", pointer)]);
    new.of(Kind::Pointer, "", pointer);
    let btf = new.btf();
    assert!(btf.member_size("s.many").is_err());
    assert!(btf.member_size("s.endless").is_err());
    assert_eq!(btf.func_params("f").unwrap(), ["?"]);
}
