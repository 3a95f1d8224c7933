use std::{fmt::Write as _, path::Path};

use proptest::prelude::*;

use super::*;

/// As a kernel lists it, with an alias, a padding symbol and data among the functions.
const LISTING: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T startup_64
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81f25980 t __pfx_nf_hook_slow
ffffffff81f25990 T nf_hook_slow
ffffffff81f25a50 W weak_function
ffffffff81f26000 t twice
ffffffff82000000 D data_too
ffffffffc0a01000 t early_drop\t[nf_conntrack]
ffffffffc0a01230 t nf_ct_resolve_clash\t[nf_conntrack]
ffffffffc0a02000 d a_table\t[nf_conntrack]
ffffffffc0b00000 t twice\t[nf_tables]
ffffffffc0b00100 b only_data\t[nf_tables]
";

fn symbols(listing: &str, wanted: &[&str]) -> Symbols {
    Symbols::read(listing.as_bytes(), wanted).unwrap()
}

fn addresses(listing: &str) -> Addresses {
    Addresses::read(listing.as_bytes()).unwrap()
}

#[test]
fn wanted_names_are_found_with_type_and_module() {
    let symbols = symbols(LISTING, &["nf_hook_slow", "nf_ct_resolve_clash", "twice", "data_too", "absent"]);
    let symbol = |kind, module: Option<&str>, occurrences| {
        Some(Symbol { kind, module: module.map(str::to_owned), occurrences })
    };
    assert_eq!(symbols.get("nf_hook_slow").cloned(), symbol('T', None, 1));
    assert_eq!(symbols.get("nf_ct_resolve_clash").cloned(), symbol('t', Some("nf_conntrack"), 1));
    assert_eq!(symbols.get("twice").cloned(), symbol('t', None, 2));
    assert_eq!(symbols.get("data_too").cloned(), symbol('D', None, 1));
    assert_eq!(symbols.get("absent"), None);
    assert_eq!(symbols.get("early_drop"), None, "nobody wanted it");
    let unique = ["nf_hook_slow", "nf_ct_resolve_clash", "twice", "data_too", "absent"]
        .map(|name| symbols.is_unique_function(name));
    assert_eq!(unique, [true, true, false, false, false]);
}

#[test]
fn names_must_be_exact() {
    let listing = "ffffffff81000010 t early_drop.isra.0\nffffffff81000020 t __early_drop\n";
    assert_eq!(symbols(listing, &["early_drop"]).get("early_drop"), None);
}

#[test]
fn hidden_addresses_hide_locations_only() {
    let listing = "0000000000000000 T nf_hook_slow\n0000000000000000 t early_drop\t[nf_conntrack]\n";
    let symbols = symbols(listing, &["nf_hook_slow", "early_drop"]);
    assert!(symbols.is_unique_function("nf_hook_slow"));
    assert_eq!(symbols.get("early_drop").unwrap().module.as_deref(), Some("nf_conntrack"));
    let addresses = addresses(listing);
    assert_eq!([0, 1, u64::MAX].map(|address| addresses.lookup(address)), [None; 3]);
}

#[test]
fn an_address_is_in_the_function_that_starts_before_it() {
    let addresses = addresses(LISTING);
    let at = |function, module, offset| Some(Location { function, module, offset });
    for (address, location) in [
        (0xffff_ffff_8100_0000, at("startup_64", None, 0)),
        (0xffff_ffff_81f2_598f, at("__pfx_nf_hook_slow", None, 15)),
        (0xffff_ffff_81f2_5990, at("nf_hook_slow", None, 0)),
        (0xffff_ffff_81f2_5a4f, at("nf_hook_slow", None, 0xbf)),
        (0xffff_ffff_81f2_5a50, at("weak_function", None, 0)),
        (0xffff_ffff_c0a0_1fff, at("nf_ct_resolve_clash", Some("nf_conntrack"), 0xdcf)),
        (0xffff_ffff_c0b0_0004, at("twice", Some("nf_tables"), 4)),
        // In data, before everything, in no function's reach.
        (0xffff_ffff_8200_0010, None),
        (0xffff_ffff_c0a0_2000, None),
        (0xffff_ffff_80ff_ffff, None),
        (0xffff_ffff_8110_0000, None),
        (0, None),
        (u64::MAX, None),
    ] {
        assert_eq!(addresses.lookup(address), location, "{address:x}");
    }
}

/// As arm64's modules list them.
#[test]
fn mapping_symbols_are_no_functions() {
    let listing = "\
ffffa0f5e8594130 t $x\t[nf_conntrack]
ffffa0f5e8594130 t early_drop\t[nf_conntrack]
ffffa0f5e8594180 t $d\t[nf_conntrack]
ffffa0f5e8594190 t $x.7\t[nf_conntrack]
";
    let addresses = addresses(listing);
    for offset in [0, 0x4f, 0x51, 0x90] {
        let location = Location { function: "early_drop", module: Some("nf_conntrack"), offset };
        assert_eq!(addresses.lookup(0xffff_a0f5_e859_4130 + offset), Some(location));
    }
}

#[test]
fn garbage_among_the_lines_is_skipped() {
    let mut listing = b"\n \nx\nffffffff81000000\nffffffff81000000 T\nffffffff81000000 T \n".to_vec();
    listing.extend_from_slice(b"zzzz T wanted\nffffffff81000000 TT wanted\n-1 T wanted\n");
    listing.extend_from_slice(b"ffffffff81000000 T wanted\t[open\nffffffff81000000 T wan\xffted\n");
    listing.extend_from_slice(b"ffffffff81000000 T wanted more\n");
    listing.extend_from_slice(&[b'a'; 3 * MAX_LINE as usize]);
    listing.extend_from_slice(b"\nffffffff81000010 T wanted");
    let symbols = Symbols::read(listing.as_slice(), &["wanted"]).unwrap();
    assert!(symbols.is_unique_function("wanted"), "{symbols:?}");
    let addresses = Addresses::read(listing.as_slice()).unwrap();
    assert_eq!(addresses.lookup(0xffff_ffff_8100_0010).unwrap().function, "wanted");
    assert_eq!(addresses.lookup(0xffff_ffff_8100_0000), None);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Symbols::load(Path::new("no/such/kallsyms"), &[]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the kernel's symbols from no/such/kallsyms");
    assert!(Addresses::load(Path::new("no/such/kallsyms")).is_err());
}

#[test]
fn a_file_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, LISTING).unwrap();
    assert!(Symbols::load(file.path(), &["early_drop"]).unwrap().is_unique_function("early_drop"));
    let addresses = Addresses::load(file.path()).unwrap();
    assert_eq!(addresses.lookup(0xffff_ffff_c0a0_1001).unwrap().function, "early_drop");
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512), address: u64) {
        Symbols::read(bytes.as_slice(), &["a"]).unwrap();
        Addresses::read(bytes.as_slice()).unwrap().lookup(address);
    }

    /// Any listing, in any order, gives what a search through all its lines gives.
    #[test]
    fn lookup_agrees_with_a_search_of_all_lines(
        lines in prop::collection::vec((1u64..64, prop::sample::select(vec!['t', 'T', 'W', 'd'])), 0..32),
        address in 0u64..80,
    ) {
        let mut listing = String::new();
        for (index, (start, kind)) in lines.iter().enumerate() {
            writeln!(listing, "{start:016x} {kind} f{index}").unwrap();
        }
        // The nearest start at or before the address; there, the first function, if any is one.
        let nearest = lines.iter().map(|(start, _)| *start).filter(|start| *start <= address).max();
        let expected = lines
            .iter()
            .position(|(start, kind)| Some(*start) == nearest && *kind != 'd')
            .map(|index| (format!("f{index}"), address - lines[index].0));
        let addresses = addresses(&listing);
        let found = addresses.lookup(address).map(|found| (found.function.to_owned(), found.offset));
        prop_assert_eq!(found, expected);
    }
}
